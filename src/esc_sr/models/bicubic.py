"""Bicubic enlargement as a network, the baseline of every table."""

from __future__ import annotations

from torch import Tensor, nn

from esc_sr.functional.resize import matlab_imresize


class Bicubic(nn.Module):
    """Enlarge as MATLAB's `imresize` does, which the published bicubic rows are made with.

    Args:
        scale: Super-resolution factor.
    """

    def __init__(self, *, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, lq: Tensor) -> Tensor:
        """Enlarge images.

        Args:
            lq: `(B, 3, H, W)` in [0, 1], taken to be 8-bit values.

        Returns:
            `(B, 3, s·H, s·W)` in [0, 1], rounded to 8 bits after each dimension as MATLAB does.
        """
        levels = (lq * 255).round().clamp(0, 255).byte()
        return matlab_imresize(levels, self.scale).to(lq.dtype) / 255
