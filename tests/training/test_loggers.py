import sys

import pytest
from lightning.pytorch import loggers

from esc_sr.errors import MissingExtraError
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
    wandb = WandbLogger(save_dir=str(tmp_path / "run"), project="p", offline=True)
    assert isinstance(wandb, loggers.WandbLogger)
    assert wandb.save_dir == str(tmp_path / "run")
    assert (tmp_path / "run").is_dir()
