"""Log how many patches a second are trained on."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only

from esc_sr.training.callbacks.immediate import is_log_step, log_now


class ThroughputMonitor(Callback):
    """Log `perf/samples_per_sec` and `perf/batches_per_sec` of training.

    Averages over the steps since the last log, loading included and validation left out, over
    all processes. A sample is one low-resolution patch, a batch one forward and backward pass of
    one process.

    Lightning's class of the same name waits for the GPU at every single step, logs during
    validation with the number of the validation batch as the step, and warns of missing FLOPs.
    """

    def __init__(self) -> None:
        super().__init__()
        self._begin = 0.0
        self._samples = 0
        self._batches = 0
        self._validation_begin = 0.0

    @rank_zero_only
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._restart()

    @rank_zero_only
    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count a batch; log when `log_every_n_steps` has come round."""
        self._samples += batch["lq"].shape[0]
        self._batches += 1
        if not is_log_step(trainer):
            return
        _wait_for(pl_module.device)
        seconds = time.perf_counter() - self._begin
        log_now(
            trainer,
            {
                "perf/samples_per_sec": self._samples * trainer.world_size / seconds,
                "perf/batches_per_sec": self._batches * trainer.world_size / seconds,
            },
        )
        self._restart()

    @rank_zero_only
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock for validation."""
        _wait_for(pl_module.device)
        self._validation_begin = time.perf_counter()

    @rank_zero_only
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on as if validation had taken no time."""
        self._begin += time.perf_counter() - self._validation_begin

    def _restart(self) -> None:
        self._begin = time.perf_counter()
        self._samples = 0
        self._batches = 0


def _wait_for(device: torch.device) -> None:
    """Let queued GPU work finish, so that the clock reads what has been done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
