"""Several processes share a study, and any of them may be gone at any time."""

import json
import subprocess
import sys

import optuna
import pytest

from esc_sr.errors import InputError
from esc_sr.runs.redaction import HIDDEN
from esc_sr.search.space import read_space
from esc_sr.search.study import (
    FILE_NAME,
    PrunableTrial,
    Search,
    check_folder,
    default_storage,
    open_storage,
    seed_of,
)

PARAMS = {
    "optimizer.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "model.window_size": {"type": "categorical", "choices": [8, 16]},
}


def search(folder, *, objectives=None, storage=None, params=None, sampler=None, name="study"):
    params = PARAMS if params is None else params
    objectives = objectives or {"val/psnr_y": "maximize"}

    def sampler_of(number):
        return optuna.samplers.TPESampler(seed=seed_of(0, number), n_startup_trials=3)

    folder.mkdir(exist_ok=True)
    return Search(
        folder,
        name=name,
        storage=open_storage(storage or str(folder / "journal.log")),  # faster than SQLite
        space=read_space(params),
        objectives=objectives,
        about={"params": params, "objectives": objectives},
        make_sampler=sampler or sampler_of,
    )


def value_of(work):
    return -abs(work.values["optimizer.lr"] - 1e-3)


def proposals(folder, interrupted_after=None):
    found, one = [], search(folder)
    while (work := one.next(6)) is not None:
        found.append(dict(work.values))
        one.complete(work, [value_of(work)], 1.0)
        if len(found) == interrupted_after:
            one = search(folder)  # as another process would begin
    return found


def test_the_same_seed_proposes_the_same_also_where_the_search_was_interrupted(tmp_path):
    first = proposals(tmp_path / "a")
    assert len({values["optimizer.lr"] for values in first}) == 6
    assert proposals(tmp_path / "b", interrupted_after=2) == first
    assert proposals(tmp_path / "c", interrupted_after=4) == first


def test_a_search_ends_with_the_number_of_trials_and_goes_on_with_more(tmp_path):
    one = search(tmp_path / "a")
    one.complete(one.next(2), [1.0], 1.0)
    one.fail(one.next(2), "no memory")
    assert one.next(2) is None
    work = search(tmp_path / "a").next(3)
    assert (work.number, work.left, work.folder) == (2, False, tmp_path / "a" / "trials" / "2")
    assert [trial.state.name for trial in one.trials()] == ["COMPLETE", "FAIL", "RUNNING"]
    assert one.trials()[1].user_attrs == {"error": "no memory"}


def test_two_searches_share_the_work(tmp_path):
    one, two = search(tmp_path / "a"), search(tmp_path / "a")
    first, second = one.next(3), two.next(3)
    assert (first.number, second.number) == (0, 1)
    third = one.next(3)
    assert third.number == 2
    assert (one.next(3), two.next(3)) == (None, None)
    two.complete(second, [1.0], 1.0)
    one.complete(first, [2.0], 1.0)
    assert [trial.number for trial in two.best()] == [0, 1]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_study import search
