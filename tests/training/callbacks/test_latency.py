import pytest
import torch

from esc_sr.errors import InputError
from esc_sr.training.callbacks.latency import LatencyMonitor

KEYS = ["perf/latency_ms", "perf/latency_ms_p10", "perf/latency_ms_p90"]


@pytest.mark.parametrize(("every", "steps"), [("start", [0]), ("validation", [0, 1, 3])])
def test_logs_at_the_start_and_after_validations_if_asked(fit, logged, every, steps):
    callback = LatencyMonitor(lq_size=[8, 8], warmup=0, repeats=2, every=every)
    _, trainer = fit([callback], logged)
    for key in KEYS:
        assert logged.steps(key) == steps
        assert all(value > 0 for value in logged.values(key))
    assert set(KEYS) <= set(trainer.callback_metrics)
    p10, median, p90 = (logged.values(key)[0] for key in (KEYS[1], KEYS[0], KEYS[2]))
    assert p10 <= median <= p90


@pytest.mark.parametrize(
    ("precision", "dtype", "autocast"),
    [
        ("32-true", torch.float32, False),
        ("bf16-mixed", torch.float32, True),
        ("bf16-true", torch.bfloat16, False),
    ],
)
def test_measures_the_network_at_the_size_and_precision_of_training(
    fit, precision, dtype, autocast
):
    seen = []

    class Spy(LatencyMonitor):
        def on_train_start(self, trainer, pl_module):
            hook = pl_module.network.register_forward_pre_hook(
                lambda module, args: seen.append(
                    (tuple(args[0].shape), args[0].dtype, torch.is_autocast_enabled("cpu"))
                )
            )
            super().on_train_start(trainer, pl_module)
            hook.remove()

    fit([Spy(lq_size=[5, 9], warmup=1, repeats=2)], precision=precision, max_steps=1)
    assert seen == [((1, 3, 5, 9), dtype, autocast)] * 3


def test_mistakes_are_told():
    with pytest.raises(InputError, match="'start' or 'validation', got 'epoch'"):
        LatencyMonitor(every="epoch")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="repeats"):
        LatencyMonitor(repeats=0)
    with pytest.raises(InputError, match="lq_size"):
        LatencyMonitor(lq_size=[64])
