"""The study of a search: Optuna's memory of its trials, and who works on which of them.

Several processes may work on one study, and any of them may be killed at any time. A process holds
the lock of the trial it works on, which the system takes from it when it ends, however it ends: a
trial that is "running" and whose lock is free was left behind, and whoever comes goes on with it.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esc_sr.errors import InputError, require_extra
from esc_sr.files import write_atomically
from esc_sr.runs.redaction import redacted
from esc_sr.search.space import Parameter, Value

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

FILE_NAME = "search.json"
TRIALS = "trials"
_ATTRIBUTE = "esc_sr"
_SECONDS_LOCKED = 60  # of SQLite, until another process has written


@dataclass(frozen=True)
class Work:
    """A trial to be trained.

    Attributes:
        number: Of the trial.
        id: Of the trial in its storage.
        values: By key, what is proposed.
        folder: Of its run.
        left: Whether another process has begun it.
    """

    number: int
    id: int
    values: Mapping[str, Value]
    folder: Path
    left: bool


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else than a search, such as a multirun.

    Raises:
        InputError: It does.
    """
    if folder.is_dir() and not (folder / FILE_NAME).is_file():
        # What a search that was killed at its very beginning leaves.
        others = sorted(one.name for one in folder.iterdir() if not _is_of_a_beginning(one.name))
        if others:
            raise InputError(
                f"search_dir={folder} holds something else ({others[0]}), not a search: choose "
                "another folder"
            )


def _is_of_a_beginning(name: str) -> bool:
    return name.startswith((".", "study.db", "journal")) or name == TRIALS


def default_storage(folder: Path) -> str:
    """Return the address of the SQLite file in a search's folder."""
    return f"sqlite:///{folder / 'study.db'}"


def open_storage(address: str) -> BaseStorage:
    """Open where a study is kept.

    Args:
        address: A URL as SQLAlchemy takes it, or a file for Optuna's journal, which works on
            network file systems too.

    Raises:
        InputError: It cannot be reached.
    """
    optuna = require_extra("optuna", "sweep")
    shown = redacted(address)
    try:
        if "://" not in address:
            Path(address).expanduser().parent.mkdir(parents=True, exist_ok=True)
            backend = require_extra("optuna.storages.journal", "sweep").JournalFileBackend
            return optuna.storages.JournalStorage(backend(str(Path(address).expanduser())))
        options: dict[str, Any] = {}
        if address.startswith("sqlite"):
            options = {"engine_kwargs": {"connect_args": {"timeout": _SECONDS_LOCKED}}}
        return optuna.storages.RDBStorage(address, **options)
    except OSError:
        raise
    except Exception as error:  # of SQLAlchemy, of a driver, of Optuna
        reason = redacted(str(error).strip().splitlines()[0]) if str(error).strip() else ""
        reason = reason or type(error).__name__
        raise InputError(f"storage={shown} cannot be opened: {reason}") from None


