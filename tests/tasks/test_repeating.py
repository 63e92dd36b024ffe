"""Records of runs, runs that are repeated, and runs that are not made again."""

import json
import subprocess
from functools import partial

import pytest
import torch
from omegaconf import OmegaConf

from esc_sr.config import compose_config
from esc_sr.errors import InputError
from esc_sr.models.checkpoints import read_checkpoint
from esc_sr.runs.finding import run_folders
from esc_sr.runs.record import read_record
from esc_sr.tasks.repeating import repeated
from esc_sr.tasks.train import run
from tiny import TRAINING

TINY = [
    *TRAINING,
    "trainer.max_steps=2",
    "callbacks=[checkpoint,ema]",
]
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*",
    "ignore:Checkpoint directory .* exists and is not empty",
)


def train(output_dir, *overrides):
    return run(compose_config("train", [*TINY, *overrides, f"paths.output_dir={output_dir}"]))


@pytest.fixture
def command(esc_sr):
    return partial(esc_sr, "train")


def weights(folder):
    return read_checkpoint(folder / "model.safetensors").state_dict


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def write(folder, **changes):
    """Write a record as of a run that the command line has started."""
    cfg = compose_config("train", [*TINY, "paths.output_dir=there"])
    content = {
        "format": 1,
        "state": "finished",
        "config": OmegaConf.to_container(cfg, resolve=True),
        "config_hash": "0",
        "error": None,
        "files": {},
        "overrides": TINY,
        "config_dir": None,
        "choices": {},
        "network": None,
        "params_k": None,
        "macs_g": None,
        "macs_lq_size": None,
        "sessions": [{"git": [{"of": "esc_sr", "commit": "abc"}]}],
        "best_score": None,
        "measured": {},
        "results": {},
        "bicubic": {},
    }
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps(content | changes))
    return folder


def test_a_run_records_what_it_was_and_every_image(tmp_path):
    result = train(tmp_path)
    record = read_record(tmp_path)
    assert record.state == "finished"
    assert record.config["model"]["dim"] == 16
    assert (record.seed, record.step) == (0, 2)
    assert record.wall_s > 0
    assert record.params_k == pytest.approx(22.214)
    assert record.macs_lq_size == [360, 640]
    session = record.session
    assert session["versions"]["torch"] == torch.__version__
    assert {"esc_sr", "python", "lightning", "numpy", "cuda"} <= session["versions"].keys()
    assert session["device"]["type"] == "cpu"
    assert record.best_score == pytest.approx(result.best_score)
    measured = result.table[1].sets["sample"]
    assert record.results["sample"] == {"images": measured.images, **measured.values}
    assert record.bicubic["sample"]["images"] == measured.images
    assert record.measured["val/sample/psnr_y"] == pytest.approx(result.best_score)
    means = json.loads((tmp_path / "results.json").read_text())["ESC x2"]["sample"]
    assert means["psnr_y"] == pytest.approx(measured.means()["psnr_y"])
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 1 + 2 * 3


def test_the_commit_and_what_is_not_committed_are_recorded(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)

    (tmp_path / "mine.py").write_text("a = 1\n")
    git("init", "--quiet")
    git("add", "mine.py")
    git("commit", "--quiet", "-m", "first")
    (tmp_path / "mine.py").write_text("a = 2\n")
    monkeypatch.chdir(tmp_path)
    train(tmp_path / "run", "final_table=false")
    states = {state["of"]: state for state in read_record(tmp_path / "run").session["git"]}
    state = states["working_dir"]
    assert len(state["commit"]) == 40
    assert state["dirty"]
    assert "+a = 2" in (tmp_path / "run" / state["diff"]).read_text()


def test_a_resumed_run_has_two_sessions(tmp_path):
    train(tmp_path, "final_table=false")
    train(tmp_path, "final_table=false", "trainer.max_steps=4", "ckpt_path=last")
    record = read_record(tmp_path)
    assert [session["step"] for session in record.sessions] == [2, 4]
    assert record.wall_s > record.sessions[1]["wall_s"] > 0
    assert record.sessions[0]["config_hash"] != record.config_hash


def test_a_run_that_was_begun_anew_forgets_the_sessions_before(tmp_path):
    train(tmp_path, "final_table=false")
    (tmp_path / "checkpoints" / "last.ckpt").unlink()
    train(tmp_path, "final_table=false")
    assert len(read_record(tmp_path).sessions) == 1


def test_secrets_are_in_none_of_the_files(tmp_path):
    secret = "hunter2hunter2"
    train(tmp_path, f"+paths.api_key={secret}", "final_table=false")
    assert (tmp_path / "csv" / "version_0" / "hparams.yaml").is_file()
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes(), path


def test_a_run_that_fails_says_why(tmp_path):
    with pytest.raises(InputError, match=r"is (nan|inf) at step"):
        train(tmp_path, "optimizer.lr=1.0e+30", "trainer.gradient_clip_val=null", "ema_decay=0.0")
    record = read_record(tmp_path)
    assert record.state == "failed"
    assert "try a lower optimizer.lr" in record.error
    assert record.wall_s > 0