work = search(Path({folder!r})).next(9)
print(work.number, work.values["optimizer.lr"], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_trial_of_a_process_that_was_killed_goes_on_and_is_not_taken_from_one_that_lives(
    tmp_path, request
):
    folder = tmp_path / "a"
    code = KILLED.format(tests=str(request.path.parent), folder=str(folder))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    number, lr = done.stdout.split()
    living = search(folder)
    taken = living.next(9)
    assert taken.left
    assert (str(taken.number), str(taken.values["optimizer.lr"])) == (number, lr)
    other = search(folder).next(9)
    assert (other.number, other.left) == (1, False)
    living.release(taken)
    assert search(folder).next(9).number == taken.number


def test_another_search_in_the_same_folder_is_refused(tmp_path):
    search(tmp_path / "a")
    other = PARAMS | {"optimizer.lr": PARAMS["optimizer.lr"] | {"low": 1e-5}}
    with pytest.raises(InputError, match=r"other params \(optimizer\.lr was .*1e-05"):
        search(tmp_path / "a", params=other)
    with pytest.raises(InputError, match="other objectives"):
        search(tmp_path / "a", objectives={"params_k": "minimize"}, name="study")
    search(tmp_path / "a")


def test_a_study_belongs_to_one_folder_and_a_folder_to_one_study(tmp_path):
    storage = default_storage(tmp_path)
    one = search(tmp_path / "a", storage=storage)
    with pytest.raises(InputError, match="of another folder than"):
        search(tmp_path / "b", storage=storage)
    search(tmp_path / "b", storage=storage, name="another")
    one.next(1).folder.mkdir(parents=True)
    (tmp_path / "study.db").unlink()
    with pytest.raises(InputError, match="not in the storage any more"):
        search(tmp_path / "a", storage=storage)


def test_a_grid_is_gone_through_once_and_its_end_is_no_error(tmp_path):
    params = {
        "model.window_size": PARAMS["model.window_size"],
        "compile": PARAMS["model.window_size"],
    }

    def grid(number):
        return optuna.samplers.GridSampler({key: [8, 16] for key in params})

    one = search(tmp_path / "a", params=params, sampler=grid)
    found = []
    while (work := one.next(4)) is not None:
        found.append(tuple(work.values.values()))
        one.complete(work, [1.0], 1.0)
    assert sorted(found) == [(8, 8), (8, 16), (16, 8), (16, 16)]


def test_the_best_of_two_objectives_are_those_that_none_beats(tmp_path):
    one = search(tmp_path / "a", objectives={"val/psnr_y": "maximize", "macs_g": "minimize"})
    for values in ([30.0, 5.0], [31.0, 9.0], [29.0, 6.0], [30.5, 6.0]):
        one.complete(one.next(4), values, 1.0)
    assert [trial.number for trial in one.best()] == [1, 3, 0]


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_another_process_judges_by_what_is_reported_and_reports_a_step_once(tmp_path, storage):
    address = str(tmp_path / "journal.log") if storage == "journal" else default_storage(tmp_path)
    one = search(tmp_path / "a", storage=address)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=1)
    stopped = []
    for value in (30.0, 31.0, 20.0):
        work = one.next(3)
        trial = PrunableTrial(address, "study", work.id, pruner)
        stopped.append(trial.should_stop(value, 100))
        # A trial that goes on after an interruption comes past the same step.
        again = PrunableTrial(address, "study", work.id, pruner)
        assert again.should_stop(value, 100) == stopped[-1]
        one.prune(work) if stopped[-1] else one.complete(work, [value], 1.0)
    assert stopped == [False, False, True]
    last = one.trials()[2]
    assert (last.state.name, last.intermediate_values) == ("PRUNED", {100: 20.0})
    assert [trial.number for trial in one.best()] == [1, 0]


def test_a_storage_that_cannot_be_opened_is_told_without_its_password(tmp_path):
    for address in ("nonsense://me:hunter22@host/db", f"sqlite:///{tmp_path}/no/such/folder.db"):
        with pytest.raises(InputError, match="cannot be opened: ") as caught:
            open_storage(address)
        assert "hunter22" not in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError) as caught:
        open_storage("nonsense://me:hunter22@host/db")
    assert HIDDEN in str(caught.value)


def test_what_a_search_is_about_stands_in_its_folder(tmp_path):
    search(tmp_path / "a")
    about = json.loads((tmp_path / "a" / "search.json").read_text())
    assert about["params"] == PARAMS
    assert about["objectives"] == {"val/psnr_y": "maximize"}


def test_a_folder_of_something_else_is_refused(tmp_path):
    check_folder(tmp_path / "new")
    check_folder(tmp_path)  # empty
    (tmp_path / "study.db").touch()  # of a search that was killed when it began
    check_folder(tmp_path)
    (tmp_path / "multirun.yaml").touch()
    with pytest.raises(InputError, match=r"holds something else \(multirun.yaml\), not a search"):
        check_folder(tmp_path)
    (tmp_path / FILE_NAME).touch()
    check_folder(tmp_path)
