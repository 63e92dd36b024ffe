"""The kernels of ConvAttn: the large one that the network shares, and the small ones it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from esc_sr.analysis.features import capture
from esc_sr.analysis.frozen import frozen
from esc_sr.errors import InputError
from esc_sr.layers.conv_attn import LargeKernelConv, SeparableLargeKernelConv
from esc_sr.models.esc import ESCBase


def shared_large_kernel(network: nn.Module) -> Tensor:
    """Return the kernel that every ConvAttn of a network shares, as it convolves.

    Args:
        network: An ESC or ESC-FP.

    Returns:
        `(partial_dim, partial_dim, K, K)` of ESC, `(partial_dim, 1, K, K)` of ESC-FP,
        averaged over flips and rotations if the network does so; on the CPU.

    Raises:
        InputError: Another network.
    """
    if not isinstance(network, ESCBase):
        raise InputError(
            f"{type(network).__name__} has no shared large kernel: kind=kernels is for ESC and "
            "ESC-FP"
        )
    return network.large_kernel().detach().float().cpu()


def kernel_strength(kernel: Tensor) -> Tensor:
    """Return the root mean square of kernels, place by place.

    Args:
        kernel: `(out, in, K, K)`.

    Returns:
        `(K, K)`, at least 0.
    """
    return kernel.double().square().mean((0, 1)).sqrt()


def outer_share(kernel: Tensor, side: int = 3) -> float:
    """Return the share of a kernel's energy that a smaller one could not hold.

    Args:
        kernel: `(out, in, K, K)`.
        side: Of the middle part left out, odd.

    Returns:
        In [0, 1]; 0 for a kernel of zeros.
    """
    energy = kernel.double().square().sum((0, 1))
    margin = max((kernel.shape[-1] - side) // 2, 0)
    inside = slice(margin, kernel.shape[-1] - margin)
    total = float(energy.sum())
    return 1 - float(energy[inside, inside].sum()) / total if total > 0 else 0.0


def kernel_spectrum(kernel: Tensor, size: int = 64) -> Tensor:
    """Return how strongly kernels pass each frequency, averaged (root mean square) over them.

    Args:
        kernel: `(out, in, K, K)`.
        size: Frequencies along each axis; at least K. Kernels are padded with zeros.

    Returns:
        `(size, size)`, at least 0; frequency 0 is at `[size // 2, size // 2]`, the axes go from
        −0.5 to 0.5 cycles a pixel.

    Raises:
        InputError: `size` is smaller than the kernel.
    """
    if size < kernel.shape[-1]:
        raise InputError(f"size must be at least the kernel's {kernel.shape[-1]}, got {size}")
    response = torch.fft.fft2(kernel.double(), s=(size, size))
    return torch.fft.fftshift(response.abs().square().mean((0, 1)).sqrt())


def dynamic_kernels(
    network: nn.Module, batches: Iterable[Tensor], *, on_batch: Callable[[], None] | None = None
) -> dict[str, Tensor]:
    """Return the 3×3 kernels that each ConvAttn makes from each image.

    Args:
        network: An ESC or ESC-FP; left as it is.
        batches: LQ images, `(B, 3, H, W)` in [0, 1].
        on_batch: Called after each batch.

    Returns:
        `(images, partial_dim, 3, 3)` for each layer in order of execution, on the CPU.

    Raises:
        InputError: The network has no such layer.
    """
    makers = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, LargeKernelConv | SeparableLargeKernelConv) and module.is_dynamic
    }
    if not makers:
        raise InputError(
            f"{getattr(network, 'title', type(network).__name__)} makes no kernels from its input: "
            "kind=kernels is for ESC and ESC-FP with dynamic kernels"
        )
    made: dict[str, list[Tensor]] = {}
    for lq in batches:
        inputs = capture(network, list(makers), lq, inputs=True)
        with frozen(network), torch.no_grad():
            for name, x in inputs.items():
                kernels = makers[name].dynamic_kernel(x)
                assert kernels is not None
                made.setdefault(name, []).append(kernels.float().cpu())
        if on_batch is not None:
            on_batch()
    return {name: torch.cat(kernels) for name, kernels in made.items()}


def image_dependence(kernels: Tensor) -> float:
    """Return how much kernels depend on the image: variance between images over mean square.

    Args:
        kernels: `(images, partial_dim, 3, 3)`.

    Returns:
        In [0, 1]: 0 where every image gets the same kernels (or none: all are zero, as before
        training), 1 where what they have in common is nothing.
    """
    kernels = kernels.double()
    mean_square = float(kernels.square().mean())
    variance = float((kernels - kernels.mean(0)).square().mean())
    return variance / mean_square if mean_square > 0 else 0.0
