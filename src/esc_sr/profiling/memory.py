"""Peak memory of a stretch of code."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import torch

MIB = 1024 * 1024

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")

Source = Literal["cuda_allocated", "resident_peak", "resident_peak_of_process"]


@dataclass(frozen=True)
class Memory:
    """Memory of a stretch of code, in MiB (2**20 bytes)."""

    peak_mib: float
    """Highest use since the reset, with what was in use before it."""
    start_mib: float
    """Use at the reset: weights, and on the CPU the whole Python process."""
    source: Source
    """What was measured.

    `"cuda_allocated"`: tensors of this process on the GPU (not the allocator's reserve).
    `"resident_peak"`: resident set of the process (Linux).
    `"resident_peak_of_process"`: the same since the process began, because this system cannot
    reset the peak (macOS, or /proc not writable): an upper bound; NaN on Windows.
    """

    @property
    def increase_mib(self) -> float:
        """Peak above the use at the reset."""
        return self.peak_mib - self.start_mib


class PeakMemory:
    """Watch the peak memory on a device.

    `with PeakMemory(device) as peak: ...`, then `peak.read()`; or `reset()` and `read()` at will.
    On a GPU the peak of PyTorch's allocator, on the CPU the peak resident set of the process. The
    peak is one number per device and process, not per object: a reset is seen by every observer,
    including `torch.cuda.max_memory_allocated`.

    Args:
        device: Device to watch; anything but CUDA is measured as the CPU.
    """

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self._start_mib = 0.0
        self._resettable = True
        self.reset()

    def reset(self) -> None:
        """Forget the peak: count from the memory in use now."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self._start_mib = torch.cuda.memory_allocated(self.device) / MIB
        else:
            self._resettable = _reset_resident_peak()
            self._start_mib = _resident_mib("VmRSS") or _process_peak_mib()

    def read(self) -> Memory:
        """Return the peak since the last reset, and go on counting."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            peak_mib = torch.cuda.max_memory_allocated(self.device) / MIB
            return Memory(peak_mib, self._start_mib, "cuda_allocated")
        peak_mib = _resident_mib("VmHWM") if self._resettable else None
        if peak_mib is None:
            return Memory(_process_peak_mib(), self._start_mib, "resident_peak_of_process")
        # The kernel updates its counters in batches, so that the peak may trail by some pages.
        return Memory(max(peak_mib, self._start_mib), self._start_mib, "resident_peak")

    def __enter__(self) -> PeakMemory:
        self.reset()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None


def _reset_resident_peak() -> bool:
    """Set the kernel's peak of the resident set back to its present size, if it lets us."""
    try:
        _CLEAR_REFS.write_text("5")  # proc(5): 5 resets the peak resident set size
    except OSError:
        return False
    return True


def _resident_mib(field: Literal["VmRSS", "VmHWM"]) -> float | None:
    """Return the present (VmRSS) or highest (VmHWM) resident set, None where /proc is absent."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024  # the file is in KiB
    return None


def _process_peak_mib() -> float:
    """Return the highest resident set since the process began, NaN where the system has none."""
    try:
        import resource  # not on Windows
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024  # bytes on macOS, else KiB
