"""A progress bar that counts optimizer steps."""

from __future__ import annotations

import logging
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.trainer.states import TrainerFn
from rich import get_console

from esc_sr.errors import InputError

_log = logging.getLogger(__name__)


class StepProgressBar(RichProgressBar):
    """Show training as `Step 1200/500000`.

    The training loader is endless and training ends by `max_steps`, where Lightning's bar shows
    an epoch that never ends: `Epoch 0/-2`. The unit is the optimizer step, as in `max_steps`: with
    gradient accumulation the bar moves once for several batches, and after a resume it goes on
    from the step of the checkpoint. Where `max_steps` is not set, this is Lightning's bar.

    Every validation leaves a line with the step and the metrics. Where the output is not a
    terminal (a file, a pipe, a batch system) no bar is drawn, and such a line is written now and
    then, by Python logging at level INFO. A notebook counts as a terminal.

    Args:
        refresh_rate: Redraws per second; 0 switches the bar off.
        leave: Keep the finished bar on the screen.
        seconds_per_line: Without a terminal, most time between two lines; the last step has one.

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
        self._last_told = -1

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
        due = time.monotonic() - self._last_line >= self.seconds_per_line
        if self._writes_lines and due:
            self._tell(trainer, pl_module)

    def get_metrics(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Return what is shown: the metrics, without the number of the logger's version."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave a line that stays: what this validation gave."""
        super().on_validation_end(trainer, pl_module)
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if fitting:
            self._tell(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell the last step, if no validation did."""
        super().on_train_end(trainer, pl_module)
        if self._writes_lines and self._last_told != trainer.global_step:
            self._tell(trainer, pl_module)

    def _tell(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave one line with the step and the metrics."""
        if not trainer.is_global_zero:
            return
        self._last_line, self._last_told = time.monotonic(), trainer.global_step
        end = f"/{trainer.max_steps}" if trainer.max_steps > 0 else ""
        shown = [f"step {self._last_told}{end}"]
        for name, value in self.get_metrics(trainer, pl_module).items():
            shown.append(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}")
        line = " | ".join(shown)
        if self._writes_lines:
            _log.info("%s", line)
        elif self.progress is not None:
            self.progress.console.print(line, highlight=False)

    def _get_train_description(self, current_epoch: int) -> str:
        if self.trainer.max_steps <= 0:
            return super()._get_train_description(current_epoch)
        # As wide as the validation bar's, so that the columns do not jump.
        return f"{'Step':{len(self.validation_description)}}"
