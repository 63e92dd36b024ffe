"""The readable reference: scores are stored. Any device, dtype, gradient and bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from esc_sr.attention.bias import TableBias
from esc_sr.attention.interface import BoundBias, SelfAttention, validate_inputs


@dataclass(frozen=True)
class EagerKernel:
    """Write out the definition; the specification that the other kernels are tested against.

    The softmax runs in float32 at least, whatever the dtype of q. Memory grows with N² per window
    and head.
    """

    name: ClassVar[str] = "eager"
    biases: ClassVar[frozenset[str]] = frozenset({"table", "axial", "fourier"})
    default_bias: ClassVar[str] = "table"

    @property
    def stores_scores(self) -> bool:
        """Whether N² scores a window are stored where no gradient is asked for."""
        return True

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, *, bias: BoundBias, softmax_scale: float
    ) -> Tensor:
        """Attend within windows; see `interface.Kernel`."""
        validate_inputs(q, k, v, bias)
        return attention_weights(q, k, bias=bias, softmax_scale=softmax_scale).to(v.dtype) @ v


def attention_weights(q: Tensor, k: Tensor, *, bias: BoundBias, softmax_scale: float) -> Tensor:
    """Return how much each token takes of each other.

    Args:
        q: `(B·nW, heads, N, d)`.
        k: `(B·nW, heads, N, d)`.
        bias: The bound bias.
        softmax_scale: Factor of q kᵀ before the bias is added.

    Returns:
        `softmax(q kᵀ · softmax_scale + bias)`, `(B·nW, heads, N, N)`, query before key, in float32
        at least; rows sum to 1.
    """
    scores = (q * softmax_scale) @ k.transpose(-2, -1)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32)) + bias.dense()
    return scores.softmax(-1)


def attention() -> SelfAttention:
    """Return what `attention=eager` stands for."""
    return SelfAttention(bias=TableBias(), kernel=EagerKernel())
