"""Log from hooks in which `LightningModule.log` is not available, and on the same time axis."""

from __future__ import annotations

from collections.abc import Mapping

import lightning as L
import torch


def log_step(trainer: L.Trainer) -> int:
    """Return the step at which Lightning itself would log now.

    Not `trainer.global_step`: that counts the steps of every optimizer, so with two of them
    (adversarial training) our curves would run twice as fast as the losses.
    """
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def is_log_step(trainer: L.Trainer) -> bool:
    """Tell, at the end of a training batch, whether `log_every_n_steps` has come round.

    With gradient accumulation only the batch that completes the step counts.
    """
    interval: int = trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue]
    if interval < 1 or trainer.fit_loop._should_accumulate():
        return False
    return (log_step(trainer) + 1) % interval == 0


def log_now(trainer: L.Trainer, values: Mapping[str, float]) -> None:
    """Send numbers to every logger, and to `trainer.callback_metrics` for sweeps and tests.

    Args:
        trainer: The running trainer.
        values: From key to number, such as `{"perf/latency_ms": 3.2}`.
    """
    trainer.callback_metrics.update({key: torch.tensor(value) for key, value in values.items()})
    for logger in trainer.loggers:
        logger.log_metrics(dict(values), step=log_step(trainer))
