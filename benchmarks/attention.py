"""ESC with its attention computed in several ways, at several sizes and windows.

    python benchmarks/attention.py [--lq 90x160 180x320 270x480] [--windows 32]
    python benchmarks/attention.py --device cuda --precision bf16 --windows 16 32 48
        --lq 64x64 180x320 360x640 --attention sdpa flex flash:flash_attn flash:sdpa_flash

eager writes the scores of every window to memory, the others do not; `flash:KERNEL` names who
attends behind a Fourier bias, whose rank is the number behind a second colon (16 by itself).
conv_attn has no self-attention at all and is another network, the paper's ablation. What does not
run on this device or is not installed is skipped by name.
"""

import argparse
from collections.abc import Callable
from itertools import product

import torch
from in_turn import attention_of, esc, measure, print_conditions, print_table, ratio_text
from torch import nn

from esc_sr.errors import InputError
from esc_sr.models.for_inference import AUTOCAST_DTYPES
from esc_sr.profiling.fresh import Setting


def runs(build: Callable[[], nn.Module], name: str, setting: Setting) -> bool:
    """Try a small image; say what cannot run, and why."""
    dtype = AUTOCAST_DTYPES[setting.precision]
    image = torch.rand(1, 3, 8, 8, device=setting.device)
    try:
        network = build().to(setting.device)
        with torch.no_grad(), torch.autocast(setting.device, dtype, enabled=dtype is not None):
            network(image)
    except InputError as error:
        print(f"skipped {name}: {error}\n")
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="esc", help="esc, esc_lt or esc_fp")
    parser.add_argument("--lq", nargs="+", default=["90x160", "180x320", "270x480"])
    parser.add_argument("--windows", nargs="+", type=int, default=[32], help="sides")
    parser.add_argument(
        "--attention",
        nargs="+",
        default=["eager", "sdpa", "conv_attn"],
        help="the first that runs is the baseline",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    arguments = parser.parse_args()
    rows = []
    runnable = dict.fromkeys(arguments.attention)
    for window, size in product(arguments.windows, arguments.lq):
        height, width = map(int, size.split("x"))
        setting = Setting(
            lq_size=(height, width), device=arguments.device, precision=arguments.precision
        )
        builds = {
            name: esc(arguments.model, attention=attention_of(name), window_size=window)
            for name in runnable
        }
        builds = {name: build for name, build in builds.items() if runs(build, name, setting)}
        runnable = dict.fromkeys(builds)
        found = measure(builds, setting, rounds=arguments.rounds)
        baseline = next(iter(found.values()))
        rows += [
            [
                f"{4 * width}×{4 * height}",
                str(window),
                name,
                f"{costs.median_ms:.0f}" if costs.median_ms >= 100 else f"{costs.median_ms:.2f}",
                ratio_text(costs.ratio_to(baseline)),
                f"{costs.memory_mib:.0f}",
                f"{costs.memory_mib / baseline.memory_mib:.2f}",
            ]
            for name, costs in found.items()
        ]
    first = next(iter(runnable))
    headings = ["output", "window", "attention", "latency (ms)", f"÷ {first}"]
    print_conditions(setting, rounds=arguments.rounds)
    print_table([*headings, "memory (MiB)", f"÷ {first}"], rows, left=3)


if __name__ == "__main__":
    main()
