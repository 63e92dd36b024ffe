"""Runs that are killed, stopped, or meet another run; see docs/reliability.md."""

import csv
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from esc_sr.api import create_model
from esc_sr.config import compose_config
from esc_sr.data.images import write_image
from esc_sr.errors import InputError
from esc_sr.export.onnx_file import DEFAULT_OPSET, write_onnx
from esc_sr.export.program import deployable, program_of
from esc_sr.export.torch_program import write_program
from esc_sr.export.weights import write_pth
from esc_sr.files import replacing, write_atomically
from esc_sr.locking import locked
from esc_sr.models.checkpoints import read_checkpoint, save_model
from esc_sr.pictures.writing import write_picture
from esc_sr.reporting.logs import read_curves
from esc_sr.runs.record import read_record
from esc_sr.tasks import train
from esc_sr.training.checkpoint_io import ReplacingCheckpointIO
from esc_sr.training.loggers import CSVLogger
from processes import Command, run
from tiny import NETWORK, TRAINING

MOMENTS = ("step", "gradient", "weights", "validation", "half", "written")


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """Arguments of a tiny training, and its configuration with `run` as its folder."""
    tmp_path = tmp_path_factory.mktemp("training")
    chance = np.random.default_rng(0)
    for name in ("train/a", "train/b", "valid/c"):
        path = tmp_path / "data" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 255, (40, 36, 3), np.uint8)).save(path)

    def arguments(steps, *more):
        return [
            *TRAINING,
            "data=folder",
            "data.num_workers=0",
            f"data.train.gt_dir={tmp_path}/data/train",
            f"data.val.valid.gt_dir={tmp_path}/data/valid",
            "callbacks=[checkpoint,ema]",
            "final_table=false",
            "trainer.log_every_n_steps=1",
            "ckpt_path=last",
            f"trainer.max_steps={steps}",
            f"scheduler.max_steps={steps}",
            *more,
        ]

    def config(steps, *more):
        cfg = compose_config("train", [*arguments(steps, *more), "paths.output_dir=run"])
        return OmegaConf.to_container(cfg, resolve=True)

    return SimpleNamespace(arguments=arguments, config=config, images=tmp_path / "data" / "train")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, training):
    """A run of five steps that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("unbroken")
    run(training.config(5), cwd=folder)
    return folder


def checkpoint(folder, name="last"):
    path = folder / "run" / "checkpoints" / f"{name}.ckpt"
    return torch.load(path, weights_only=True) if path.is_file() else None


def assert_equal(ours, expected, where=""):
    """Compare what checkpoints hold, bit for bit."""
    if isinstance(expected, torch.Tensor):
        assert torch.equal(ours, expected), where
    elif isinstance(expected, dict):
        assert ours.keys() == expected.keys(), where
        for key in expected:
            assert_equal(ours[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(ours) == len(expected), where
        for index, (a, b) in enumerate(zip(ours, expected, strict=True)):
            assert_equal(a, b, f"{where}[{index}]")
    else:
        assert ours == expected, where


def assert_the_same_run(folder, unbroken):
    """Two runs have come to the same: weights, average, optimizer, best, numbers."""
    for name in ("last", "best"):
        ours, expected = (checkpoint(one, name) for one in (folder, unbroken))
        for key in ("state_dict", "current_model_state", "averaging_state", "optimizer_states",
                    "lr_schedulers", "global_step", "SRDataModule"):  # fmt: skip
            assert_equal(ours[key], expected[key], f"{name}.{key}")
    model = "run/model.safetensors"
    assert (folder / model).read_bytes() == (unbroken / model).read_bytes()
    ours, expected = (read_record(one / "run") for one in (folder, unbroken))
    assert (ours.state, ours.step, ours.best_score) == (
        "finished",
        expected.step,
        expected.best_score,
    )
    (ours, problem), (expected, _) = (read_curves(one / "run") for one in (folder, unbroken))
    assert not problem
    assert ours == expected


def assert_nothing_is_broken(folder):
    """Every checkpoint can be read, and holds what it says."""
    steps = {}
    for path in (folder / "run" / "checkpoints").glob("*.ckpt"):
        if not path.name.startswith("."):
            assert read_checkpoint(path).is_training_state
            steps[path.stem] = checkpoint(folder, path.stem)["global_step"]
    return steps


def stopped_lines(command):
    """What a stopped run has said, apart from what every run says at its start."""
    assert "Traceback" not in command.output, command.output
    return [
        line for line in command.output.splitlines() if line.startswith(("interrupted", "esc-sr"))
    ]


def unfinished(folder):
    return [path.name for path in folder.rglob(".*") if path.is_file() and path.name != ".lock"]


def kill_again_and_again(folder, kills, config, seed):
    """Kill a run at random moments and resume it each time.

    Returns:
        How often it was killed at each kind of moment, and how often a file was left half written.
    """
    chance = random.Random(seed)
    # Every moment by construction, in random order; the rest at any time after the start.
    moments = [*MOMENTS, *([None, *MOMENTS] * kills)][:kills]
    chance.shuffle(moments)
    hit, torn = dict.fromkeys(moments, 0), 0
    for moment in moments:
        # "half": several writes each; the others once a step or a validation.
        at = None if moment is None else (moment, chance.randint(1, 3), 60)
        command = Command(config, cwd=folder, moment=at)
        if moment is None:
            command.wait_for(lambda command=command: "writing to" in command.output)
            time.sleep(chance.uniform(0, 1.5))
        else:
            command.wait_for_moment()
        command.kill(signal.SIGKILL)
        assert command.status() == -signal.SIGKILL, command.output
        hit[moment] += 1
        torn += bool(unfinished(folder / "run" / "checkpoints"))
        assert_nothing_is_broken(folder)
    return hit, torn


def test_a_run_killed_in_a_step_a_validation_and_a_checkpoint_ends_the_same(
    tmp_path, training, unbroken
):
    folder, config = tmp_path / "killed", training.config(5)
    for moment in (("weights", 3, 60), ("validation", 1, 60), ("half", 3, 60)):
        command = Command(config, cwd=folder, moment=moment)
        command.wait_for_moment()
        command.kill(signal.SIGKILL)
        assert command.status() == -signal.SIGKILL
        assert_nothing_is_broken(folder)
    assert unfinished(folder / "run" / "checkpoints")
    run(config, cwd=folder)
    assert not unfinished(folder / "run" / "checkpoints")
    assert_the_same_run(folder, unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_run_killed_twenty_times_ends_the_same(tmp_path, training, seed):
    config = training.config(61)
    run(config, cwd=tmp_path / "unbroken")
    folder = tmp_path / "killed"
    hit, torn = kill_again_and_again(folder, 20, config, seed)
    assert sum(hit.values()) == 20
    assert all(hit[moment] >= 2 for moment in MOMENTS), hit
    assert torn >= 4
    run(config, cwd=folder)
    assert_the_same_run(folder, tmp_path / "unbroken")
    assert len(json.loads((folder / "run" / "run.json").read_text())["sessions"]) > 1


@pytest.mark.parametrize(
    ("signum", "group", "moment", "step"),
    [
        (signal.SIGTERM, False, ("weights", 3, 1), 3),
        (signal.SIGINT, True, ("step", 2, 1), 2),
        pytest.param(signal.SIGTERM, False, ("validation", 1, 1), 2, marks=pytest.mark.slow),
    ],
    ids=["kill", "ctrl_c_with_workers", "in_a_validation"],
)
def test_a_signal_ends_a_run_behind_the_step_and_it_goes_on(
    tmp_path, training, unbroken, signum, group, moment, step
):
    """SIGTERM showed a traceback of a worker killed by it, and nothing was saved."""
    folder = tmp_path / "stopped"
    asked = [training.config(5)]
    if group:
        more = ("data.num_workers=2", "run_dir=run", "hydra.output_subdir=null")
        asked = ["train", *training.arguments(5, *more)]
    command = Command(*asked, cwd=folder, moment=moment)
    command.wait_for_moment()
    command.kill(signum, group=group)
    assert command.status() == 128 + signum
    told = f"interrupted at step {step}; go on with the same command and run_dir=run ckpt_path=last"
    assert stopped_lines(command) == [told]
    record = read_record(folder / "run")
    assert (record.state, record.step) == ("interrupted", step)
    assert checkpoint(folder)["global_step"] == step
    run(training.config(5), cwd=folder)
    assert_the_same_run(folder, unbroken)


@pytest.mark.slow
def test_slurm_puts_a_job_into_its_queue_again_behind_the_step(tmp_path, training, unbroken):
    """Lightning's handler saves and requeues in the middle of whatever the signal interrupts."""
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    asked = tmp_path / "asked"
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {asked}\nls run/checkpoints >> {asked}\n')
    scontrol.chmod(0o755)
    variables = {
        "SLURM_JOB_ID": "77",
        "SLURM_JOB_NAME": "esc",
        "SLURM_NTASKS": "1",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
        "PATH": f"{scontrol.parent}:{os.environ['PATH']}",
    }
    folder, config = tmp_path / "stopped", training.config(5)
    command = Command(config, cwd=folder, moment=("gradient", 3, 1), variables=variables)
    command.wait_for_moment()
    command.kill(signal.SIGUSR1)
    assert command.status() == 128 + signal.SIGUSR1, command.output
    assert len(stopped_lines(command)) == 1
    # It was saved before.
    assert asked.read_text().split() == ["requeue", "77", "best.ckpt", "last.ckpt"]
    assert checkpoint(folder)["global_step"] == 3
    assert not list(folder.rglob("hpc_ckpt*"))
    again = Command(config, cwd=folder, variables=variables)
    assert again.status() == 0, again.output
    assert_the_same_run(folder, unbroken)


