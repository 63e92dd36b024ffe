"""`esc-sr search`: what it checks, what it tells, what survives."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console

from esc_sr.config import compose_config
from esc_sr.errors import InputError
from esc_sr.runs.finding import run_folders
from esc_sr.runs.record import PRUNED, read_record
from esc_sr.search.study import default_storage, open_storage
from esc_sr.tasks import search as task
from esc_sr.tasks.search import main, make_plan, objective_value, run, split
from esc_sr.tasks.trial import train_trial
from tiny import TRAINING

PARAMS = (
    "params={optimizer.lr:{type:float,low:1.0e-4,high:1.0e-2,log:true},"
    "model.window_size:{type:categorical,choices:[4,8]}}"
)
TINY = [
    *TRAINING,
    "trainer.max_steps=4",
    "callbacks=[checkpoint,latency]",
    "callbacks.latency.lq_size=[8,8]",
    "final_table=false",
]
OF_TRIALS = [one for one in TINY if not one.startswith("model.window_size")]


def configured(*overrides):
    return compose_config("search", ["+" + PARAMS, *overrides])


def command(*arguments):
    return [sys.executable, "-m", "esc_sr", "search", *arguments, "--", *OF_TRIALS]


def trials_of(folder):
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def pretend(monkeypatch, make_run):
    """Let trials be done at once: the smaller the learning rate the better, at some cost."""
    asked = []

    def trained(overrides, folder, pruning):
        values = dict(one.split("=", 1) for one in overrides)
        asked.append((values, pruning))
        lr = float(values["optimizer.lr"])
        if len(asked) == 2:
            raise InputError("out of memory")
        state = PRUNED if len(asked) == 3 else "finished"
        error = "val/psnr_y=1 after 2 steps promises too little" if state == PRUNED else None
        make_run(
            folder, psnr=(30.0 - 100 * lr,) * 3, config={"optimizer": {"lr": lr}}, macs_g=1000 * lr,
            state=state, error=error,
        )  # fmt: skip
        return read_record(folder)

    monkeypatch.setattr(task, "train_trial", trained)
    return asked


def test_a_search_tells_its_trials_and_keeps_them(tmp_path, pretend, capsys):
    cfg = configured(f"search_dir={tmp_path}/s", "trials=5", "sampler=random")
    search = run(cfg, OF_TRIALS)
    told = capsys.readouterr().out
    assert ": failed: out of memory (" in told
    assert ": pruned: val/psnr_y=1 after 2 steps promises too little (" in told
    assert "best of 5 trials: 3 finished, 1 pruned, 1 failed" in told
    rows = trials_of(tmp_path / "s")
    assert [row["state"] for row in rows] == ["complete", "fail", "pruned", "complete", "complete"]
    assert rows[1]["error"] == "out of memory"
    finished = [row for row in rows if row["state"] == "complete"]
    best = min(finished, key=lambda row: float(row["optimizer.lr"]))
    assert search.best()[0].number == int(best["trial"])
    assert f"esc-sr train --from {tmp_path}/s/trials/{best['trial']}\n" in told
    assert float(best["val/psnr_y"]) == pytest.approx(30.0 - 100 * float(best["optimizer.lr"]))
    for values, pruning in pretend:
        assert values["model.window_size"] in ("4", "8")
        assert values["trainer.max_steps"] == "4"
        assert pruning.monitor == "val/psnr_y"
        assert pruning.pruner["_target_"] == "optuna.pruners.MedianPruner"


def test_called_again_it_goes_on_up_to_the_number_asked_for(tmp_path, pretend, capsys):
    run(configured(f"search_dir={tmp_path}/s", "trials=1"), OF_TRIALS)
    run(configured(f"search_dir={tmp_path}/s", "trials=4"), OF_TRIALS)
    assert len(pretend) == 4
    assert "holds 1 of 4 trials" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"other train \(.*seed=1"):
        run(configured(f"search_dir={tmp_path}/s"), [*OF_TRIALS, "seed=1"])


def test_two_objectives_give_a_pareto_set_and_no_pruning(tmp_path, pretend, capsys):
    overrides = ["objectives=psnr_latency", "pruner=none", "trials=4"]
    search = run(configured(f"search_dir={tmp_path}/s", *overrides), OF_TRIALS)
    assert "Pareto set of 4 trials: 2 finished" in capsys.readouterr().out
    assert all(pruning is None for _, pruning in pretend)
    assert [trial.values[1] for trial in search.best()] == [10.0]  # as fast, and better
    for suffix in ("svg", "png"):
        assert (tmp_path / "s" / f"pareto_latency.{suffix}").is_file()


def test_a_search_of_which_nothing_comes_is_an_error(tmp_path, monkeypatch):
    def broken(overrides, folder, pruning):
        raise InputError("attention=flex cannot train on a CPU")

    monkeypatch.setattr(task, "train_trial", broken)
    with pytest.raises(InputError, match=r"none of 2 trials .*the first: attention=flex cannot"):
        run(configured(f"search_dir={tmp_path}/s", "trials=2"), OF_TRIALS)
    assert [row["state"] for row in trials_of(tmp_path / "s")] == ["fail", "fail"]


def test_an_interrupted_trial_is_left_for_the_next_call(tmp_path, monkeypatch, pretend, capsys):
    def interrupted(overrides, folder, pruning):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(task, "train_trial", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(configured(f"search_dir={tmp_path}/s", "trials=1"), OF_TRIALS)
    assert "called again, the search goes on" in capsys.readouterr().out
    run(configured(f"search_dir={tmp_path}/s", "trials=1"), OF_TRIALS)
    assert "): goes on\n" in capsys.readouterr().out
    assert [row["state"] for row in trials_of(tmp_path / "s")] == ["complete"]


def test_a_grid_ends_with_its_last_combination(tmp_path, pretend):
    params = (
        "+params={model.dim:{type:int,low:16,high:32,step:16},"
        "optimizer.lr:{type:categorical,choices:[1.0e-3,2.0e-3]}}"
    )
    overrides = [params, "sampler=grid", f"search_dir={tmp_path}/s", "trials=99"]
    fixed = [one for one in OF_TRIALS if not one.startswith("model.dim")]
    run(compose_config("search", overrides), fixed)
    tried = {(values["model.dim"], values["optimizer.lr"]) for values, _ in pretend}
    assert len(pretend) == len(tried) == 4


def test_a_password_of_the_storage_is_written_nowhere(tmp_path, pretend, monkeypatch):
    storage = open_storage(default_storage(tmp_path))
    monkeypatch.setattr(task, "open_storage", lambda address: storage)
    address = "postgresql://me:hunter22@host/searches"
    run(configured(f"search_dir={tmp_path}/s", "trials=1", f"storage='{address}'"), OF_TRIALS)
    assert pretend[0][1].storage == address
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"hunter22" not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("overrides", "behind", "message"),
    [
        (["trials=0"], [], "trials must be an integer of at least 1"),
        (["objectives=psnr_macs"], [], "MedianPruner judges one value.*choose pruner=none"),
        (
            ["~objectives", "+objectives={macs_g:minimize}"],
            [],
            "macs_g is none: choose pruner=none",
        ),
        (
            ["~objectives", "+objectives={psnr:maximize}"],
            [],
            "'psnr' is nothing that a run records",
        ),
        (["~objectives", "+objectives={macs_g:down}"], [], "maximize or minimize, got down"),
        (["+params.optimizer={lr:1}"], [], r"params\.optimizer must be like"),
        ([], ["model.window_size=4"], "model.window_size is varied by params and given"),
        ([], ["run_dir=here"], "run_dir cannot be given for trials"),
        ([], ["-m"], "trials take overrides"),
        ([], ["trainer.max_stepz=3"], "unknown key 'trainer.max_stepz'"),
        ([], ["trainer=ddp"], r"one process, got trainer\.devices=auto"),
        ([], ["trainer.val_check_interval=8"], "no trial validates before its end"),
        (["sampler=grid"], [], r"needs a step or choices for params\.optimizer\.lr"),
        (["pruner.n_startup_trials=-1"], [], "pruner: "),
    ],
)
def test_what_cannot_be_searched_is_told_before_the_first_trial(overrides, behind, message):
    with pytest.raises(InputError, match=message) as caught:
        make_plan(configured("search_dir=nowhere", *overrides), [*OF_TRIALS, *behind])
    assert "\n" not in str(caught.value)


def test_a_choice_that_does_not_exist_is_told_before_the_first_trial():
    params = "+params={attention:{type:categorical,choices:[sdpa,fast]}}"
    with pytest.raises(InputError, match="attention/fast"):
        make_plan(compose_config("search", [params, "search_dir=nowhere"]), TINY)


def test_keys_of_training_in_the_wrong_place_are_told_where_they_belong(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["esc-sr"])
    for argument in ("trainer.max_steps=3", "callbacks=none"):
        with pytest.raises(SystemExit):
            main([argument])
        assert "what is meant for the trials stands behind --" in capsys.readouterr().err


def test_what_stands_behind_two_dashes_is_for_the_trials():
    assert split(["trials=3", "--", "seed=1", "scale=2"]) == (["trials=3"], ["seed=1", "scale=2"])
    assert split(["trials=3"]) == (["trials=3"], [])


def test_the_monitor_counts_at_its_best_and_costs_as_measured(tmp_path, make_run):
    record = read_record(make_run(tmp_path, psnr=(31.0,)))
    assert objective_value(record, "val/psnr_y") == 31.0
    assert objective_value(record, "val/Set5/psnr_y") == 29.0  # of the last validation
    assert objective_value(record, "perf/latency_ms") == 10.0
    assert objective_value(record, "params_k") == 22.2
    assert objective_value(record, "perf/nothing") is None


def test_a_trial_is_a_run_of_a_process_of_its_own_that_can_fail(tmp_path):
    record = train_trial(TINY, tmp_path / "0", None)
    assert record.state == "finished"
    assert [folder.name for folder in run_folders(tmp_path)] == ["0"]
    assert all(override in record.overrides for override in TINY)
    with pytest.raises(InputError, match="attention=flex cannot train on a CPU"):
        train_trial([*TINY, "attention=flex"], tmp_path / "1", None)
    assert "cannot train on a CPU" in (tmp_path / "1" / "output.txt").read_text()
    # Over, but nobody has told the study: not trained again.
    before = (tmp_path / "0" / "run.json").stat().st_mtime_ns
    assert train_trial(TINY, tmp_path / "0", None).best_score == record.best_score
    assert (tmp_path / "0" / "run.json").stat().st_mtime_ns == before


def wait_for(path, process):
    while not path.is_file():
        assert process.poll() is None, "it has ended before"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_search_that_is_stopped_goes_on_with_the_trial_it_was_at(tmp_path, how):
    folder = tmp_path / "s"
    arguments = ["+" + PARAMS, f"search_dir={folder}", "trials=2", "pruner.n_startup_trials=1"]
    longer = ["trainer.max_steps=20"]
    process = subprocess.Popen(
        command(*arguments) + longer,
        cwd=tmp_path,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(folder / "trials" / "0" / "checkpoints" / "last.ckpt", process)
    if how == signal.SIGKILL:
        process.kill()  # it alone: who trains must notice
    else:
        os.killpg(process.pid, how)  # as a terminal does
    out, err = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert err.splitlines()[-1] == "esc-sr: interrupted"
        assert "called again, the search goes on" in out
    done = subprocess.run(
        command(*arguments) + longer, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "): goes on\n" in done.stdout
    rows = trials_of(folder)
    assert [row["trial"] for row in rows] == ["0", "1"]
    assert rows[0]["state"] == "complete"
    record = read_record(folder / "trials" / "0")
    assert len(record.sessions) == 2
    assert record.step == 20
    assert "resuming from" in (folder / "trials" / "0" / "output.txt").read_text()


def test_the_table_of_a_wide_space_is_printed_in_full(tmp_path, pretend, monkeypatch, capsys):
    monkeypatch.setattr(task, "Console", lambda: Console(width=40))
    run(configured(f"search_dir={tmp_path}/s", "trials=1"), OF_TRIALS)
    assert "window_size" in capsys.readouterr().out
