"""The table as Markdown, LaTeX and CSV, and for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from esc_sr.markup import csv_cell, latex_caption, latex_line, latex_text, markdown_text
from esc_sr.reporting.layout import MISSING, Cell, Layout, Part
from esc_sr.reporting.table import Table
from esc_sr.reporting.values import Value

_NARROWEST = 12  # letters of a column of texts
_COUNTS = {"runs", "scale", "steps", "best_step"}


def markdown(
    layouts: Sequence[Layout], told: Sequence[str], *, title: str, pictures: Sequence[str] = ()
) -> str:
    """Write a report in Markdown.

    Args:
        layouts: Its tables.
        told: Notes that stand below.
        title: Headline.
        pictures: Files beside, shown at the end.
    """
    parts = [f"# {markdown_text(title)}"]
    for layout in layouts:
        rules = ["--:" if numeric else ":--" for numeric in layout.numeric]
        headings = [markdown_text(_heading(*heading)) for heading in layout.headings]
        rows = [
            [" / ".join(_markdown(part) for part in parts_of(cell)) for cell in row]
            for row in layout.rows
        ]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in [headings, rules, *rows]))
    parts.append("\n".join(f"- {markdown_text(note)}" for note in told))
    parts += [f"![{picture}]({picture})" for picture in pictures]
    return "\n\n".join(parts) + "\n"


def latex(layouts: Sequence[Layout], told: Sequence[str], *, title: str) -> str:
    r"""Write a report in LaTeX, to be read in with `\input`; it needs booktabs and nothing else."""
    lines = [r"% Needs \usepackage{booktabs}; read in with \input{report}."]
    for i, layout in enumerate(layouts):
        names, units = zip(*layout.headings, strict=True)
        columns = "".join("r" if numeric else "l" for numeric in layout.numeric)
        caption = f"{title}." if i else " ".join([f"{title}.", *told])
        lines += [
            r"\begin{table*}[t]",
            r"  \centering\scriptsize",
            r"  \setlength{\tabcolsep}{3pt}",
            *latex_caption(caption),
            rf"  \begin{{tabular}}{{{columns}}}",
            r"    \toprule",
            f"    {latex_line([latex_text(name) for name in names])}",
            f"    {latex_line([latex_text(f'({unit})') if unit else '' for unit in units])}",
            r"    \midrule",
        ]
        for row in layout.rows:
            cells = ["/".join(_latex(part) for part in parts_of(cell)) for cell in row]
            lines.append(f"    {latex_line(cells)}")
        lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table*}"]
    return "\n".join(lines) + "\n"


def comma_separated(table: Table) -> str:
    """Write every number unrounded: a mean, and behind it with `_std` its spread over seeds.

    Differences to the baseline have `_diff`, `_low`, `_high` and `_images`.
    """
    first = ["run", "runs", "state", "scale", "seed"]
    others = [
        *(f"{s}/{m}" for s, m in table.qualities),
        *(f"{s}/{m}/last" for s, m in table.qualities),
        "latency_ms", "latency_lq_size", "memory_mib", "memory_lq_size", "training_memory_mib",
        "params_k", "macs_g", "steps", "best_step", "wall_s", "device", "commit",
    ]  # fmt: skip
    spread = [key for key in [*first, *others] if any(key in row.spread for row in table.rows)]
    compared = [pair for pair in table.qualities if any(pair in d for d in table.differences)]
    head = [
        *first, *table.keys, *others,
        *(f"{key}_std" for key in spread),
        *(f"{s}/{m}_{end}" for s, m in compared for end in ("diff", "low", "high", "images")),
    ]  # fmt: skip
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow([csv_cell(name) for name in head])
    for i, row in enumerate(table.rows):
        cells = [_counted(key, row.values.get(key)) for key in first]
        cells += [row.settings[key] for key in table.keys]
        cells += [_counted(key, row.values.get(key)) for key in others]
        cells += [row.spread.get(key) for key in spread]
        for pair in compared:
            one = table.differences[i].get(pair)
            cells += [one.mean, one.low, one.high, one.images] if one else [None] * 4
        writer.writerow([csv_cell(cell) for cell in cells])
    return content.getvalue()


def print_layouts(console: Console, layouts: Sequence[Layout], told: Sequence[str]) -> None:
    """Print tables and notes; where the console is narrow, SSIM comes below PSNR."""
    for layout in layouts:
        table = _rich(layout, " / ")
        unlimited = console.options.update(max_width=10_000)
        if console.measure(table, options=unlimited).maximum > console.width:
            table = _rich(layout, "\n")
        needed = console.measure(table, options=unlimited).minimum
        console.print(table, width=max(console.width, needed), crop=False)
    for note in told:
        console.print(note, highlight=False, markup=False)


def _rich(layout: Layout, between: str) -> RichTable:
    table = RichTable(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    columns = zip(layout.headings, layout.numeric, zip(*layout.rows, strict=True), strict=True)
    for (name, unit), numeric, cells in columns:
        heading = "\n".join([name, unit.replace(" / ", between)]) if unit else name
        shown = [between.join(part.text for part in parts_of(cell)) for cell in cells]
        longest = max(len(line) for text in [heading, *shown] for line in text.split("\n"))
        # Numbers are never cut off; long names take several lines rather than that.
        table.add_column(
            Text(heading),
            justify="right" if numeric else "left",
            overflow="fold",
            min_width=longest if numeric else min(longest, _NARROWEST),
        )
    for row in layout.rows:
        table.add_row(
            *(
                Text(between).join(
                    Text(part.text, style="bold" if part.best else "") for part in parts_of(cell)
                )
                for cell in row
            )
        )
    return table


def parts_of(cell: Cell) -> Cell:
    """Say once that there is nothing."""
    return cell[:1] if all(part.text == MISSING for part in cell) else cell


def _heading(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def _markdown(part: Part) -> str:
    text = markdown_text(part.text)
    return f"**{text}**" if part.best else text


def _latex(part: Part) -> str:
    text = latex_text(part.text)
    return rf"\textbf{{{text}}}" if part.best else text


def _counted(key: str, value: Value) -> Value | int:
    """Write what is counted without a point."""
    if key in _COUNTS and isinstance(value, float) and value.is_integer():
        return int(value)
    return value
