"""How jobs of a multirun end; the rest of `config` is tested with the commands."""

import shutil
import subprocess
import sys

import pytest

SCRIPT = """
import sys
from esc_sr.config import hydra_main
from esc_sr.errors import InputError

def task(cfg):
    print("scale", cfg.scale, flush=True)
    if cfg.scale == 2:
        raise InputError("two is no good")
    if cfg.scale == 3:
        raise KeyError("a bug")

hydra_main("train", task, sys.argv[1:])
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)

    def call(*arguments):
        command = [sys.executable, str(path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    return call


def test_the_jobs_behind_a_failure_go_on_and_the_failures_are_listed_at_the_end(script):
    done = script("-m", "scale=1,2,3,4", "seed=7")
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if line.startswith("scale")] == [
        f"scale {scale}" for scale in (1, 2, 3, 4)
    ]
    lines = done.stderr.splitlines()
    assert lines[0] == "esc-sr: error: job 1 (scale=2): two is no good"
    assert done.stderr.count("Traceback") == 1  # of the bug
    assert "KeyError: 'a bug'" in lines
    assert "esc-sr: error: job 2 (scale=3): KeyError, see above" in lines
    assert lines[-1] == "esc-sr: error: 2 of 4 jobs failed: job 1 (scale=2); job 2 (scale=3)"


def test_a_single_run_fails_as_ever(script):
    done = script("scale=2")
    assert (done.returncode, done.stderr) == (1, "esc-sr: error: two is no good\n")
    assert "KeyError: 'a bug'" in script("scale=3").stderr
    assert script("-m", "scale=1,4").returncode == 0


@pytest.mark.parametrize(
    "launcher", ["joblib", pytest.param("submitit_local", marks=pytest.mark.slow)]
)
def test_failures_in_other_processes_are_told_and_listed_too(script, launcher, tmp_path):
    """Launchers give back the first failure alone, and lists of this process are not theirs."""
    done = script("-m", "scale=1,2,3,4", "seed=7", f"hydra/launcher={launcher}")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert "esc-sr: error: job 1 (scale=2): two is no good" in lines
    assert lines[-1] == "esc-sr: error: 2 jobs failed: job 1 (scale=2); job 2 (scale=3)"
    (bug,) = [line for line in lines if "job 2 (scale=3): KeyError, see " in line]
    if launcher == "joblib":
        assert "KeyError: 'a bug'" in lines
        assert "scale 4" in done.stdout  # processes may print into the same line
    else:
        logs = list(tmp_path.glob("runs/multirun/*/.submitit/*/*.err"))
        assert any("KeyError: 'a bug'" in path.read_text() for path in logs)
        assert bug.endswith(".submitit")
    assert not list(tmp_path.rglob(".failed-*"))


@pytest.mark.skipif(shutil.which("srun") is not None, reason="this is a SLURM cluster")
def test_slurm_is_told_missing_where_it_is(script):
    done = script("-m", "scale=1,4", "hydra/launcher=slurm")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("esc-sr: error: there is no srun here")
