"""The average of the weights, with a decay that may begin small."""

from __future__ import annotations

import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor


class EMA(EMAWeightAveraging):
    """Lightning's exponential moving average, with a warm-up of the decay if asked.

    The average begins with the weights after the first update, which are all but random: with a
    decay of 0.999 they still have a share of 1/e after 1000 updates. With warm-up the decay of the
    update behind n others is min(decay, (1 + n) / (10 + n)), and they are forgotten at once.

    Args:
        decay: Weight of the past at each update.
        warmup: Begin with a small decay.
        device: Where the average lives; None: with the network.
        use_buffers: Average buffers too, instead of copying them.
        update_every_n_steps: Optimizer steps between two updates.
        update_starting_at_step: The step of the first update; None: the first.
        update_starting_at_epoch: The epoch of the first update; None: no such condition.
    """

    def __init__(
        self,
        *,
        decay: float = 0.999,
        warmup: bool = False,
        device: torch.device | str | int | None = None,
        use_buffers: bool = False,
        update_every_n_steps: int = 1,
        update_starting_at_step: int | None = None,
        update_starting_at_epoch: int | None = None,
    ) -> None:
        super().__init__(
            device=device,
            use_buffers=use_buffers,
            decay=decay,
            update_every_n_steps=update_every_n_steps,
            update_starting_at_step=update_starting_at_step,
            update_starting_at_epoch=update_starting_at_epoch,
        )
        if warmup:

            def average(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
                # `count` is saved with the average: a resumed run goes on with the same decay.
                updates = torch.as_tensor(count, dtype=averaged.dtype)
                present = 1 - torch.clamp((1 + updates) / (10 + updates), max=decay)
                return torch.lerp(averaged, current, present)

            self._kwargs = {"avg_fn": average}

    @property
    def state_key(self) -> str:
        """Lightning's, so that checkpoints written with its class are resumed."""
        return EMAWeightAveraging.__qualname__
