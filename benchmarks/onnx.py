"""An exported ESC in onnxruntime against PyTorch, on a CPU, in turn.

python benchmarks/onnx.py [--checkpoint model.safetensors | --model esc] [--onnx model.onnx]

Without --onnx the network is exported first, which takes some minutes for those of the paper.
Memory is the peak above the loaded network.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from in_turn import measure, print_conditions, print_table, ratio_text
from torch import nn

from esc_sr import create_model, for_inference, load_model, save_model
from esc_sr.config import compose_config
from esc_sr.inference.onnx_network import OnnxNetwork
from esc_sr.profiling.fresh import Setting
from esc_sr.tasks import export


def fast(checkpoint: str) -> nn.Module:
    return for_inference(load_model(checkpoint))[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", help="default: fresh weights of --model")
    parser.add_argument("--model", default="esc")
    parser.add_argument("--lq", default="90x160")
    parser.add_argument("--onnx", help="what the checkpoint was exported to")
    parser.add_argument("--opset", type=int, default=18)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    height, width = map(int, arguments.lq.split("x"))
    setting = Setting(lq_size=(height, width))
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = arguments.checkpoint or str(
            save_model(create_model(arguments.model), Path(folder) / "model.safetensors")
        )
        onnx = arguments.onnx or Path(folder) / "model.onnx"
        if arguments.onnx is None:
            overrides = [f"checkpoint='{checkpoint}'", f"output='{onnx}'"]
            export.run(compose_config("export", [*overrides, f"opset={arguments.opset}"]))
        builds: dict[str, Callable[[], nn.Module]] = {
            "PyTorch, eager": partial(load_model, checkpoint, attention="eager"),
            "PyTorch, sdpa": partial(load_model, checkpoint, attention="sdpa"),
            "PyTorch, for_inference": partial(fast, checkpoint),
            "onnxruntime": partial(OnnxNetwork, onnx),
        }
        found = measure(builds, setting, rounds=arguments.rounds)
    print(f"\nLQ {height}×{width}")
    print_conditions(setting, rounds=arguments.rounds)
    baseline = found["PyTorch, sdpa"]
    rows = [
        [
            name,
            f"{costs.median_ms:.0f}",
            ratio_text(costs.ratio_to(baseline)),
            f"{costs.memory_mib:.0f}",
        ]
        for name, costs in found.items()
    ]
    print_table(["network", "latency (ms)", "÷ sdpa", "memory (MiB)"], rows)


if __name__ == "__main__":
    main()
