"""The shipped callbacks and loggers in a real run: which files and keys come out."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback

CONF = Path(__file__).parents[3] / "conf"
EMPTY_ROOT = "primary"


@pytest.fixture
def composed(tmp_path):
    """Compose groups of conf/ at a root that has only what they interpolate."""
    root = tmp_path / "root"
    root.mkdir()
    (root / f"{EMPTY_ROOT}.yaml").write_text(
        "defaults: [callbacks: none, logger: none, _self_]\n"
        "monitor: val/loss/dataloader_idx_0\n"
        "ema_decay: 0.99\n"
        f"paths: {{output_dir: {tmp_path / 'out'}}}\n"
        f"hydra: {{searchpath: ['file://{CONF}']}}\n"
    )

    def run(*overrides):
        with initialize_config_dir(str(root), version_base="1.3"):
            config = compose(EMPTY_ROOT, overrides=list(overrides))
        return instantiate(
            {
                "callbacks": config.callbacks,
                "logger": config.logger,
                "paths": config.paths,
                "monitor": config.monitor,
                "ema_decay": config.ema_decay,
            },
            _convert_="all",
        )

    return run


@pytest.mark.filterwarnings("ignore:You're using the WeightAveraging callback")
def test_the_default_callbacks_and_two_loggers_run_together(fit, composed, tmp_path):
    objects = composed("callbacks=default", "logger=[csv,tensorboard]")
    callbacks, loggers = objects["callbacks"], objects["logger"]
    assert all(isinstance(callback, Callback) for callback in callbacks.values())
    assert list(loggers) == ["csv", "tensorboard"]
    _, trainer = fit(
        callbacks.values(),
        list(loggers.values()),
        max_steps=4,
        enable_progress_bar=True,
        enable_checkpointing=True,
    )
    out = tmp_path / "out"
    assert sorted(p.name for p in (out / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    last = torch.load(out / "checkpoints" / "last.ckpt", weights_only=False)
    assert last["global_step"] == 4
    raw = last["current_model_state"]["network.body.weight"]
    assert not torch.equal(last["state_dict"]["network.body.weight"], raw)  # the average
    header = (out / "csv" / "version_0" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {
        "train/loss",
        "perf/latency_ms",
        "perf/latency_ms_p10",
        "perf/latency_ms_p90",
        "perf/peak_memory_mib",
        "perf/inference_peak_memory_mib",
        "perf/samples_per_sec",
        "perf/batches_per_sec",
        "lr-SGD",
    } <= set(header)
    assert list((out / "tensorboard").glob("events.out.tfevents.*"))
    assert len(list((out / "images" / "SetA").glob("*.png"))) == 2 * 3
    assert trainer.checkpoint_callback is callbacks["checkpoint_best"]


def test_the_last_checkpoint_is_the_one_of_the_last_validation_also_when_it_is_worse(
    fit, composed, tmp_path
):
    objects = composed("callbacks=checkpoint")
    best = objects["callbacks"]["checkpoint_best"]
    best.mode, best.kth_value = "min", torch.tensor(-1.0)  # nothing can be better: never saved
    best.best_k_models, best.kth_best_model_path = {"none": torch.tensor(-1.0)}, "none"
    fit(objects["callbacks"].values(), max_steps=6, enable_checkpointing=True)
    folder = tmp_path / "out" / "checkpoints"
    assert [p.name for p in folder.iterdir()] == ["last.ckpt"]
    assert torch.load(folder / "last.ckpt", weights_only=False)["global_step"] == 6


def test_no_logger_still_satisfies_callbacks_that_ask_for_one(fit, composed):
    objects = composed("callbacks=lr_monitor", "logger=none")
    _, trainer = fit(objects["callbacks"].values(), list(objects["logger"].values()), max_steps=2)
    assert "lr-SGD" in trainer.callback_metrics


def test_no_callbacks_is_an_empty_group(composed):
    assert composed("callbacks=none")["callbacks"] == {}