@pytest.mark.slow
def test_processes_of_one_run_stop_behind_the_same_step(tmp_path, training):
    """And do not lock each other out."""
    more = [
        "trainer=ddp",
        "trainer.accelerator=cpu",
        "trainer.precision=32-true",
        "trainer.devices=2",
        "run_dir=run",
    ]
    folder = tmp_path / "stopped"
    folder.mkdir()
    call = [sys.executable, "-m", "esc_sr", "train", *training.arguments(3000, *more)]
    process = subprocess.Popen(call, cwd=folder, text=True, stderr=subprocess.STDOUT,
                               stdout=subprocess.PIPE, start_new_session=True)  # fmt: skip
    while not (folder / "run" / "checkpoints" / "last.ckpt").is_file():
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()  # it alone
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert "Traceback" not in output
    (line,) = [line for line in output.splitlines() if line.startswith("interrupted")]
    assert checkpoint(folder)["global_step"] == int(line.split()[3].rstrip(";"))


@pytest.mark.slow
def test_a_signal_ends_a_multirun(tmp_path, training):
    more = ["-m", "seed=0,1", "hydra.sweep.dir=sweep"]
    command = Command(
        "train", *training.arguments(5, *more), cwd=tmp_path, moment=("weights", 3, 3)
    )
    command.wait_for_moment()
    command.kill(signal.SIGTERM)
    assert command.status() == 128 + signal.SIGTERM
    told = (
        "interrupted at step 3; go on with the same command and "
        "hydra.sweep.dir=sweep skip_finished=true ckpt_path=last"
    )
    assert stopped_lines(command) == [told]
    assert not (tmp_path / "sweep" / "1").exists()
    again = ["skip_finished=true", "ckpt_path=last"]
    run("train", *training.arguments(5, *more, *again), cwd=tmp_path)
    states = [read_record(tmp_path / "sweep" / job).state for job in ("0", "1")]
    assert states == ["finished", "finished"]


