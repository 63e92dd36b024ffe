"""The attention seam: a bias (what is added to the scores) and a kernel (who computes it).

Shape legend, used by every file of this package:

    B·nW   windows of all images of the batch      heads  attention heads
    N      tokens of a window, wh·ww               d      channels of a head

    q, k, v, out   (B·nW, heads, N, d)
    dense bias     (heads, N, N), query before key

A *bias* owns the parameters and says how they become a score. A *kernel* is a pure function of
q, k, v and a bound bias; kernels differ from `eager` by rounding only, and one that cannot honour
a call refuses it by name instead of falling back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor

from esc_sr.errors import InputError

ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class BoundBias(Protocol):
    """A bias together with the current values of its parameters, made anew in each forward.

    Nothing keeps it, so copies of a network, reloaded weights and moved devices cannot go stale.
    """

    kind: ClassVar[str]

    @property
    def window_size(self) -> tuple[int, int]:
        """(height, width) of the window in feature pixels."""
        ...

    @property
    def requires_grad(self) -> bool:
        """Whether any parameter of the bias is trained."""
        ...

    def values(self) -> Tensor:
        """Return the bias by offset key − query, `(heads, (2·wh − 1)(2·ww − 1))`, row-major."""
        ...

    def dense(self) -> Tensor:
        """Materialise the bias, `(heads, N, N)`, query before key."""
        ...

    def score_mod(self) -> ScoreMod:
        """Return `(score, batch, head, q_idx, kv_idx) -> score` for FlexAttention."""
        ...


@runtime_checkable
class FactoredBias(Protocol):
    """A bound bias that is a product: kernels without a mask take it as more channels."""

    def features(self) -> tuple[Tensor, Tensor]:
        """Return f_q and f_k, both `(heads, N, R)`, with `f_q @ f_kᵀ` equal to `dense()`."""
        ...


@dataclass(frozen=True)
class DeducedBias:
    """What the parameters of a bias tell.

    Attributes:
        bias: The kind and its settings.
        num_heads: Attention heads.
        window_size: (height, width), or None where the parameters do not tell it.
    """

    bias: Bias
    num_heads: int
    window_size: tuple[int, int] | None


class Bias(Protocol):
    """A kind of relative position bias and its settings, a dataclass; holds no tensors."""

    kind: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def initial(self, num_heads: int, window_size: tuple[int, int]) -> dict[str, Tensor]:
        """Return fresh parameters by the names they get in the state dict."""
        ...

    def bind(self, parameters: Mapping[str, Tensor], window_size: tuple[int, int]) -> BoundBias:
        """Return the bias with these parameter values."""
        ...

    @classmethod
    def deduce(cls, parameters: Mapping[str, Tensor]) -> DeducedBias | None:
        """Recognise this kind by the names of a self-attention's parameters; None: another."""
        ...


class Kernel(Protocol):
    """Computes `softmax(q kᵀ · softmax_scale + bias) v`; holds settings only."""

    name: ClassVar[str]
    biases: ClassVar[frozenset[str]]  # kinds that it can carry
    default_bias: ClassVar[str]  # the kind that comes with its name

    @property
    def stores_scores(self) -> bool:
        """Whether N² scores a window are stored where no gradient is asked for."""
        ...

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, *, bias: BoundBias, softmax_scale: float
    ) -> Tensor:
        """Attend within windows.

        Args:
            q: `(B·nW, heads, N, d)`.
            k: `(B·nW, heads, N, d)`.
            v: `(B·nW, heads, N, d)`.
            bias: The bound bias.
            softmax_scale: Factor of q kᵀ before the bias is added.

        Returns:
            `(B·nW, heads, N, d)` in the dtype of v.

        Raises:
            InputError: The kernel cannot honour this call; the message names a remedy.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class SelfAttention:
    """What `attention=` chooses: a kind of bias and the kernel that computes with it.

    Args:
        bias: Kind of relative position bias; part of the network's mathematics.
        kernel: Who computes; changes nothing but rounding and speed.

    Raises:
        InputError: The kernel cannot carry this kind of bias.
    """

    bias: Bias
    kernel: Kernel

    def __post_init__(self) -> None:
        if self.bias.kind not in self.kernel.biases:
            remedy = f"it carries: {', '.join(sorted(self.kernel.biases))}"
            if self.bias.kind == "table" and "fourier" in self.kernel.biases:
                remedy += "; `esc-sr convert bias=fourier` fits a trained table"
            raise InputError(
                f"attention kernel '{self.kernel.name}' cannot carry the bias '{self.bias.kind}'; "
                + remedy
            )

    @property
    def title(self) -> str:
        """What tables call it: the kernel, and the bias where it is not the authors' table."""
        # Kernels that leave a choice open say in a title of their own what was chosen.
        kernel = getattr(self.kernel, "title", self.kernel.name)
        return kernel if self.bias.kind == "table" else f"{kernel}+{self.bias.kind}"

    def computing_with(self, bias: Bias) -> SelfAttention:
        """Return this kernel with the bias that weights hold.

        The bias is part of the weights: what chooses an attention for them chooses a kernel.

        Args:
            bias: That of the weights.

        Raises:
            InputError: The kernel cannot carry it, or a bias was asked for that is neither this one
                nor what comes with the kernel's name.
        """
        comes_by_itself = (
            self.bias.kind == self.kernel.default_bias and self.bias == type(self.bias)()
        )
        if self.bias != bias and not comes_by_itself:
            same_kind = bias.kind == self.bias.kind
            held, asked = (str(b) if same_kind else f"'{b.kind}'" for b in (bias, self.bias))
            raise InputError(
                f"these weights hold the bias {held}, {asked} was asked for: the bias is part of "
                "the network; leave attention/bias and its settings out"
            )
        return SelfAttention(bias=bias, kernel=self.kernel)


def validate_inputs(q: Tensor, k: Tensor, v: Tensor, bias: BoundBias) -> None:
    """Check the shapes of a kernel's call.

    Raises:
        ValueError: q, k and v differ, or do not hold whole windows.
    """
    if not q.shape == k.shape == v.shape or q.ndim != 4:
        raise ValueError(
            "q, k and v must share one (windows, heads, N, d) shape, got "
            f"{tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}"
        )
    height, width = bias.window_size
    if q.shape[2] != height * width:
        raise ValueError(f"got {q.shape[2]} tokens for a {height}×{width} window")
