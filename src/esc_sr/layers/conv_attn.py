"""ConvAttn: a large kernel that the whole network shares, and a small one made from the input.

Source: Lee et al., ICCV 2025. Both halves act on the first `partial_dim` channels only; the rest
passes by, and a 1×1 convolution mixes them. What the paper's ablations leave out may be left out:
the sharing (`OwnKernelConvAttn`) and the small kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from esc_sr.functional.geometry import dihedral_mean
from esc_sr.functional.large_conv import separate_convs

DYNAMIC_KERNEL_SIZE = 3
# `(x, kernel, dynamic kernel)`: one of `functional.large_conv`, which differ by rounding only.
SpatialConv = Callable[[Tensor, Tensor, Tensor | None], Tensor]


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


class OwnKernelConvAttn(ConvAttn):
    """ConvAttn with a large kernel of its own, where ESC has one for the whole network.

    Args:
        dim: Channels in and out.
        large_kernel_conv: As of `ConvAttn`.
        kernel: Its parameters by name, in the order in which they are applied.
        geometric_ensemble: Average the kernel over its flips and rotations.
    """

    def __init__(
        self,
        dim: int,
        large_kernel_conv: LargeKernelConv | SeparableLargeKernelConv,
        *,
        kernel: Mapping[str, nn.Parameter],
        geometric_ensemble: bool,
    ) -> None:
        super().__init__(dim, large_kernel_conv)
        for name, parameter in kernel.items():
            self.register_parameter(name, parameter)
        self.kernel_names = tuple(kernel)
        self.geometric_ensemble = geometric_ensemble

    def forward(
        self, x: Tensor, shared_kernel: tuple[Tensor, ...], dynamic_kernel: Tensor | None = None
    ) -> Tensor:
        """Map `(B, C, H, W)` to the same shape.

        Args:
            x: `(B, C, H, W)`.
            shared_kernel: Not looked at; a block hands it to whatever mixes its tokens.
            dynamic_kernel: As of `ConvAttn`.
        """
        return super().forward(x, kernel_parts(self, self.kernel_names), dynamic_kernel)


def kernel_parts(owner: nn.Module, names: tuple[str, ...]) -> tuple[Tensor, ...]:
    """Return a large kernel part by part; the last, which has its extent, is averaged if asked.

    Args:
        owner: A module with `geometric_ensemble` and the parameters.
        names: Of the parameters.
    """
    # Not `get_parameter`: where FSDP shards the weights, they are tensors during a forward pass.
    *before, spatial = (getattr(owner, name) for name in names)
    return (*before, dihedral_mean(spatial) if owner.geometric_ensemble else spatial)


class LargeKernelConv(nn.Module):
    """Sum of the large convolution and a per-image 3×3 depthwise one (ESC).

    Who computes it is a plain attribute, `spatial_conv`.

    Args:
        partial_dim: Channels convolved.
        is_dynamic: Make the 3×3 kernels; without them the large convolution is all.
    """

    def __init__(self, partial_dim: int, *, is_dynamic: bool = True) -> None:
        super().__init__()
        self.partial_dim = partial_dim
        self.is_dynamic = is_dynamic
        self.spatial_conv: SpatialConv = separate_convs
        self.dwc_proj = _kernel_generator(partial_dim, partial_dim // 2) if is_dynamic else None

    def dynamic_kernel(self, x: Tensor) -> Tensor | None:
        """Make the 3×3 kernels of an image, which depend on its mean over space alone.

        Args:
            x: `(B, partial_dim, H, W)`, or the mean itself, `(B, partial_dim, 1, 1)`.

        Returns:
            `(B, partial_dim, 3, 3)`; None if there are none.
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
    """The same with the large kernel taken apart into channels and space (ESC-FP).

    Args:
        partial_dim: Channels convolved.
        is_dynamic: Make the 3×3 kernels; without them the large convolution is all.
    """

    def __init__(self, partial_dim: int, *, is_dynamic: bool = True) -> None:
        super().__init__()
        self.partial_dim = partial_dim
        self.is_dynamic = is_dynamic
        self.spatial_conv: SpatialConv = separate_convs
        self.proj = _kernel_generator(partial_dim, partial_dim // 4) if is_dynamic else None

    def dynamic_kernel(self, x: Tensor) -> Tensor | None:
        """Make the 3×3 kernels of an image, which depend on its mean over space alone.

        Args:
            x: `(B, partial_dim, H, W)`, or the mean itself, `(B, partial_dim, 1, 1)`.

        Returns:
            `(B, partial_dim, 3, 3)`; None if there are none.
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


def _generate(generator: nn.Sequential | None, x: Tensor) -> Tensor | None:
    if generator is None:
        return None
    batch, channels = x.shape[:2]
    return generator(x).reshape(batch, channels, DYNAMIC_KERNEL_SIZE, DYNAMIC_KERNEL_SIZE)