def test_a_second_signal_ends_at_once(tmp_path, training):
    command = Command(training.config(5), cwd=tmp_path, moment=("step", 4, 60))
    command.wait_for_moment()
    command.kill(signal.SIGTERM)
    time.sleep(1.2)
    command.kill(signal.SIGINT)
    assert command.status() == 128 + signal.SIGINT
    (line,) = stopped_lines(command)
    assert line.startswith("interrupted at step 3, the last saved is 2; go on with")
    assert checkpoint(tmp_path)["global_step"] == 2
    assert read_record(tmp_path / "run").state == "interrupted"


@pytest.mark.slow
def test_a_worker_that_is_killed_is_told_with_what_to_do(tmp_path, training):
    more = ("data.num_workers=1", "run_dir=run", "hydra.output_subdir=null")
    arguments = training.arguments(50, *more)
    command = Command("train", *arguments, cwd=tmp_path, moment=("step", 4, 10))
    command.wait_for_moment()
    (worker,) = descendants(command.pid)
    os.kill(worker, signal.SIGKILL)
    assert command.status() == 1
    (line,) = command.errors
    assert "reads training images was killed by signal: Killed, as the system does" in line
    assert "lower data.num_workers or data.batch_size, or set data.train.cache=false" in line
    assert line.endswith("go on from run/checkpoints/last.ckpt with run_dir=run ckpt_path=last")
    assert read_record(tmp_path / "run").state == "failed"


