"""ConvAttn: a large kernel that the whole network shares, and a small one made from the input.

Source: Lee et al., ICCV 2025. Both halves act on the first `partial_dim` channels only; the rest
passes by, and a 1×1 convolution mixes them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from esc_sr.functional.large_conv import separate_convs

DYNAMIC_KERNEL_SIZE = 3
# `(x, kernel, dynamic kernel)`: one of `functional.large_conv`, which differ by rounding only.
SpatialConv = Callable[[Tensor, Tensor, Tensor], Tensor]


class ConvAttn(nn.Module):
    """Mix the first channels over space, then all channels at each pixel.

    Args:
        dim: Channels in and out.
        large_kernel_conv: The spatial half, called with the first channels and the shared kernel:
            a `LargeKernelConv` or `SeparableLargeKernelConv`. Its key is upstream's `plk`.
    """

    def __init__(
        self, dim: int, large_kernel_conv: LargeKernelConv | SeparableLargeKernelConv
    ) -> None:
        super().__init__()
        self.plk = large_kernel_conv
        self.aggr = nn.Conv2d(dim, dim, 1)

    def forward(
        self, x: Tensor, shared_kernel: tuple[Tensor, ...], dynamic_kernel: Tensor | None = None
    ) -> Tensor:
        """Map `(B, C, H, W)` to the same shape.

        Args:
            x: `(B, C, H, W)`.
            shared_kernel: The kernel of the whole network.
            dynamic_kernel: `(B, partial_dim, 3, 3)` to use instead of the one made from x, such as
                that of the whole image where x is a tile of it.
        """
        partial_dim = self.plk.partial_dim
        mixed, rest = x.split([partial_dim, x.shape[1] - partial_dim], dim=1)
        mixed = self.plk(mixed, shared_kernel, dynamic_kernel)
        return self.aggr(torch.cat([mixed, rest], dim=1))


class LargeKernelConv(nn.Module):
    """Sum of the shared large convolution and a per-image 3×3 depthwise one (ESC).

    Who computes it is a plain attribute, `spatial_conv`.

    Args:
        partial_dim: Channels convolved.
    """

    def __init__(self, partial_dim: int) -> None:
        super().__init__()
        self.partial_dim = partial_dim
        self.spatial_conv: SpatialConv = separate_convs
        self.dwc_proj = _kernel_generator(partial_dim, partial_dim // 2)

    def dynamic_kernel(self, x: Tensor) -> Tensor:
        """Make the 3×3 kernels of an image, which depend on its mean over space alone.

        Args:
            x: `(B, partial_dim, H, W)`, or the mean itself, `(B, partial_dim, 1, 1)`.

        Returns:
            `(B, partial_dim, 3, 3)`.
        """
        return _generate(self.dwc_proj, x)

    def forward(
        self, x: Tensor, shared_kernel: tuple[Tensor, ...], dynamic_kernel: Tensor | None = None
    ) -> Tensor:
        """Map `(B, partial_dim, H, W)` to the same shape.

        Args:
            x: `(B, partial_dim, H, W)`.
            shared_kernel: `(partial_dim, partial_dim, K, K)`, alone in a tuple.
            dynamic_kernel: `(B, partial_dim, 3, 3)` to use instead of the one made from x.
        """
        (kernel,) = shared_kernel
        if dynamic_kernel is None:
            dynamic_kernel = self.dynamic_kernel(x)
        return self.spatial_conv(x, kernel, dynamic_kernel)


class SeparableLargeKernelConv(nn.Module):
    """The same with the shared kernel taken apart into channels and space (ESC-FP).

    Args:
        partial_dim: Channels convolved.
    """

    def __init__(self, partial_dim: int) -> None:
        super().__init__()
        self.partial_dim = partial_dim
        self.spatial_conv: SpatialConv = separate_convs
        self.proj = _kernel_generator(partial_dim, partial_dim // 4)

    def dynamic_kernel(self, x: Tensor) -> Tensor:
        """Make the 3×3 kernels of an image, which depend on its mean over space alone.

        Args:
            x: `(B, partial_dim, H, W)`, or the mean itself, `(B, partial_dim, 1, 1)`.

        Returns:
            `(B, partial_dim, 3, 3)`.
        """
        return _generate(self.proj, x)

    def forward(
        self, x: Tensor, shared_kernel: tuple[Tensor, ...], dynamic_kernel: Tensor | None = None
    ) -> Tensor:
        """Map `(B, partial_dim, H, W)` to the same shape.

        Args:
            x: `(B, partial_dim, H, W)`.
            shared_kernel: The 1×1 part `(partial_dim, partial_dim, 1, 1)` and the depthwise part
                `(partial_dim, 1, K, K)`.
            dynamic_kernel: `(B, partial_dim, 3, 3)` to use instead of the one made from x.
        """
        channel, spatial = shared_kernel
        # Generated before the 1×1 part, applied behind it, as the authors' network does.
        if dynamic_kernel is None:
            dynamic_kernel = self.dynamic_kernel(x)
        return self.spatial_conv(F.conv2d(x, channel), spatial, dynamic_kernel)


def _kernel_generator(partial_dim: int, hidden: int) -> nn.Sequential:
    """Map the mean over space to one 3×3 kernel a channel; all zero at first."""
    hidden = max(hidden, 1)
    last = nn.Conv2d(hidden, partial_dim * DYNAMIC_KERNEL_SIZE**2, 1)
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(partial_dim, hidden, 1), nn.GELU(), last
    )


def _generate(generator: nn.Sequential, x: Tensor) -> Tensor:
    batch, channels = x.shape[:2]
    return generator(x).reshape(batch, channels, DYNAMIC_KERNEL_SIZE, DYNAMIC_KERNEL_SIZE)
