"""What `for_inference` makes of ESC, against the network as it is, and what bounds the rest.

python benchmarks/fast.py [--model esc --lq 180x320] [--compile] [--no-profile]

The first table has the whole network, in turn, relative to the eager attention in float32. The
second says where the time of one forward pass goes, and the third what this machine reaches on
single operations of the same sizes, measured in the same run.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from in_turn import esc, measure, print_conditions, print_table, ratio_text
from torch import nn
from torch.profiler import ProfilerActivity, profile

from esc_sr import create_model, for_inference
from esc_sr.functional.large_conv import separate_convs, transformed_conv
from esc_sr.profiling.fresh import Setting

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
PARTS = {  # what an operator of the profile belongs to, by a part of its name
    "attention": ("scaled_dot_product", "_attention"),
    "convolutions": ("convolution", "conv2d"),
    "transforms (matrix products)": ("bmm", "::mm", "baddbmm", "addmm"),
    "GELU": ("gelu",),
    "LayerNorm": ("layer_norm",),
    "sums": ("add", "aten::sum", "mul"),
    "copies": ("copy_", "cat", "flip", "fill_", "pad", "shuffle", "upsample", "clone"),
}


class Prepared(nn.Module):
    """A network as `for_inference` or autocast makes it, whatever the setting says."""

    def __init__(
        self, build: Callable[[], nn.Module], precision: str, compiled: str | None, fast: bool
    ) -> None:
        super().__init__()
        self.autocast = None if fast else {"bf16": torch.bfloat16}.get(precision)
        self.network = build()
        if fast:
            self.network, _ = for_inference(self.network, precision=precision, compile=compiled)  # pyright: ignore

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        with torch.autocast(lq.device.type, self.autocast, enabled=self.autocast is not None):
            return self.network(lq)


def whole_networks(arguments: argparse.Namespace, setting: Setting) -> None:
    def prepared(attention: str, precision: str, fast: bool, compiled: str | None = None):
        build = esc(arguments.model, attention=attention)
        return partial(Prepared, build, precision, compiled, fast)

    builds = {
        ("eager", "fp32"): prepared("eager", "fp32", False),
        ("sdpa", "fp32"): prepared("sdpa", "fp32", False),
        ("sdpa", "bf16 autocast"): prepared("sdpa", "bf16", False),
        ("for_inference", "fp32"): prepared("sdpa", "fp32", True),
        ("for_inference", "bf16"): prepared("sdpa", "bf16", True),
    }
    if arguments.compile:
        builds[("for_inference, compiled", "fp32")] = prepared("sdpa", "fp32", True, "dynamic")
        builds[("for_inference, compiled", "bf16")] = prepared("sdpa", "bf16", True, "dynamic")
    found = measure(builds, setting, rounds=arguments.rounds)  # pyright: ignore[reportArgumentType]
    baseline = found[("eager", "fp32")]  # pyright: ignore[reportArgumentType]
    print_conditions(setting, rounds=arguments.rounds)
    rows = [
        [
            *key,
            f"{costs.median_ms:.0f}",
            ratio_text(baseline.ratio_to(costs)),
            f"{costs.memory_mib:.0f}",
            f"{costs.memory_mib / baseline.memory_mib:.2f}" if baseline.memory_mib else "–",
        ]
        for key, costs in found.items()
    ]
    headings = ["network", "precision", "latency (ms)", "times faster", "memory (MiB)", "÷ eager"]
    print_table(headings, rows, left=2)


def profiles(arguments: argparse.Namespace, size: tuple[int, int]) -> None:
    """Print where the time of one forward pass goes."""
    lq = torch.rand(1, 3, *size)
    shares: dict[str, dict[str, float]] = {}
    for precision in DTYPES:
        network, _ = for_inference(create_model(arguments.model), precision=precision)  # pyright: ignore
        with torch.inference_mode():
            network(lq)
            with profile(activities=[ProfilerActivity.CPU]) as recorded:
                network(lq)
        times: dict[str, float] = defaultdict(float)
        for event in recorded.key_averages():
            times[_part(event.key)] += event.self_cpu_time_total / 1e3
        shares[precision] = times
    rows = [
        [
            part,
            *(
                f"{times[part]:.0f} ({100 * times[part] / sum(times.values()):.0f} %)"
                for times in shares.values()
            ),
        ]
        for part in [*PARTS, "other"]
    ]
    print_table(["part", *(f"{precision} (ms)" for precision in shares)], rows)


def _part(name: str) -> str:
    return next((part for part, words in PARTS.items() if any(w in name for w in words)), "other")


@torch.inference_mode()
def ceilings(size: tuple[int, int]) -> None:
    """Print what single operations reach on features of whole windows."""
    height, width = (-(-side // 32) * 32 for side in size)
    windows, pixels = height * width // 1024, height * width
    rows = []
    for precision, dtype in DTYPES.items():
        matrix = torch.randn(2048, 2048, dtype=dtype)
        features = _channels_last(torch.randn(1, 64, height, width, dtype=dtype))
        first = _channels_last(features[:, :16].contiguous())
        large = torch.randn(16, 16, 13, 13, dtype=dtype) / 50
        dynamic = torch.randn(1, 16, 3, 3, dtype=dtype)
        full = torch.randn(64, 64, 3, 3, dtype=dtype) / 24
        q, k, v = torch.randn(3, 4, windows, 1024, 16, dtype=dtype)
        mask = torch.randn(4, 1, 1024, 1024, dtype=dtype)
        attend = partial(F.scaled_dot_product_attention, q, k, v)
        large_gflop = 2 * 169 * 16 * 16 * pixels / 1e9
        transformed = transformed_conv(13)
        measured: list[tuple[str, Callable[[], object], float, str]] = [
            ("matrix product 2048³", lambda m=matrix: m @ m, 2 * 2.048**3, "GFLOP/s"),
            (
                "convolution 3×3, 64→64",
                lambda f=features, w=full: F.conv2d(f, w, padding=1),
                2 * 9 * 64 * 64 * pixels / 1e9,
                "GFLOP/s",
            ),
            (
                "13×13 and 3×3, 16→16, direct",
                lambda a=(first, large, dynamic): separate_convs(*a),
                large_gflop,
                "GFLOP/s",
            ),
            (
                "the same, transformed",
                lambda a=(first, large, dynamic), t=transformed: t(*a),
                large_gflop,
                "GFLOP/s of the direct one",
            ),
            ("attention", attend, 4 * 1024 * 1024 * 64 * windows / 1e9, "GFLOP/s"),
            (
                "attention with a bias",
                partial(attend, mask.expand(4, windows, 1024, 1024)),
                4 * 1024 * 1024 * 64 * windows / 1e9,
                "GFLOP/s",
            ),
            ("GELU", lambda f=features: F.gelu(f), 2 * features.nbytes / 1e9, "GB/s"),
            ("copy", lambda f=features: f.clone(), 2 * features.nbytes / 1e9, "GB/s"),
        ]
        for name, call, work, unit in measured:
            milliseconds = _best_ms(call)
            rate = f"{1e3 * work / milliseconds:.0f} {unit}"
            rows.append([name, precision, f"{milliseconds:.2f}", rate])
    print_table(["operation", "precision", "time (ms)", "rate"], rows, left=2)


def _channels_last(features: torch.Tensor) -> torch.Tensor:
    return features.to(memory_format=torch.channels_last)


def _best_ms(call: Callable[[], object], repeats: int = 7) -> float:
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return min(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="esc")
    parser.add_argument("--lq", default="180x320", help="height x width of the LQ image")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="compiled networks too")
    parser.add_argument("--no-profile", action="store_true", help="the first table only")
    arguments = parser.parse_args()
    height, width = (int(side) for side in arguments.lq.split("x"))
    whole_networks(arguments, Setting(lq_size=(height, width)))
    if not arguments.no_profile:
        profiles(arguments, (height, width))
        ceilings((height, width))


if __name__ == "__main__":
    main()
