import io
import logging
import re

import pytest
import rich
from rich.console import Console

from esc_sr.errors import InputError
from esc_sr.training.callbacks.progress import StepProgressBar


@pytest.fixture
def console(monkeypatch):
    """Make Rich write to a fake terminal or file, and return what came out, without escapes."""

    def use(*, terminal: bool) -> io.StringIO:
        out = io.StringIO()
        monkeypatch.setattr(
            rich,
            "_console",
            Console(file=out, force_terminal=terminal, width=120, legacy_windows=False),
        )
        # Lightning sets the console up anew, which would lose the fake one.
        monkeypatch.setattr(
            "lightning.pytorch.callbacks.progress.rich_progress.reconfigure", lambda **_: None
        )
        return out

    return use


def _plain(out):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())


class Watched(StepProgressBar):
    """Keeps where the bar stood after each batch."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.positions: list[tuple[float, float | None]] = []

    def on_train_batch_end(self, *args, **kwargs):
        super().on_train_batch_end(*args, **kwargs)
        if self.train_progress_bar_id is not None:
            self.positions.append(
                (self.train_progress_bar.completed, self.train_progress_bar.total)
            )
            self.refresh(hard=True)


def test_a_terminal_sees_steps_of_max_steps_and_no_epoch(fit, console):
    out = console(terminal=True)
    bar = Watched()
    fit([bar], max_steps=4, enable_progress_bar=True)
    assert bar.positions == [(1, 4), (2, 4), (3, 4), (4, 4)]
    text = _plain(out)
    assert re.search(r"Step\s.*4/4", text)
    assert "train/loss" in text
    assert "Epoch" not in text
    assert "inf" not in text


def test_with_accumulation_the_bar_counts_optimizer_steps(fit, console):
    console(terminal=True)
    bar = Watched()
    fit(
        [bar],
        max_steps=2,
        accumulate_grad_batches=2,
        val_check_interval=4,
        enable_progress_bar=True,
    )
    assert bar.positions == [(0, 2), (1, 2), (1, 2), (2, 2)]


def test_a_resumed_bar_goes_on_where_the_checkpoint_was(fit, console, tmp_path):
    console(terminal=True)
    _, trainer = fit(max_steps=2)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    bar = Watched()
    fit([bar], max_steps=4, ckpt_path=tmp_path / "two.ckpt", enable_progress_bar=True)
    assert bar.positions == [(3, 4), (4, 4)]


def test_training_by_epochs_keeps_the_bar_of_lightning(fit, console):
    out = console(terminal=True)
    bar = Watched()
    fit(
        [bar],
        max_steps=-1,
        max_epochs=1,
        limit_train_batches=3,
        val_check_interval=3,
        enable_progress_bar=True,
    )
    assert bar.positions == [(1, 3), (2, 3), (3, 3)]
    assert "Epoch 0/0" in _plain(out)


def test_a_file_gets_plain_lines_and_no_bar(fit, console, caplog):
    out = console(terminal=False)
    with caplog.at_level(logging.INFO, "esc_sr"):
        bar = StepProgressBar(seconds_per_line=0)
        fit([bar], max_steps=3, val_check_interval=100, enable_progress_bar=True)
    assert out.getvalue() == ""
    lines = [
        r.getMessage() for r in caplog.records if r.name.startswith("esc_sr.training.callbacks")
    ]
    assert [line.split(" | ")[0] for line in lines] == ["step 1/3", "step 2/3", "step 3/3"]
    assert all(re.search(r"train/loss 0\.\d+", line) for line in lines)


@pytest.mark.parametrize("terminal", [True, False])
def test_every_validation_leaves_one_line(fit, console, caplog, terminal):
    out = console(terminal=terminal)
    with caplog.at_level(logging.INFO, "esc_sr"):
        bar = StepProgressBar(seconds_per_line=1000)
        fit([bar], max_steps=4, val_check_interval=2, enable_progress_bar=True)
    text = _plain(out) if terminal else caplog.text
    assert len(re.findall(r"step 2/4 \| .*train/loss", text)) == 1
    assert len(re.findall(r"step 4/4 \| .*train/loss", text)) == 1
    assert "v_num" not in text


def test_lines_are_rare_but_the_last_step_has_one(fit, console, caplog):
    console(terminal=False)
    with caplog.at_level(logging.INFO, "esc_sr"):
        bar = StepProgressBar(seconds_per_line=1000)
        fit([bar], max_steps=3, val_check_interval=100, enable_progress_bar=True)
    lines = [
        r.getMessage() for r in caplog.records if r.name.startswith("esc_sr.training.callbacks")
    ]
    assert [line.split(" | ")[0] for line in lines] == ["step 3/3"]


def test_refuses_a_negative_rate():
    with pytest.raises(InputError, match="refresh_rate"):
        StepProgressBar(refresh_rate=-1)
