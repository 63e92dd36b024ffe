"""A validation of the last step."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback


class FinalValidation(Callback):
    """Validate behind the last step, too, where `trainer.val_check_interval` does not divide them.

    Else the steps behind the last validation would be trained for nothing: the best weights are
    chosen among those that were validated.
    """

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Tell Lightning that this was the last step: it validates where training is stopped."""
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True
