"""The offsets key − query of a window, and how often each of them occurs. All in float64."""

from __future__ import annotations

import torch
from torch import Tensor


def offsets_along(side: int) -> Tensor:
    """Return the offsets along one axis, `(2·side − 1,)`, from 1 − side to side − 1."""
    return torch.arange(1 - side, side, dtype=torch.float64)


def offset_grid(window_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return dy and dx of all offsets, row-major as a table, each `((2·wh − 1)(2·ww − 1),)`."""
    dy, dx = torch.meshgrid(*(offsets_along(side) for side in window_size), indexing="ij")
    return dy.flatten(), dx.flatten()


def share_along(side: int) -> Tensor:
    """Return the share of the pairs along one axis that have each offset, `(2·side − 1,)`."""
    return (side - offsets_along(side).abs()) / side**2


def share_of_pairs(window_size: tuple[int, int]) -> Tensor:
    """Return the share of the pairs of a window that have each offset; sums to 1.

    (dy, dx) is seen by `(wh − |dy|)(ww − |dx|)` pairs, (0, 0) by every token and itself.
    """
    height, width = window_size
    return (share_along(height)[:, None] * share_along(width)).flatten()


def without_mean(values: Tensor, share: Tensor) -> Tensor:
    """Take out the mean over all pairs, which the softmax does not see.

    Args:
        values: `(…, offsets)`.
        share: `(offsets,)`, as of `share_of_pairs`.
    """
    return values - (share * values).sum(-1, keepdim=True)
