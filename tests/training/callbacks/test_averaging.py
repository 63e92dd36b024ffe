"""The average of the weights, and its warm-up."""

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging

from esc_sr.training.callbacks.averaging import EMA

pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")


class Weights:
    """Remembers the weights behind every step."""

    def __init__(self, base):
        self.seen = []

        class Callback(base):
            def on_train_batch_end(callback, trainer, pl_module, *others):
                super().on_train_batch_end(trainer, pl_module, *others)
                self.seen.append(flat(pl_module))

        self.callback = Callback


def flat(module):
    return torch.cat([p.detach().flatten() for p in module.network.parameters()]).clone()


def averaged(fit, base=EMA, max_steps=12, ckpt_path=None, **options):
    weights = Weights(base)
    module, _ = fit([weights.callback(**options)], max_steps=max_steps, ckpt_path=ckpt_path)
    return flat(module), weights.seen  # at the end the average is copied into the module


def test_without_warm_up_it_is_lightnings_bit_for_bit(fit):
    ours, _ = averaged(fit, decay=0.9)
    lightnings, _ = averaged(fit, EMAWeightAveraging, decay=0.9, use_buffers=False)
    assert torch.equal(ours, lightnings)


@pytest.mark.parametrize("decay", [0.999, 0.4])
def test_the_decay_of_the_warm_up_is_min_of_decay_and_n_plus_1_by_n_plus_10(fit, decay):
    result, seen = averaged(fit, decay=decay, warmup=True)
    expected = seen[0]  # the first update copies
    for n, weights in enumerate(seen[1:], start=1):
        share = min(decay, (1 + n) / (10 + n))
        expected = share * expected + (1 - share) * weights
    torch.testing.assert_close(result, expected)
    plain, _ = averaged(fit, decay=decay)
    assert (plain - seen[-1]).norm() > (result - seen[-1]).norm()  # less far behind


def test_a_resumed_warm_up_goes_on_with_its_decay(fit, tmp_path):
    module, trainer = fit([EMA(decay=0.999, warmup=True)], max_steps=6)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    before = flat(module)  # the average: training has ended
    result, seen = averaged(
        fit, max_steps=7, decay=0.999, warmup=True, ckpt_path=tmp_path / "x.ckpt"
    )
    torch.testing.assert_close(result, 7 / 16 * before + 9 / 16 * seen[-1])


def test_checkpoints_of_lightnings_class_are_resumed(fit, tmp_path):
    _, trainer = fit([EMAWeightAveraging(decay=0.9, use_buffers=False)], max_steps=4)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    ours = EMA(decay=0.9)
    fit([ours], max_steps=5, ckpt_path=tmp_path / "x.ckpt")  # warnings are errors
    assert ours._latest_update_step == 5