def test_from_repeats_a_run_bit_for_bit(tmp_path, command):
    first = command(*TINY, "seed=3", "run_dir=first", "final_table=false", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    again = command("--from", "first", "run_dir=again", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert same(weights(tmp_path / "first"), weights(tmp_path / "again"))
    one, two = (read_record(tmp_path / name) for name in ("first", "again"))
    assert one.config_hash == two.config_hash
    assert two.seed == 3
    other = command("--from=first", "run_dir=other", "seed=4", cwd=tmp_path)
    assert other.returncode == 0, other.stderr
    assert not same(weights(tmp_path / "first"), weights(tmp_path / "other"))


def test_from_keeps_what_holds_and_takes_what_is_new(tmp_path):
    overrides = [*TINY, "run_dir=x", "ckpt_path=last", "attention=sdpa"]
    run_dir = write(tmp_path, overrides=overrides)
    assert repeated(["--from", str(run_dir)]) == [*TINY, "attention=sdpa"]
    assert repeated(["-m", f"--from={run_dir}", "attention=eager,sdpa", "seed=1"]) == [
        "-m",
        *TINY,
        "attention=eager,sdpa",
        "seed=1",
    ]
    assert repeated(["--from", str(run_dir), "--cfg", "job", "seed=1"])[:2] == ["--cfg", "job"]
    assert repeated(["seed=1"]) == ["seed=1"]


@pytest.mark.parametrize(
    ("changes", "more", "message"),
    [
        ({"overrides": None}, [], "was not started by `esc-sr train`"),
        ({"overrides": [*TINY, "+paths.api_key=***"]}, [], "paths.api_key, a secret"),
        ({"overrides": [*TINY, "seed=2"]}, [], "seed was 0, is 2; .*commit abc"),
        ({"overrides": [*TINY, "model.dimm=2"]}, [], "unknown key 'model.dimm'"),
        ({"files": {"init_from": "0"}}, [], "init_from=None is not the file any more"),
    ],
)
def test_what_cannot_be_repeated_is_refused_in_one_line(tmp_path, changes, more, message):
    folder = write(tmp_path, **changes)
    with pytest.raises(InputError, match=message) as caught:
        repeated(["--from", str(folder), *more])
    assert "\n" not in str(caught.value)


def test_a_default_that_has_changed_can_be_given(tmp_path):
    folder = write(tmp_path)
    content = json.loads((folder / "run.json").read_text())
    content["config"]["ema_decay"] = 0.5
    content["config"]["callbacks"]["ema"]["decay"] = 0.5
    (folder / "run.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"ema_decay was 0\.5, is 0\.98"):
        repeated(["--from", str(folder)])
    assert "ema_decay=0.5" in repeated(["--from", str(folder), "ema_decay=0.5"])


@pytest.mark.parametrize("arguments", [["--from"], ["--from", "-m"], ["--from="]])
def test_from_needs_a_folder(arguments):
    with pytest.raises(InputError, match="--from needs one folder of a run"):
        repeated(arguments)


def test_from_finds_configurations_of_ones_own(tmp_path):
    own = tmp_path / "conf" / "experiment" / "own.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("# @package _global_\ndefaults: [quickstart, _self_]\nema_decay: 0.5\n")
    cfg = compose_config("train", [*TINY, "ema_decay=0.5", "paths.output_dir=there"])
    overrides = ["experiment=own", *TINY[1:]]
    folder = write(
        tmp_path / "run",
        config=OmegaConf.to_container(cfg, resolve=True),
        overrides=overrides,
        config_dir=str(tmp_path / "conf"),
    )
    where = ["--config-dir", str(tmp_path / "conf")]
    assert repeated(["--from", str(folder)]) == [*where, *overrides]


def test_from_a_folder_without_a_run_is_one_line(tmp_path, command):
    done = command("--from", "nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "esc-sr: error: nowhere holds no run.json, so no run that can be told of\n"
    )
    assert not list(tmp_path.iterdir())


def test_a_repeated_multirun_goes_on_after_failures_and_skips_what_has_finished(tmp_path, command):
    common = [*TINY, "-m", "final_table=false", "skip_finished=true"]
    first = command(*common, "attention=flex,sdpa", cwd=tmp_path)
    assert first.returncode == 1
    lines = first.stderr.splitlines()
    assert lines[0].startswith("esc-sr: error: job 0 (attention=flex): attention=flex cannot train")
    assert lines[-1] == "esc-sr: error: 1 of 2 jobs failed: job 0 (attention=flex)"
    assert "Traceback" not in first.stderr
    (finished,) = run_folders(tmp_path / "runs")
    assert finished.name == "1"
    assert read_record(finished).state == "finished"

    again = command(*common, "attention=sdpa,eager", "hydra.sweep.dir=again", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    where = finished.relative_to(tmp_path)
    assert f"skipped: the same configuration has finished in {where}" in again.stdout
    states = [read_record(folder).state for folder in run_folders(tmp_path / "again")]
    assert states == ["skipped", "finished"]


def test_a_skipped_run_says_in_whose_favour_and_gives_its_score(tmp_path):
    done = train(tmp_path / "runs" / "a", "final_table=false")
    overrides = [f"paths.runs_dir={tmp_path / 'runs'}", "final_table=false", "skip_finished=true"]
    result = train(tmp_path / "b", *overrides)
    assert result.output_dir == done.output_dir
    assert result.best_score == pytest.approx(done.best_score)
    assert result.checkpoint == done.checkpoint
    record = read_record(tmp_path / "b")
    assert record.state == "skipped"
    assert str(done.output_dir) in record.error
    assert not (tmp_path / "b" / "checkpoints").exists()
    # Its own folder again: left as it is.
    assert train(tmp_path / "runs" / "a", *overrides).output_dir == done.output_dir
    assert read_record(tmp_path / "runs" / "a").state == "finished"
    assert train(tmp_path / "c", *overrides, "seed=1").output_dir == tmp_path / "c"
