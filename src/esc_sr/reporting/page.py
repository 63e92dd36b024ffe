"""The report as one HTML file: no script, nothing from elsewhere, every text escaped."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from esc_sr.errors import printable
from esc_sr.reporting.crops import Comparison
from esc_sr.reporting.documents import parts_of
from esc_sr.reporting.layout import Cell, Layout
from esc_sr.reporting.reading import LeftOut, Run
from esc_sr.reporting.styles import style_of
from esc_sr.reporting.table import Row

# Even if a text were taken for markup, a browser would load and run nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; color: #222; margin: 0 auto; padding: 1em 2em 4em;
  max-width: 1500px; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin: 2em 0 .6em; }
nav a { margin-right: 1em; } a { color: #0b5394; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3em .55em; text-align: left; vertical-align: top; white-space: nowrap; }
th { border-bottom: 2px solid #444; vertical-align: bottom; }
th small { font-weight: normal; color: #555; display: block; }
td { border-bottom: 1px solid #ddd; } .number { text-align: right; }
tbody tr:hover { background: #f3f6fa; }
ul { padding-left: 1.2em; color: #444; }
.figures { display: flex; flex-wrap: wrap; gap: 1em; }
figure { margin: 0; max-width: 100%; } figcaption { font-size: .85em; margin-top: .2em; }
.crops figure { max-width: 260px; } .crops img { max-width: 256px; image-rendering: pixelated; }
.crops figcaption { overflow-wrap: anywhere; }
img { display: block; max-width: 100%; height: auto; }
.legend span { margin-right: 1.4em; white-space: nowrap; }
details { margin: .3em 0; } summary { cursor: pointer; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1em 1em; margin: .4em 1.2em; }
dd { margin: 0; overflow-wrap: anywhere; } code { font-size: .95em; }
"""


class Markup(str):
    """A text that is HTML already."""

    __slots__ = ()


@dataclass(frozen=True)
class Picture:
    """A picture of the page.

    Attributes:
        title: Says what it shows.
        svg: The file.
    """

    title: str
    svg: bytes


