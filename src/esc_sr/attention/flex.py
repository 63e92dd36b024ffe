"""FlexAttention: the bias is read from the table inside a compiled kernel, nothing is stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from esc_sr.attention.bias import TableBias
from esc_sr.attention.interface import BoundBias, SelfAttention, validate_inputs
from esc_sr.errors import InputError

_LEAST_HEAD_DIM = 16  # that the kernel on CUDA takes


@dataclass(frozen=True, kw_only=True)
class FlexKernel:
    """Attend with FlexAttention; training needs CUDA and Triton.

    Args:
        compile: Compile the kernel at the first call. Without it PyTorch computes the same values
            through the full score matrix: only for looking into it.
    """

    compile: bool = True
    name: ClassVar[str] = "flex"
    biases: ClassVar[frozenset[str]] = frozenset({"table", "axial", "fourier"})
    default_bias: ClassVar[str] = "table"

    @property
    def stores_scores(self) -> bool:
        """Whether N² scores a window are stored where no gradient is asked for."""
        return False

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, *, bias: BoundBias, softmax_scale: float
    ) -> Tensor:
        """Attend within windows; see `interface.Kernel`.

        Raises:
            InputError: A gradient is needed on a CPU (FlexAttention has no backward there) or
                under deterministic algorithms (the table's gradient is summed by atomics).
        """
        validate_inputs(q, k, v, bias)
        needs_grad = torch.is_grad_enabled() and (
            bias.requires_grad or q.requires_grad or k.requires_grad or v.requires_grad
        )
        if needs_grad and q.device.type == "cpu":
            raise InputError(
                "attention=flex cannot train on a CPU: FlexAttention has no backward there; "
                "choose attention=sdpa or attention=eager, or train on a CUDA device"
            )
        if needs_grad and torch.are_deterministic_algorithms_enabled():
            raise InputError(
                "attention=flex cannot train with trainer.deterministic=true: the gradient of its "
                "bias table is summed in no fixed order; choose attention=sdpa"
            )
        if q.is_meta:
            # FlexAttention refuses it. Nothing is computed there: what remains are the shape, and
            # the multiply-adds that a counter sees.
            return F.scaled_dot_product_attention(q, k, v, scale=softmax_scale)
        # TF32 has slipped into float32 inputs in some versions; the CPU kernel knows no options.
        options: Any = {"FLOAT32_PRECISION": "'ieee'"} if q.is_cuda else None
        attend = _compiled_flex_attention() if self.compile else flex_attention
        head_dim = v.shape[-1]
        if q.is_cuda and head_dim < _LEAST_HEAD_DIM:
            # Zeros change no score, and what they give is cut off.
            q, k, v = (F.pad(x, (0, _LEAST_HEAD_DIM - head_dim)) for x in (q, k, v))
        out = attend(
            q,
            k,
            v,
            score_mod=bias.score_mod(),
            scale=softmax_scale,
            kernel_options=options,
        )
        return out[..., :head_dim]


@cache
def _compiled_flex_attention() -> Callable[..., Any]:
    # Dynamic shapes as torch decides: the number of windows may vary without compiling again.
    return torch.compile(flex_attention)


def attention() -> SelfAttention:
    """Return what `attention=flex` stands for."""
    return SelfAttention(bias=TableBias(), kernel=FlexKernel())
