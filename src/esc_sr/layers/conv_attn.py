"""ConvAttn: a large kernel that the whole network shares, and a small one made from the input.

Source: Lee et al., ICCV 2025. Both halves act on the first `partial_dim` channels only; the rest
passes by, and a 1×1 convolution mixes them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from esc_sr.functional.dynamic_conv import dynamic_depthwise_conv

DYNAMIC_KERNEL_SIZE = 3


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

    def forward(self, x: Tensor, shared_kernel: tuple[Tensor, ...]) -> Tensor:
        """Map `(B, C, H, W)` and the network's shared kernel to the same shape as x."""
        partial_dim = self.plk.partial_dim
        mixed, rest = x.split([partial_dim, x.shape[1] - partial_dim], dim=1)
        return self.aggr(torch.cat([self.plk(mixed, shared_kernel), rest], dim=1))


class LargeKernelConv(nn.Module):
    """Sum of the shared large convolution and a per-image 3×3 depthwise one (ESC).

    Args:
        partial_dim: Channels convolved.
    """

    def __init__(self, partial_dim: int) -> None:
        super().__init__()
        self.partial_dim = partial_dim
        self.dwc_proj = _kernel_generator(partial_dim, partial_dim // 2)

    def forward(self, x: Tensor, shared_kernel: tuple[Tensor, ...]) -> Tensor:
        """Map `(B, partial_dim, H, W)` to the same shape.

        Args:
            x: `(B, partial_dim, H, W)`.
            shared_kernel: `(partial_dim, partial_dim, K, K)`, alone in a tuple.
        """
        (kernel,) = shared_kernel
        static = F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
        return static + dynamic_depthwise_conv(x, _generate(self.dwc_proj, x))


class SeparableLargeKernelConv(nn.Module):
    """The same with the shared kernel taken apart into channels and space (ESC-FP).

    Args:
        partial_dim: Channels convolved.
    """

    def __init__(self, partial_dim: int) -> None:
        super().__init__()
        self.partial_dim = partial_dim
        self.proj = _kernel_generator(partial_dim, partial_dim // 4)

    def forward(self, x: Tensor, shared_kernel: tuple[Tensor, ...]) -> Tensor:
        """Map `(B, partial_dim, H, W)` to the same shape.

        Args:
            x: `(B, partial_dim, H, W)`.
            shared_kernel: The 1×1 part `(partial_dim, partial_dim, 1, 1)` and the depthwise part
                `(partial_dim, 1, K, K)`.
        """
        channel, spatial = shared_kernel
        mixed = F.conv2d(x, channel)
        static = F.conv2d(mixed, spatial, padding=spatial.shape[-1] // 2, groups=self.partial_dim)
        # Generated before the 1×1 part, applied behind it, as the authors' network does.
        return static + dynamic_depthwise_conv(mixed, _generate(self.proj, x))


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
