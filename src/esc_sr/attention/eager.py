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

    Args:
        max_heads: Most heads at a time: one needs a quarter of the memory of four, as exported
            programs do, which have nothing but the definition. None: all.

    Raises:
        ValueError: `max_heads` is below 1.
    """

    max_heads: int | None = None
    name: ClassVar[str] = "eager"
    biases: ClassVar[frozenset[str]] = frozenset({"table", "axial", "fourier"})
    default_bias: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        if self.max_heads is not None and self.max_heads < 1:
            raise ValueError(f"max_heads must be at least 1 or null, got {self.max_heads}")

    @property
    def stores_scores(self) -> bool:
        """Whether N² scores a window are stored where no gradient is asked for."""
        return True

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, *, bias: BoundBias, softmax_scale: float
    ) -> Tensor:
        """Attend within windows; see `interface.Kernel`."""
        validate_inputs(q, k, v, bias)
        dense = bias.dense()
        if self.max_heads is None:
            return _softmax(q, k, dense, softmax_scale).to(v.dtype) @ v
        parts = []
        for start in range(0, len(dense), self.max_heads):
            heads = slice(start, start + self.max_heads)
            weights = _softmax(q[:, heads], k[:, heads], dense[heads], softmax_scale)
            parts.append(weights.to(v.dtype) @ v[:, heads])
        return torch.cat(parts, dim=1)


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
    return _softmax(q, k, bias.dense(), softmax_scale)


def _softmax(q: Tensor, k: Tensor, dense: Tensor, softmax_scale: float) -> Tensor:
    scores = (q * softmax_scale) @ k.transpose(-2, -1)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32)) + dense
    return scores.softmax(-1)


def attention() -> SelfAttention:
    """Return what `attention=eager` stands for."""
    return SelfAttention(bias=TableBias(), kernel=EagerKernel())
