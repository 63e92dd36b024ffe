"""Stop a trial of a search that does not promise much."""

from __future__ import annotations

from typing import Protocol

import lightning as L
from lightning.pytorch.callbacks import Callback

from esc_sr.errors import InputError


class Judge(Protocol):
    """Who decides whether a trial goes on."""

    def should_stop(self, value: float, step: int) -> bool:
        """Take note of a value, and say whether it promises too little.

        Args:
            value: What was validated.
            step: Optimizer steps taken.
        """
        ...


class TrialPruned(InputError):
    """A trial was stopped before its end, as asked."""


class TrialPruning(Callback):
    """Report a value after each validation, and stop where the judge says so.

    Args:
        monitor: The logged value, such as "val/psnr_y".
        judge: Who decides.
    """

    def __init__(self, *, monitor: str, judge: Judge) -> None:
        super().__init__()
        self.monitor = monitor
        self.judge = judge

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report and ask.

        Raises:
            TrialPruned: The trial shall not go on.
            InputError: The value is not logged.
        """
        if trainer.sanity_checking:
            return
        value = trainer.callback_metrics.get(self.monitor)
        if value is None:
            raise InputError(f"{self.monitor} is not logged, so no trial can be judged by it")
        at_end = trainer.global_step >= trainer.max_steps > 0
        if self.judge.should_stop(float(value), trainer.global_step) and not at_end:
            raise TrialPruned(
                f"{self.monitor}={float(value):.4f} after {trainer.global_step} steps promises "
                "too little"
            )
