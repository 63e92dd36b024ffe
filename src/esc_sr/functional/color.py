"""Colour: the luma channel on which super-resolution papers measure."""

from __future__ import annotations

from torch import Tensor

from esc_sr.errors import InputError


def rgb_to_y(image: Tensor) -> Tensor:
    """Convert RGB to the luma Y of BT.601 in studio range, as MATLAB's `rgb2ycbcr` does.

    Y = 16 + 65.481 R + 128.553 G + 24.966 B, with R, G and B in 0..1 and Y on the scale of 255,
    returned divided by 255. Nothing is rounded, neither the input nor Y.

    Args:
        image: `(B, 3, H, W)`, floating point RGB in [0, 1].

    Returns:
        `(B, 1, H, W)` in [16/255, 235/255], same dtype and device.

    Raises:
        InputError: The image has not three channels or is not floating point.

    Source: ITU-R BT.601; the coefficients of MATLAB's `rgb2ycbcr`.

    Example:
        >>> import torch
        >>> black_and_white = torch.tensor([0.0, 1.0]).expand(1, 3, 1, 2)
        >>> rgb_to_y(black_and_white).mul(255).round()
        tensor([[[[ 16., 235.]]]])
    """
    if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
        raise InputError(
            "rgb_to_y needs a floating point (B, 3, H, W) RGB image in [0, 1], "
            f"got {tuple(image.shape)} of {image.dtype}; convert grey or uint8 images first"
        )
    weights = image.new_tensor([65.481, 128.553, 24.966]).view(1, 3, 1, 1)
    return ((image * weights).sum(1, keepdim=True) + 16.0) / 255.0
