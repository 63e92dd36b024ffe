"""Learning rates by step."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from esc_sr.errors import InputError, check_integers


def warmup_multistep(
    optimizer: Optimizer, *, warmup_steps: int, milestones: Sequence[int], gamma: float
) -> LambdaLR:
    """Rise linearly from zero, then multiply by gamma at each milestone.

    Args:
        optimizer: The optimizer.
        warmup_steps: Steps of the rise; 0: none.
        milestones: Optimizer steps, counted from the start of training.
        gamma: Factor at each milestone.

    Returns:
        A scheduler to be stepped after every optimizer step.

    Raises:
        InputError: The milestones do not rise.
    """
    if list(milestones) != sorted(milestones):
        raise InputError(f"scheduler.milestones must rise, got {list(milestones)}")
    return LambdaLR(
        optimizer,
        lambda step: _warmup(step, warmup_steps) * gamma ** bisect_right(milestones, step),
    )


def warmup_cosine(
    optimizer: Optimizer, *, warmup_steps: int, max_steps: int, min_factor: float = 0.0
) -> LambdaLR:
    """Rise linearly from zero, then fall along half a cosine.

    Args:
        optimizer: The optimizer.
        warmup_steps: Steps of the rise; 0: none.
        max_steps: Step at which the fall ends.
        min_factor: Share of the learning rate at the end.

    Returns:
        A scheduler to be stepped after every optimizer step.
    """

    def factor(step: int) -> float:
        progress = (step - warmup_steps) / max(max_steps - warmup_steps, 1)
        cosine = 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
        return _warmup(step, warmup_steps) * (min_factor + (1 - min_factor) * cosine)

    return LambdaLR(optimizer, factor)


def warmup_stable_decay(
    optimizer: Optimizer, *, warmup_steps: int, decay_steps: int, max_steps: int
) -> LambdaLR:
    """Rise linearly from zero, stay, and fall to zero in the last steps.

    Until the fall begins nothing depends on the number of steps: a run can be resumed with more of
    them, or ended from any of its checkpoints by a fall of its own.

    Args:
        optimizer: The optimizer.
        warmup_steps: Steps of the rise; 0: none.
        decay_steps: Steps of the fall, along one minus a square root; all of them if there are
            fewer.
        max_steps: Step at which the fall ends.

    Returns:
        A scheduler to be stepped after every optimizer step.

    Raises:
        InputError: A number of steps is negative.

    Source: Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training
    Durations", 2024.
    """
    check_integers(0, **{"scheduler.decay_steps": decay_steps})
    decay_steps = min(decay_steps, max_steps)

    def factor(step: int) -> float:
        progress = (step - (max_steps - decay_steps)) / max(decay_steps, 1)
        return _warmup(step, warmup_steps) * (1 - math.sqrt(min(max(progress, 0.0), 1.0)))

    return LambdaLR(optimizer, factor)


def _warmup(step: int, warmup_steps: int) -> float:
    return min((step + 1) / warmup_steps, 1.0) if warmup_steps else 1.0
