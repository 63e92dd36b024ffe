"""Results as tables: for the terminal and for documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from esc_sr.evaluation import Evaluation
from esc_sr.markup import markdown_text

_UNITS = {"psnr": "PSNR-{} (dB)", "ssim": "SSIM-{}"}
_DIGITS = {"psnr": 3}
_UNBOUNDED = 10_000  # columns: wider than any table
_NETWORK_WIDTH = 10  # longer names take several lines rather than cut off a number


def print_quality(console: Console, evaluations: Sequence[Evaluation]) -> None:
    """Print results as one table, or as one for each protocol where one would be too wide.

    Args:
        console: Where to; its width decides.
        evaluations: What was measured; all with the same metrics.
    """
    names = _metric_names(evaluations)
    table = _quality_table(evaluations, names)
    unbounded = console.options.update(width=_UNBOUNDED)
    if console.measure(table, options=unbounded).minimum <= console.width:
        console.print(table)
        return
    for group in _by_protocol(evaluations, names):
        part = _quality_table(evaluations, group)
        print_whole(console, part)


def print_whole(console: Console, table: Table) -> None:
    """Print a table so that no cell is cut off: where it is too wide the terminal breaks lines.

    Args:
        console: Where to.
        table: Columns that must not be broken have `no_wrap`.
    """
    needed = console.measure(table, options=console.options.update(width=_UNBOUNDED))
    if needed.minimum > console.width:
        table.width = needed.maximum
    console.print(table, crop=False)


def _quality_table(evaluations: Sequence[Evaluation], names: Sequence[str]) -> Table:
    """Lay out results by set, scale and network, with the protocols below."""
    told = _protocols(evaluations, names)
    table = Table(caption=Text("\n".join(told)), caption_justify="left")
    for i, heading in enumerate(_headings(names)):
        if heading == "network":
            table.add_column(Text(heading), min_width=_NETWORK_WIDTH, overflow="fold")
        else:
            table.add_column(Text(heading), justify="right" if i else "left", no_wrap=True)
    previous = ""
    for row in _rows(evaluations, names):
        if previous and row[0] != previous:
            table.add_section()
        previous = row[0]
        table.add_row(*map(Text, row))
    return table


def quality_markdown(evaluations: Sequence[Evaluation]) -> str:
    """Write the same table in Markdown."""
    names = _metric_names(evaluations)
    headings = list(map(markdown_text, _headings(names)))
    rules = [":--" if i in (0, 2) else "--:" for i in range(len(headings))]
    rows = [list(map(markdown_text, row)) for row in _rows(evaluations, names)]
    lines = (f"| {' | '.join(cells)} |" for cells in [headings, rules, *rows])
    protocols = "\n".join(f"- {markdown_text(line)}" for line in _protocols(evaluations, names))
    return "\n".join(lines) + f"\n\n{protocols}\n"


def _metric_names(evaluations: Iterable[Evaluation]) -> list[str]:
    results = (result for evaluation in evaluations for result in evaluation.sets.values())
    return list(dict.fromkeys(name for result in results for name in result.values))


def _by_protocol(evaluations: Sequence[Evaluation], names: Sequence[str]) -> list[list[str]]:
    """Group metrics: those of each protocol, then those that belong to none."""
    protocols = {p.keys: None for evaluation in evaluations for p in evaluation.protocols}
    others = [name for name in names if not any(name in keys for keys in protocols)]
    return [*map(list, protocols), *([others] if others else [])]


def _headings(names: Iterable[str]) -> list[str]:
    return ["set", "scale", "network", *map(_heading, names), "images", "seconds"]


def _heading(name: str) -> str:
    kind, _, suffix = name.partition("_")
    return _UNITS[kind].format(suffix.upper()) if kind in _UNITS else name.upper()


def _rows(evaluations: Sequence[Evaluation], names: Sequence[str]) -> list[list[str]]:
    """One row for each set of each evaluation, the sets together."""
    rows = []
    set_names = dict.fromkeys(name for evaluation in evaluations for name in evaluation.sets)
    for set_name in set_names:
        for evaluation in evaluations:
            result = evaluation.sets[set_name]
            means = result.means()
            digits = (_DIGITS.get(name.partition("_")[0], 4) for name in names)
            cells = [
                f"{means[name]:.{places}f}" for name, places in zip(names, digits, strict=True)
            ]
            rows.append(
                [
                    set_name,
                    f"×{evaluation.scale}",
                    evaluation.network,
                    *cells,
                    str(len(result.images)),
                    f"{result.seconds:.1f}",
                ]
            )
    return rows


def _protocols(evaluations: Sequence[Evaluation], names: Iterable[str]) -> list[str]:
    """Say once what each protocol means, how much it crops, and what else has changed numbers."""
    shown = set(names)
    crops: dict[str, dict[int, int]] = {}
    for evaluation in evaluations:
        for protocol in evaluation.protocols:
            if shown.intersection(protocol.keys):
                crops.setdefault(protocol.meaning, {})[evaluation.scale] = protocol.crop_border
    told = []
    for meaning, by_scale in crops.items():
        borders = list(dict.fromkeys(by_scale.values()))
        line = f"{meaning}, {', '.join(map(str, borders))} pixels cropped"
        if len(borders) > 1:
            line += f" at {', '.join(f'×{scale}' for scale in by_scale)}"
        told.append(line)
    told += [line for evaluation in evaluations if (line := ", ".join(evaluation.conditions))]
    return list(dict.fromkeys(told))
