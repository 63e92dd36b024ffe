import subprocess
import sys

import pytest

from esc_sr import __version__
from esc_sr.cli import COMMANDS, main


def process(*arguments, cwd, options=()):
    command = [sys.executable, *options, "-m", "esc_sr", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def test_help_lists_the_commands(tmp_path):
    done = process("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert all(name in done.stdout for name in COMMANDS)
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_version(tmp_path):
    assert process("--version", cwd=tmp_path).stdout.strip() == __version__


def test_an_unknown_command_lists_the_known_ones(tmp_path):
    done = process("learn", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "choose one of: train" in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_writes_nothing(command, tmp_path, esc_sr):
    done = esc_sr(command, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"usage: esc-sr {command}" in done.stdout
    assert len(done.stdout.splitlines()) < 60
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_an_unknown_key_in_one_line(command, tmp_path, esc_sr):
    done = esc_sr(command, "scalee=3", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "unknown key 'scalee'" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_process_of_its_own_explains_itself_too(tmp_path):
    """As a user calls it: with nothing imported before, and nothing captured."""
    done = process("train", "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("esc-sr train: ")
    assert not list(tmp_path.iterdir())


def test_folders_may_be_called_by_numbers_but_not_by_lists(tmp_path, esc_sr):
    done = esc_sr("compare", "output_dir=2026", "formats=[]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "2026" / "comparison.md").is_file()
    done = esc_sr("evaluate", "model=bicubic", "scale=2", "output_dir=[a]", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "output_dir must be a folder, got ['a']" in done.stderr


def test_an_interrupt_is_one_line(tmp_path, monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("esc_sr.tasks.compare.main", interrupted)
    with pytest.raises(SystemExit) as left:
        main(["compare"])
    assert left.value.code == 130
    assert capsys.readouterr().err == "esc-sr: interrupted\n"


def test_networks_in_the_current_folder_are_found(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch.nn import Upsample\ndef net(scale):\n    return Upsample(scale_factor=scale)\n"
    )
    command = ["bench", "model=custom", "model._target_=mine.net", "lq_size=[8,8]", "repeats=1"]
    # -P: the folder is not on the path by itself, as where the console script is called.
    done = process(*command, cwd=tmp_path, options=["-P"])
    assert done.returncode == 0, done.stderr
    assert "×4, LQ 8×8, fp32" in done.stdout
