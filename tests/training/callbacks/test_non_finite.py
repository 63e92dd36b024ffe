"""Steps that are not finite: never taken, counted right, resumed exactly."""

import csv
import logging
import math
from functools import partial
from itertools import islice

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.utils.data import Dataset

from esc_sr.data.datamodule import SRDataModule
from esc_sr.data.sampler import ResumableSampler
from esc_sr.errors import InputError
from esc_sr.reporting.logs import read_curves
from esc_sr.training.callbacks.averaging import EMA
from esc_sr.training.callbacks.checkpoint import LastCheckpoint
from esc_sr.training.callbacks.non_finite import NonFiniteGuard
from esc_sr.training.loggers import CSVLogger
from esc_sr.training.module import SRLightningModule
from esc_sr.training.schedules import warmup_multistep
from esc_sr.training.step import NonFiniteError

BATCH = 2
KEYS = list(islice(ResumableSampler(num_images=5, seed=0), 64))
pytestmark = pytest.mark.filterwarnings(
    "ignore:Checkpoint directory .* exists and is not empty",
    "ignore:.*does not have many workers.*",
    # Lightning goes on with the schedule where the loss scale has skipped the first step.
    "ignore:Detected call of `lr_scheduler.step.* before `optimizer.step",
)


class Patches(Dataset):
    """Patches that follow from their seed; batches that hold a NaN; batches that do not exist."""

    crop_size = 4

    def __init__(self, broken=(), without=()):
        self.broken = {KEYS[BATCH * batch].seed for batch in broken}
        batches = [batch for batch in range(len(KEYS) // BATCH) if batch not in without]
        positions = [BATCH * batch + i for batch in batches for i in range(BATCH)]
        self.keys = {KEYS[i].seed: KEYS[position] for i, position in enumerate(positions)}

    def __len__(self):
        return 5

    def fill_cache(self):
        pass

    def __getitem__(self, key):
        index, seed = self.keys.get(key.seed, key)
        generator = torch.Generator().manual_seed(seed % 2**31)
        gt = torch.rand(3, 8, 8, generator=generator)
        lq = F.avg_pool2d(gt, 2) * (math.nan if seed in self.broken else 1)
        return {"lq": lq, "gt": gt, "name": f"patch{index}"}


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, lq):
        return F.pixel_shuffle(self.body(lq), 2)


class L1(nn.Module):
    def forward(self, sr, gt):
        return {"l1": (sr - gt).abs().mean()}


class Steps(Callback):
    """Remembers every batch: the step that Lightning, the loggers and the schedule are at."""

    def __init__(self):
        self.seen = []
        self.states = {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.states.setdefault(trainer.global_step, full_state(trainer))
        logged = trainer.fit_loop.epoch_loop._batches_that_stepped
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.seen.append((trainer.global_step, logged, rate))


def full_state(trainer):
    """Weights, moments and average, as copies."""
    state = dict(trainer.lightning_module.state_dict())
    for index, moments in trainer.optimizers[0].state_dict()["state"].items():
        state |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    for callback in trainer.callbacks:
        if isinstance(callback, EMA):
            averaged = callback._average_model.state_dict()
            state |= {f"average.{name}": value for name, value in averaged.items()}
    return {name: value.detach().clone() for name, value in state.items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def fit(
    *callbacks,
    broken=(),
    without=(),
    max_steps=6,
    folder=None,
    ckpt_path=None,
    loss=None,
    **options,
):
    L.seed_everything(3, verbose=False)
    network = Network()
    module = SRLightningModule(
        network=network,
        loss=loss or L1(),
        optimizer=partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
        scheduler=partial(warmup_multistep, warmup_steps=3, milestones=[4], gamma=0.5),
    )
    steps = Steps()
    keeping = [LastCheckpoint(dirpath=str(folder))] if folder else []
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=max_steps,
        max_epochs=-1,
        val_check_interval=options.pop("val_check_interval", 2),
        check_val_every_n_epoch=None,
        callbacks=[*callbacks, EMA(decay=0.9), steps, *keeping],
        logger=options.pop("logger", DummyLogger()),
        log_every_n_steps=1,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=bool(folder),
        **options,
    )
    val = {"Set": [Patches()[key] for key in KEYS[:1]]}
    data = SRDataModule(train=Patches(broken, without), val=val, batch_size=BATCH)
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return trainer, steps


@pytest.mark.parametrize(
    ("options", "broken", "without"),
    [
        ({}, [2, 3], [2, 3]),
        ({}, [0, 5], [0, 5]),
        ({"gradient_clip_val": 0.1}, [3], [3]),
        ({"accumulate_grad_batches": 2}, [3], [2, 3]),  # the whole step
    ],
)
def test_a_skipped_step_leaves_what_a_run_without_its_batches_would_have(options, broken, without):
    """Weights, moments, average and schedule bit for bit, and as many steps."""
    skipped, steps = fit(NonFiniteGuard(policy="skip"), broken=broken, **options)
    plain, expected = fit(without=without, **options)
    assert skipped.global_step == plain.global_step == 6
    assert same(full_state(skipped), full_state(plain))
    assert len(steps.seen) == len(expected.seen) + len(without)
    assert dict.fromkeys(steps.seen) == dict.fromkeys(expected.seen)  # also what loggers count
    clean, _ = fit(**options)
    assert not same(full_state(clean), full_state(plain))  # the comparison can fail


def test_restoring_goes_back_to_the_kept_state_and_on_with_data_and_schedule(caplog):
    guard = NonFiniteGuard(policy="restore", keep_every=2)
    with caplog.at_level(logging.WARNING):
        _, steps = fit(guard, broken=[3], max_steps=5)
    plain = fit(NonFiniteGuard(), max_steps=5)[1]
    # Batch 3 comes after three steps; the state of step 2 is what goes on with batch 4.
    assert [step for step, *_ in steps.seen] == [0, 1, 2, 3, 3, 4]
    assert [rate for *_, rate in steps.seen[4:]] == [rate for *_, rate in plain.seen[3:]]
    after = fit(Restored(guard_step=2), broken=[3], max_steps=5)[1]
    assert same(after.restored, steps.states[2])
    assert not same(steps.states[3], steps.states[2])
    assert "is nan at step 3 in a batch of patch" in caplog.text
    assert "the step is not taken, back to the state of step 2" in caplog.text


class Restored(NonFiniteGuard):
    """Remembers the state behind a restoration."""

    def __init__(self, guard_step):
        super().__init__(policy="restore", keep_every=guard_step)

    def on_train_batch_end(self, trainer, *others):
        super().on_train_batch_end(trainer, *others)
        if self._not_taken:
            steps = next(one for one in trainer.callbacks if isinstance(one, Steps))
            steps.restored = full_state(trainer)


@pytest.mark.parametrize("policy", ["skip", "restore"])
@pytest.mark.parametrize("broken", [[1], [2, 3], [3], [4], [3, 4, 5]])
def test_a_resumed_run_goes_on_as_an_unbroken_one(tmp_path, policy, broken):
    """Faults before, at and behind the checkpoint, which lies between two kept states."""
    make = partial(NonFiniteGuard, policy=policy, keep_every=3)
    unbroken, expected = fit(make(), broken=broken, folder=tmp_path / "a", max_steps=7)
    last = keep_first_checkpoint(tmp_path / "b", make(), broken)
    resumed, steps = fit(make(), broken=broken, folder=tmp_path / "b", max_steps=7, ckpt_path=last)
    assert resumed.global_step == unbroken.global_step == 7
    assert steps.seen == expected.seen[-len(steps.seen) :]
    assert len(steps.seen) < len(expected.seen)
    assert same(full_state(resumed), full_state(unbroken))


def keep_first_checkpoint(folder, guard, broken):
    """Return a copy of the checkpoint of the validation behind batch 4."""
    kept = folder / "kept.ckpt"

    class Copy(Callback):
        def on_validation_end(self, trainer, pl_module):
            if trainer.fit_loop.total_batch_idx == 3:
                trainer.save_checkpoint(kept)

    fit(guard, Copy(), broken=broken, folder=folder, max_steps=7)
    return kept


@pytest.mark.parametrize("policy", ["skip", "restore"])
def test_too_many_in_a_row_stop_training_after_all(policy):
    fit(NonFiniteGuard(policy=policy, limit=2), broken=[2, 3], max_steps=5)
    others = "2 others in a row" if policy == "skip" else "2 others since a state was kept"
    with pytest.raises(NonFiniteError, match=rf"at step 2 in a batch of .*, after {others}: "):
        fit(NonFiniteGuard(policy=policy, limit=2), broken=[2, 3, 4], max_steps=5)


def test_a_module_without_a_guard_gets_one():
    with pytest.raises(NonFiniteError, match="'l1' is nan at step 1 in a batch of patch"):
        fit(broken=[1])
    trainer, _ = fit(NonFiniteGuard(policy="skip"))
    assert sum(isinstance(one, NonFiniteGuard) for one in trainer.callbacks) == 1


class Growing(nn.Module):
    """A loss whose gradient is finite, and which itself is not at one call."""

    def __init__(self, at):
        super().__init__()
        self.at, self.calls = at, 0

    def forward(self, sr, gt):
        self.calls += 1
        loss = (sr - gt).abs().mean()
        return {"l1": loss, "other": loss.detach() * (math.inf if self.calls == self.at else 0)}


def test_an_infinite_loss_with_a_finite_gradient_counts(caplog):
    # At batch 1 of 0, 1 | 2, 3: the first of an accumulated step.
    guard = NonFiniteGuard(policy="skip")
    with caplog.at_level(logging.WARNING):
        trainer, _ = fit(guard, loss=Growing(3), accumulate_grad_batches=2, max_steps=3)
    assert "loss term 'other' is inf at step 1" in caplog.text
    assert same(
        full_state(trainer),
        full_state(fit(without=[2, 3], accumulate_grad_batches=2, max_steps=3)[0]),
    )


class Norms(Callback):
    """The logged norm beside one that is computed from the weights' gradients."""

    def __init__(self):
        self.logged, self.expected, self.clipped = [], [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        gradients = [p.grad.flatten() for p in pl_module.parameters()]
        self.expected.append(float(torch.cat(gradients).norm()))

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        gradients = [p.grad.flatten() for p in pl_module.parameters() if p.grad is not None]
        if gradients:
            self.clipped.append(float(torch.cat(gradients).norm()))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if not trainer.fit_loop._should_accumulate():
            self.logged.append(float(trainer.callback_metrics["train/grad_norm"]))


def test_the_logged_norm_is_of_the_accumulated_gradient_before_clipping():
    norms = Norms()
    fit(NonFiniteGuard(), norms, accumulate_grad_batches=2, gradient_clip_val=0.01, max_steps=3)
    assert norms.logged == pytest.approx(norms.expected)
    assert norms.clipped == pytest.approx([0.01] * len(norms.clipped), rel=1e-3)
    # Two batches accumulated are one of twice the size, by hand:
    L.seed_everything(3, verbose=False)
    network, data = Network(), Patches()
    samples = [data[key] for key in KEYS[:4]]
    lq, gt = (torch.stack([one[key] for one in samples]) for key in ("lq", "gt"))
    L1()(network(lq), gt)["l1"].backward()
    by_hand = torch.cat([p.grad.flatten() for p in network.parameters()]).norm()
    assert norms.logged[0] == pytest.approx(float(by_hand), rel=1e-5)


def scaled(scale):
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return {"plugins": [MixedPrecision("16-mixed", "cpu", scaler=scaler)]}


def test_what_the_loss_scale_of_float16_skips_is_left_to_it():
    """A scale of 2^30 overflows float16 until it has been halved a dozen times."""
    norms, guard = Norms(), NonFiniteGuard(limit=1)
    trainer, _ = fit(guard, norms, max_steps=20, **scaled(2.0**30))
    overflowed = [norm for norm in norms.logged if not math.isfinite(norm)]
    assert 5 < len(overflowed) < 18
    assert guard._in_a_row == 0
    # Once it fits, what is logged is the norm without the scale.
    full = Norms()
    fit(NonFiniteGuard(), full, max_steps=1)
    assert norms.logged[len(overflowed)] == pytest.approx(full.logged[0], rel=0.2)
    assert trainer.precision_plugin.scaler.get_scale() < 2.0**26


def test_a_loss_that_is_broken_is_no_matter_of_the_scale():
    with pytest.raises(NonFiniteError, match="'l1' is nan at step 2"):
        fit(NonFiniteGuard(), broken=[2], **scaled(16.0))


class Poisoned(nn.Module):
    """A finite loss without a finite gradient: the derivative of a square root at zero."""

    def forward(self, sr, gt):
        return {"l1": (sr - sr).abs().sum().sqrt() + (sr - gt).abs().mean()}


def test_a_gradient_that_no_scale_mends_stops_training():
    """The scale falls from 4 to below 1 first, and is given up then."""
    with pytest.raises(NonFiniteError, match="the gradient norm is nan at step 3"):
        fit(NonFiniteGuard(), loss=Poisoned(), **scaled(4.0))


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({}, "a lower optimizer.lr or trainer.gradient_clip_val=0.5"),
        ({"gradient_clip_val": 0.5}, "a lower optimizer.lr"),
        (
            scaled(16.0) | {"gradient_clip_val": 0.5},
            "a lower optimizer.lr or trainer.precision=32-true",
        ),
        (
            scaled(16.0),
            "a lower optimizer.lr or trainer.gradient_clip_val=0.5 or trainer.precision=32-true",
        ),
    ],
)
def test_only_what_is_not_set_already_is_advised(options, advice):
    with pytest.raises(NonFiniteError) as caught:
        fit(broken=[1], **options)
    assert str(caught.value).endswith(f"; try {advice}")


def test_a_step_that_is_not_taken_is_no_point_of_a_curve(tmp_path):
    """Its row, with the NaN, has the number of the step that is taken after it."""
    logger = CSVLogger(str(tmp_path), name="csv")
    fit(NonFiniteGuard(policy="skip"), broken=[2, 3], logger=logger)
    (path,) = tmp_path.glob("csv/version_0/metrics.csv")
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    assert [row["step"] for row in rows] == ["0", "1", "2", "2", "2", "3", "4", "5"]
    assert [row["train/loss"] for row in rows[2:4]] == ["nan", "nan"]
    curves, problem = read_curves(tmp_path)
    assert not problem
    assert list(curves["train/loss"]) == [1, 2, 3, 4, 5, 6]
    for key in ("train/loss", "train/grad_norm"):
        assert all(map(math.isfinite, curves[key].values()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "ignore"}, r"callbacks.guard.policy must be one of stop, skip, restore"),
        ({"limit": 0}, r"callbacks.guard.limit must be an integer of at least 1, got 0"),
        ({"keep_every": 0}, r"callbacks.guard.keep_every must be an integer of at least 1"),
    ],
)
def test_impossible_options_are_told(options, message):
    with pytest.raises(InputError, match=message):
        NonFiniteGuard(**options)
