"""The feed-forward network with a depthwise convolution inside."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from esc_sr.layers.conv_gelu import conv_gelu


class ConvFFN(nn.Module):
    """Widen, look at the 3×3 neighbourhood, narrow.

    Who computes convolution and GELU is a plain attribute, `conv_gelu`, of `layers.conv_gelu`.

    Args:
        dim: Channels in and out.
        ffn_ratio: Hidden channels are `int(dim · ffn_ratio)`; upstream's `exp_ratio`.
        kernel_size: Depthwise kernel, odd.
    """

    def __init__(self, dim: int, ffn_ratio: float, kernel_size: int = 3) -> None:
        super().__init__()
        hidden = int(dim * ffn_ratio)
        self.proj = nn.Conv2d(dim, hidden, 1)
        self.dwc = nn.Conv2d(hidden, hidden, kernel_size, padding=kernel_size // 2, groups=hidden)
        self.aggr = nn.Conv2d(hidden, dim, 1)
        self.conv_gelu: Callable[[nn.Conv2d, Tensor], Tensor] = conv_gelu

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, H, W)` to the same shape."""
        x = self.conv_gelu(self.proj, x)
        x = self.conv_gelu(self.dwc, x) + x
        return self.aggr(x)
