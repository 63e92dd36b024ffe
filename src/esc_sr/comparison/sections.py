"""The table, laid out once for every format: sections by origin, numbers, ranks, and notes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from esc_sr.comparison.rows import ComparisonRow, Origin
from esc_sr.errors import InputError
from esc_sr.published.table import SETS

NOT_AVAILABLE = "–"
BORROWED = "†"
DOUBTFUL = "‡"
_DIGITS = {"latency_ms": 1, "memory": 0, "macs_g": 1, "params_k": 0, "psnr_y": 2, "ssim_y": 4}
_COSTS = ("latency_ms", "memory", "macs_g", "params_k")
METRICS = ("psnr_y", "ssim_y")
# A longer error is told below the table only.
_SHORT_ERROR = 24


@dataclass(frozen=True)
class Number:
    """One number of a table.

    Attributes:
        text: As it is shown; words where there is none.
        value: What is ranked; None: this takes no part.
        mark: `BORROWED`, `DOUBTFUL` or nothing.
        rank: 1 for the best of its column and section, 2 for the second, else 0.
    """

    text: str
    value: float | None = None
    mark: str = ""
    rank: Literal[0, 1, 2] = 0


Cell = tuple[Number, ...]


@dataclass(frozen=True)
class Section:
    """Rows of one origin; only they are ranked against each other.

    Attributes:
        origin: "published" or "measured".
        conditions: Where the numbers come from, or how they were measured.
        headings: Of the columns: name and unit, which may be empty.
        rows: By row, the network and one cell for each other column; PSNR and SSIM share a cell.
    """

    origin: Origin
    conditions: str
    headings: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def check_sets(rows: Sequence[ComparisonRow], sets: Sequence[str] | None) -> list[str]:
    """Return the sets to show.

    Args:
        rows: What is compared.
        sets: Those wanted; None: every one that a row has, the papers' first.

    Returns:
        Their names.

    Raises:
        InputError: A set is neither the papers' nor any row's.
    """
    there = dict.fromkeys(name for row in rows for name in row.sets)
    known = list(dict.fromkeys([*SETS, *there]))
    for name in sets or ():
        if name not in known:
            raise InputError(f"no row has numbers of '{name}'; sets are {', '.join(known)}")
    return [name for name in known if name in there] if sets is None else list(sets)


def tabulate(rows: Sequence[ComparisonRow], sets: Sequence[str]) -> list[Section]:
    """Lay rows out in sections by origin.

    Args:
        rows: What is compared, at one scale.
        sets: Columns of quality, as `check_sets` returns them.

    Returns:
        The published section, then the measured one; none that would be empty.
    """
    parts = ([row for row in rows if row.origin == o] for o in ("published", "measured"))
    return [_section(part[0].origin, part, sets) for part in parts if part]


def notes(rows: Sequence[ComparisonRow], sets: Sequence[str]) -> list[str]:
    """Say what the marks of a table mean, and what else a reader must know.

    Args:
        rows: What it shows.
        sets: Its columns of quality.

    Returns:
        Sentences.
    """
    told = [
        "Quality is PSNR (dB) / SSIM. In each column the best value is bold and the second "
        "underlined, among published values alone and among measured ones alone; interpolation "
        f"takes no part. {NOT_AVAILABLE}: not available."
    ]
    protocols = dict.fromkeys(text for row in rows for text in row.protocols)
    if protocols:
        told.append(f"Measured quality: {'; '.join(protocols)}.")
    if any(row.borrowed for row in rows):
        told.append(
            f"{BORROWED} Costs measured here beside the published quality of the same network, "
            "which was not measured and is not ranked."
        )
    if any(mark.partition("/")[0] in sets for row in rows for mark in row.doubtful):
        told.append(f"{DOUBTFUL} As printed, but taken for a misprint; not ranked.")
    # An error may have come in several lines.
    told += [f"{row.network}: {' '.join(row.error.split())}." for row in rows if row.error]
    return told


def _section(origin: Origin, rows: Sequence[ComparisonRow], sets: Sequence[str]) -> Section:
    columns = [
        *([(_cost(row, key),) for row in rows] for key in _COSTS),
        *([_quality(row, name) for row in rows] for name in sets),
    ]
    taking_part = [row.kind != "interpolation" for row in rows]
    ranked = [
        _ranked(column, taking_part, lower=i < len(_COSTS)) for i, column in enumerate(columns)
    ]
    headings = [("network", ""), ("latency", "ms"), ("memory", rows[0].memory_unit)]
    headings += [("MACs", "G"), ("params", "K"), *((name, "") for name in sets)]
    return Section(
        origin,
        _conditions(origin, rows),
        tuple(headings),
        tuple((row.network, tuple(column[i] for column in ranked)) for i, row in enumerate(rows)),
    )


def _conditions(origin: Origin, rows: Sequence[ComparisonRow]) -> str:
    told = dict.fromkeys(row.where for row in rows)
    if origin == "measured":
        of_costs = dict.fromkeys(row.where for row in rows if row.hardware)
        return f"Measured: {'; '.join(of_costs or told)}."
    return (
        f"Published: {'; '.join(told)}. Costs are those of an output of 1280×720 "
        f"on {rows[0].hardware}."
    )


def _cost(row: ComparisonRow, key: str) -> Number:
    value = getattr(row, key)
    if key == "latency_ms" and row.error is not None:
        reason = row.error.partition(":")[0]
        return Number(reason if len(reason) <= _SHORT_ERROR else "failed")
    return _number(value, key)


def _quality(row: ComparisonRow, set_name: str) -> Cell:
    numbers = []
    for metric in METRICS:
        number = _number(row.quality(set_name, metric), metric)
        if number.value is not None:
            if f"{set_name}/{metric}" in row.doubtful:
                number = replace(number, mark=DOUBTFUL, value=None)
            if row.borrowed:
                number = replace(number, mark=BORROWED + number.mark, value=None)
        numbers.append(number)
    if all(number.text == NOT_AVAILABLE for number in numbers):
        return (Number(NOT_AVAILABLE),)
    return tuple(numbers)


def _number(value: float | None, key: str) -> Number:
    if value is None:
        return Number(NOT_AVAILABLE)
    if math.isinf(value):
        return Number("∞", value)
    text = f"{value:.{_DIGITS[key]}f}"
    # What reads the same ranks the same.
    return Number(text, float(text))


def _ranked(column: Sequence[Cell], taking_part: Sequence[bool], *, lower: bool) -> list[Cell]:
    """Mark the best and the second, number by number, if there is something to compare."""
    competing = [cell for cell, part in zip(column, taking_part, strict=True) if part]
    places: list[dict[float, Literal[1, 2]]] = []
    for i in range(max(map(len, column))):
        values = {cell[i].value for cell in competing if i < len(cell)}
        best = sorted((value for value in values if value is not None), reverse=not lower)
        places.append(dict(zip(best, (1, 2), strict=False)) if len(best) > 1 else {})

    def mark(number: Number, i: int) -> Number:
        return (
            number if number.value is None else replace(number, rank=places[i].get(number.value, 0))
        )

    return [
        tuple(mark(number, i) for i, number in enumerate(cell)) if part else cell
        for cell, part in zip(column, taking_part, strict=True)
    ]
