"""Enlarge an image tile by tile, with overlap and feathered seams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Span:
    """A tile along one axis, in LQ pixels.

    Attributes:
        start: Where its core begins; the cores of all tiles cover the axis once.
        stop: Where its core ends.
        read: What is computed from: the core and the overlap, as far as there is image.
        kept: What is kept of the result: the core and the feather.
    """

    start: int
    stop: int
    read: slice
    kept: slice


def spans(length: int, tile: int, *, overlap: int = 0, feather: int = 0) -> list[Span]:
    """Cut an axis into tiles.

    Args:
        length: Pixels of the axis.
        tile: Pixels of a core; the last one may be shorter.
        overlap: Pixels read beyond the core on either side.
        feather: Pixels kept beyond the core on either side; at most `overlap` and `tile / 2`.

    Returns:
        The tiles, from the first pixel on.

    Raises:
        ValueError: The sizes do not fit together.

    Example:
        >>> [(span.start, span.read.start, span.read.stop) for span in spans(10, 4, overlap=2)]
        [(0, 0, 6), (4, 2, 10), (8, 6, 10)]
    """
    if min(length, tile) < 1 or not 0 <= feather <= min(overlap, tile // 2):
        raise ValueError(
            f"cannot cut {length} pixels into tiles of {tile}, overlap {overlap}, feather {feather}"
        )
    cores = [(start, min(start + tile, length)) for start in range(0, length, tile)]

    def widened(start: int, stop: int, by: int) -> slice:
        return slice(max(start - by, 0), min(stop + by, length))

    return [
        Span(*core, read=widened(*core, overlap), kept=widened(*core, feather)) for core in cores
    ]


def kept_part(span: Span, scale: int = 1) -> slice:
    """Return where the kept part of a tile lies in the result of what was read.

    Args:
        span: The tile along one axis.
        scale: Pixels of the result for each one read.

    Returns:
        A slice of the result.
    """
    return slice(
        (span.kept.start - span.read.start) * scale, (span.kept.stop - span.read.start) * scale
    )


def enlarge_in_tiles(
    forward: Callable[[Tensor], Tensor],
    lq: Tensor,
    *,
    scale: int,
    tile: tuple[int, int],
    overlap: tuple[int, int],
    feather: int,
) -> Iterator[Tensor]:
    """Enlarge an image of any size with the memory of one row of tiles.

    Every tile is computed with `overlap` pixels around it, of which the outer ones, wrong because
    the network pads them, are thrown away; across a seam of `2 · feather` pixels one tile fades
    into the next. What remains of a seam comes from receptive fields wider than
    `overlap - feather` and from whatever the network takes from its whole input, such as the
    dynamic kernels of ConvAttn.

    Args:
        forward: Maps `(B, 3, h, w)` to `(B, 3, s·h, s·w)`.
        lq: `(B, 3, H, W)`, on the device that collects the result; `forward` may compute elsewhere.
        scale: Super-resolution factor s of `forward`.
        tile: Height and width of a tile's core in LQ pixels. With windowed attention tile and
            overlap must be multiples of the window, so that windows lie where they lie untiled.
        overlap: LQ pixels read around the core, vertically and horizontally.
        feather: LQ pixels on either side of a seam over which tiles are blended.

    Yields:
        Rows of the result from top to bottom, `(B, 3, some, s·W)` float32, not clamped.
    """
    height, width = lq.shape[-2:]
    rows = spans(height, tile[0], overlap=overlap[0], feather=feather)
    columns = spans(width, tile[1], overlap=overlap[1], feather=feather)
    carried = lq.new_zeros(*lq.shape[:2], 0, width * scale, dtype=torch.float32)
    for i, row in enumerate(rows):
        kept_rows = (row.kept.stop - row.kept.start) * scale
        strip = carried.new_zeros(*lq.shape[:2], kept_rows, width * scale)
        strip[..., : carried.shape[-2], :] = carried
        down = _weights(row, height, feather=feather, scale=scale).to(strip)
        for column in columns:
            sr = forward(lq[..., row.read, column.read])
            sr = sr[..., kept_part(row, scale), kept_part(column, scale)].to(strip)
            across = _weights(column, width, feather=feather, scale=scale).to(strip)
            target = slice(column.kept.start * scale, column.kept.stop * scale)
            strip[..., target] += sr * (down[:, None] * across)
        last = i + 1 == len(rows)
        done = kept_rows if last else (rows[i + 1].kept.start - row.kept.start) * scale
        carried = strip[..., done:, :].clone()
        yield strip[..., :done, :]


def _weights(span: Span, length: int, *, feather: int, scale: int) -> Tensor:
    """Weight of every kept output pixel: 1 inside, ramps across the seams that add up to 1."""
    position = torch.arange(span.kept.start * scale, span.kept.stop * scale) + 0.5
    weights = torch.ones_like(position)
    for seam, direction in ((span.start, 1), (span.stop, -1)):
        if 0 < seam < length and feather:
            distance = direction * (position - seam * scale)
            weights = weights * (0.5 + distance / (2 * feather * scale)).clamp(0, 1)
    return weights
