"""Resize an image that comes row by row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import torch
from torch import Tensor

from esc_sr.functional.resize import matlab_imresize


def shrink_rows(rows: Iterator[Tensor], *, height: int, ratio: Fraction) -> Iterator[Tensor]:
    """Shrink an image as `matlab_imresize` does, though only some of its rows are there at a time.

    Args:
        rows: The image from top to bottom, `(B, C, some, W)` floating point each.
        height: Rows in all.
        ratio: Output size over input size, at most 1.

    Yields:
        Rows of the result, which is `(B, C, ceil(H · ratio), ceil(W · ratio))` in all.

    Raises:
        ValueError: The ratio is larger than 1.
    """
    if not 0 < ratio <= 1:
        raise ValueError(f"the ratio must be above 0 and at most 1, got {ratio}")
    # Sample positions repeat every `period` rows, so that a part that begins at one resizes as the
    # whole does; the kernel reaches two output pixels to either side.
    period = ratio.denominator
    reach = math.ceil(2 / ratio / period + 1) * period
    total = math.ceil(height * ratio)
    held: Tensor | None = None
    first = 0  # row of the image that `held` begins with
    done = 0  # rows of the result that have been yielded
    for strip in rows:
        held = strip if held is None else torch.cat([held, strip], dim=-2)
        stop = first + held.shape[-2]
        if stop < height:
            ready = max(stop - reach, 0) // period * period * ratio
        else:
            ready = Fraction(total)
        if ready <= done:
            continue
        size = (
            total - int(first * ratio) if stop == height else math.ceil(held.shape[-2] * ratio),
            math.ceil(held.shape[-1] * ratio),
        )
        resized = matlab_imresize(held, float(ratio), size=size)
        offset = done - int(first * ratio)
        yield resized[..., offset : int(ready) - int(first * ratio), :]
        done = int(ready)
        keep = max(int(done / ratio) - reach, 0) // period * period
        held = held[..., keep - first :, :].clone()
        first = keep
