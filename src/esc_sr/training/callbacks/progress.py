"""A progress bar that counts optimizer steps."""

from __future__ import annotations

import logging
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar
from rich import get_console

from esc_sr.errors import InputError

_log = logging.getLogger(__name__)


class StepProgressBar(RichProgressBar):
    """Show training as `Step 1200/500000`.

    The training loader is endless and training ends by `max_steps`, where Lightning's bar shows
    an epoch that never ends: `Epoch 0/-2`. The unit is the optimizer step, as in `max_steps`: with
    gradient accumulation the bar moves once for several batches, and after a resume it goes on
    from the step of the checkpoint. Where `max_steps` is not set, this is Lightning's bar.

    Where the output is not a terminal (a file, a pipe, a batch system) no bar is drawn: one line
    of Python logging at level INFO tells the step and the metrics now and then. A notebook counts
    as a terminal.

    Args:
        refresh_rate: Redraws per second; 0 switches the bar off.
        leave: Keep the finished bar on the screen.
        seconds_per_line: Without a terminal, time between two lines; the last step always has one.

    Raises:
        InputError: A negative number.
    """

    def __init__(
        self, *, refresh_rate: int = 10, leave: bool = False, seconds_per_line: float = 60.0
    ) -> None:
        if refresh_rate < 0 or seconds_per_line < 0:
            raise InputError(
                "the progress bar needs refresh_rate >= 0 and seconds_per_line >= 0, "
                f"got {refresh_rate} and {seconds_per_line}"
            )
        super().__init__(refresh_rate=refresh_rate, leave=leave)
        self.seconds_per_line = seconds_per_line
        self._writes_lines = False
        self._last_line = 0.0

    @property
    def total_train_batches(self) -> int | float:
        """The end of the training bar: optimizer steps, or batches if training is by epochs."""
        if self.trainer.max_steps > 0:
            return self.trainer.max_steps
        return super().total_train_batches

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Choose between the bar and lines."""
        super().setup(trainer, pl_module, stage)
        console = get_console()
        if self.is_enabled and not (console.is_terminal or console.is_jupyter):
            self._writes_lines = True
            self.disable()
        self._last_line = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move the bar to the present step."""
        done = trainer.global_step if trainer.max_steps > 0 else batch_idx + 1
        # The parent sets the bar to `batch_idx + 1`.
        super().on_train_batch_end(trainer, pl_module, outputs, batch, done - 1)
        if self._writes_lines and trainer.is_global_zero:
            self._write_line(trainer, pl_module, done)

    def _write_line(self, trainer: L.Trainer, pl_module: L.LightningModule, done: int) -> None:
        total = self.total_train_batches
        if time.monotonic() - self._last_line < self.seconds_per_line and done != total:
            return
        self._last_line = time.monotonic()
        metrics = self.get_metrics(trainer, pl_module).items()
        shown = [
            f"{name} {v:.4g}" if isinstance(v, float) else f"{name} {v}" for name, v in metrics
        ]
        _log.info("%s", " | ".join([f"step {done}/{total}", *shown]))

    def _get_train_description(self, current_epoch: int) -> str:
        if self.trainer.max_steps <= 0:
            return super()._get_train_description(current_epoch)
        # As wide as the validation bar's, so that the columns do not jump.
        return f"{'Step':{len(self.validation_description)}}"
