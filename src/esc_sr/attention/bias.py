"""Relative position biases: what is added to the attention scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from esc_sr.attention.interface import ScoreMod


@dataclass(frozen=True)
class TableBias:
    """The authors' bias: one free number for every head and offset, `relative_position_bias`.

    Source: Lee et al., ICCV 2025; the table itself is Swin's (Liu et al., 2021).
    """

    kind: ClassVar[str] = "table"

    def initial(self, num_heads: int, window_size: tuple[int, int]) -> dict[str, Tensor]:
        """Return a small random table, `(heads, (2·wh − 1)(2·ww − 1))`."""
        offsets = (2 * window_size[0] - 1) * (2 * window_size[1] - 1)
        return {"relative_position_bias": torch.randn(num_heads, offsets) * 1e-3}

    def bind(
        self, parameters: Mapping[str, Tensor], window_size: tuple[int, int]
    ) -> BoundTableBias:
        """Return the bias with this table."""
        return BoundTableBias(parameters["relative_position_bias"], window_size)


@dataclass(frozen=True)
class BoundTableBias:
    """A table with its values.

    Args:
        table: `(heads, (2·wh − 1)(2·ww − 1))`; offset key minus query, row-major, so the entry of
            (dy, dx) is `(dy + wh − 1)(2·ww − 1) + dx + ww − 1`.
        window_size: (height, width) in feature pixels.
    """

    table: Tensor
    window_size: tuple[int, int]
    kind: ClassVar[str] = "table"

    @property
    def requires_grad(self) -> bool:
        """Whether the table is trained."""
        return self.table.requires_grad

    def dense(self) -> Tensor:
        """Materialise the bias, `(heads, N, N)`, query before key.

        Every query sees the table through its own wh×ww cut-out, so sliding cut-outs, last first,
        are the whole bias and no index is needed.
        """
        height, width = self.window_size
        table = self.table.unflatten(1, (2 * height - 1, 2 * width - 1))
        cutouts = table.unfold(1, height, 1).unfold(2, width, 1)  # heads, wh, ww, wh, ww
        return cutouts.flip(1, 2).flatten(3, 4).flatten(1, 2)

    def score_mod(self) -> ScoreMod:
        """Return FlexAttention's score function, reading this table."""
        height, width = self.window_size
        table = self.table

        def add_bias(
            score: Tensor, batch: Tensor, head: Tensor, q_idx: Tensor, kv_idx: Tensor
        ) -> Tensor:
            dy = kv_idx // width - q_idx // width + height - 1
            dx = kv_idx % width - q_idx % width + width - 1
            return score + table[head, dy * (2 * width - 1) + dx]

        return add_bias
