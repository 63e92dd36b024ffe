from types import SimpleNamespace

import numpy as np
import pytest

from esc_sr.training.callbacks import memory as memory_module
from esc_sr.training.callbacks.memory import MemoryMonitor


class Gauge:
    """A peak counter whose peak the test sets."""

    level = 0.0

    def __init__(self, device) -> None:
        self.resets = 0

    def reset(self) -> None:
        Gauge.level = 0.0
        self.resets += 1

    def read(self) -> SimpleNamespace:
        return SimpleNamespace(peak_mib=Gauge.level)


def test_the_peak_is_that_of_training_since_the_last_log(fit, logged, monkeypatch):
    monkeypatch.setattr(memory_module, "PeakMemory", Gauge)

    class Script(MemoryMonitor):
        """Raises the level as training and validation would."""

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            Gauge.level = max(Gauge.level, [10.0, 30.0, 5.0, 7.0, 6.0, 2.0][batch_idx])

        def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
            Gauge.level = 1000.0

    # log after batches 2, 4, 6; validate after 3 and 6
    fit([Script(lq_size=[8, 8])], logged, max_steps=6, log_every_n_steps=2, val_check_interval=3)
    assert logged.steps("perf/peak_memory_mib") == [1, 3, 5]
    assert logged.values("perf/peak_memory_mib") == [30.0, 7.0, 6.0]


def test_one_forward_pass_is_measured_before_the_first_step(fit, logged, monkeypatch):
    size_mib = 128
    # Held until it has been measured: what is freed at once may not show in the kernel's counters.
    held = []
    log_now = memory_module.log_now

    def use_memory(module, args, output):
        held.append(np.ones(size_mib * 2**20, dtype=np.uint8))

    def log_and_free(trainer, values):
        held.clear()
        log_now(trainer, values)

    monkeypatch.setattr(memory_module, "log_now", log_and_free)

    class Spy(MemoryMonitor):
        def on_train_start(self, trainer, pl_module):
            shapes = []
            pl_module.network.register_forward_pre_hook(
                lambda module, args: shapes.append(tuple(args[0].shape))
            )
            hook = pl_module.network.register_forward_hook(use_memory)
            super().on_train_start(trainer, pl_module)
            hook.remove()
            assert shapes == [(1, 3, 5, 9)]

    fit([Spy(lq_size=[5, 9])], logged)
    assert logged.steps("perf/inference_peak_memory_mib") == [0]
    (inference,) = logged.values("perf/inference_peak_memory_mib")
    training = logged.values("perf/peak_memory_mib")
    assert len(training) == 4
    memory = memory_module.PeakMemory("cpu")
    if memory.read().source != "resident_peak":
        pytest.skip("this system cannot reset the peak of the resident set")
    assert inference - max(training) > 0.8 * size_mib
