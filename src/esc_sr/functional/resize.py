"""MATLAB's bicubic `imresize`, the downscaling that super-resolution benchmarks are made with."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

_BLOCK = 2**18  # numbers


def matlab_imresize(image: Tensor, scale: float, *, size: tuple[int, int] | None = None) -> Tensor:
    """Resize as MATLAB's `imresize(image, scale, "bicubic")` does, antialiasing included.

    uint8 images give MATLAB's uint8 result bit for bit: heights first, then widths, in float64,
    rounded (half away from zero) and clipped to 0..255 after **each** of the two. Floating-point
    images are neither rounded nor clipped, and gradients flow through.

    Args:
        image: `(B, C, H, W)` or `(C, H, W)`, uint8 or floating point, on any device (uint8 needs
            one with float64).
        scale: Output size over input size, e.g. `1 / 4` or `2`.
        size: Output height and width in pixels in place of `ceil(scale * input size)`. Sample
            positions still follow `scale`.

    Returns:
        Resized image of the same dtype, `(…, ceil(H · scale), ceil(W · scale))` or `(…, *size)`.

    Raises:
        ValueError: Wrong shape or dtype, an empty image, or a scale or size that is not positive.

    Source: MATLAB's documented method; checked bit for bit against the published low-resolution
        images of Set5. Unlike MATLAB, sample positions are exact fractions, so that every
        period of `1 / scale` pixels has the same weights and a crop resizes like the whole.

    Example:
        >>> import torch
        >>> image = torch.arange(64, dtype=torch.uint8).reshape(1, 8, 8) * 3
        >>> matlab_imresize(image, 1 / 4)
        tensor([[[ 37,  50],
                 [139, 152]]], dtype=torch.uint8)
    """
    if not isinstance(image, Tensor):
        raise ValueError(f"image must be a tensor, got a {type(image).__name__}")
    if image.ndim not in (3, 4):
        raise ValueError(f"image must be (B, C, H, W) or (C, H, W), got {tuple(image.shape)}")
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise ValueError(f"image must be uint8 or floating point, got {image.dtype}")
    if not image.numel():
        raise ValueError(f"image is empty: {tuple(image.shape)}")
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be a positive number, got {scale}")
    height, width = image.shape[-2:]
    # 1/3 has no exact float: the nearest simple fraction is what the caller meant.
    ratio = Fraction(scale).limit_denominator(10_000)
    if not ratio:
        raise ValueError(f"scale must be at least 1/10000, got {scale}")
    if size is None:
        # In floats, as MATLAB: 0.55 of 100 pixels are 56, because the product is above 55.
        size = (math.ceil(height * scale), math.ceil(width * scale))
    if min(size) < 1:
        raise ValueError(f"size must be positive, got {size}")
    # Rows are contiguous, so both passes run over rows, with a transposition after each.
    resized = _resize_rows(image, size[0], ratio).mT.contiguous()
    return _resize_rows(resized, size[1], ratio).mT.contiguous()


def _resize_rows(image: Tensor, out_len: int, ratio: Fraction) -> Tensor:
    """Resize the second to last dimension: `(…, N, M)` to `(…, out_len, M)`."""
    is_integer = image.dtype == torch.uint8
    if is_integer:
        work_dtype = torch.float64
    elif image.dtype in (torch.float16, torch.bfloat16):
        work_dtype = torch.float32
    else:
        work_dtype = image.dtype
    indices, weights = _taps(image.shape[-2], out_len, ratio)
    indices = indices.to(image.device)
    weights = weights.to(image.device, work_dtype)

    def resize(indices: Tensor, weights: Tensor) -> Tensor:
        out: Tensor | None = None
        for tap_indices, tap_weights in zip(indices, weights[..., None], strict=True):
            tap = image.index_select(-2, tap_indices).to(work_dtype)
            # Added one after the other, lowest index first: the order decides the last bit.
            out = tap * tap_weights if out is None else out.addcmul(tap, tap_weights)
        assert out is not None  # a kernel has at least one tap
        if is_integer:
            # Values are clipped at 0 first, where adding a half and cutting off rounds half away.
            # The 1e-9 makes exact halves go up though a weight such as 1/3 is off by the last bit.
            out = out.clamp_(0, 255).add_(0.5 + 1e-9).floor_()
        return out.to(image.dtype)

    # So many rows at a time that what is computed with stays in the processor's cache.
    rows = max(1, _BLOCK * image.shape[-2] // image.numel()) if image.is_cpu else out_len
    blocks = zip(indices.split(rows, dim=1), weights.split(rows, dim=1), strict=True)
    parts = [resize(*block) for block in blocks]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-2)


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # kept for later calls, which may be with a gradient
def _taps(in_len: int, out_len: int, ratio: Fraction) -> tuple[Tensor, Tensor]:
    """Return the source index (int64) and weight (float64) of each tap, both `(taps, out_len)`."""
    stretch = max(Fraction(1), 1 / ratio)  # antialiasing: the kernel widens when shrinking
    num_taps = math.ceil(4 * stretch) + 2
    indices = torch.empty(num_taps, out_len, dtype=torch.int64)
    weights = torch.empty(num_taps, out_len, dtype=torch.float64)
    # Positions repeat after `ratio.numerator` outputs: exact fractions for one period only.
    phases = range(min(ratio.numerator, out_len))
    period = [_phase(i, ratio, stretch, num_taps) for i in phases]
    for phase, (first, phase_weights) in enumerate(period):
        count = len(range(phase, out_len, ratio.numerator))
        starts = first + ratio.denominator * torch.arange(count)
        indices[:, phase :: ratio.numerator] = starts + torch.arange(num_taps)[:, None]
        weights[:, phase :: ratio.numerator] = phase_weights[:, None]
    # Symmetric border: … 1 0 | 0 1 … n-1 | n-1 n-2 …
    mirrored = torch.cat((torch.arange(in_len), torch.arange(in_len).flip(0)))
    indices = mirrored[indices % (2 * in_len)]
    used = (weights != 0).any(1)
    return indices[used], weights[used]


def _phase(output: int, ratio: Fraction, stretch: Fraction, num_taps: int) -> tuple[int, Tensor]:
    """Return the first source index and the `num_taps` weights of one output position."""
    centre = (Fraction(2 * output + 1, 2)) / ratio - Fraction(1, 2)
    first = math.floor(centre - 2 * stretch)
    values = [_cubic(abs(centre - first - tap) / stretch) for tap in range(num_taps)]
    total = sum(values)
    return first, torch.tensor([float(value / total) for value in values], dtype=torch.float64)


def _cubic(x: Fraction) -> Fraction:
    """Evaluate the cubic convolution kernel (a = -1/2) at a distance `x >= 0`."""
    if x <= 1:
        return (3 * x**3 - 5 * x**2 + 2) / 2
    if x <= 2:
        return (-(x**3) + 5 * x**2 - 8 * x + 4) / 2
    return Fraction(0)