def descendants(pid):
    """Processes that a process has started, and so on."""
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [one for child in children for one in (child, *descendants(child))]


def is_alive(pid):
    """A process that has ended and waits to be asked for its status does not count."""
    with suppress(FileNotFoundError):
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def test_a_second_run_in_the_same_folder_is_refused(tmp_path, training):
    config = training.config(5)
    first = Command(config, cwd=tmp_path, moment=("step", 4, 60))
    first.wait_for_moment()
    before = (tmp_path / "run" / "run.json").read_bytes()
    arguments = training.arguments(5, "run_dir=run", "hydra.output_subdir=null")
    second = Command("train", *arguments, cwd=tmp_path)
    assert second.status() == 1
    assert second.errors == [
        f"esc-sr: error: {tmp_path}/run is in use by process {first.pid} on {platform.node()}: "
        "wait until it has ended, or choose another run_dir"
    ]
    assert (tmp_path / "run" / "run.json").read_bytes() == before
    first.kill(signal.SIGKILL)
    assert first.status() == -signal.SIGKILL
    run(config, cwd=tmp_path)  # at once: the lock has died with its process
    assert not (tmp_path / "run" / ".lock").exists()


def test_a_damaged_last_checkpoint_names_the_best(tmp_path, training, unbroken, monkeypatch):
    config = training.config(5)
    shutil.copytree(unbroken / "run", tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    os.truncate(last, 5000)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=r"it is damaged.*; go on from the best one: ckpt_path="
    ) as told:
        train.run(OmegaConf.create(config))
    best = str(told.value).rpartition("ckpt_path=")[2]
    run(training.config(6, f"ckpt_path={best}"), cwd=tmp_path)
    assert checkpoint(tmp_path)["global_step"] == 6


def with_a_best_that_nothing_beats(folder):
    """Change what the last checkpoint of a run says of its best one."""
    path = folder / "run" / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    (state,) = (s for key, s in content["callbacks"].items() if key.startswith("ModelCheckpoint"))
    score = torch.tensor(99.0)
    state |= {"best_model_score": score, "kth_value": score}
    state["best_k_models"] = {state["best_model_path"]: score}
    torch.save(content, path)
    return (path.with_name("best.ckpt")).read_bytes()


