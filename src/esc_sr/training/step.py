"""What callbacks that watch losses and gradients are told of an optimizer step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
import torch.distributed
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor, nn

from esc_sr.errors import InputError, printable

_MOST_NAMES = 8


class NonFiniteError(InputError):
    """A loss term, a gradient or an output became NaN or infinite; training stops."""


@dataclass(frozen=True)
class BatchLosses:
    """The losses of one training batch of this process.

    Attributes:
        names: Of the images that its samples were cut from.
        terms: By name, each with its weight, on the device.
        total: Their sum.
    """

    names: tuple[str, ...]
    terms: dict[str, Tensor]
    total: Tensor


def stop_training(trainer: L.Trainer, what: str) -> None:
    """End training because something is not finite.

    Args:
        trainer: The running trainer.
        what: What it is, where; the step is added.

    Raises:
        NonFiniteError: Always; it says what to go on from, and what to try that is not set already.
    """
    paths = [getattr(c, "best_model_path", "") for c in trainer.checkpoint_callbacks]
    # The one to resume from, rather than the best one.
    written = sorted((path for path in paths if path), key=lambda path: "last" not in path)
    kept = f"the last good checkpoint is {written[0]}" if written else "no checkpoint yet"
    remedies = ["a lower optimizer.lr"]
    # Lightning does not clip the norm of a gradient in shards.
    if not trainer.gradient_clip_val and not isinstance(trainer.strategy, FSDPStrategy):
        remedies.append("trainer.gradient_clip_val=0.5")
    if trainer.precision not in ("32-true", "64-true"):
        remedies.append("trainer.precision=32-true")
    raise NonFiniteError(f"{what}: training stopped, {kept}; try {' or '.join(remedies)}")


def gradient_norm(trainer: L.Trainer, module: nn.Module) -> Tensor:
    """Return the norm of the gradient that an optimizer step is about to take, on the device.

    Args:
        trainer: The running trainer: where weights are in shards, so are gradients.
        module: Whose parameters have gradients.
    """
    norm = nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
    if isinstance(trainer.strategy, FSDPStrategy):
        norm = trainer.strategy.reduce(norm.square(), reduce_op="sum").sqrt()
    return norm


def of_all_processes(trainer: L.Trainer, value: Any) -> list[Any]:
    """Return a value of every process, by rank; every process must call this.

    Args:
        trainer: The running trainer.
        value: Anything that can be pickled.
    """
    if trainer.world_size == 1:
        return [value]
    values: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(values, value)
    return values


def listed(names: Sequence[str]) -> str:
    """Return names for a message: all of a small batch, the first ones of a large one.

    Args:
        names: Of images.
    """
    shown = ", ".join(printable(name) for name in names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
