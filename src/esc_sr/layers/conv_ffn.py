"""The feed-forward network with a depthwise convolution inside."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ConvFFN(nn.Module):
    """Widen, look at the 3×3 neighbourhood, narrow.

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

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, H, W)` to the same shape."""
        x = F.gelu(self.proj(x))
        x = F.gelu(self.dwc(x)) + x
        return self.aggr(x)
