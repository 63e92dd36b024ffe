"""A convolution and the exact GELU of its result: in two passes over memory, or in one."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_gelu(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolve `(B, C, H, W)`, then apply GELU: any device and type, with gradient."""
    return F.gelu(conv(x))


def onednn_conv_gelu(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply GELU to what the convolution has in registers, as `torch.compile` does on a CPU.

    Hooks of `conv` do not see it. oneDNN's operator knows no gradients, forward or backward, no
    autocast, tracer or other device: wherever one of them may be there, `conv_gelu` computes.

    Args:
        conv: A convolution with zero padding.
        x: `(B, C, H, W)`.

    Returns:
        `(B, C', H', W')`, that of `conv_gelu` up to rounding.
    """
    plain = (
        torch.is_grad_enabled()
        or torch.is_autocast_enabled("cpu")
        or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
        or x.device.type != "cpu"
        or x.dtype != conv.weight.dtype
        or not has_onednn_conv_gelu(x.dtype)
    )
    return conv_gelu(conv, x) if plain else _operator(conv, x)


def _operator(conv: nn.Conv2d, x: Tensor) -> Tensor:
    return torch.ops.mkldnn._convolution_pointwise(
        x,
        conv.weight,
        conv.bias,
        conv.padding,
        conv.stride,
        conv.dilation,
        conv.groups,
        "gelu",
        [],
        "none",
    )


@cache
def has_onednn_conv_gelu(dtype: torch.dtype) -> bool:
    """Return whether this PyTorch has the operator, which is not public, and it computes GELU."""
    with torch.device("cpu"), torch.no_grad(), torch.autocast("cpu", enabled=False):
        conv = nn.Conv2d(2, 4, 1, groups=2, dtype=dtype)
        x = torch.linspace(-2, 2, 32, dtype=dtype).view(1, 2, 4, 4)
        try:
            found, expected = _operator(conv, x), conv_gelu(conv, x)
        except (AttributeError, RuntimeError, NotImplementedError):
            return False
    tolerance = 1e-5 if dtype == torch.float32 else 0.02
    return torch.allclose(found, expected, rtol=tolerance, atol=tolerance)
