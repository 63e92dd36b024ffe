"""Train a trial of a search in a process of its own, as `esc-sr train` would.

What a trial breaks, such as the memory of the machine, ends the trial and not the search; nothing
that it leaves in memory disturbs what the next one measures. This module is light, so that the
search itself needs no torch: the process that trains imports it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from esc_sr.errors import InputError, printable, require_extra
from esc_sr.offspring import end_with_parent
from esc_sr.runs.record import FAILED, FINISHED, PRUNED, RunRecord, read_record

OUTPUT = "output.txt"
_SECONDS_TO_END = 30.0
_ERROR = "esc-sr: error: "


@dataclass(frozen=True)
class Pruning:
    """What a trial's process needs in order to ask whether to go on.

    Attributes:
        storage: Address of the study's storage.
        study: Its name.
        trial_id: Of the trial in it.
        pruner: Node of the pruner, plain values.
        monitor: The value that is reported.
    """

    storage: str
    study: str
    trial_id: int
    pruner: dict[str, Any]
    monitor: str


def train_trial(overrides: Sequence[str], folder: Path, pruning: Pruning | None) -> RunRecord:
    """Train, or go on where an earlier process stopped.

    Args:
        overrides: Of `esc-sr train`, without the folder.
        folder: Of the run.
        pruning: How to ask whether to go on; None: nobody is asked.

    Returns:
        The record of the run, finished or pruned.

    Raises:
        InputError: The trial has failed; why, in one line.
    """
    ended = _ended(folder)
    if ended is not None:
        return ended  # all but told: the search was killed in between
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / OUTPUT
    before = output.stat().st_size if output.is_file() else 0
    # Fresh, without what this process holds, and started in no time once torch is imported there.
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["esc_sr.tasks.train"])
    else:
        context = multiprocessing.get_context("spawn")
    process = context.Process(target=_train, args=(tuple(overrides), folder, pruning))
    process.start()
    try:
        process.join()
    except (KeyboardInterrupt, SystemExit):
        _stop(process)
        raise
    ended = _ended(folder)
    if ended is None:
        raise InputError(_why(folder, before, process.exitcode or 0))
    return ended


def _ended(folder: Path) -> RunRecord | None:
    """Return the record of a run that is over, and not by a failure."""
    try:
        record = read_record(folder)
    except InputError:
        return None
    return record if record.state in (FINISHED, PRUNED) else None


def _why(folder: Path, before: int, status: int) -> str:
    """Say why a process has ended without a result."""
    with (folder / OUTPUT).open("rb") as file:
        file.seek(before)
        lines = file.read().decode("utf-8", "replace").splitlines()
    told = [line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)]
    if told:
        return printable(told[-1])
    try:
        record = read_record(folder)
        if record.state == FAILED and record.error:
            return record.error
    except InputError:
        pass  # it ended before there was one
    if status == -signal.SIGKILL:
        return "the system killed the process, as it does without memory"
    if status < 0:
        return f"the process got {signal.Signals(-status).name}"
    return f"the process ended with status {status}, see {folder / OUTPUT}"


def _stop(process: BaseProcess) -> None:
    """Let a process end; from a terminal it has got the same interrupt, which counts once."""
    try:
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, signal.SIGINT)
        process.join(_SECONDS_TO_END)
    finally:  # interrupted once more, too
        if process.is_alive():
            process.kill()
            process.join()


def _train(overrides: tuple[str, ...], folder: Path, pruning: Pruning | None) -> None:
    """Be the process that trains."""
    from esc_sr.profiling.fresh import be_first_to_go

    end_with_parent()
    be_first_to_go()
    with (folder / OUTPUT).open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    # One that was left behind may not have noticed yet.
    file_lock = require_extra("filelock", "sweep").FileLock
    try:
        with file_lock(folder / ".training.lock"):
            place = "run_dir='" + str(folder).replace("'", r"\'") + "'"
            _train_now([*overrides, place, "ckpt_path=last"], pruning)
    except KeyboardInterrupt:
        sys.exit(130)


def _train_now(arguments: Sequence[str], pruning: Pruning | None) -> None:
    from omegaconf import OmegaConf

    from esc_sr.config import instantiate
    from esc_sr.search.study import PrunableTrial
    from esc_sr.tasks import train
    from esc_sr.training.callbacks.pruning import TrialPruning

    callbacks = []
    if pruning is not None:
        pruner = instantiate(OmegaConf.create(pruning.pruner))
        judge = PrunableTrial(pruning.storage, pruning.study, pruning.trial_id, pruner)
        callbacks = [TrialPruning(monitor=pruning.monitor, judge=judge)]
    train.main(arguments, more_callbacks=callbacks)
