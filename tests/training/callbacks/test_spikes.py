"""Reports of batches whose loss stands out."""

import csv
import json
import logging
from itertools import islice
from unittest.mock import Mock

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers.logger import DummyLogger
from PIL import Image
from torch import nn

from esc_sr.data.datamodule import SRDataModule
from esc_sr.data.sampler import ResumableSampler
from esc_sr.errors import InputError
from esc_sr.training.callbacks.checkpoint import LastCheckpoint
from esc_sr.training.callbacks.non_finite import NonFiniteGuard
from esc_sr.training.callbacks.spikes import SpikeReport
from esc_sr.training.module import SRLightningModule

pytestmark = pytest.mark.filterwarnings(
    "ignore:Checkpoint directory .* exists and is not empty",
    "ignore:.*does not have many workers.*",
)


class Levels(torch.utils.data.Dataset):
    """Samples whose loss is what is asked for, batch by batch."""

    crop_size = 2

    def __init__(self, levels):
        keys = list(islice(ResumableSampler(num_images=6, seed=0), 2 * len(levels)))
        self.levels = {key.seed: levels[i // 2] for i, key in enumerate(keys)}

    def __len__(self):
        return 6

    def __getitem__(self, key):
        gt = torch.full((3, 4, 4), self.levels.get(key.seed, 0.12))
        return {"lq": gt[:, ::2, ::2], "gt": gt, "name": f"=image {key.image_index}"}


class Zero(nn.Module):
    """Learns nothing, so that the loss is the level."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, lq):
        return self.weight * lq.repeat_interleave(2, -1).repeat_interleave(2, -2)


class L1(nn.Module):
    def forward(self, sr, gt):
        return {"l1": (sr - gt).abs().mean()}


def fit(folder, levels, *others, max_steps=None, ckpt_path=None, accumulate=1, **options):
    module = SRLightningModule(
        network=Zero(), loss=L1(), optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0)
    )
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=max_steps or len(levels) // accumulate,
        max_epochs=-1,
        val_check_interval=4,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        accumulate_grad_batches=accumulate,
        callbacks=[
            SpikeReport(output_dir=folder, window=4, **options),
            *others,
            LastCheckpoint(dirpath=str(folder)),
        ],
        logger=DummyLogger(),
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    image = {"lq": torch.zeros(3, 2, 2), "gt": torch.zeros(3, 4, 4), "name": "v"}
    data = SRDataModule(train=Levels(levels), val={"Set": [image]}, batch_size=2)
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)


def rows(folder):
    with (folder / "spikes.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# Median 0.12 and deviation 0.01 of the first four: a bound of 0.12 + 10 · 1.4826 · 0.01 = 0.268.
CALM = [0.10, 0.11, 0.13, 0.14]


def test_a_loss_above_the_bound_is_a_row_and_a_line(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        fit(tmp_path, [*CALM, 0.26, 0.9, 0.12], max_steps=7)
    (row,) = rows(tmp_path)
    assert row["step"] == "5"
    assert float(row["loss"]) == pytest.approx(0.9)
    assert float(row["bound"]) == pytest.approx(0.135 + 10 * 1.4826 * 0.015, rel=1e-4)
    assert float(row["median"]) == pytest.approx(0.135)
    # What the row names is what the sampler gives from its position on.
    assert row["position"] == "10"
    keys = islice(ResumableSampler(num_images=6, seed=0, start=10), 2)
    assert json.loads(row["names"]) == [f"=image {key.image_index}" for key in keys]
    assert (
        "loss spike at step 5: 0.9, above 0.3574 (median 0.135), in a batch of =im" in caplog.text
    )


def test_too_few_losses_and_falling_ones_are_no_spikes(tmp_path):
    fit(tmp_path, [0.1, 0.9, 0.1, 0.8, 0.2, 0.01])
    assert not (tmp_path / "spikes.csv").exists()


def test_a_batch_within_an_accumulated_step_is_named(tmp_path):
    fit(tmp_path, [*CALM, 0.12, 0.9], accumulate=2, pictures=True)
    (row,) = rows(tmp_path)
    assert (row["step"], row["position"]) == ("2", "10")
    (picture,) = (tmp_path / "spikes").iterdir()
    assert picture.name == "step0000002_rank0_batch1.png"
    with Image.open(picture) as image:
        assert image.size == (2 * 2 * 4, 4)  # two samples, low and high resolution side by side
        assert image.getpixel((0, 0)) == (230, 230, 230)


def test_a_resumed_run_reports_the_same_once(tmp_path):
    levels = [*CALM, 0.9, 0.12, 0.12, 0.8, 0.12, 0.12]
    fit(tmp_path / "a", levels)
    expected = rows(tmp_path / "a")
    assert [row["step"] for row in expected] == ["4", "7"]
    fit(tmp_path / "b", levels, max_steps=4)
    assert not (tmp_path / "b" / "spikes.csv").exists()
    checkpoint = tmp_path / "b" / "last.ckpt"
    kept = tmp_path / "kept.ckpt"
    kept.write_bytes(checkpoint.read_bytes())
    fit(tmp_path / "b", levels, max_steps=6, ckpt_path=kept)  # killed behind the checkpoint
    assert [row["step"] for row in rows(tmp_path / "b")] == ["4"]
    fit(tmp_path / "b", levels, ckpt_path=kept)
    assert rows(tmp_path / "b") == expected


def test_a_half_written_line_is_forgotten(tmp_path):
    levels = [*CALM, 0.9, 0.12, 0.12, 0.8]
    fit(tmp_path, levels, max_steps=6)
    with (tmp_path / "spikes.csv").open("a") as file:
        file.write("5,0.3")
    fit(tmp_path, levels, ckpt_path=tmp_path / "last.ckpt")
    assert [row["step"] for row in rows(tmp_path)] == ["4", "7"]


def test_rows_that_cannot_be_read_are_forgotten(tmp_path):
    """A resume ended with a traceback."""
    levels = [*CALM, 0.9, 0.12, 0.12, 0.8]
    fit(tmp_path, levels, max_steps=6)
    whole = (tmp_path / "spikes.csv").read_bytes()
    lines = [b"5,0.3,0.2,0.1,0,0," + names + b"\n" for names in (b"x" * 200_000, b"\xff")]
    lines += [b"5" * 5000 + b",0.3,0.2,0.1,0,0,[]\n", b'"', b"\0\n"]
    (tmp_path / "spikes.csv").write_bytes(b"".join([*lines, b"\n", whole, *lines]))
    fit(tmp_path, levels, ckpt_path=tmp_path / "last.ckpt")
    assert [row["step"] for row in rows(tmp_path)] == ["4", "7"]


@pytest.mark.parametrize("name", ["n", "\udcff", '"'])
def test_a_row_of_many_long_names_can_be_read_again(tmp_path, name):
    report = SpikeReport(output_dir=tmp_path)
    for step, names in enumerate([[name * 5000] * 64, [name]]):
        report._report(Mock(is_global_zero=True), [step, 0.9, 0.2, 0.1, 0, None, names])
    many, one = (json.loads(row["names"]) for row in rows(tmp_path))
    assert one == [name]
    assert many == [name * 5000] * (len(many) - 1) + [f"and {65 - len(many)} more"]
    before = report._rows
    report.on_train_start(Mock(is_global_zero=True, global_step=9), Mock())
    assert [row[0] for row in report._rows] == [row[0] for row in before] == [0, 1]


def test_what_is_not_finite_is_the_guards(tmp_path):
    levels = [*CALM, float("inf"), 0.12, 0.9]
    fit(tmp_path, levels, NonFiniteGuard(policy="skip"), max_steps=6)
    (row,) = rows(tmp_path)
    assert (row["step"], row["position"]) == ("5", "12")


def test_other_modules_cannot_be_watched(request, tmp_path):
    with pytest.raises(InputError, match=r"TinyModule does not tell its losses: ~callbacks.spikes"):
        request.getfixturevalue("fit")([SpikeReport(output_dir=tmp_path)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 2}, "callbacks.spikes.window must be an integer of at least 3"),
        ({"deviations": 0}, "callbacks.spikes.deviations must be above 0, got 0"),
        ({"deviations": float("nan")}, "callbacks.spikes.deviations must be above 0, got nan"),
        ({"pictures": "yes"}, "callbacks.spikes.pictures is true or false, got yes"),
    ],
)
def test_impossible_options_are_told(options, message):
    with pytest.raises(InputError, match=message):
        SpikeReport(output_dir=".", **options)
