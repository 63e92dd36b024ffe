"""Find and read the runs to report on."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from esc_sr.errors import InputError, printable
from esc_sr.reporting.logs import Curves, read_curves
from esc_sr.runs.finding import run_folders
from esc_sr.runs.record import FILE_NAME, FINISHED, RUNNING, SKIPPED, RunRecord, read_record

_NO_RECORD = "it ended before its first step, or a version made it that kept no record"


@dataclass(frozen=True)
class Run:
    """A run that is told of.

    Attributes:
        name: Tells it from the others: the end of its path.
        folder: Where it lies.
        record: Its `run.json`.
        curves: What its CSV logger has written.
        remark: What is wrong with it; empty if nothing is.
    """

    name: str
    folder: Path
    record: RunRecord
    curves: Curves
    remark: str = ""


@dataclass(frozen=True)
class LeftOut:
    """A folder that has no row.

    Attributes:
        name: The end of its path.
        reason: Why.
    """

    name: str
    reason: str


def read_runs(
    places: Sequence[str], *, unfinished: bool = False
) -> tuple[list[Run], list[LeftOut]]:
    """Read all runs at and below some places.

    Args:
        places: Folders of runs, of multiruns or above, or patterns such as `runs/2026-*`.
        unfinished: Keep runs that have not finished too.

    Returns:
        The runs in the order of the places, each once, and the folders that are left out.

    Raises:
        InputError: A place does not exist, holds no run, or none of all can be told of.
    """
    if not places:
        raise InputError("name folders of runs or above: esc-sr report runs/multirun [key=value]")
    folders = list(dict.fromkeys(folder for place in places for folder in _folders(place)))
    names = _names(folders)
    runs, left_out = [], []
    for folder in folders:
        name = names[folder]
        if not (folder / FILE_NAME).is_file():
            left_out.append(LeftOut(name, f"no {FILE_NAME}: {_NO_RECORD}"))
            continue
        try:
            record = read_record(folder)
        except InputError as error:
            left_out.append(LeftOut(name, printable(str(error))))
            continue
        state = _state(record)
        if record.state != FINISHED and (record.state == SKIPPED or not unfinished):
            left_out.append(LeftOut(name, state))
            continue
        curves, problem = read_curves(folder)
        remarks = [part for part in (problem, state if record.state != FINISHED else "") if part]
        runs.append(Run(name, folder, record, curves, "; ".join(remarks)))
    if not runs:
        told = "; ".join(f"{one.name}: {one.reason}" for one in left_out[:3])
        hint = "" if unfinished else "; unfinished=true shows runs that have not finished"
        raise InputError(f"no finished run to report on ({told}){hint}")
    return runs, left_out


def _folders(place: str) -> list[Path]:
    path = Path(place).expanduser()
    found = [path]
    if not path.exists():
        found = [Path(one) for one in sorted(glob.glob(str(path), recursive=True))]
    if not found:
        raise InputError(f"there is no folder {place}, and it is no pattern of any")
    folders = [inside for one in found if one.is_dir() for inside in _with_remains(one)]
    if not folders:
        raise InputError(f"{place} holds no run: no folder with a run.json of `esc-sr train`")
    return folders


def _with_remains(root: Path) -> list[Path]:
    """Return the folders of runs, and of those that ended before there was a record."""
    runs = list(run_folders(root.resolve()))
    remains = [path.parent.parent for path in root.resolve().glob("**/.hydra/overrides.yaml")]
    return runs + sorted(folder for folder in remains if folder not in runs)


def _names(folders: Sequence[Path]) -> dict[Path, str]:
    """Name folders by what their paths do not share."""
    if len(folders) == 1:
        return {folders[0]: printable(folders[0].name)}
    shared = os.path.commonpath([folder.parent for folder in folders])
    return {folder: printable(os.path.relpath(folder, shared)) for folder in folders}


def _state(record: RunRecord) -> str:
    """Say how a run that has not finished stands."""
    steps = record.config.get("trainer")
    most = steps.get("max_steps") if isinstance(steps, dict) else None
    at = "" if record.step is None else f" at step {record.step}"
    if at and isinstance(most, int) and most > 0:
        at += f" of {most}"
    what = "running, or killed" if record.state == RUNNING else record.state
    return f"{what}{at}" + (f": {printable(record.error)}" if record.error else "")
