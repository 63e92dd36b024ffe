"""One large kernel for all images plus a small one for each: three ways to the same result.

All take `(x, kernel, dynamic)`:

    x        (B, C, H, W)
    kernel   (C, C, K, K), or (C, 1, K, K): depthwise; K odd
    dynamic  (B, C, k, k), depthwise, one for every image; k odd; or None: no small kernels

and return `(B, C, H, W)`, zero-padded: `conv(x, kernel) + depthwise_conv(x, dynamic)`.

Source: Lee et al., ICCV 2025, for what is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from esc_sr.functional.dynamic_conv import dynamic_depthwise_conv, unfolded_depthwise_conv


def separate_convs(x: Tensor, kernel: Tensor, dynamic: Tensor | None) -> Tensor:
    """Convolve twice and add: the definition, and the best for a batch in training."""
    convolved = _conv(x, kernel)
    return convolved if dynamic is None else convolved + dynamic_depthwise_conv(x, dynamic)


def unfolded_convs(x: Tensor, kernel: Tensor, dynamic: Tensor | None) -> Tensor:
    """Convolve, and add the unfolded one: a program for any number of images, for export."""
    convolved = _conv(x, kernel)
    return convolved if dynamic is None else convolved + unfolded_depthwise_conv(x, dynamic)


def fused_conv(x: Tensor, kernel: Tensor, dynamic: Tensor | None) -> Tensor:
    """Add the small kernel onto the large one, then convolve once, image by image.

    Exact: a depthwise kernel is a full one that is zero beside the diagonal of its channels.
    """
    return _image_by_image(_conv, x, kernel, dynamic)


def _image_by_image(
    conv: Callable[[Tensor, Tensor], Tensor], x: Tensor, kernel: Tensor, dynamic: Tensor | None
) -> Tensor:
    images = x.split(1) if len(x) > 1 else (x,)
    if dynamic is None:
        kernels = [kernel] * len(images)
    else:
        kernels = [fuse_kernels(kernel, of_image) for of_image in dynamic]
    convolved = [conv(*pair) for pair in zip(images, kernels, strict=True)]
    return torch.cat(convolved) if len(convolved) > 1 else convolved[0]


def _conv(x: Tensor, kernel: Tensor) -> Tensor:
    is_depthwise = kernel.shape[1] < x.shape[1]
    if is_depthwise and kernel.shape[-1] > 13 and x.device.type == "cpu":
        # oneDNN never returns from these in bf16 if the channels come last (seen in PyTorch 2.13).
        x = x.contiguous()
    groups = x.shape[1] // kernel.shape[1]
    return F.conv2d(x, kernel, padding=kernel.shape[-1] // 2, groups=groups)


def fuse_kernels(kernel: Tensor, dynamic: Tensor) -> Tensor:
    """Add a depthwise kernel onto a full or depthwise one, centre on centre.

    Args:
        kernel: `(C, C, K, K)` or `(C, 1, K, K)`, K odd.
        dynamic: `(C, k, k)`, k odd.

    Returns:
        `(C, C or 1, S, S)`, S the larger of K and k.

    Example:
        >>> import torch
        >>> fuse_kernels(torch.zeros(2, 2, 1, 1), torch.ones(2, 1, 1))[..., 0, 0]
        tensor([[1., 0.],
                [0., 1.]])
    """
    if kernel.shape[1] == 1:
        dynamic = dynamic[:, None]
    else:
        dynamic = torch.diag_embed(dynamic.permute(1, 2, 0)).permute(2, 3, 0, 1)
    size = max(kernel.shape[-1], dynamic.shape[-1])
    return _grown(kernel, size) + _grown(dynamic, size)


def _grown(kernel: Tensor, size: int) -> Tensor:
    missing = (size - kernel.shape[-1]) // 2
    return F.pad(kernel, [missing] * 4) if missing else kernel


@dataclass(frozen=True)
class TransformedConv:
    """Convolve along the height in the frequency domain, along the width directly.

    Strips of `rows` rows, with the rows that the kernel sees around them, are transformed by a
    discrete Fourier transform, written as a matrix product. There a K×K convolution is a 1×K one
    for each frequency, and a product of two complex numbers is three real ones, whose sums are
    part of the matrices. With 32 rows and K = 13 that is 65 convolutions of 1×13 in the place of
    32 of 13×13, a sixth of the multiplications, and transforms that cost a third of them.

    Everything but rounding is exact, for any image: in float32 about as close as the direct one.
    Faster where a convolution is bound by arithmetic, as on a CPU; it needs memory for twice the
    features it convolves, in and out.

    Args:
        analysis: `(R, rows + K − 1)`: from the rows of a strip to R real numbers.
        kernel_analysis: `(R, K)`: the same for the kernel.
        synthesis: `(rows, R)`: from the products to the rows of the result.

    Source: Karatsuba's product of complex numbers; overlap-save convolution (Stockham, 1966).
    """

    analysis: Tensor
    kernel_analysis: Tensor
    synthesis: Tensor

    def __call__(self, x: Tensor, kernel: Tensor, dynamic: Tensor | None) -> Tensor:
        """Convolve, image by image; see the module.

        Raises:
            ValueError: The kernel has another size than the transform is for.
        """
        if kernel.shape[-1] != self.kernel_analysis.shape[1]:
            raise ValueError(
                f"the transform is for kernels of {self.kernel_analysis.shape[1]}, "
                f"got {kernel.shape[-1]}"
            )
        return _image_by_image(self.convolve, x, kernel, dynamic)

    def convolve(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Convolve one image.

        Args:
            x: `(1, C, H, W)`.
            kernel: `(C', C/groups, K, K)`.

        Returns:
            `(1, C', H, W)`, channels last.
        """
        channels, height, width = x.shape[1:]
        out_channels, in_channels, size, _ = kernel.shape
        (numbers, length), rows = self.analysis.shape, self.synthesis.shape[0]
        half, strips = size // 2, (height + rows - 1) // rows
        # H', W, C: rows are contiguous, so that strips overlap without a copy.
        padded = x.new_zeros(strips * rows + size - 1, width, channels)
        padded[half : half + height] = x[0].permute(1, 2, 0)
        cut = padded.flatten(1).unfold(0, length, rows).transpose(1, 2)  # strips, length, W·C
        analysed = (self.analysis.to(x) @ cut).view(strips, numbers, width, channels)
        nhwc = analysed.transpose(1, 2).reshape(1, strips, width, numbers * channels)
        # R, C', C/groups, 1, K
        weight = self.kernel_analysis.to(kernel) @ kernel.permute(2, 0, 1, 3).flatten(1)
        weight = weight.view(numbers * out_channels, in_channels, 1, size)
        products = F.conv2d(
            nhwc.permute(0, 3, 1, 2),
            weight,
            padding=(0, half),
            groups=numbers * (channels // in_channels),
        )
        products = products.permute(0, 2, 3, 1).reshape(strips, width, numbers, out_channels)
        products = products.transpose(1, 2).reshape(strips, numbers, width * out_channels)
        result = (self.synthesis.to(x) @ products).view(1, strips * rows, width, out_channels)
        return result[:, :height].permute(0, 3, 1, 2)


def transformed_conv(kernel_size: int, rows: int = 32) -> TransformedConv:
    """Make the matrices of a `TransformedConv`.

    Args:
        kernel_size: K, odd.
        rows: Rows of the result that are computed from one transform.

    Returns:
        The convolution, its matrices in float64 on the CPU.

    Example:
        >>> import torch
        >>> x, kernel = torch.randn(1, 2, 7, 9).double(), torch.randn(2, 2, 5, 5).double()
        >>> direct = F.conv2d(x, kernel, padding=2)
        >>> torch.allclose(transformed_conv(5, rows=4).convolve(x, kernel), direct)
        True
    """
    length = rows + kernel_size - 1
    inner = torch.arange(1, (length - 1) // 2 + 1, dtype=torch.float64)
    # Frequencies whose transform is real: one product each.
    real = torch.tensor([0, length // 2] if length % 2 == 0 else [0], dtype=torch.float64)

    def waves(frequencies: Tensor, samples: int) -> tuple[Tensor, Tensor]:
        angles = frequencies[:, None] * torch.arange(samples) * (2 * math.pi / length)
        return angles.cos(), angles.sin()

    def rows_of(samples: int, sign: int) -> Tensor:
        cos, sin = waves(inner, samples)
        return torch.cat([waves(real, samples)[0], cos, sign * sin, cos + sign * sin])

    # A correlation multiplies the transform of x by the conjugate of the kernel's:
    # (a + ib)(c + id) = ac − bd + i((a + b)(c + d) − ac − bd), and y is the real part of the sum of
    # it times e^{iφ}: ac (cos + sin) + bd (sin − cos) − (a + b)(c + d) sin.
    cos, sin = waves(inner, rows)
    synthesis = torch.cat([waves(real, rows)[0], 2 * (cos + sin), 2 * (sin - cos), -2 * sin])
    # Shared out so that 16 bits see numbers of the size of the features.
    share = length**-0.5
    return TransformedConv(
        rows_of(length, -1) * share, rows_of(kernel_size, 1), synthesis.T.contiguous() * share
    )
