"""PyTorch's scaled dot product attention with the dense bias as an additive mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from esc_sr.attention.bias import TableBias
from esc_sr.attention.interface import BoundBias, SelfAttention, validate_inputs


@dataclass(frozen=True, kw_only=True)
class SDPAKernel:
    """Let PyTorch attend; the bias is materialised once, `(heads, N, N)`, the scores are not.

    Without a gradient no score matrix is stored on any device. With one, CUDA's memory-efficient
    kernel recomputes the scores but allocates the gradient of the bias for every window of a call
    (8 MiB in bfloat16 for 32×32 windows and 4 heads), hence `max_windows`; the CPU stores the
    scores.

    Args:
        max_windows: Most windows in one call on CUDA while the bias is trained. None: all.

    Raises:
        ValueError: `max_windows` is below 1.
    """

    max_windows: int | None = 64
    name: ClassVar[str] = "sdpa"
    biases: ClassVar[frozenset[str]] = frozenset({"table", "axial", "fourier"})
    default_bias: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        if self.max_windows is not None and self.max_windows < 1:
            raise ValueError(f"max_windows must be at least 1 or null, got {self.max_windows}")

    @property
    def stores_scores(self) -> bool:
        """Whether N² scores a window are stored where no gradient is asked for."""
        return False

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, *, bias: BoundBias, softmax_scale: float
    ) -> Tensor:
        """Attend within windows; see `interface.Kernel`."""
        validate_inputs(q, k, v, bias)
        mask = bias.dense().to(q.dtype)
        if not torch.is_grad_enabled():
            # The CPU takes its fast path only for a mask that asks for no gradient.
            mask = mask.detach()

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            expanded = mask.expand(q.shape[0], *mask.shape)
            return F.scaled_dot_product_attention(q, k, v, expanded, scale=softmax_scale)

        if not q.is_cuda and mask.requires_grad:
            return attend(q, k, v)
        if not q.is_cuda:
            # Heads before windows: the CPU goes through the first axis slowest, and the mask of one
            # head stays in the cache for all windows.
            q, k, v = (tokens.transpose(0, 1) for tokens in (q, k, v))
            masks = mask[:, None].expand(*q.shape[:2], *mask.shape[1:])
            out = F.scaled_dot_product_attention(q, k, v, masks, scale=softmax_scale)
            return out.transpose(0, 1)
        # cuDNN misreads some masks and returns no gradient for any; flash refuses masks.
        with sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
            if self.max_windows is None or not mask.requires_grad:
                return attend(q, k, v)
            parts = (part.split(self.max_windows) for part in (q, k, v))
            return torch.cat([attend(*part) for part in zip(*parts, strict=True)])


def attention() -> SelfAttention:
    """Return what `attention=sdpa` stands for."""
    return SelfAttention(bias=TableBias(), kernel=SDPAKernel())
