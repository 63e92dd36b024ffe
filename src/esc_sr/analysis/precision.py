"""Sums over many numbers, in double precision."""

from __future__ import annotations

from torch import Tensor


def double(x: Tensor) -> Tensor:
    """Return a tensor in float64: where it lies, or on the CPU if its device has none (MPS)."""
    return (x.cpu() if x.device.type == "mps" else x).double()
