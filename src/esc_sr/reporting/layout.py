"""The table laid out once for every document: columns, cells, and what has to be said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from esc_sr.errors import printable
from esc_sr.reporting.bootstrap import LEVEL, Interval
from esc_sr.reporting.reading import LeftOut
from esc_sr.reporting.table import Row, Table, short

MISSING = "–"
_DIGITS = {"psnr": 3, "ssim": 4}
_LOWER_IS_BETTER = {"lpips", "dists"}


@dataclass(frozen=True)
class Part:
    """One number or text of a cell.

    Attributes:
        text: As it is shown.
        best: Whether no other row of the same scale has a better one.
    """

    text: str
    best: bool = False


Cell = tuple[Part, ...]


@dataclass(frozen=True)
class Layout:
    """A table of texts.

    Attributes:
        headings: Of the columns: name and unit, which may be empty.
        numeric: By column, whether it stands to the right.
        rows: By row, a cell for each column.
    """

    headings: tuple[tuple[str, str], ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class _Column:
    name: str
    unit: str
    keys: tuple[str, ...]
    numeric: bool = True
    is_setting: bool = False


def main_table(table: Table) -> Layout:
    """Lay out what every run has: what sets it apart, quality, costs, steps, time, commit."""
    columns = [column for column in _columns(table) if _is_filled(column, table.rows)]
    best = {
        (key, scale): value
        for scale in {row.values.get("scale") for row in table.rows}
        for column in columns
        for key in column.keys
        if "/" in key and not column.is_setting
        if (value := _best(table.rows, key, scale)) is not None
    }
    rows = []
    for row in table.rows:
        cells = []
        for column in columns:
            if column.is_setting:
                cells.append(tuple(Part(printable(row.settings[key])) for key in column.keys))
                continue
            parts = []
            for key in column.keys:
                top = best.get((key, row.values.get("scale")))
                parts.append(Part(_text(row, key), _is_shown_as(row.number(key), top, key)))
            cells.append(tuple(parts))
        rows.append(tuple(cells))
    return Layout(
        tuple((column.name, column.unit) for column in columns),
        tuple(column.numeric for column in columns),
        tuple(rows),
    )


def difference_table(table: Table) -> Layout | None:
    """Lay out how rows differ from the baseline; None without one."""
    if table.baseline is None:
        return None
    there = [pair for pair in table.qualities if any(pair in one for one in table.differences)]
    names = [(f"{set_name} {metric_name(metric)}", unit_of(metric)) for set_name, metric in there]
    rows = []
    for i, (row, found) in enumerate(zip(table.rows, table.differences, strict=True)):
        if i == table.baseline:
            cells = [(Part("baseline"),) for _ in there]
        else:
            cells = [(_interval_text(found.get(pair), pair[1]),) for pair in there]
        rows.append(((Part(printable(row.label)),), *cells))
    return Layout((("run", ""), *names), (False, *(True for _ in names)), tuple(rows))


def notes(table: Table) -> list[str]:
    """Say what a reader must know about the numbers."""
    rows = table.rows
    told = [
        "Quality: mean over the images of the best weights (best) and of the last validation "
        f"(last). Bold: the best of a column. {MISSING}: not known."
    ]
    if table.grouped:
        told.append("Runs that differ in their seed only are one row: mean ± standard deviation.")
        hashes = [[run.record.config_hash for run in row.runs] for row in rows]
        repeated = sum(len(one) - len(set(one)) for one in hashes)
        if repeated:
            told.append(f"{repeated} runs repeat another of the same seed, and count twice.")
    latency = _conditions(rows, "latency_ms", "latency_lq_size")
    if latency:
        told.append(f"Latency: one forward pass during training, {latency}.")
    memory = _conditions(rows, "memory_mib", "memory_lq_size")
    if memory:
        told.append(
            f"Memory: highest use in one forward pass during training, {memory}; on a CPU that of "
            "the whole process, with what earlier runs of a multirun have left."
        )
    if any(row.number("macs_g") is not None for row in rows):
        told.append("Multiply-adds: of an output of 1280×720.")
    if any("+" in str(row.values.get("commit")) for row in rows):
        told.append("Commit +: with changes that were not committed, in the run's dirty.diff.")
    if table.unexplained:
        told.append(f"Runs differ in {table.unexplained} further values of their configuration.")
    if len({row.values.get("scale") for row in rows}) > 1:
        told.append("Scales differ: quality compares within one scale.")
    if table.baseline is not None:
        counts = sorted({one.images for found in table.differences for one in found.values()})
        told.append(
            f"Differences are to {printable(rows[table.baseline].label)}: mean over images and "
            f"{LEVEL:.0%} interval of a paired bootstrap over {_listed(counts) or 'no'} images"
            + (", seeds averaged first" if table.grouped else "")
            + "; * where it leaves out zero."
        )
    told += [
        f"{printable(run.name)}: {printable(run.remark)}."
        for row in rows
        for run in row.runs
        if run.remark
    ]
    return told


def absences(left_out: Sequence[LeftOut]) -> list[str]:
    """Say which folders have no row, and why."""
    return [f"Left out: {one.name}, {one.reason.rstrip('.')}." for one in left_out]


def metric_name(metric: str) -> str:
    """Return a metric as tables call it.

    Example:
        >>> metric_name("psnr_y")
        'PSNR-Y'
    """
    return printable(metric).upper().replace("_", "-")


def unit_of(metric: str) -> str:
    """Return the unit of a metric, empty if it has none."""
    return "dB" if metric.startswith("psnr") else ""


def duration(seconds: float) -> str:
    """Write seconds as one reads them.

    Example:
        >>> duration(3.14), duration(75), duration(7384)
        ('3.1 s', '1:15 min', '2:03 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"


def _columns(table: Table) -> list[_Column]:
    rows = table.rows
    columns = [_Column("runs" if table.grouped else "run", "", ("run",), numeric=False)]
    if table.grouped:
        columns = [_Column("runs", "", ("runs",))]
    columns += [
        _Column(short(key, table.keys), "", (key,), numeric=False, is_setting=True)
        for key in table.keys
    ]
    if table.grouped:
        columns.append(_Column("seeds", "", ("seed",), numeric=False))
        if not table.keys:
            columns.insert(0, _Column("run", "", ("run",), numeric=False))
    if len({row.values.get("scale") for row in rows}) > 1 and "scale" not in table.keys:
        columns.append(_Column("scale", "", ("scale",)))
    for end in ("", "/last"):
        for set_name, metrics in _paired(table.qualities):
            name = " / ".join(map(metric_name, metrics))
            keys = tuple(f"{set_name}/{metric}{end}" for metric in metrics)
            columns.append(_Column(f"{printable(set_name)} {end[1:] or 'best'}", name, keys))
    columns += [
        _Column("latency", "ms", ("latency_ms",)),
        _Column("memory", "MiB", ("memory_mib",)),
        _Column("params", "K", ("params_k",)),
        _Column("MACs", "G", ("macs_g",)),
        _Column("steps", "", ("steps",)),
        _Column("time", "", ("wall_s",)),
        _Column("commit", "", ("commit",), numeric=False),
    ]
    if len({row.values.get("state") for row in rows}) > 1:
        columns.append(_Column("state", "", ("state",), numeric=False))
    if len({row.values.get("device") for row in rows}) > 1:
        columns.append(_Column("device", "", ("device",), numeric=False))
    return columns


def _paired(qualities: Sequence[tuple[str, str]]) -> list[tuple[str, tuple[str, ...]]]:
    """Put PSNR and SSIM of one protocol into one column."""
    cells: dict[tuple[str, str], list[str]] = {}
    for set_name, metric in qualities:
        kind, _, suffix = metric.partition("_")
        key = (set_name, suffix if kind in _DIGITS else metric)
        cells.setdefault(key, []).append(metric)
    return [(set_name, tuple(metrics)) for (set_name, _), metrics in cells.items()]


def _is_filled(column: _Column, rows: Sequence[Row]) -> bool:
    return column.is_setting or any(
        row.values.get(key) is not None for row in rows for key in column.keys
    )


def _best(rows: Sequence[Row], key: str, scale: object) -> float | None:
    values = [
        value
        for row in rows
        if row.values.get("scale") == scale
        if (value := row.number(key)) is not None and not math.isnan(value)
    ]
    if len(values) < 2:
        return None
    lower = key.split("/")[1].partition("_")[0] in _LOWER_IS_BETTER
    return min(values) if lower else max(values)


def _is_shown_as(value: float | None, top: float | None, key: str) -> bool:
    """Return whether two numbers are the same as far as the digits shown tell."""
    return value is not None and top is not None and _number(value, key) == _number(top, key)


def _text(row: Row, key: str) -> str:
    value = row.values.get(key)
    if value is None:
        return MISSING
    if isinstance(value, str):
        return printable(value)
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "NaN")
    if key == "wall_s":
        return duration(value)
    spread = row.spread.get(key)
    told = _number(value, key)
    if spread is None:
        return told
    return f"{told} ± {_number(spread, key)}"


