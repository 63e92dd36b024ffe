import pytest

from esc_sr.training.callbacks import throughput as throughput_module
from esc_sr.training.callbacks.throughput import ThroughputMonitor


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets, in seconds."""

    class Clock:
        now = 100.0

        def perf_counter(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(throughput_module, "time", clock)
    return clock


def _monitor(clock):
    class Script(ThroughputMonitor):
        """A batch takes half a second, a validation batch ten."""

        def on_train_batch_end(self, *args, **kwargs):
            clock.now += 0.5
            super().on_train_batch_end(*args, **kwargs)

        def on_validation_batch_end(self, trainer, *args, **kwargs):
            clock.now += 10.0

    return Script()


def test_rates_are_those_of_training_without_validation(fit, logged, clock):
    fit([_monitor(clock)], logged, max_steps=6, log_every_n_steps=3, val_check_interval=2)
    assert logged.steps("perf/samples_per_sec") == [2, 5]
    assert logged.values("perf/samples_per_sec") == pytest.approx([8.0, 8.0])  # 4 patches a batch
    assert logged.values("perf/batches_per_sec") == pytest.approx([2.0, 2.0])


def test_with_accumulation_a_step_is_logged_once_and_every_batch_counts(fit, logged, clock):
    fit([_monitor(clock)], logged, max_steps=3, accumulate_grad_batches=2, val_check_interval=6)
    assert logged.steps("perf/samples_per_sec") == [0, 1, 2]
    assert logged.values("perf/samples_per_sec") == pytest.approx([8.0] * 3)
