"""The best checkpoint and the one to resume from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from esc_sr.training.stopping import StopRequest


class MovableCheckpoint(ModelCheckpoint):
    """Lightning's `ModelCheckpoint`, which finds its files in a folder that was moved, too.

    Lightning's own compares paths: where a run goes on under another one, the next validation
    overwrites the best checkpoint, however good that is. Where a run goes on in a new folder, which
    does not hold the best one, the first validation is the best so far.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the best of a checkpoint, if it lies in this folder.

        Args:
            state_dict: What `state_dict` returned.
        """
        if state_dict.get("dirpath") != self.dirpath:
            state_dict = _moved(state_dict, str(self.dirpath))
        if _is_there(state_dict["best_model_path"]):
            super().load_state_dict(state_dict)


def _moved(state: dict[str, Any], folder: str) -> dict[str, Any]:
    """Return the state of a `ModelCheckpoint` with its files in another folder."""

    def here(path: str) -> str:
        return str(Path(folder, Path(path).name)) if path else path

    paths = {key: here(path) for key, path in state.items() if key.endswith("_path")}
    best = {here(path): score for path, score in state["best_k_models"].items()}
    return state | paths | {"dirpath": folder, "best_k_models": best}


def _is_there(path: str) -> bool:
    return bool(path) and Path(path).exists()  # a folder, where the weights are in shards


class BestCheckpoint(MovableCheckpoint):
    """Keep the checkpoint with the best value of a validation metric, or some of them."""

    @property
    def state_key(self) -> str:
        """The name of its state in checkpoints: as of Lightning's class, which older ones have."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)


class LastCheckpoint(MovableCheckpoint):
    """Keep one checkpoint, `last.ckpt`: at every validation, at the end, and when asked to stop.

    Lightning's own either saves after validations, and loses the steps behind the last one, or
    at the end.

    At SIGINT or SIGTERM the step in progress is finished, a validation too, the checkpoint is
    saved and training ends by Lightning's `SIGTERMException`. Lightning by itself stops at SIGTERM
    alone, also within an accumulated step or a validation, which could not be resumed exactly, and
    its processes talk to each other from the signal's handler, wherever that interrupts them.

    Args:
        dirpath: Folder of the checkpoint.

    Attributes:
        request: Who listens to the signals.
        last_step: Optimizer steps behind the last one saved; 0 before the first.
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
        self.request = StopRequest()
        self.last_step = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listen to signals, now that Lightning has installed its own handlers."""
        super().on_train_start(trainer, pl_module)
        self.last_step = trainer.global_step  # of the checkpoint that was resumed
        self.request.listen()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Stop behind this step, if it is complete and that was asked for."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if not trainer.fit_loop._should_accumulate():
            self._stop_if_asked(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let a validation come to its end."""
        if not trainer.sanity_checking:
            trainer._signal_connector.received_sigterm = False

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save; stop, if that was asked for."""
        super().on_validation_end(trainer, pl_module)
        if not trainer.sanity_checking:
            self._stop_if_asked(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the steps behind the last validation: our one epoch ends with training."""
        if trainer.global_step < trainer.max_steps and not trainer.should_stop:
            return  # epochs that were made short, as debug=overfit does
        self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the signals to whoever had them."""
        super().on_train_end(trainer, pl_module)
        self.request.release()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Save, if training was asked to stop; an error leaves the earlier checkpoint."""
        if not isinstance(exception, SIGTERMException):
            return
        if self._last_global_step_saved != trainer.global_step:
            self._save(trainer)
        if self._agreed(trainer, self.request.announced):
            self.request.hand_on()
            # What Lightning has saved beside it, when asked to put the job into the queue again.
            for path in Path(trainer.default_root_dir).glob("hpc_ckpt_*.ckpt"):
                path.unlink(missing_ok=True)

    def _save_checkpoint(self, trainer: L.Trainer, filepath: str) -> None:
        """Write the logs first: a run that is killed and resumed has the lines before, and once."""
        for logger in trainer.loggers:
            logger.save()
        super()._save_checkpoint(trainer, filepath)
        self.last_step = trainer.global_step

    def _save(self, trainer: L.Trainer) -> None:
        self.best_model_path = self.format_checkpoint_name({})
        self._save_checkpoint(trainer, self.best_model_path)

    def _stop_if_asked(self, trainer: L.Trainer) -> None:
        # Lightning looks at it behind each step, and stops.
        trainer._signal_connector.received_sigterm = self._agreed(
            trainer, self.request.received is not None
        )

    def _agreed(self, trainer: L.Trainer, decision: bool) -> bool:
        """Return whether any process of the run says so: all of them stop behind the same step."""
        if trainer.world_size == 1:
            return decision
        return trainer.strategy.reduce_boolean_decision(decision, all=False)