def _number(value: float, key: str) -> str:
    metric = key.split("/")[1] if "/" in key else ""
    if metric:
        return f"{value:.{_DIGITS.get(metric.partition('_')[0], 4)}f}"
    if key in ("latency_ms", "memory_mib"):
        return f"{value:.1f}"
    if key == "macs_g":
        return f"{value:.3g}" if value < 100 else f"{value:.1f}"
    if key == "params_k":
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{value:g}"


def _interval_text(interval: Interval | None, metric: str) -> Part:
    if interval is None:
        return Part(MISSING)
    digits = _DIGITS.get(metric.partition("_")[0], 4)
    ends = (interval.mean, interval.low, interval.high)
    mean, low, high = (f"{round(end, digits) + 0.0:+.{digits}f}" for end in ends)
    return Part(f"{mean} [{low}, {high}]{'*' if interval.excludes_zero else ''}")


def _conditions(rows: Sequence[Row], key: str, size: str) -> str:
    """Say on what and of which image a cost was measured, if rows agree."""
    measured = [row for row in rows if row.number(key) is not None]
    sizes = {str(row.values[size]) for row in measured if row.values.get(size)}
    devices = {str(row.values["device"]) for row in measured if row.values.get("device")}
    if not measured:
        return ""
    told = [f"LQ {_listed(sorted(sizes))}"] if sizes else []
    told += [printable(f"on {_listed(sorted(devices))}")] if devices else []
    if len(sizes) > 1 or len(devices) > 1:
        told.append("which does not compare between these")
    return ", ".join(told) or "of an image of a size that is not known"


def _listed(values: Sequence[object]) -> str:
    return " and ".join(map(str, values))
