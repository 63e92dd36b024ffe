"""Costs of networks as tables: for the terminal and for documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from esc_sr.markup import markdown_text
from esc_sr.profiling.latency import Spread
from esc_sr.profiling.records import BenchRecord

_SETTING = ("network", "attention", "scale", "LQ", "precision")
_COSTS = ("latency (ms)", "p10–p90", "memory (MiB)", "MACs (G)", "params (K)")
_HEADINGS = (*_SETTING, *_COSTS)
_LEFT = ("network", "attention", "precision")
_NETWORK_WIDTH = 14  # longer names take several lines


@dataclass(frozen=True)
class Ratio:
    """How one network's costs relate to another's, measured in turn in one run."""

    baseline: str
    """The overrides that make it."""
    subject: str
    latency: Spread
    """Of subject over baseline, round by round."""
    memory: float | None
    """Peak of subject over peak of baseline."""
    rounds: int


def bench_table(records: Sequence[BenchRecord], *, labels: Sequence[str] | None = None) -> Table:
    """Lay out records for the terminal, with the conditions below.

    What is the same in all records stands above instead of in a column, so that it fits.

    Args:
        records: What was measured.
        labels: What to put at the beginning of the rows; None: the names of the networks.
    """
    rows: list[dict[str, str]] = [
        dict(zip(_HEADINGS, _cells(record), strict=True)) for record in records
    ]
    shared = [name for name in _SETTING if len({row[name] for row in rows}) == 1]
    if labels is None and "network" in shared:
        shared.remove("network")
    table = Table(
        title=Text(
            ", ".join(_told(name, rows[0][name]) for name in shared if rows[0][name] != "–")
        ),
        title_justify="left",
        caption=Text("\n".join(conditions(records))),
        caption_justify="left",
    )
    shown = [name for name in _HEADINGS if name not in shared]
    longest = max(len(row["network"]) for row in rows)
    if labels is not None:
        table.add_column("")
    for name in shown:
        table.add_column(
            name.replace(" (", "\n("),
            justify="left" if name in _LEFT else "right",
            overflow="fold",
            no_wrap=name not in ("network", "latency (ms)"),
            min_width=min(_NETWORK_WIDTH, longest) if name == "network" else None,
        )
    for i, row in enumerate(rows):
        label = [] if labels is None else [labels[i]]
        table.add_row(*map(Text, [*label, *(row[name] for name in shown)]))
    return table


def _told(name: str, value: str) -> str:
    return f"{name} {value}" if name in ("attention", "LQ") else value


def bench_markdown(records: Sequence[BenchRecord]) -> str:
    """Write the same table in Markdown."""
    rules = [":--" if heading in _LEFT else "--:" for heading in _HEADINGS]
    measured = [list(map(markdown_text, _cells(record))) for record in records]
    rows = [list(_HEADINGS), rules, *measured]
    lines = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    return (
        lines
        + "\n\n"
        + "\n".join(f"- {markdown_text(line)}" for line in conditions(records))
        + "\n"
    )


def conditions(records: Sequence[BenchRecord]) -> list[str]:
    """Say on what, how often and with which versions records were measured, and what failed."""
    told = []
    for record in records:
        where = record.device_name
        if record.device == "cpu" and record.threads is not None:
            where += f", {record.threads} threads"
        known = ", ".join(f"{key} {value}" for key, value in record.versions.items() if value)
        told.append(
            f"{where}; median of {record.repeats} after {record.warmup}, "
            f"batch {record.batch_size}; {known}"
        )
    sources = {
        "resident_increase": "memory: peak of a fresh process above the loaded network",
        "cuda_allocated": "memory: peak of allocated tensors, weights included",
    }
    told += [sources[record.memory_source] for record in records if record.memory_source]
    told += [f"{record.network}: {record.error}" for record in records if record.error]
    return list(dict.fromkeys(told))


def ratio_line(ratio: Ratio) -> str:
    """Say in a line how B relates to A."""
    times = ratio.latency
    line = (
        f"B / A: latency {times.median:.3f} (p10–p90 of {ratio.rounds} rounds in turn "
        f"{times.p10:.3f}–{times.p90:.3f})"
    )
    return line if ratio.memory is None else f"{line}, memory {ratio.memory:.3f}"


def _cells(record: BenchRecord) -> list[str]:
    height, width = record.lq_size
    failed = (record.error or "").partition(":")[0]
    spread = "–"
    if record.latency_p10_ms is not None and record.latency_p90_ms is not None:
        spread = f"{_short(record.latency_p10_ms)}–{_short(record.latency_p90_ms)}"
    return [
        record.network,
        record.attention or "–",
        f"×{record.scale}",
        f"{width}×{height}",
        record.precision
        + (" fast" if record.fast else "")
        + (" compiled" if record.compile else ""),
        failed or _short(record.latency_ms),
        spread,
        _short(record.peak_memory_mib),
        _short(record.macs_g),
        "–" if record.params_k is None else f"{record.params_k:,.0f}",
    ]


def _short(value: float | None) -> str:
    """Write two to four digits of a number."""
    if value is None:
        return "–"
    if value < 1:
        return f"{value:.2g}"
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
