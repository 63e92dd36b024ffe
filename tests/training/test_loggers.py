import sys

import pytest
import wandb
from lightning.pytorch import loggers

from esc_sr.errors import InputError, MissingExtraError
from esc_sr.training.loggers import TensorBoardLogger, WandbLogger


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
