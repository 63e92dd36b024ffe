import os
import signal
import subprocess
import sys

import pytest

from esc_sr import __version__
from esc_sr.cli import COMMANDS, main


def process(*arguments, cwd, options=(), variables=None):
    command = [sys.executable, *options, "-m", "esc_sr", *arguments]
    environment = {**os.environ, **(variables or {})}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


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


def names_a_descriptor(arguments):
    class Descriptor:
        def __set_name__(self, owner, name):
            signal.raise_signal(signal.SIGTERM)

    type("Owner", (), {"descriptor": Descriptor()})


def makes_another_error_of_it(arguments):
    try:
        signal.raise_signal(signal.SIGTERM)
    except SystemExit as stopped:
        raise RuntimeError("lost") from stopped


def leaves_with_another_status(arguments):
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        sys.exit(1)


@pytest.mark.parametrize(
    "command", [names_a_descriptor, makes_another_error_of_it, leaves_with_another_status]
)
def test_sigterm_is_one_line_whatever_becomes_of_its_error(command, monkeypatch, capsys):
    """While modules were imported there could be a traceback."""
    monkeypatch.setattr("esc_sr.tasks.compare.main", command)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left:
        main(["compare"])
    assert left.value.code == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "esc-sr: terminated\n"
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["info", "--help"]], ids=" ".join)
def test_an_output_that_cannot_be_written_is_one_line(arguments, tmp_path):
    command = [sys.executable, "-m", "esc_sr", *arguments]
    with open("/dev/full", "w") as device:
        done = subprocess.run(command, stdout=device, stderr=subprocess.PIPE, text=True)
    line = "esc-sr: error: cannot write the output: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, line)


def test_the_signs_of_a_terminal_are_no_reason_to_fail(tmp_path):
    """A table and a log of a machine whose encoding is ASCII."""
    variables = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    done = process("compare", "scale=4", "output_dir=out", cwd=tmp_path, variables=variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\xd74" in done.stdout
    assert done.stdout.isascii()
    assert "×4" in (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")


def test_a_log_that_cannot_be_opened_is_named(tmp_path, esc_sr):
    log = tmp_path / "run" / "train.log"
    log.mkdir(parents=True)
    done = esc_sr("train", "experiment=quickstart", "run_dir=run", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, f"esc-sr: error: Is a directory: {log}\n")


@pytest.mark.skipif(os.name == "nt", reason="there a folder in use cannot be removed")
@pytest.mark.parametrize("command", ["info", "upscale"])
def test_a_working_folder_that_is_gone_is_one_line(command, tmp_path):
    (tmp_path / "gone").mkdir()
    words = ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", sys.executable, "-m", "esc_sr"]
    done = subprocess.run(
        [*words, command, "esc_tiny_x4"], capture_output=True, text=True, cwd=tmp_path / "gone"
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "esc-sr: error: the working folder is gone (No such file or directory): "
        "change to one that exists\n"
    )


def test_errors_of_the_system_are_one_line_without_a_configuration_too(monkeypatch, capsys):
    for error, told in (
        (OSError(28, "No space left on device", "a.png"), "No space left on device: a.png"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("who knows"), "who knows"),
    ):

        def failing(arguments, error=error):
            raise error

        monkeypatch.setattr("esc_sr.tasks.upscale.main", failing)
        with pytest.raises(SystemExit) as left:
            main(["upscale"])
        assert left.value.code == 1
        assert capsys.readouterr().err == f"esc-sr: error: {told}\n"


def test_networks_in_the_current_folder_are_found(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch.nn import Upsample\ndef net(scale):\n    return Upsample(scale_factor=scale)\n"
    )
    command = ["bench", "model=custom", "model._target_=mine.net", "lq_size=[8,8]", "repeats=1"]
    # -P: the folder is not on the path by itself, as where the console script is called.
    done = process(*command, cwd=tmp_path, options=["-P"])
    assert done.returncode == 0, done.stderr
    assert "×4, LQ 8×8, fp32" in done.stdout
