"""Time of one forward pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from esc_sr.errors import InputError
from esc_sr.profiling.undisturbed import undisturbed


@dataclass(frozen=True)
class Spread:
    """Percentiles of repeated measurements."""

    median: float
    """Half of the values are smaller."""
    p10: float
    """A tenth is smaller; of times: close to what the machine can do undisturbed."""
    p90: float
    """Nine tenths are smaller."""


def spread_of(values: Sequence[float]) -> Spread:
    """Return the percentiles of some values, linear between neighbours.

    Example:
        >>> spread_of([10.0, 20.0, 30.0])
        Spread(median=20.0, p10=12.0, p90=28.0)
    """
    exact = torch.tensor(values, dtype=torch.float64)
    p10, median, p90 = exact.quantile(exact.new_tensor([0.1, 0.5, 0.9])).tolist()
    return Spread(median, p10, p90)


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one forward pass, over `repeats` runs, and under which conditions."""

    median_ms: float
    """Half of the runs were faster."""
    p10_ms: float
    """A tenth of the runs were faster: close to what the machine can do undisturbed."""
    p90_ms: float
    """Nine tenths of the runs were faster."""
    repeats: int
    """Number of timed runs, after the warm-up."""
    device: str
    """Name of the GPU, or `"cpu"`."""
    dtype: str
    """Type of the arithmetic, such as `"float32"`: the autocast type where autocast is on."""
    threads: int
    """CPU threads that PyTorch may use."""


def measure_latency(
    module: nn.Module,
    example: Tensor,
    *,
    warmup: int,
    repeats: int,
    context: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Latency:
    """Time the forward pass of a module on one input.

    Args:
        module: Module called as `module(example)`, on the device of `example`.
        example: The input, usually `(1, 3, H, W)`.
        warmup: Calls before the clock starts: compilation, autotuning, caches.
        repeats: Timed calls, at least 1.
        context: As for `time_forwards`.

    Returns:
        Percentiles of the times and the conditions of the measurement.

    Raises:
        InputError: `warmup` is negative or `repeats` below 1.
    """
    times = spread_of(
        time_forwards(module, example, warmup=warmup, repeats=repeats, context=context)
    )
    with context():
        dtype = _compute_dtype(example)
    device = example.device
    return Latency(
        median_ms=times.median,
        p10_ms=times.p10,
        p90_ms=times.p90,
        repeats=repeats,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        dtype=str(dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
    )


def time_forwards(
    module: nn.Module,
    example: Tensor,
    *,
    warmup: int = 0,
    repeats: int = 1,
    context: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> list[float]:
    """Return the milliseconds of each of some forward passes.

    In eval mode, without gradients; the mode of the module and the random generators are
    restored. On a GPU the time between two CUDA events around each call, on other devices the
    wall clock.

    Args:
        module: Module called as `module(example)`, on the device of `example`.
        example: The input, usually `(1, 3, H, W)`.
        warmup: Calls before the clock starts.
        repeats: Timed calls, at least 1.
        context: Called for each forward pass; what it returns is entered around it and is part
            of the measured time. Give autocast here, so that casting the weights is counted.

    Returns:
        One time for each repeat.

    Raises:
        InputError: `warmup` is negative or `repeats` below 1.
    """
    check_repetitions(warmup, repeats)
    with undisturbed(module, example.device):
        for _ in range(warmup):
            with context():
                module(example)
        clock = _time_with_events if example.device.type == "cuda" else _time_with_clock
        return clock(module, example, repeats, context)


def check_repetitions(warmup: int, repeats: int) -> None:
    """Refuse counts of calls that make no sense.

    Raises:
        InputError: `warmup` is negative or `repeats` is below 1.
    """
    if warmup < 0 or repeats < 1:
        raise InputError(
            f"latency needs warmup >= 0 and repeats >= 1, got warmup={warmup}, repeats={repeats}"
        )


def _time_with_events(
    module: nn.Module,
    example: Tensor,
    repeats: int,
    context: Callable[[], AbstractContextManager[object]],
) -> list[float]:
    """Return milliseconds on the GPU's own clock, one per call."""
    with torch.cuda.device(example.device):
        pairs = [
            (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            for _ in range(repeats)
        ]
        torch.cuda.synchronize()
        for start, end in pairs:
            start.record()
            with context():
                module(example)
            end.record()
            # Without this the queue fills up, and the events time the queue, not the network.
            end.synchronize()
        return [start.elapsed_time(end) for start, end in pairs]


def _time_with_clock(
    module: nn.Module,
    example: Tensor,
    repeats: int,
    context: Callable[[], AbstractContextManager[object]],
) -> list[float]:
    """Return milliseconds of wall time, one per call."""
    milliseconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        with context():
            module(example)
        if example.device.type == "mps":
            torch.mps.synchronize()
        milliseconds.append(1e3 * (time.perf_counter() - start))
    return milliseconds


def _compute_dtype(example: Tensor) -> torch.dtype:
    """Return the type in which matrix products of `example` are computed right now."""
    device_type = example.device.type
    if torch.is_autocast_enabled(device_type):
        return torch.get_autocast_dtype(device_type)
    return example.dtype