class Search:
    """A study, its folder and what it is about.

    Args:
        folder: Of the search; trials have theirs below.
        name: Of the study in its storage.
        storage: Where it is kept.
        space: What is varied.
        objectives: By name of a value, "maximize" or "minimize".
        about: What must be the same when a search is gone on with: plain values, by what a
            message shall call them.
        make_sampler: Gives the sampler for a trial's number.

    Raises:
        InputError: The folder or the study is about something else.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        storage: BaseStorage,
        space: Sequence[Parameter],
        objectives: Mapping[str, str],
        about: Mapping[str, Any],
        make_sampler: Callable[[int], BaseSampler],
    ) -> None:
        self._optuna = require_extra("optuna", "sweep")
        self._file_lock = require_extra("filelock", "sweep").FileLock
        self.folder = folder
        self.space = space
        self.objectives = objectives
        self._make_sampler = make_sampler
        self._held: dict[int, Any] = {}
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        with self._study_lock():
            self.study: Study = self._optuna.create_study(
                study_name=name,
                storage=storage,
                sampler=self._optuna.samplers.RandomSampler(),
                pruner=self._optuna.pruners.NopPruner(),
                directions=list(objectives.values()),
                load_if_exists=True,
            )
            self._check_about(about)

    def next(self, trials: int) -> Work | None:
        """Take a trial: one that was left behind, else a new one.

        Args:
            trials: How many there shall be in all.

        Returns:
            The trial, locked for this process; None if there is none to begin any more.
        """
        running = self._optuna.trial.TrialState.RUNNING
        with self._study_lock():
            known = self.study.get_trials(deepcopy=False)
            for trial in known:
                if trial.state == running and self._hold(trial.number):
                    return self._work(trial.number, trial._trial_id, left=True)
            if len(known) >= trials:
                return None
            self.study.sampler = self._make_sampler(len(known))
            trial = self.study.ask()
            self._hold(trial.number)
            return self._work(trial.number, trial._trial_id, left=False)

    def release(self, work: Work) -> None:
        """Leave a trial to whoever comes."""
        self._held.pop(work.number).release()

    def complete(self, work: Work, values: Sequence[float], seconds: float | None) -> None:
        """Note what came of a trial."""
        self._tell(work, "COMPLETE", values, seconds=seconds)

    def prune(self, work: Work) -> None:
        """Note that a trial was stopped, since it did not promise much."""
        self._tell(work, "PRUNED", None)

    def fail(self, work: Work, error: str) -> None:
        """Note that a trial has failed, and why."""
        self._tell(work, "FAIL", None, error=error)

    def trials(self) -> list[FrozenTrial]:
        """Return all trials in the order of their numbers."""
        return self.study.get_trials(deepcopy=False)

    def best(self) -> list[FrozenTrial]:
        """Return finished trials: the best first, or those that none beats in both objectives."""
        complete = (self._optuna.trial.TrialState.COMPLETE,)
        finished = self.study.get_trials(deepcopy=False, states=complete)
        if not finished:
            return []
        kept = self.study.best_trials if len(self.objectives) > 1 else finished
        falling = next(iter(self.objectives.values())) == "maximize"
        return sorted(kept, key=lambda trial: trial.values, reverse=falling)

    def _work(self, number: int, trial_id: int, *, left: bool) -> Work:
        # By the sampler of this number also where another process has asked for it: it may have
        # been killed before it knew the values.
        self.study.sampler = self._make_sampler(number)
        trial = self._optuna.trial.Trial(self.study, trial_id)
        values = {parameter.key: parameter.suggest(trial) for parameter in self.space}
        return Work(number, trial_id, values, self.folder / TRIALS / str(number), left)

    def _tell(
        self, work: Work, state: str, values: Sequence[float] | None, **attributes: Any
    ) -> None:
        with self._study_lock():
            # Optuna's grid sampler would end Optuna's own loop, which is not running here.
            self.study.sampler = self._optuna.samplers.RandomSampler()
            trial = self._optuna.trial.Trial(self.study, work.id)
            for name, value in attributes.items():
                trial.set_user_attr(name, value)
            self.study.tell(work.number, values, state=self._optuna.trial.TrialState[state])
        self.release(work)

    def _check_about(self, about: Mapping[str, Any]) -> None:
        """Compare with what is written in the folder and in the storage, or write it."""
        path = self.folder / FILE_NAME
        in_storage = self.study.user_attrs.get(_ATTRIBUTE)
        in_folder = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        now = json.loads(json.dumps({"study": self.study.study_name, **about}))
        if in_folder is not None:
            now["id"] = in_folder.get("id")
        else:
            now["id"] = f"{random.SystemRandom().getrandbits(64):016x}"
        if in_storage is not None and (in_folder is None or in_storage["id"] != in_folder["id"]):
            raise InputError(
                f"the storage holds a study '{self.study.study_name}' of another folder than "
                f"{self.folder}: give that search_dir, or another study=NAME"
            )
        if in_storage is None and (self.folder / TRIALS).is_dir():
            raise InputError(
                f"{self.folder} holds trials of a study that is not in the storage any more: give "
                "the storage and the study=NAME it had, or choose another search_dir"
            )
        before = in_folder if in_storage is None else in_storage
        for key, value in now.items():
            if before is not None and before.get(key) != value:
                what = _first(before.get(key), value)
                raise InputError(
                    f"{self.folder} holds a search with other {key} ({what}): go on with what it "
                    "had, or choose another search_dir"
                )
        if in_folder is None:
            write_atomically(path, json.dumps(now, indent=1, ensure_ascii=False) + "\n")
        if in_storage is None:
            self.study.set_user_attr(_ATTRIBUTE, now)

    def _hold(self, number: int) -> bool:
        """Try to be the one that works on a trial."""
        if number in self._held:
            return False
        lock = self._file_lock(self._locks() / f"trial-{number}", blocking=False)
        try:
            lock.acquire()
        except TimeoutError:
            return False
        self._held[number] = lock
        return True

    @contextmanager
    def _study_lock(self) -> Iterator[None]:
        with self._file_lock(self._locks() / "study"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="optuna")  # of what is experimental there
            yield

    def _locks(self) -> Path:
        folder = self.folder / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class PrunableTrial:
    """A trial as seen by the process that trains it: it reports, and asks whether to go on.

    Args:
        address: Of the storage.
        study: Name of the study.
        trial_id: Of the trial in the storage.
        pruner: Who judges.
    """

    def __init__(self, address: str, study: str, trial_id: int, pruner: BasePruner) -> None:
        optuna = require_extra("optuna", "sweep")
        known = optuna.load_study(
            study_name=study,
            storage=open_storage(address),
            sampler=optuna.samplers.RandomSampler(),
            pruner=pruner,
        )
        self._trial = optuna.trial.Trial(known, trial_id)
        self._reported = set(known._storage.get_trial(trial_id).intermediate_values)

    def should_stop(self, value: float, step: int) -> bool:
        """Report a value, and say whether it promises too little.

        Args:
            value: Of the objective.
            step: Optimizer steps taken.
        """
        if step not in self._reported:  # else before this trial was interrupted
            self._trial.report(value, step)
            self._reported.add(step)
        return self._trial.should_prune()


def seed_of(seed: int, number: int) -> int:
    """Return the seed with which a trial is proposed.

    One for each trial, so that a search that was interrupted goes on as if it had not been: a
    sampler of Optuna begins with its first random numbers again in each process.

    Args:
        seed: Of the search.
        number: Of the trial.
    """
    return random.Random(f"{seed}/{number}").getrandbits(32)


def _first(before: Any, now: Any) -> str:
    """Say what differs first."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *now]:
            if before.get(key) != now.get(key):
                was, is_now = before.get(key, "nothing"), now.get(key, "nothing")
                return f"{key} was {was}, is {is_now}"
        return "in another order"
    return f"was {before}, is {now}"
