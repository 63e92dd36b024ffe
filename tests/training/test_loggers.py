import sys

import pytest
import wandb
from lightning.pytorch import loggers

from esc_sr.errors import InputError, MissingExtraError
from esc_sr.runs.labels import RunLabels
from esc_sr.training.loggers import Introduction, TensorBoardLogger, WandbLogger


@pytest.mark.parametrize(
    ("create", "module", "extra"),
    [
        (lambda: TensorBoardLogger(save_dir="x"), "tensorboard", "tensorboard"),
        (lambda: WandbLogger(save_dir="x", project="p"), "wandb", "wandb"),
    ],
)
def test_a_missing_package_is_told_with_its_extra(monkeypatch, create, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'esc-sr\[{extra}\]'"):
        create()


def test_files_lie_where_the_config_says(tmp_path):
    tensorboard = TensorBoardLogger(save_dir=str(tmp_path / "tb"))
    assert isinstance(tensorboard, loggers.TensorBoardLogger)
    assert tensorboard.log_dir.rstrip("/") == str(tmp_path / "tb")
    logger = WandbLogger(save_dir=str(tmp_path / "run"), project="p", mode="offline")
    assert isinstance(logger, loggers.WandbLogger)
    assert logger.save_dir == str(tmp_path / "run")
    assert not (tmp_path / "run").exists()  # before its first use


def introduction(**changes):
    labels = RunLabels(name="esc-seed=1", variant="esc", group="night", tags=("esc", "x4"))
    return Introduction(labels=labels, about={}, hyperparameters={}, metrics=[], **changes)


def test_what_is_not_committed_is_sent_if_asked_and_labels_of_the_environment_stay(
    tmp_path, monkeypatch, wandb_variables, read_wandb
):
    for variable, value in wandb_variables.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("WANDB_RUN_GROUP", "mine")
    diff = tmp_path / "dirty.diff"
    diff.write_text("-1\n+2\n")
    wandb.teardown()  # it has read the environment of earlier runs
    for asked in (True, False):
        logger = WandbLogger(
            save_dir=str(tmp_path / str(asked)), project="p", mode="offline", log_diff=asked
        )
        logger.introduce(introduction(diff=diff))
        logger.finalize("success")
        assert wandb.run is not None  # there is more to come
        logger.close(finished=True)
    wandb.teardown()
    sent, kept = (read_wandb(tmp_path / str(asked)) for asked in (True, False))
    assert (sent.files, kept.files) == (["dirty.diff"], [])
    assert (sent.folder / "files" / "dirty.diff").read_text() == diff.read_text()
    assert (sent.run.display_name, sent.run.run_group) == ("esc-seed=1", "mine")
    assert list(sent.run.tags) == ["esc", "x4"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "dryrun"}, "unknown mode 'dryrun'; choose one of: online, offline, disabled"),
        ({"tags": "night"}, r"tags must be a list such as \[a,b\], got night"),
        ({"log_model": "all"}, "log_model is true or false, got all"),
        ({"log_diff": 1}, "log_diff is true or false"),
    ],
)
def test_impossible_options_of_wandb_are_told(options, message):
    with pytest.raises(InputError, match=message):
        WandbLogger(save_dir="x", project="p", **options)


def test_what_wandb_refuses_is_told_in_one_line(tmp_path, monkeypatch):
    def refuse(**options):
        raise wandb.errors.UsageError("No API key configured.\nUse `wandb login` to log in.")

    monkeypatch.setattr(wandb, "init", refuse)
    logger = WandbLogger(save_dir=str(tmp_path / "run"), project="p", mode="online")
    with pytest.raises(InputError, match=r"W&B: No API key .* to log in; .*mode=offline") as caught:
        logger.experiment  # noqa: B018
    assert "\n" not in str(caught.value)
