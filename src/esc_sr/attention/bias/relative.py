"""What every relative position bias can do once its values at all offsets are known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from esc_sr.attention.interface import ScoreMod


class BoundRelativeBias(ABC):
    """A bias with its values, given by one number for every head and offset key − query."""

    kind: ClassVar[str]
    window_size: tuple[int, int]

    @abstractmethod
    def values(self) -> Tensor:
        """Return the bias at all offsets, `(heads, (2·wh − 1)(2·ww − 1))`.

        Row-major: the entry of (dy, dx) is `(dy + wh − 1)(2·ww − 1) + dx + ww − 1`.
        """

    @property
    @abstractmethod
    def requires_grad(self) -> bool:
        """Whether any parameter is trained."""

    def dense(self) -> Tensor:
        """Materialise the bias, `(heads, N, N)`, query before key.

        Every query sees the table through its own wh×ww cut-out, so sliding cut-outs, last first,
        are the whole bias and no index is needed.
        """
        height, width = self.window_size
        table = self.values().unflatten(1, (2 * height - 1, 2 * width - 1))
        cutouts = table.unfold(1, height, 1).unfold(2, width, 1)  # heads, wh, ww, wh, ww
        return cutouts.flip(1, 2).flatten(3, 4).flatten(1, 2)

    def score_mod(self) -> ScoreMod:
        """Return FlexAttention's score function, reading the values."""
        height, width = self.window_size
        table = self.values()

        def add_bias(
            score: Tensor, batch: Tensor, head: Tensor, q_idx: Tensor, kv_idx: Tensor
        ) -> Tensor:
            dy = kv_idx // width - q_idx // width + height - 1
            dx = kv_idx % width - q_idx % width + width - 1
            return score + table[head, dy * (2 * width - 1) + dx]

        return add_bias
