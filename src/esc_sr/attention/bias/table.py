"""The authors' bias: a free number for every offset."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from esc_sr.attention.bias.relative import BoundRelativeBias
from esc_sr.attention.interface import DeducedBias


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

    @classmethod
    def deduce(cls, parameters: Mapping[str, Tensor]) -> DeducedBias | None:
        """Recognise a table; see `interface.Bias`. Its size tells the side of a square window."""
        table = parameters.get("relative_position_bias")
        if table is None or table.ndim != 2:
            return None
        rows = math.isqrt(table.shape[1])
        side = (rows + 1) // 2
        square = (side, side) if rows**2 == table.shape[1] else None
        return DeducedBias(cls(), num_heads=table.shape[0], window_size=square)


@dataclass(frozen=True)
class BoundTableBias(BoundRelativeBias):
    """A table with its values.

    Args:
        table: `(heads, (2·wh − 1)(2·ww − 1))`; offset key minus query, row-major, so the entry of
            (dy, dx) is `(dy + wh − 1)(2·ww − 1) + dx + ww − 1`.
        window_size: (height, width) in feature pixels.
    """

    table: Tensor
    window_size: tuple[int, int]
    kind: ClassVar[str] = "table"

    def values(self) -> Tensor:
        """Return the table."""
        return self.table

    @property
    def requires_grad(self) -> bool:
        """Whether the table is trained."""
        return self.table.requires_grad
