"""Log the peak memory of training and of inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only

from esc_sr.profiling.lq_size import check_lq_size
from esc_sr.profiling.memory import PeakMemory
from esc_sr.profiling.undisturbed import undisturbed
from esc_sr.training.callbacks.immediate import is_log_step, log_now
from esc_sr.training.callbacks.probe import example_lq, network_of


class MemoryMonitor(Callback):
    """Log peak memory in MiB: of the allocator on a GPU, of the whole process on a CPU.

    `perf/peak_memory_mib`: the highest use of the training steps since the last log, every
    `log_every_n_steps` steps; validation is left out. `perf/inference_peak_memory_mib`: the
    highest use during one forward pass of `pl_module.network`, measured before the first step,
    with all that lies in memory then (on a GPU the weights, and those of an average or of a
    discriminator).

    The peak counter is one per device: it is reset here, so `torch.cuda.max_memory_allocated`
    read elsewhere counts from the last log. On rank zero only.

    Args:
        lq_size: Height and width of the low-resolution image of the inference measurement.

    Raises:
        InputError: `lq_size` is not two positive numbers.
    """

    def __init__(self, *, lq_size: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        self.lq_size = check_lq_size(lq_size)
        self._memory: PeakMemory | None = None
        self._peak_mib = 0.0

    @rank_zero_only
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure one forward pass, then begin to watch the training."""
        network = network_of(pl_module)
        lq = example_lq(trainer, pl_module, self.lq_size)
        memory = PeakMemory(pl_module.device)
        with undisturbed(network, lq.device), trainer.precision_plugin.forward_context():
            network(lq)
        log_now(trainer, {"perf/inference_peak_memory_mib": memory.read().peak_mib})
        self._memory = memory
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
        """Log the peak when `log_every_n_steps` has come round."""
        if self._memory is not None and is_log_step(trainer):
            self._keep_peak(self._memory)
            log_now(trainer, {"perf/peak_memory_mib": self._peak_mib})
            self._restart()

    @rank_zero_only
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the peak of the training steps aside, before validation raises it."""
        if self._memory is not None:
            self._keep_peak(self._memory)

    @rank_zero_only
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget the peak of validation."""
        if self._memory is not None:
            self._memory.reset()

    @rank_zero_only
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop watching."""
        self._memory = None

    def _keep_peak(self, memory: PeakMemory) -> None:
        self._peak_mib = max(self._peak_mib, memory.read().peak_mib)

    def _restart(self) -> None:
        self._peak_mib = 0.0
        if self._memory is not None:
            self._memory.reset()
