"""A bias that is the sum of one along the height and one along the width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from esc_sr.attention.bias.relative import BoundRelativeBias
from esc_sr.attention.interface import DeducedBias


@dataclass(frozen=True)
class AxialBias:
    """`b_y[dy] + b_x[dx]`: free along each axis, (2·wh − 1) + (2·ww − 1) numbers a head.

    Exact in wh + ww more channels of a head.
    """

    kind: ClassVar[str] = "axial"

    def initial(self, num_heads: int, window_size: tuple[int, int]) -> dict[str, Tensor]:
        """Return small random values, `(heads, 2·wh − 1)` and `(heads, 2·ww − 1)`."""
        return {
            name: torch.randn(num_heads, 2 * side - 1) * 1e-3
            for name, side in zip(("axial_bias_y", "axial_bias_x"), window_size, strict=True)
        }

    def bind(
        self, parameters: Mapping[str, Tensor], window_size: tuple[int, int]
    ) -> BoundAxialBias:
        """Return the bias with these values."""
        return BoundAxialBias(parameters["axial_bias_y"], parameters["axial_bias_x"], window_size)

    @classmethod
    def deduce(cls, parameters: Mapping[str, Tensor]) -> DeducedBias | None:
        """Recognise the two vectors; see `interface.Bias`."""
        if not {"axial_bias_y", "axial_bias_x"} <= parameters.keys():
            return None
        along_y, along_x = parameters["axial_bias_y"], parameters["axial_bias_x"]
        if along_y.ndim != 2 or along_x.ndim != 2 or len(along_y) != len(along_x):
            return None
        window_size = ((along_y.shape[1] + 1) // 2, (along_x.shape[1] + 1) // 2)
        return DeducedBias(cls(), num_heads=along_y.shape[0], window_size=window_size)


@dataclass(frozen=True)
class BoundAxialBias(BoundRelativeBias):
    """An axial bias with its values.

    Args:
        along_y: `(heads, 2·wh − 1)`, the entry of dy = key − query is `dy + wh − 1`.
        along_x: `(heads, 2·ww − 1)`.
        window_size: (height, width) in feature pixels.
    """

    along_y: Tensor
    along_x: Tensor
    window_size: tuple[int, int]
    kind: ClassVar[str] = "axial"

    def values(self) -> Tensor:
        """Return the sums at all offsets, as of a table."""
        return (self.along_y[:, :, None] + self.along_x[:, None, :]).flatten(1)

    @property
    def requires_grad(self) -> bool:
        """Whether any value is trained."""
        return self.along_y.requires_grad or self.along_x.requires_grad

    def features(self) -> tuple[Tensor, Tensor]:
        """Write the bias as `q_features @ k_featuresᵀ`.

        A query brings its row of values along each axis, a key points at its place in them.

        Returns:
            Two tensors `(heads, N, wh + ww)`.
        """
        height, width = self.window_size
        # Row i holds the values at the offsets of query i to the keys 0, 1, …
        rows = self.along_y.unfold(1, height, 1).flip(1)  # heads, wh, wh
        columns = self.along_x.unfold(1, width, 1).flip(1)  # heads, ww, ww
        heads = rows.shape[0]
        like = {"dtype": rows.dtype, "device": rows.device}
        places = torch.eye(height, **like), torch.eye(width, **like)

        def over_tokens(of_y: Tensor, of_x: Tensor) -> Tensor:
            of_y = of_y[..., :, None, :].expand(heads, height, width, height)
            of_x = of_x[..., None, :, :].expand(heads, height, width, width)
            return torch.cat([of_y, of_x], dim=-1).flatten(1, 2)

        return over_tokens(rows, columns), over_tokens(*places)
