"""Runs as rows: filtered, grouped by what differs but the seed, sorted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esc_sr.errors import InputError
from esc_sr.reporting.bootstrap import Interval, mean_by_image, paired_interval
from esc_sr.reporting.differences import differing_keys, knows, value_of
from esc_sr.reporting.reading import Run
from esc_sr.reporting.values import Value, per_image, run_values
from esc_sr.runs.fingerprint import fingerprint, leaves

GROUPS = ("none", "seed")
_OF_THE_CONFIGURATION = {"scale", "params_k", "macs_g", "steps"}
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
}


@dataclass(frozen=True)
class Row:
    """One run, or several that differ in their seed.

    Attributes:
        label: What sets it apart, or its name.
        runs: One or more.
        values: By column; of several runs the mean, or what texts they have.
        spread: By column, the sample standard deviation over several runs.
        settings: By key of the configuration that sets rows apart, what it is.
    """

    label: str
    runs: tuple[Run, ...]
    values: Mapping[str, Value]
    spread: Mapping[str, float]
    settings: Mapping[str, str]

    def number(self, key: str) -> float | None:
        """Return a number of a column, None where there is none."""
        value = self.values.get(key)
        return value if isinstance(value, float | int) else None


@dataclass(frozen=True)
class Table:
    """Everything that a report shows in numbers.

    Attributes:
        rows: In the order in which they are shown.
        keys: Of the configuration, columns that set rows apart.
        qualities: Pairs of a set and a metric.
        unexplained: How many values of the configuration differ beside `keys`.
        baseline: The row that others are compared with, or None.
        differences: By row's index, by set and metric, against `baseline`.
        grouped: Whether runs that differ in their seed share a row.
    """

    rows: tuple[Row, ...]
    keys: tuple[str, ...]
    qualities: tuple[tuple[str, str], ...]
    unexplained: int = 0
    baseline: int | None = None
    differences: tuple[Mapping[tuple[str, str], Interval], ...] = ()
    grouped: bool = False


def tabulate(
    runs: Sequence[Run],
    *,
    group: str = "none",
    wanted: Mapping[str, Any] | None = None,
    sort: str | None = None,
    baseline: str | Mapping[str, Any] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Table:
    """Lay runs out.

    Args:
        runs: What `read_runs` has read.
        group: "seed" makes one row of runs that differ in their seed only; "none" does not.
        wanted: Filter: by column or key of the configuration a value, a list of values, or a
            comparison such as "<50". The end of a key will do where it is the only one, here and
            below.
        sort: A column or key; with a "-" in front, the largest first. None: as given.
        baseline: The run, by its name or folder, or a filter that leaves one row.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        The table.

    Raises:
        InputError: A column is unknown, the filter leaves nothing, or the baseline is not one row.
    """
    wanted = {_meant(key, runs, "filter"): value for key, value in (wanted or {}).items()}
    if isinstance(baseline, Mapping):
        baseline = {_meant(key, runs, "baseline"): value for key, value in baseline.items()}
    if sort is not None:
        sort = sort[: sort.startswith("-")] + _meant(sort.removeprefix("-"), runs, "sort")
    kept = [run for run in runs if _fits(run, wanted)]
    if not kept:
        raise InputError(f"filter leaves none of {len(runs)} runs: {_filter_text(wanted)}")
    keys, unexplained = differing_keys(kept, seeds=group != "seed")
    rows = [_row(part, keys, grouped=group == "seed") for part in _parts(kept, group)]
    if sort is not None:
        rows = _sorted(rows, sort)
    names = dict.fromkeys(
        key.removesuffix("/last") for row in rows for key in row.values if "/" in key
    )
    pairs = [tuple(name.split("/", 1)) for name in names]
    sets = dict.fromkeys(set_name for set_name, _ in pairs)
    qualities = [
        (set_name, metric)
        for set_name in sets
        for metric in sorted((m for s, m in pairs if s == set_name), key=_metric_order)
    ]
    at = None if baseline is None else _baseline(rows, baseline)
    differences = (
        tuple(_against(row, rows[at], qualities, resamples, seed) for row in rows)
        if at is not None
        else ()
    )
    return Table(
        tuple(rows), tuple(keys), tuple(qualities), unexplained, at, differences, group == "seed"
    )


def _parts(runs: Sequence[Run], group: str) -> list[tuple[Run, ...]]:
    if group == "none":
        return [(run,) for run in runs]
    parts: dict[str, list[Run]] = {}
    for run in runs:
        files = {key: str(digest) for key, digest in run.record.files.items()}
        parts.setdefault(fingerprint(run.record.config, files, seeds=False), []).append(run)
    return [tuple(part) for part in parts.values()]


def _row(runs: tuple[Run, ...], keys: Sequence[str], *, grouped: bool) -> Row:
    each = [run_values(run) for run in runs]
    values: dict[str, Value] = {}
    spread: dict[str, float] = {}
    for key in dict.fromkeys(key for one in each for key in one):
        present = [one.get(key) for one in each if one.get(key) is not None]
        numbers = [value for value in present if isinstance(value, float | int)]
        if len(numbers) < len(present):
            values[key] = ", ".join(dict.fromkeys(str(value) for value in present))
        else:
            values[key] = sum(numbers) / len(numbers) if numbers else None
            varies = key not in _OF_THE_CONFIGURATION
            if varies and len(numbers) > 1 and all(map(math.isfinite, numbers)):
                spread[key] = statistics.stdev(numbers)
    settings = {key: ", ".join(dict.fromkeys(value_of(run, key) for run in runs)) for key in keys}
    values["run"] = ", ".join(run.name for run in runs)
    values["runs"] = float(len(runs))
    label = ", ".join(f"{short(key, keys)}={value}" for key, value in settings.items())
    if not label:
        label = runs[0].record.network if grouped and runs[0].record.network else runs[0].name
    return Row(label, runs, values, spread, settings)


def short(key: str, keys: Sequence[str]) -> str:
    """Leave out what a label needs not: `lr` for `optimizer.lr`.

    Args:
        key: Of the configuration.
        keys: It, and those that it must be told from.
    """
    end = key.rpartition(".")[2]
    return end if sum(other.rpartition(".")[2] == end for other in keys) == 1 else key


def _metric_order(metric: str) -> tuple[int, str, int]:
    kind, _, suffix = metric.partition("_")
    known = ("psnr", "ssim")
    return (0, suffix, known.index(kind)) if kind in known else (1, metric, 0)


def _sorted(rows: list[Row], sort: str) -> list[Row]:
    """Sort by numbers where they are, else by texts; what is missing comes last."""
    key, falling = sort.removeprefix("-"), sort.startswith("-")
    values = [_value(row, key) for row in rows]
    numbers = [_as_number(value) for value in values]
    missing = [
        value is None or (number is not None and math.isnan(number))
        for value, number in zip(values, numbers, strict=True)
    ]
    there = [i for i in range(len(rows)) if not missing[i]]
    if all(numbers[i] is not None for i in there):
        there.sort(key=lambda i: numbers[i] or 0.0, reverse=falling)
    else:
        there.sort(key=lambda i: str(values[i]), reverse=falling)
    return [rows[i] for i in there] + [rows[i] for i in range(len(rows)) if missing[i]]


def _value(row: Row, key: str) -> Value:
    if row.values.get(key) is not None:
        return row.values[key]
    texts = dict.fromkeys(value_of(run, key) for run in row.runs if knows(run, key))
    return ", ".join(texts) or None


def _meant(key: str, runs: Sequence[Run], option: str) -> str:
    """Return the column or key of the configuration that a name means, such as `lr`."""
    if any(key in run_values(run) or knows(run, key) for run in runs) or key == "run":
        return key
    ending = dict.fromkeys(
        leaf for run in runs for leaf in leaves(run.record.config) if leaf.endswith(f".{key}")
    )
    varied, _ = differing_keys(runs)
    differing = [leaf for leaf in ending if leaf in varied]
    for found in (differing, list(ending)):
        if len(found) == 1:
            return found[0]
    if ending:
        raise InputError(f"{option}: '{key}' may be any of {', '.join(ending)}; give one in full")
    columns = dict.fromkeys(name for run in runs for name in run_values(run))
    varied = [one for one in varied if one not in columns]
    raise InputError(
        f"{option}: there is no '{key}'; columns are {', '.join([*columns, *varied, 'run'])}, and "
        "any key of the configuration"
    )


def _fits(run: Run, wanted: Mapping[str, Any]) -> bool:
    """Return whether a run has the values of a filter."""
    values = run_values(run) | {"run": run.name}
    for key, value in wanted.items():
        own = values.get(key)
        own = value_of(run, key) if own is None else own
        choices = value if isinstance(value, list) else [value]
        if not any(_matches(own, choice) for choice in choices):
            return False
    return True


def _matches(own: Value, choice: Any) -> bool:
    number = _as_number(own)
    for sign, holds in _OPERATORS.items():
        if isinstance(choice, str) and choice.startswith(sign):
            limit = _as_number(choice.removeprefix(sign).strip())
            if limit is None:
                raise InputError(f"filter: '{choice}' compares with no number")
            return number is not None and holds(number, limit)
    other = _as_number(choice)
    if number is not None and other is not None:
        return number == other
    return str(own).casefold() == ("null" if choice is None else str(choice)).casefold()


def _as_number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _filter_text(wanted: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in wanted.items())


def _baseline(rows: Sequence[Row], baseline: str | Mapping[str, Any]) -> int:
    if isinstance(baseline, Mapping):
        found = [i for i, row in enumerate(rows) if all(_fits(run, baseline) for run in row.runs)]
        asked = _filter_text(baseline)
    else:
        asked = baseline
        there = Path(baseline).expanduser().resolve()
        found = [
            i
            for i, row in enumerate(rows)
            if any(baseline == run.name or there == run.folder for run in row.runs)
        ]
    if len(found) != 1:
        names = ", ".join(str(rows[i].label) for i in found) or "none"
        raise InputError(
            f"baseline: {asked} must mean one row, it means {names}; give a run's folder, or "
            "values such as baseline={attention: eager}"
        )
    return found[0]


def _against(
    row: Row,
    baseline: Row,
    qualities: Sequence[tuple[str, str]],
    resamples: int,
    seed: int,
) -> dict[tuple[str, str], Interval]:
    """Compare a row with the baseline, of the same scale: seeds averaged first, then images."""
    if row is baseline or row.values.get("scale") != baseline.values.get("scale"):
        return {}
    found = {}
    for set_name, metric in qualities:
        sides = [
            mean_by_image(
                [by for run in one.runs if (by := per_image(run).get(set_name, {}).get(metric))]
            )
            for one in (row, baseline)
        ]
        interval = paired_interval(sides[0], sides[1], resamples=resamples, seed=seed)
        if interval is not None:
            found[set_name, metric] = interval
    return found
