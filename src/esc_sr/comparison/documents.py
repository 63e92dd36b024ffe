"""The comparison as Markdown, LaTeX and CSV, and for the terminal."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from esc_sr.comparison.rows import ComparisonRow
from esc_sr.comparison.sections import METRICS, Cell, Number, Section
from esc_sr.markup import csv_cell, latex_caption, latex_line, latex_text, markdown_text

# Longer ones make a table of five sets wider than a page, unless it is set smaller.
_SHORT_LABEL = 14
_RANK_STYLES = ("", "bold", "underline")


def markdown(
    sections: Sequence[Section], told: Sequence[str], *, title: str, picture: str | None = None
) -> str:
    """Write the comparison in Markdown, one table for each section.

    Args:
        sections: What `tabulate` has laid out.
        told: Notes that stand below.
        title: Headline.
        picture: A file beside, shown at the end; None: none.

    Returns:
        A whole document.
    """
    parts = [f"# {markdown_text(title)}"]
    for section in sections:
        rules = [":--", *("--:" for _ in section.headings[1:])]
        lines = [[markdown_text(_heading(*heading)) for heading in section.headings], rules]
        for network, cells in section.rows:
            numbers = (" / ".join(map(_markdown_number, cell)) for cell in cells)
            lines.append([markdown_text(network), *numbers])
        parts.append(markdown_text(section.conditions))
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    parts.append("\n".join(f"- {markdown_text(note)}" for note in told))
    if picture is not None:
        parts.append(f"![{markdown_text(title)}]({picture})")
    return "\n\n".join(parts) + "\n"


def latex(sections: Sequence[Section], told: Sequence[str], *, title: str) -> str:
    r"""Write the comparison in LaTeX, one `table*` to be read in with `\input`.

    Args:
        sections: What `tabulate` has laid out.
        told: Notes that end the caption.
        title: Begins the caption.

    Returns:
        The source; it needs the package booktabs and nothing else.
    """
    columns = len(sections[0].headings)
    body = []
    for section in sections:
        body.append(r"\midrule" if body else r"\toprule")
        body.append(rf"\multicolumn{{{columns}}}{{l}}{{\emph{{{section.origin}}}}} \\")
        names, units = zip(*section.headings, strict=True)
        # Units in a line of their own keep the columns narrow.
        body.append(latex_line([latex_text(name) for name in names]))
        body.append(latex_line([f"({latex_text(unit)})" if unit else "" for unit in units]))
        body.append(r"\midrule")
        for network, cells in section.rows:
            numbers = ("/".join(map(_latex_number, cell)) for cell in cells)
            body.append(latex_line([latex_text(network), *numbers]))
    body.append(r"\bottomrule")
    labels = [network for section in sections for network, _ in section.rows]
    size = r"\footnotesize" if max(map(len, labels)) <= _SHORT_LABEL else r"\scriptsize"
    caption = " ".join([f"{title}.", *(section.conditions for section in sections), *told])
    return "\n".join(
        [
            r"% Needs \usepackage{booktabs}; read in with \input{comparison}.",
            r"\begin{table*}[t]",
            r"  \centering",
            *latex_caption(caption),
            rf"  {size}",
            r"  \setlength{\tabcolsep}{3pt}",
            rf"  \begin{{tabular}}{{l{'r' * (columns - 1)}}}",
            *(f"    {line}" for line in body),
            r"  \end{tabular}",
            r"\end{table*}",
            "",
        ]
    )


def comma_separated(rows: Sequence[ComparisonRow], sets: Sequence[str]) -> str:
    """Write the comparison as CSV: every number unrounded, empty where there is none.

    Args:
        rows: What is compared.
        sets: Columns of quality.

    Returns:
        The table, with one line for each of `rows`.
    """
    found = [metric for row in rows for means in row.sets.values() for metric in means]
    metrics = [(name, metric) for name in sets for metric in dict.fromkeys([*METRICS, *found])]
    first = ["network", "kind", "scale", "origin", "quality_origin"]
    first += ["latency_ms", "memory", "memory_unit", "macs_g", "params_k"]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    qualities = [f"{name}/{metric}" for name, metric in metrics]
    writer.writerow([*first, *map(csv_cell, qualities), "doubtful", "where", "error"])
    for row in rows:
        numbers = [row.quality(name, metric) for name, metric in metrics]
        said = [" ".join(sorted(row.doubtful)), row.where, row.error]
        cells = [*(getattr(row, key) for key in first), *numbers, *said]
        writer.writerow([csv_cell(cell) for cell in cells])
    return table.getvalue()


def print_tables(
    console: Console, sections: Sequence[Section], told: Sequence[str], *, title: str
) -> None:
    """Print the comparison, one table for each section, and the notes.

    Where the console is narrow, SSIM comes below PSNR; no number is ever cut.

    Args:
        console: Where to.
        sections: What `tabulate` has laid out.
        told: Notes that stand below.
        title: Stands above.
    """
    unlimited = console.options.update(max_width=1000)
    for section in sections:
        table = _table(section, between=" ")
        if console.measure(table, options=unlimited).maximum > console.width:
            table = _table(section, between="\n")
        table.title = Text(title) if section is sections[0] else None
        needed = console.measure(table, options=unlimited).minimum
        console.print(table, width=max(console.width, needed), crop=False)
        console.print(f"{section.conditions}\n", highlight=False, markup=False)
    for note in told:
        console.print(note, highlight=False, markup=False)


def _table(section: Section, *, between: str) -> Table:
    # Without a box, whose dividers would not leave room for five sets in 80 columns.
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    labels = [network for network, _ in section.rows]
    table.add_column("network", min_width=_longest_word(["network", *labels]))
    for name, unit in section.headings[1:]:
        # Where it is narrow, a long name of a set breaks before its number.
        heading = re.sub(r"(?<=[a-z]{4})(?=[0-9])", between.strip(" "), name)
        heading = f"{heading}\n{unit}" if unit else heading
        if name == "latency":  # instead of it there may be words, which may break
            latencies = [cells[0][0].text for _, cells in section.rows]
            longest = _longest_word(["latency", *latencies])
            table.add_column(Text(heading), justify="right", min_width=longest)
        else:
            table.add_column(Text(heading), justify="right", no_wrap=True, min_width=6)
    table.add_row(*(Rule(style="") for _ in section.headings))
    for network, cells in section.rows:
        table.add_row(Text(network), *(_styled(cell, between) for cell in cells))
    return table


def _longest_word(texts: Sequence[str]) -> int:
    return max(len(word) for text in texts for word in text.split())


def _styled(cell: Cell, between: str) -> Text:
    words = (Text(one.text + one.mark, style=_RANK_STYLES[one.rank]) for one in cell)
    return Text(between).join(words)


def _heading(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def _markdown_number(number: Number) -> str:
    # GitHub underlines <ins> and drops <u>.
    before, after = (("", ""), ("**", "**"), ("<ins>", "</ins>"))[number.rank]
    return f"{before}{markdown_text(number.text)}{after}{number.mark}"


def _latex_number(number: Number) -> str:
    before, after = (("", ""), (r"\textbf{", "}"), (r"\underline{", "}"))[number.rank]
    return f"{before}{latex_text(number.text)}{after}{latex_text(number.mark)}"
