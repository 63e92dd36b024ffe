"""What several peers share: the mean color of DIV2K and the pixel-shuffle stages."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from esc_sr.errors import InputError, check_integers

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)


def rgb_mean() -> Tensor:
    """Return the mean of the training images of DIV2K, `(1, 3, 1, 1)` in [0, 1]."""
    return torch.tensor(DIV2K_MEAN).reshape(1, 3, 1, 1)


def pixel_shuffle_stages(dim: int, scale: int) -> nn.Sequential:
    """Enlarge features by one ×3 stage, or by as many ×2 stages as it takes.

    A stage is a 3×3 convolution to stage² times the channels and a pixel shuffle.

    Args:
        dim: Channels in and out.
        scale: 3 or a power of two.

    Returns:
        Maps `(B, dim, H, W)` to `(B, dim, s·H, s·W)`; empty for a scale of 1.

    Raises:
        InputError: Another scale.

    Source: Shi et al., CVPR 2016; put in stages by Lim et al., CVPRW 2017.

    Example:
        >>> import torch
        >>> pixel_shuffle_stages(8, 4)(torch.zeros(1, 8, 5, 6)).shape
        torch.Size([1, 8, 20, 24])
    """
    check_integers(1, scale=scale)
    if scale != 3 and scale.bit_count() != 1:
        raise InputError(f"scale must be 3 or a power of two, got {scale}")
    factors = [3] if scale == 3 else [2] * (scale.bit_length() - 1)
    layers: list[nn.Module] = []
    for factor in factors:
        layers += [nn.Conv2d(dim, dim * factor**2, 3, padding=1), nn.PixelShuffle(factor)]
    return nn.Sequential(*layers)
