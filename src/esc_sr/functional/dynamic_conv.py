"""Depthwise convolution with a kernel of its own for every image of the batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def dynamic_depthwise_conv(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve every channel of every image with its own kernel, zero-padded to the same size.

    One grouped convolution over the batch folded into the channels.

    Args:
        x: `(B, C, H, W)`.
        kernel: `(B, C, K, K)`, K odd.

    Returns:
        `(B, C, H, W)`.

    Source: Lee et al., ICCV 2025, the input-dependent half of ConvAttn.

    Example:
        >>> import torch
        >>> identity = torch.zeros(2, 4, 3, 3)
        >>> identity[..., 1, 1] = 1
        >>> x = torch.randn(2, 4, 5, 6)
        >>> torch.equal(dynamic_depthwise_conv(x, identity), x)
        True
    """
    batch, channels, height, width = x.shape
    size = kernel.shape[-1]
    out = F.conv2d(
        x.reshape(1, batch * channels, height, width),
        kernel.reshape(batch * channels, 1, size, size),
        padding=size // 2,
        groups=batch * channels,
    )
    return out.reshape(batch, channels, height, width)


def unfolded_depthwise_conv(x: Tensor, kernel: Tensor) -> Tensor:
    """Do the same as one product of each pixel's neighbourhood with the kernel.

    A convolution with one-hot kernels makes channels of the K² neighbours. No number of groups
    depends on the batch, so that exporters can leave the batch open; needs K² times the memory.

    Args:
        x: `(B, C, H, W)`.
        kernel: `(B, C, K, K)`, K odd.

    Returns:
        `(B, C, H, W)`.

    Example:
        >>> import torch
        >>> x, kernel = torch.randn(2, 4, 5, 6), torch.randn(2, 4, 3, 3)
        >>> unfolded = unfolded_depthwise_conv(x, kernel)
        >>> torch.allclose(unfolded, dynamic_depthwise_conv(x, kernel), atol=1e-5)
        True
    """
    batch, channels, height, width = x.shape
    size = kernel.shape[-1]
    one_hot = torch.eye(size**2, dtype=x.dtype, device=x.device).view(size**2, 1, size, size)
    neighbours = F.conv2d(
        x, one_hot.repeat(channels, 1, 1, 1), padding=size // 2, groups=channels
    ).view(batch, channels, size**2, height * width)
    out = kernel.reshape(batch, channels, 1, size**2) @ neighbours
    return out.view(batch, channels, height, width)
