"""A trial reports after each validation and stops when it is told to."""

import pytest

from esc_sr.config import compose_config
from esc_sr.errors import InputError
from esc_sr.runs.record import PRUNED, read_record
from esc_sr.tasks.train import run
from esc_sr.training.callbacks.pruning import TrialPruned, TrialPruning

TINY = [
    "experiment=quickstart",
    "model.dim=16",
    "model.partial_dim=8",
    "model.num_blocks=1",
    "model.num_conv_attn=1",
    "model.window_size=8",
    "data.train.crop_size=16",
    "data.batch_size=2",
    "trainer.accelerator=cpu",
    "trainer.max_steps=6",
    "trainer.val_check_interval=2",
    "callbacks=checkpoint",
    "final_table=false",
]
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


class Judge:
    def __init__(self, stop_at=None):
        self.stop_at = stop_at
        self.reported = []

    def should_stop(self, value, step):
        self.reported.append((step, value))
        return step == self.stop_at


def train(folder, judge, monitor="val/psnr_y"):
    cfg = compose_config("train", [*TINY, f"paths.output_dir={folder}"])
    return run(cfg, more_callbacks=[TrialPruning(monitor=monitor, judge=judge)])


def test_every_validation_is_reported_and_a_finished_run_is_not_pruned(tmp_path):
    judge = Judge(stop_at=6)
    result = train(tmp_path, judge)
    assert [step for step, _ in judge.reported] == [2, 4, 6]
    assert max(value for _, value in judge.reported) == pytest.approx(result.best_score)
    record = read_record(tmp_path)
    assert record.state == "finished"
    assert "TrialPruning" not in str(record.config)  # a run like any other


def test_a_pruned_run_says_so_and_is_not_taken_for_a_finished_one(tmp_path):
    judge = Judge(stop_at=4)
    with pytest.raises(TrialPruned, match=r"val/psnr_y=\d+\.\d{4} after 4 steps promises too"):
        train(tmp_path, judge)
    assert [step for step, _ in judge.reported] == [2, 4]
    record = read_record(tmp_path)
    assert (record.state, record.step) == (PRUNED, 4)
    assert "promises too little" in record.error


def test_a_value_that_is_not_logged_is_told(tmp_path):
    with pytest.raises(InputError, match="val/ssim is not logged"):
        train(tmp_path, Judge(), monitor="val/ssim")
