"""Log how long the network takes for one image, next to how well it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only

from esc_sr.errors import InputError
from esc_sr.profiling.latency import check_repetitions, measure_latency
from esc_sr.profiling.lq_size import check_lq_size
from esc_sr.training.callbacks.immediate import log_now
from esc_sr.training.callbacks.probe import example_lq, network_of


class LatencyMonitor(Callback):
    """Measure the forward pass of `pl_module.network` on one image and log it.

    Logs `perf/latency_ms` (median), `perf/latency_ms_p10` and `perf/latency_ms_p90`, on the
    training device and in the trainer's precision, in eval mode and without gradients. Training
    is not affected: modes, gradients and random generators are left as they were. On rank zero
    only; not for strategies that shard the weights. A network under `torch.compile` compiles
    once more for this size.

    Args:
        lq_size: Height and width of the low-resolution image.
        warmup: Calls before the clock starts.
        repeats: Timed calls.
        every: `"start"` measures once, before the first step; `"validation"` also after each
            validation.

    Raises:
        InputError: A value out of its range.
    """

    def __init__(
        self,
        *,
        lq_size: Sequence[int] = (64, 64),
        warmup: int = 3,
        repeats: int = 10,
        every: Literal["start", "validation"] = "start",
    ) -> None:
        super().__init__()
        if every not in ("start", "validation"):
            raise InputError(
                f"'every' of the latency callback must be 'start' or 'validation', got {every!r}"
            )
        check_repetitions(warmup, repeats)
        self.lq_size = check_lq_size(lq_size)
        self.warmup = warmup
        self.repeats = repeats
        self.every = every

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure before the first step."""
        self._measure(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure after a validation, if asked."""
        if self.every == "validation" and not trainer.sanity_checking:
            self._measure(trainer, pl_module)

    @rank_zero_only
    def _measure(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        latency = measure_latency(
            network_of(pl_module),
            example_lq(trainer, pl_module, self.lq_size),
            warmup=self.warmup,
            repeats=self.repeats,
            context=trainer.precision_plugin.forward_context,
        )
        log_now(
            trainer,
            {
                "perf/latency_ms": latency.median_ms,
                "perf/latency_ms_p10": latency.p10_ms,
                "perf/latency_ms_p90": latency.p90_ms,
            },
        )
