"""Crops and flips of a pair, the same on both images; positions and sizes in LQ pixels."""

from __future__ import annotations

import random

from torch import Tensor

from esc_sr.functional.geometry import NUM_DIHEDRAL, dihedral


def crop(image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """Cut out a rectangle.

    Args:
        image: `(…, H, W)`.
        top: First row.
        left: First column.
        height: Rows.
        width: Columns.

    Returns:
        `(…, height, width)`, a view.

    Raises:
        ValueError: The rectangle leaves the image.
    """
    rows, columns = image.shape[-2:]
    if min(top, left) < 0 or top + height > rows or left + width > columns:
        raise ValueError(f"crop {top, left, height, width} leaves the {rows}×{columns} image")
    return image[..., top : top + height, left : left + width]


def crop_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Cut rows at the bottom and columns at the right until both sizes are multiples.

    Args:
        image: `(…, H, W)`.
        multiple: At least 1.

    Returns:
        `(…, H - H % multiple, W - W % multiple)`, a view.
    """
    height, width = image.shape[-2:]
    return image[..., : height - height % multiple, : width - width % multiple]


def crop_pair(
    lq: Tensor, gt: Tensor, top: int, left: int, size: int, scale: int
) -> tuple[Tensor, Tensor]:
    """Cut the same square out of both images of a pair.

    Args:
        lq: `(C, H, W)`.
        gt: `(C, s·H, s·W)`.
        top: First row, in LQ pixels.
        left: First column, in LQ pixels.
        size: Side, in LQ pixels.
        scale: Super-resolution factor s.

    Returns:
        `(C, size, size)` and `(C, s·size, s·size)`, views.

    Raises:
        ValueError: The square leaves an image.
    """
    return (
        crop(lq, top, left, size, size),
        crop(gt, top * scale, left * scale, size * scale, size * scale),
    )


def random_position(height: int, width: int, size: int, rng: random.Random) -> tuple[int, int]:
    """Draw where a square crop begins, every place equally likely.

    Args:
        height: Of the image.
        width: Of the image.
        size: Side of the crop, at most `height` and `width`.
        rng: Source of randomness.

    Returns:
        Top row and left column.
    """
    return rng.randrange(height - size + 1), rng.randrange(width - size + 1)


def random_dihedral(rng: random.Random) -> int:
    """Draw one of the eight flips and rotations.

    Args:
        rng: Source of randomness.

    Returns:
        An index for `augment_pair`.
    """
    return rng.randrange(NUM_DIHEDRAL)


def augment_pair(lq: Tensor, gt: Tensor, index: int) -> tuple[Tensor, Tensor]:
    """Flip and rotate both images of a pair alike.

    Args:
        lq: `(C, H, W)`.
        gt: `(C, s·H, s·W)`.
        index: 0 to 7, as in `dihedral`.

    Returns:
        The pair, sizes exchanged for an odd number of quarter turns.

    Raises:
        ValueError: `index` is not in 0..7.
    """
    return dihedral(lq, index), dihedral(gt, index)