def test_a_run_that_was_moved_keeps_its_best(tmp_path, training, unbroken):
    """Lightning compares paths, and overwrote the best with the next validation."""
    shutil.copytree(unbroken / "run", tmp_path / "a" / "run")
    best = with_a_best_that_nothing_beats(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    command = run(training.config(7), cwd=tmp_path / "b")
    assert checkpoint(tmp_path / "b")["global_step"] == 7
    assert (tmp_path / "b" / "run" / "checkpoints" / "best.ckpt").read_bytes() == best
    assert read_record(tmp_path / "b" / "run").best_score == 99
    assert "dirpath" not in command.output  # Lightning's warning


def test_a_run_that_goes_on_elsewhere_has_a_best_of_its_own(tmp_path, training, unbroken):
    """Whether the folder that it comes from is still there or not."""
    shutil.copytree(unbroken / "run", tmp_path / "a" / "run")
    with_a_best_that_nothing_beats(tmp_path / "a")
    last = shutil.move(tmp_path / "a" / "run" / "checkpoints" / "last.ckpt", tmp_path)
    shutil.rmtree(tmp_path / "a")
    run(training.config(7, f"ckpt_path={last}"), cwd=tmp_path)
    assert checkpoint(tmp_path, "best")["global_step"] in (6, 7)
    assert 0 < read_record(tmp_path / "run").best_score < 99


def test_a_run_that_has_ended_meanwhile_is_not_overwritten(tmp_path, training, monkeypatch):
    """The folder is looked at before the network and the data are made, and locked behind that."""
    config = training.config(2)
    before = train.try_gradient

    def meanwhile(network):
        monkeypatch.setattr(train, "try_gradient", before)
        run(config, cwd=tmp_path)
        before(network)

    monkeypatch.setattr(train, "try_gradient", meanwhile)
    monkeypatch.chdir(tmp_path)
    config["ckpt_path"] = None
    with pytest.raises(InputError, match=r"another run has written run just now: go on with ckpt_"):
        train.run(OmegaConf.create(config))
    assert read_record(tmp_path / "run").state == "finished"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1.2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("a file system of its own can be mounted by root alone")
    call = ["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", folder]
    if subprocess.run(call, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk):
    with suppress(OSError), (disk / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_full_disk_leaves_the_checkpoints(tmp_path, training, small_disk):
    """Three do not fit: that of the second validation is never complete."""
    arguments = training.arguments(50, f"run_dir={small_disk}/run", "hydra.output_subdir=null")
    command = Command("train", *arguments, cwd=tmp_path)
    assert command.status() == 1
    where = small_disk / "run" / "checkpoints"
    (line,) = command.errors
    assert re.fullmatch(rf"esc-sr: error: No space left on device: {where}/(best|last)\.ckpt", line)
    steps = {p.name: torch.load(p, weights_only=True)["global_step"] for p in where.iterdir()}
    assert steps.keys() == {"best.ckpt", "last.ckpt"}
    assert steps["last.ckpt"] > 0
    assert not unfinished(small_disk)


def test_hydras_files_are_whole_or_not_there_on_a_full_disk(tmp_path, training, small_disk):
    """They are written before the run begins, and Hydra's error names no file."""
    fill(small_disk)
    for more, cut in (
        ([f"run_dir={small_disk}/run"], "run/.hydra/config.yaml"),
        (["-m", "seed=1,2", f"hydra.sweep.dir={small_disk}/sweep"], "sweep/multirun.yaml"),
    ):
        command = Command("train", *training.arguments(2, *more), cwd=tmp_path)
        assert command.status() == 1
        line = f"esc-sr: error: No space left on device: {small_disk}/{cut}"
        assert command.output.splitlines() == [line]
        assert not list(small_disk.rglob("*.yaml"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_log_that_cannot_be_written_does_not_stop_a_run(tmp_path, training):
    log = tmp_path / "run" / "train.log"
    log.parent.mkdir()
    log.symlink_to("/dev/full")
    output = run("train", *training.arguments(2, "run_dir=run"), cwd=tmp_path).output
    assert "Traceback" not in output
    warnings = [line for line in output.splitlines() if line.startswith("esc-sr: warning")]
    assert warnings == [f"esc-sr: warning: cannot write the log to {log}: No space left on device"]
    assert "writing to run" in output  # the other one


WRITERS = {
    "weights.safetensors": lambda path, net: save_model(net, path),
    "weights.pth": lambda path, net: replace_with_pth(path, net),
    "state.ckpt": lambda path, net: ReplacingCheckpointIO().save_checkpoint(net.state_dict(), path),
    "program.onnx": lambda path, net: replace_with_onnx(path, net),
    "program.pt2": lambda path, net: replace_with_program(path, net),
    "report.html": lambda path, net: write_atomically(path, "x" * 100_000),
    "sub_image.png": lambda path, net: write_image(path, noise(300)),
    "picture.png": lambda path, net: write_picture(path, noise(300).permute(1, 2, 0).numpy()),
    "picture.jpg": lambda path, net: write_picture(path, noise(300).permute(1, 2, 0).numpy()),
    "picture.tif": lambda path, net: write_picture(path, noise(300).permute(1, 2, 0).numpy()),
    "picture.bmp": lambda path, net: write_picture(path, noise(300).permute(1, 2, 0).numpy()),
}


def replace_with_pth(path, network):
    with replacing(path) as temporary:  # as `esc-sr export` does
        write_pth(network, temporary, metadata={})


def replace_with_onnx(path, network):
    pytest.importorskip("onnxscript")
    program = program_of(deployable(network, precision="fp32"), lq_size=(8, 8), batch_size=1)
    with replacing(path) as temporary:
        write_onnx(program, temporary, opset=DEFAULT_OPSET, metadata={})


def replace_with_program(path, network):
    program = program_of(deployable(network, precision="fp32"), lq_size=(8, 8), batch_size=1)
    with replacing(path) as temporary:
        write_program(program, temporary, metadata={})


def noise(size):
    return torch.randint(0, 256, (3, size, size), dtype=torch.uint8)


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_old_file(small_disk, name):
    path = small_disk / name
    network = create_model("esc", scale=2, **NETWORK)
    path.write_bytes(b"old")
    fill(small_disk)
    with pytest.raises((InputError, OSError)) as told:
        WRITERS[name](path, network)
    assert "No space left on device" in str(told.value)
    assert str(path) in str(told.value)
    assert path.read_bytes() == b"old"
    assert {one.name for one in small_disk.iterdir()} == {name, "ballast"}


def test_a_full_disk_leaves_the_lines_of_the_log(small_disk):
    logger = CSVLogger(small_disk, name="csv", version=0, flush_logs_every_n_steps=10**6)
    path = small_disk / "csv" / "version_0" / "metrics.csv"
    logger.log_metrics({"loss": 1.0}, 0)
    logger.save()
    fill(small_disk)
    for more in ({"loss": 2.0}, {"psnr": 30.0}):
        before = path.read_bytes()
        for step in range(1, 2000):  # more than the block that it has already
            logger.log_metrics(more, step)
        with pytest.raises(OSError, match=r"No space left on device.*metrics\.csv"):
            logger.save()
        assert path.read_bytes() == before
    (small_disk / "ballast").unlink()
    logger.save()
    with path.open() as file:
        assert len(list(csv.DictReader(file))) == 1 + 2 * 1999
    assert not unfinished(small_disk)


def test_two_preparations_of_one_folder_do_not_mix(tmp_path, training):
    arguments = [
        f"gt_dir={training.images}",
        "gt_out=HR",
        "lq_dir=null",
        "lq_out=LR",
        "scales=[2]",
        "window_size=16",
        "step=8",
        "num_workers=0",
    ]
    with locked(tmp_path / "LR" / "X2", "wait"):
        second = Command("prepare", *arguments, cwd=tmp_path)
        assert second.status() == 1
    assert second.errors == [
        f"esc-sr: error: LR/X2 is in use by process {os.getpid()} on {platform.node()}: "
        "wait for it, or choose another output folder"
    ]
    assert not list(tmp_path.rglob("*_s001.png"))
    run("prepare", *arguments, cwd=tmp_path)
    assert len(list((tmp_path / "HR").glob("*_s*.png"))) == 2 * 4 * 4


def test_an_interrupt_of_a_preparation_with_workers_is_one_line(tmp_path, training):
    """A terminal's goes to all of its processes: there were tracebacks, or it never ended."""
    arguments = [f"gt_dir={training.images}", "gt_out=HR", "lq_dir=null", "lq_out=LR"]
    sizes = ["scales=[2]", "window_size=16", "step=2", "num_workers=2"]
    command = Command("prepare", *arguments, *sizes, cwd=tmp_path)
    command.wait_for(lambda: len(descendants(command.pid)) >= 2)
    command.kill(signal.SIGINT, group=True)  # while the workers import
    assert command.status(30) == 128 + signal.SIGINT
    assert command.output == "esc-sr: interrupted\n"


@pytest.mark.slow
def test_workers_of_a_killed_preparation_end_with_it(tmp_path, training):
    """They waited for ever for the next image."""
    arguments = [f"gt_dir={training.images}", "gt_out=HR", "lq_dir=null", "lq_out=LR"]
    sizes = ["scales=[2]", "window_size=16", "step=2", "num_workers=1"]
    command = Command("prepare", *arguments, *sizes, cwd=tmp_path)
    command.wait_for(lambda: any(tmp_path.glob("HR/*_s*.png")))
    family = descendants(command.pid)
    assert family
    command.kill(signal.SIGKILL)
    assert command.status() == -signal.SIGKILL
    deadline = time.monotonic() + 30
    while any(map(is_alive, family)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run("prepare", *arguments, *sizes, cwd=tmp_path)
    assert len(list((tmp_path / "HR").glob("*_s*.png"))) == 2 * 13 * 11