def page(
    *,
    title: str,
    rows: Sequence[Row],
    main: Layout,
    differences: Layout | None,
    told: Sequence[str],
    left_out: Sequence[LeftOut],
    pareto: Sequence[Picture],
    curves: Sequence[Picture],
    crops: Sequence[Comparison],
) -> str:
    """Write the page.

    Args:
        title: Headline.
        rows: Of the table; their places give colours.
        main: The table.
        differences: To the baseline, if there is one.
        told: Notes on the numbers.
        left_out: Folders without a row.
        pareto: Quality over costs.
        curves: Of training.
        crops: What the networks make of the same images.

    Returns:
        A whole document.
    """
    absent = [f"{one.name}: {one.reason}" for one in left_out]
    sections = [
        ("runs", "Runs", [_wide(_table(main, rows)), _list(told)]),
        ("differences", "Differences", [_wide(_table(differences, rows))] if differences else []),
        ("pareto", "Quality and cost", _figures(pareto)),
        ("curves", "Training", [_legend(rows), *_figures(curves)] if curves else []),
        ("images", "Images", [part for one in crops for part in _comparison(one)]),
        ("details", "Each run", [_details(run) for row in rows for run in row.runs]),
        ("left-out", "Left out", [_list(absent)] if absent else []),
    ]
    shown = [section for section in sections if section[2]]
    head = [
        _void("meta", charset="utf-8"),
        _void("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        _void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(_STYLE)),
    ]
    body = [
        element("h1", title),
        element("nav", *(element("a", name, href=f"#{key}") for key, name, _ in shown)),
        *(element("section", element("h2", name), *parts, id=key) for key, name, parts in shown),
    ]
    document = element("html", element("head", *head), element("body", *body), lang="en")
    return f"<!DOCTYPE html>\n{document}\n"


def element(name: str, /, *children: str, **attributes: str) -> Markup:
    """Write an element.

    Args:
        name: Of the element.
        children: Texts, which are escaped, and `Markup`, which is not.
        attributes: `_` stands for `-`; `class_` for `class`.

    Example:
        >>> element("td", "a < b", class_="number")
        '<td class="number">a &lt; b</td>'
    """
    inside = "".join(
        child if isinstance(child, Markup) else html.escape(printable(child)) for child in children
    )
    return Markup(f"{_void(name, **attributes)}{inside}</{name}>")


def _void(name: str, /, **attributes: str) -> Markup:
    """Write an element's start, which for some is all."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(printable(value))}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{told}>")


def _table(layout: Layout, rows: Sequence[Row]) -> Markup:
    head = [element("th", "")]
    for (name, unit), numeric in zip(layout.headings, layout.numeric, strict=True):
        small = [element("small", unit)] if unit else []
        head.append(element("th", name, *small, **_side(numeric)))
    lines = []
    for i, row in enumerate(layout.rows):
        cells = [element("td", swatch(i))]
        for cell, numeric in zip(row, layout.numeric, strict=True):
            cells.append(element("td", *_cell(cell), **_side(numeric)))
        lines.append(element("tr", *cells))
    assert len(lines) == len(rows)
    return element("table", element("thead", element("tr", *head)), element("tbody", *lines))


def _cell(cell: Cell) -> list[str]:
    told: list[str] = []
    for part in parts_of(cell):
        told += [" / "] if told else []
        told.append(element("b", part.text) if part.best else part.text)
    return told


def _side(numeric: bool) -> dict[str, str]:
    return {"class_": "number"} if numeric else {}


def swatch(index: int) -> Markup:
    """Draw the line and the marker's colour of a row.

    Args:
        index: Of the row.
    """
    style = style_of(index)
    dashes = {"stroke_dasharray": " ".join(f"{2 * d:g}" for d in style.dashes)}
    line = element(
        "line",
        x1="0",
        y1="5",
        x2="28",
        y2="5",
        stroke=style.colour,
        stroke_width="2",
        **(dashes if style.dashes else {}),
    )
    dot = element("circle", cx="14", cy="5", r="4", fill=style.colour)
    return element("svg", line, dot, width="28", height="10", aria_hidden="true")


def _legend(rows: Sequence[Row]) -> Markup:
    entries = (element("span", swatch(i), f" {row.label}") for i, row in enumerate(rows))
    return element("p", *(Markup(f"{entry} ") for entry in entries), class_="legend")


def _figures(pictures: Sequence[Picture]) -> list[Markup]:
    if not pictures:
        return []
    figures = (_figure(one.title, "image/svg+xml", one.svg) for one in pictures)
    return [element("div", *figures, class_="figures")]


def _figure(caption: str, kind: str, content: bytes, *before: Markup) -> Markup:
    data = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    image = _void("img", src=data, alt=caption)
    return element("figure", image, element("figcaption", *before, caption))


def _comparison(comparison: Comparison) -> list[Markup]:
    figures = []
    for crop in comparison.crops:
        before = [] if crop.row is None else [Markup(f"{swatch(crop.row)} ")]
        figures.append(_figure(crop.label, "image/png", crop.png, *before))
    return [
        element("h3", comparison.title),
        element("div", *figures, class_="figures crops"),
    ]


def _details(run: Run) -> Markup:
    record, session = run.record, run.record.session
    versions = session.get("versions") or {}
    git = record.repository
    facts = {
        "overrides": " ".join(record.overrides) if record.overrides is not None else "not recorded",
        "repeat": f"esc-sr train --from {run.folder}" if record.overrides is not None else "",
        "seed": str(record.seed),
        "configuration": record.config_hash,
        "commit": f"{git.get('commit')}{' with changes' if git.get('dirty') else ''}"
        if git.get("commit")
        else "",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items() if version),
        "device": str((session.get("device") or {}).get("name") or ""),
        "started": str(session.get("started") or ""),
        "sessions": str(len(record.sessions)),
        "remark": run.remark,
    }
    lines = [
        part
        for name, fact in facts.items()
        if fact
        for part in (element("dt", name), element("dd", element("code", fact)))
    ]
    return element("details", element("summary", run.name), element("dl", *lines))


def _wide(content: Markup) -> Markup:
    return element("div", content, class_="wide")


def _list(texts: Iterable[str]) -> Markup:
    return element("ul", *(element("li", text) for text in texts))
