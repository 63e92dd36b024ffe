"""Whatever measures and shows must not change what is learned."""

import torch

from esc_sr.training.callbacks.images import ImageLogger
from esc_sr.training.callbacks.latency import LatencyMonitor
from esc_sr.training.callbacks.memory import MemoryMonitor
from esc_sr.training.callbacks.progress import StepProgressBar
from esc_sr.training.callbacks.throughput import ThroughputMonitor


def _weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_weights_are_bit_for_bit_those_of_a_training_without_callbacks(fit):
    """Dropout and patches come from the global generator: one number drawn would show."""
    plain, _ = fit()
    watched, _ = fit(
        [
            LatencyMonitor(lq_size=[8, 8], warmup=1, repeats=2, every="validation"),
            MemoryMonitor(lq_size=[8, 8]),
            ImageLogger(num_images=2, max_size=16),
            ThroughputMonitor(),
            StepProgressBar(),
        ],
        enable_progress_bar=True,
    )
    assert torch.equal(_weights(plain), _weights(watched))
    disturbed, _ = fit(max_steps=5)
    assert not torch.equal(_weights(plain), _weights(disturbed))  # the comparison can fail


def test_training_goes_on_in_training_mode_after_a_measurement(fit):
    module, _ = fit([LatencyMonitor(lq_size=[7, 7], warmup=1, repeats=2, every="validation")])
    trained = [mode for mode in module.network.modes if mode[0]]
    assert trained == [(True, True)] * 4
