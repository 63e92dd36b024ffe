"""What the scripts of this folder share: networks measured in turn, and tables of them.

Every network lives in a process of its own; they run one after the other, round by round, so that
what disturbs the machine disturbs all alike. A ratio is taken within each round, and its median
over the rounds is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from esc_sr import create_model
from esc_sr.attention import SelfAttention
from esc_sr.attention.bias import FourierBias
from esc_sr.attention.flash import FlashKernel
from esc_sr.profiling.conditions import device_name, versions
from esc_sr.profiling.fresh import FreshProcess, Setting, time_in_turn
from esc_sr.profiling.latency import Spread, spread_of

Builds = Mapping[str, Callable[[], nn.Module]]


@dataclass(frozen=True)
class Costs:
    """What one network costs: milliseconds of each round, and the peak of its memory."""

    times: Sequence[float]
    memory_mib: float

    @property
    def median_ms(self) -> float:
        return spread_of(self.times).median

    def ratio_to(self, baseline: Costs) -> Spread:
        pairs = zip(self.times, baseline.times, strict=True)
        return spread_of([time / base for time, base in pairs])


def attention_of(name: str) -> SelfAttention | str:
    """Return what `create_model` takes for a name of these scripts.

    Those of `attention=`, and `flash:KERNEL` or `flash:KERNEL:RANK` with a Fourier bias.
    """
    kind, _, rest = name.partition(":")
    if kind != "flash":
        return name
    kernel, _, rank = rest.partition(":")
    bias = FourierBias(rank=int(rank or 16))
    return SelfAttention(bias=bias, kernel=FlashKernel(kernel=kernel))


def esc(name: str = "esc", **arguments: object) -> Callable[[], nn.Module]:
    """Return what makes a network of the family, in whatever process it is called."""
    return partial(create_model, name, **arguments)  # pyright: ignore[reportArgumentType]


def measure(builds: Builds, setting: Setting, *, rounds: int, warmup: int = 1) -> dict[str, Costs]:
    """Measure networks in turn; memory is the peak above the loaded network on a CPU."""
    with ExitStack() as stack:
        processes = [stack.enter_context(FreshProcess(b, setting)) for b in builds.values()]
        times = time_in_turn(processes, warmup=warmup, rounds=rounds)
        memories = [process.memory() for process in processes]
    peaks = [m.peak_mib if m.source == "cuda_allocated" else m.increase_mib for m in memories]
    return {
        name: Costs(found, peak) for name, found, peak in zip(builds, times, peaks, strict=True)
    }


def ratio_text(ratio: Spread) -> str:
    return f"{ratio.median:.2f} ({ratio.p10:.2f}–{ratio.p90:.2f})"


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
    """Print Markdown; the first `left` columns are names."""
    rules = [":--"] * left + ["--:"] * (len(headings) - left)
    for cells in (headings, rules, *rows):
        print(f"| {' | '.join(cells)} |")
    print(flush=True)


def print_conditions(setting: Setting, *, rounds: int) -> None:
    """Say on what was measured, and how often."""
    threads = "" if setting.device != "cpu" else f", {setting.threads or torch.get_num_threads()} "
    threads += "threads" if threads else ""
    known = ", ".join(f"{key} {value}" for key, value in versions().items() if value)
    print(
        f"{device_name(setting.device)}{threads}; {setting.precision}, batch {setting.batch_size}; "
        f"medians of {rounds} rounds in turn, in brackets p10–p90; {known}\n"
    )
