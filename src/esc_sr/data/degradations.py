"""How a low-resolution image is made from a high-resolution one."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from esc_sr.data.crops import crop
from esc_sr.functional.resize import matlab_imresize


class Degradation(Protocol):
    """Makes LQ from GT; looks at most `margin` LQ pixels beyond the pixel it makes.

    The margin lets the LQ of a crop equal the crop of the whole image's LQ.
    """

    @property
    def margin(self) -> int:
        """How far it looks, in LQ pixels."""
        ...

    def __call__(self, gt: Tensor, scale: int) -> Tensor:
        """Make LQ.

        Args:
            gt: `(C, s·H, s·W)` uint8.
            scale: Super-resolution factor s.

        Returns:
            `(C, H, W)` uint8.
        """
        ...


class BicubicDegradation:
    """MATLAB's antialiased bicubic `imresize`, the protocol of the papers."""

    # An LQ pixel i is made from GT pixels (i - 1.5)·s - 0.5 to (i + 2.5)·s - 0.5, and so from
    # nothing beyond the two LQ pixels on either side.
    margin = 2

    def __call__(self, gt: Tensor, scale: int) -> Tensor:
        """Downscale.

        Args:
            gt: `(C, s·H, s·W)` uint8.
            scale: Super-resolution factor s.

        Returns:
            `(C, H, W)` uint8.
        """
        return matlab_imresize(gt, 1 / scale)


def degrade_crop(
    degradation: Degradation, gt: Tensor, top: int, left: int, size: int, scale: int
) -> Tensor:
    """Make the LQ of a crop, as if the whole image had been degraded and then cropped.

    Args:
        degradation: How.
        gt: `(C, s·H, s·W)` uint8, the whole image.
        top: First row, in LQ pixels.
        left: First column, in LQ pixels.
        size: Side, in LQ pixels.
        scale: Super-resolution factor s.

    Returns:
        `(C, size, size)` uint8, equal to `degradation(gt, scale)` cropped there.

    Raises:
        ValueError: The crop leaves the image.
    """
    height, width = gt.shape[-2] // scale, gt.shape[-1] // scale
    first_row, first_column = max(0, top - degradation.margin), max(0, left - degradation.margin)
    last_row = min(height, top + size + degradation.margin)
    last_column = min(width, left + size + degradation.margin)
    surroundings = crop(
        gt,
        first_row * scale,
        first_column * scale,
        (last_row - first_row) * scale,
        (last_column - first_column) * scale,
    )
    lq = degradation(surroundings, scale)
    return crop(lq, top - first_row, left - first_column, size, size)
