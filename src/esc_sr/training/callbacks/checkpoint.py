"""The checkpoint to resume from."""

from __future__ import annotations

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint


class LastCheckpoint(ModelCheckpoint):
    """Keep one checkpoint, `last.ckpt`: written at every validation and at the end of training.

    Lightning's own either saves after validations, and loses the steps behind the last one, or
    at the end.

    Args:
        dirpath: Folder of the checkpoint.
    """

    def __init__(self, *, dirpath: str) -> None:
        super().__init__(
            dirpath=dirpath,
            filename="last",
            every_n_epochs=1,  # with training by steps: at every validation
            save_on_train_epoch_end=False,
            auto_insert_metric_name=False,
            enable_version_counter=False,  # overwrite, instead of last-v1.ckpt
        )

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the steps behind the last validation: our one epoch ends with training."""
        if trainer.global_step < trainer.max_steps and not trainer.should_stop:
            return  # epochs that were made short, as debug=overfit does
        self.best_model_path = self.format_checkpoint_name({})
        trainer.save_checkpoint(self.best_model_path)
