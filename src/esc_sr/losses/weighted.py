"""A weighted sum of named losses, kept apart so that each is logged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypedDict

from torch import Tensor, nn

from esc_sr.errors import InputError


class WeightedTerm(TypedDict):
    """One term of a weighted loss: a factor and a module `(sr, gt) -> scalar`."""

    weight: float
    loss: nn.Module


class WeightedLoss(nn.Module):
    """Evaluate named losses and return each one times its weight.

    The sum is left to the training module, which logs every term as `train/loss/<name>`.

    Args:
        terms: From the name of a term to its `weight` (0 or more; 0 switches the term off, it is
            then not computed) and its `loss`, a module called as `loss(sr, gt)`.

    Raises:
        InputError: No term, a bad weight, or a name that cannot be a log key.
    """

    def __init__(self, *, terms: Mapping[str, WeightedTerm]) -> None:
        super().__init__()
        if not terms:
            raise InputError("a weighted loss needs at least one term, got none; see conf/loss/")
        self.weights: dict[str, float] = {}
        self.losses = nn.ModuleList()
        for name, term in terms.items():
            if not str(name).isidentifier():
                raise InputError(
                    f"loss term {name!r} must be a plain word such as 'l1': it becomes a log key"
                )
            if set(term) != {"weight", "loss"}:
                raise InputError(
                    f"loss term {name!r} must have exactly 'weight' and 'loss', got {sorted(term)}"
                )
            weight = float(term["weight"])
            if not (math.isfinite(weight) and weight >= 0):
                raise InputError(
                    f"the weight of loss term {name!r} must be a finite number of 0 or more, "
                    f"got {weight}"
                )
            self.weights[name] = weight
            self.losses.append(term["loss"])
        if not any(self.weights.values()):
            raise InputError(
                f"all weights of the loss terms {', '.join(self.weights)} are 0: nothing to learn"
            )

    def forward(self, sr: Tensor, gt: Tensor) -> dict[str, Tensor]:
        """Evaluate the terms.

        Args:
            sr: `(B, C, H, W)`, the network's output, RGB in [0, 1] (may overshoot).
            gt: `(B, C, H, W)`, the target, RGB in [0, 1].

        Returns:
            From the name of each term with a weight above 0 to its weighted scalar.
        """
        return {
            name: weight * loss(sr, gt)
            for (name, weight), loss in zip(self.weights.items(), self.losses, strict=True)
            if weight > 0
        }
