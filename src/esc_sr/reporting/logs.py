"""Curves of a run, from the files of its CSV logger."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from esc_sr.files import fault_of_file

# By key, values by optimizer steps taken; a value may be NaN.
Curves = dict[str, dict[int, float]]

# A log of a million lines with a dozen columns has 100 MiB.
_MOST_BYTES = 256 * 2**20
_MOST_COLUMNS = 10_000
_LONGEST_LINE = 2**20  # characters: 10,000 columns have fewer


def read_curves(folder: Path) -> tuple[Curves, str]:
    """Read `csv/version_*/metrics.csv` of a run; what a resumed run has logged anew counts.

    Args:
        folder: Of the run.

    Returns:
        The curves, and what is wrong with the files, in a few words; empty if nothing is.
    """
    curves: Curves = {}
    # A session that was killed before its first lines has a folder without the file.
    versions = [
        path.parent
        for path in folder.glob("csv/version_*/metrics.csv")
        if _number_of(path.parent) is not None
    ]
    problem = "" if versions else "no CSV log"
    for version in sorted(versions, key=lambda path: _number_of(path) or 0):
        path = version / "metrics.csv"
        try:
            if not path.resolve().is_relative_to(folder.resolve()):
                problem = f"{path.name} of {version.name} lies outside the run"
                continue
            fault = fault_of_file(path, most_bytes=_MOST_BYTES)
            if fault is not None:
                problem = f"{version.name}/{path.name} {fault}"
                continue
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(_lines(file))
                if len(reader.fieldnames or ()) > _MOST_COLUMNS:
                    raise ValueError(f"more than {_MOST_COLUMNS:,} columns")
                for row in reader:
                    _add(curves, row)
        except (OSError, ValueError, csv.Error) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            problem = f"{version.name}/{path.name} cannot be read: {reason}"
    return {key: dict(sorted(points.items())) for key, points in curves.items()}, problem


def last(points: dict[int, float] | None) -> float | None:
    """Return the value of the last step; None without any."""
    return points[max(points)] if points else None


def best_step(points: dict[int, float] | None, mode: str) -> int | None:
    """Return the first step of the best value.

    Args:
        points: Values by step.
        mode: "max" or "min", which is better.
    """
    finite = {step: value for step, value in (points or {}).items() if not math.isnan(value)}
    if not finite:
        return None
    return (min if mode == "min" else max)(finite, key=lambda step: finite[step])


def _lines(file: TextIO) -> Iterator[str]:
    """Give lines, one after the other, as `file` does, but none without end."""
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise ValueError("a line without end")
        yield line


def _add(curves: Curves, row: dict[str, str]) -> None:
    step = _integer(row.get("step"))
    if step is None:
        return
    for key, text in row.items():
        # Cells beyond the head of a torn line have no key.
        if text and isinstance(key, str) and key not in ("step", "epoch"):
            try:
                value = float(text)
            except (TypeError, ValueError):
                continue
            # Logged with the number of the step that was taken, counted from zero.
            curves.setdefault(key, {})[step + 1] = value


def _integer(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 16 else None


def _number_of(version: Path) -> int | None:
    return _integer(version.name.removeprefix("version_"))
