from itertools import islice

import lightning as L
import pytest
import torch

from esc_sr.data.datamodule import SRDataModule
from esc_sr.data.pairs import PairedImages
from esc_sr.data.sampler import ResumableSampler
from esc_sr.errors import InputError


@pytest.fixture
def pairs(tmp_path, make_images):
    make_images(tmp_path / "gt", names="abcde", size=(32, 40))
    return PairedImages(gt_dir=tmp_path / "gt", scale=2, crop_size=8, augment=True)


class Recorder(L.LightningModule):
    """Learns nothing; keeps what it was given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, _):
        self.seen += [
            (n, gt.sum().item()) for n, gt in zip(batch["name"], batch["gt"], strict=True)
        ]
        return self.weight * batch["lq"].mean()

    def validation_step(self, *_):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(data, tmp_path, steps, *, resume=None, save=None, **options):
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        limit_val_batches=0,
        use_distributed_sampler=False,
        **options,
    )
    module = Recorder()
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True if resume else None)
    if save:
        trainer.save_checkpoint(save)
    return module.seen


def expected_samples(pairs, count, seed):
    keys = islice(ResumableSampler(num_images=len(pairs), seed=seed), count)
    return [(sample["name"], sample["gt"].sum().item()) for sample in (pairs[k] for k in keys)]


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_resuming_continues_at_the_next_sample_even_with_another_batch_size(
    tmp_path, pairs, accumulate
):
    one, two = tmp_path / "one.ckpt", tmp_path / "two.ckpt"

    def data(batch_size):
        return SRDataModule(train=pairs, batch_size=batch_size, seed=7)

    options = {"accumulate_grad_batches": accumulate}
    seen = fit(data(2), tmp_path, 3, save=one, **options)
    assert len(seen) == 6 * accumulate
    seen += fit(data(3), tmp_path, 5, resume=one, save=two, **options)
    assert len(seen) == 12 * accumulate
    seen += fit(data(1), tmp_path, 7, resume=two, **options)
    assert seen == expected_samples(pairs, 14 * accumulate, seed=7)

    state = torch.load(two, weights_only=True)["SRDataModule"]
    assert state["samples_seen"] == 12 * accumulate
    assert {type(value) for value in state.values()} == {int}


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_a_checkpoint_made_inside_a_step_hook_resumes_exactly(tmp_path, pairs):
    """ModelCheckpoint saves in on_train_batch_end, before Lightning counts the batch as done."""

    class Save(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 2:
                trainer.save_checkpoint(tmp_path / "hook.ckpt")

    data = SRDataModule(train=pairs, batch_size=2)
    whole = fit(data, tmp_path, 4, callbacks=[Save()])
    rest = fit(SRDataModule(train=pairs, batch_size=2), tmp_path, 4, resume=tmp_path / "hook.ckpt")
    assert rest == whole[4:]


def test_workers_change_nothing(pairs):
    def first(num_workers, cache):
        pairs.cache = cache
        data = SRDataModule(train=pairs, batch_size=3, num_workers=num_workers, seed=1)
        batches = list(islice(data.train_dataloader(), 4))
        return [batch["name"] for batch in batches], torch.cat([b["gt"] for b in batches])

    names, gt = first(0, False)
    worker_names, worker_gt = first(2, False)
    assert names == worker_names
    assert torch.equal(gt, worker_gt)
    assert gt.shape == (12, 3, 16, 16)


def test_joined_sets_by_list_and_by_name(pairs):
    for train in ([pairs, pairs], {"one": pairs, "two": pairs}):
        data = SRDataModule(train=train, batch_size=10)
        batch = next(iter(data.train_dataloader()))
        assert sorted(batch["name"]) == sorted("abcde" * 2)


def test_validation_loaders_keep_their_order(tmp_path, pairs):
    whole = PairedImages(gt_dir=tmp_path / "gt", scale=2)
    data = SRDataModule(val={"zebra": whole, "ape": pairs})
    assert data.val_names == ["zebra", "ape"]
    loaders = data.val_dataloader()
    assert [len(loader) for loader in loaders] == [5, 5]
    batch = next(iter(loaders[0]))
    assert batch["gt"].shape == (1, 3, 32, 40)
    assert batch["name"] == ["a"]


def test_a_fresh_module_starts_at_the_first_sample(pairs):
    data = SRDataModule(train=pairs)
    assert data.state_dict() == {"samples_seen": 0, "batches_seen": 0}
    data.load_state_dict({"samples_seen": 30, "batches_seen": 3})
    assert data.state_dict() == {"samples_seen": 30, "batches_seen": 3}
    assert data.train_dataloader().sampler.start == 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ({"num_workers": -1}, "num_workers must be an integer of at least 0"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"train": []}, "no training set"),
    ],
)
def test_values_out_of_range_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        SRDataModule(**arguments)


def test_training_without_images_or_in_batches_of_whole_images_is_refused(tmp_path, pairs):
    with pytest.raises(InputError, match="no training images; choose"):
        SRDataModule().train_dataloader()
    whole = PairedImages(gt_dir=tmp_path / "gt", scale=2)
    with pytest.raises(InputError, match="whole images do not fit into a batch of 2"):
        SRDataModule(train=whole, batch_size=2)
    SRDataModule(train=whole, batch_size=1)
