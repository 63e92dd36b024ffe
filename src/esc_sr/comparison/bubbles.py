"""The picture: quality over one cost, a second cost as the bubbles' area."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from esc_sr.comparison.labels import arrange_labels, shortened
from esc_sr.comparison.rows import ComparisonRow
from esc_sr.drawing import (
    FONT_SIZE,
    POINTS_PER_INCH,
    Entry,
    add_axes,
    draw_legend,
    drawing_style,
    new_figure,
    round_numbers,
    scale_axis,
)
from esc_sr.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

X_AXES = {
    "latency_ms": "latency (ms)",
    "macs_g": "multiply-adds (G)",
    "params_k": "parameters (K)",
}
SIZES = {"memory": "memory", "macs_g": "multiply-adds (G)", "params_k": "parameters (K)"}
# Colours by Okabe and Ito, which the colour-blind tell apart.
_KINDS = {
    "cnn": ("CNN", "#cc79a7"),
    "transformer": ("Transformer", "#56b4e9"),
    "ssm": ("State space", "#009e73"),
    "esc": ("ESC", "#d55e00"),
    "other": ("Other", "#999999"),
}
# The layout, in points.
_LEFT, _RIGHT, _AXES_HEIGHT, _LINE, _TICKS = 39.0, 6.0, 165.0, 9.0, 21.0
_SIDE_BY_SIDE = 5.5 * POINTS_PER_INCH
_LARGEST, _UNSIZED = 26.0, 5.0


@dataclass(frozen=True)
class _Point:
    """A row with its place; the diameter is None where the bubble's size is not available."""

    row: ComparisonRow
    x: float
    y: float
    diameter: float | None


def drawable(
    rows: Sequence[ComparisonRow], *, set_name: str, metric: str, x: str
) -> list[ComparisonRow]:
    """Return the rows that have a place in the picture.

    Args:
        rows: Any rows.
        set_name: Set of the vertical axis.
        metric: Metric of the vertical axis.
        x: Cost of the horizontal axis.

    Returns:
        Networks with both numbers.
    """
    return [row for row in rows if not _lacking(row, set_name, metric, x)]


def left_out(rows: Sequence[ComparisonRow], *, set_name: str, metric: str, x: str) -> list[str]:
    """Say which rows have no place in the picture, and why.

    Args:
        rows: Any rows.
        set_name: Set of the vertical axis.
        metric: Metric of the vertical axis.
        x: Cost of the horizontal axis.

    Returns:
        One sentence; none if all are drawn.
    """
    lacking = ((row.network, _lacking(row, set_name, metric, x)) for row in rows)
    told = "; ".join(f"{network}, {reason}" for network, reason in lacking if reason)
    return [f"Not in the picture: {told}."] if told else []


def _lacking(row: ComparisonRow, set_name: str, metric: str, x: str) -> str:
    if row.kind == "interpolation":
        return "an interpolation"
    if not math.isfinite(_quality(row, set_name, metric)):
        return f"no {_metric_name(metric)} on {set_name}"
    return f"no {X_AXES[x].partition(' (')[0]}" if getattr(row, x) is None else ""


def panels(rows: Sequence[ComparisonRow], *, x: str, size: str) -> list[list[ComparisonRow]]:
    """Divide rows into those whose costs compare.

    Published and measured costs share a panel only if no hardware enters them and they are those
    of the same image.

    Args:
        rows: What is drawn.
        x: Cost of the horizontal axis.
        size: Cost that is the bubbles' area.

    Returns:
        The rows of each panel: of the only one, or of the published and the measured one.
    """
    standard = all(row.standard_size for row in rows)
    if not _needs_hardware(x, size) and (standard or x == size == "params_k"):
        return [list(rows)]
    by_origin = ([row for row in rows if row.origin == o] for o in ("published", "measured"))
    return [part for part in by_origin if part]


def draw(
    rows: Sequence[ComparisonRow],
    *,
    set_name: str = "Urban100",
    metric: str = "psnr_y",
    x: str = "latency_ms",
    size: str = "memory",
    width: float = 3.3,
) -> Figure:
    """Draw the comparison.

    Args:
        rows: What is compared, at one scale; those without a number of an axis are left out.
        set_name: Set of the vertical axis.
        metric: Metric of the vertical axis.
        x: Cost of the horizontal axis, a key of `X_AXES`.
        size: Cost that is the bubbles' area, a key of `SIZES`.
        width: In inches; from 5.5 on, two panels stand side by side.

    Returns:
        The figure.

    Raises:
        InputError: No row has the numbers.
    """
    drawn = drawable(rows, set_name=set_name, metric=metric, x=x)
    if not drawn:
        raise InputError(
            f"nothing to draw: no row has both {x} and {metric} on {set_name}; measured rows get "
            "quality from results=... or quality_from_published=true, and formats=[] draws nothing"
        )
    parts = panels(drawn, x=x, size=size)
    with drawing_style():
        return _draw(parts, set_name, metric, x, size, width * POINTS_PER_INCH)


def _draw(
    parts: Sequence[Sequence[ComparisonRow]],
    set_name: str,
    metric: str,
    x: str,
    size: str,
    width: float,
) -> Figure:
    """Stack the panels or put them side by side, each above its sizes; the colours below all."""
    rows = [row for part in parts for row in part]
    columns = len(parts) if width >= _SIDE_BY_SIDE else 1
    panel_width = width / columns
    frame = (panel_width - _LEFT - _RIGHT, _AXES_HEIGHT)
    told = len(parts) > 1 or _needs_hardware(x, size)
    titles = [_title(part, frame[0], hardware=told) for part in parts]
    title_height = (max(title.count("\n") for title in titles) + 1) * _LINE + 4
    panel_height = title_height + _AXES_HEIGHT + _TICKS + _LARGEST + 4
    keys = _keys(parts, size)
    keys_height = len(keys) * (_LINE + 3) + 2
    figure = new_figure(width, len(parts) // columns * panel_height + keys_height)
    y_values = [_quality(row, set_name, metric) for row in rows]
    for i, (part, title) in enumerate(zip(parts, titles, strict=True)):
        left = i % columns * panel_width
        bottom = keys_height + (len(parts) - 1 - i) // columns * panel_height
        axes = add_axes(figure, left + _LEFT, bottom + _LARGEST + 4 + _TICKS, *frame)
        axes.set_title(title, pad=4)
        axes.set_xlabel(X_AXES[x], labelpad=2)
        axes.set_ylabel(_y_label(set_name, metric, rows[0].scale), labelpad=3)
        points = _points(part, set_name, metric, x, size)
        if not _needs_hardware(x, size):
            points = _merged(points)
        margin = max(_diameter(point) for point in points) / 2 + 3
        scale_axis(axes, "x", [point.x for point in points], frame[0], margin)
        # The same for all panels: quality compares where costs do not.
        scale_axis(axes, "y", y_values, frame[1], _LARGEST / 2 + 3)
        shared = len({row.origin for row in part}) > 1
        _draw_bubbles(axes, points, shared)
        _draw_labels(axes, points, frame, f"{set_name}/{metric}")
        references = _references(part, size)
        draw_legend(figure, references, left, bottom, panel_width, _LARGEST + 4)
    for i, entries in enumerate(reversed(keys)):
        draw_legend(figure, entries, 0, 2 + i * (_LINE + 3), width, _LINE + 3)
    return figure


def _points(
    rows: Sequence[ComparisonRow], set_name: str, metric: str, x: str, size: str
) -> list[_Point]:
    per_unit = _area_per_unit(rows, size)
    points = []
    for row in rows:
        value = getattr(row, size)
        diameter = None if value is None else math.sqrt(value * per_unit)
        points.append(_Point(row, getattr(row, x), _quality(row, set_name, metric), diameter))
    return points


def _needs_hardware(x: str, size: str) -> bool:
    return x == "latency_ms" or size == "memory"


def _merged(points: Sequence[_Point]) -> list[_Point]:
    """Make one point of settings of a network that differ in nothing that is drawn."""
    merged = {
        (point.row.origin, point.row.name, point.x, point.y, point.diameter): point
        for point in points
    }
    names = Counter((origin, name) for origin, name, *_ in merged)
    return [
        replace(point, row=replace(point.row, network=point.row.name))
        if point.row.origin == "measured" and names["measured", point.row.name] == 1
        else point
        for point in merged.values()
    ]


def _area_per_unit(rows: Sequence[ComparisonRow], size: str) -> float:
    """Return the square of the diameter for one unit of the size."""
    return _LARGEST**2 / max([getattr(row, size) or 0.0 for row in rows] + [1e-9])


def _diameter(point: _Point) -> float:
    return _UNSIZED if point.diameter is None else point.diameter


def _quality(row: ComparisonRow, set_name: str, metric: str) -> float:
    quality = row.quality(set_name, metric)
    return math.nan if quality is None else quality


def _draw_bubbles(axes: Axes, points: Sequence[_Point], shared: bool) -> None:
    # The small ones last, so that none is hidden.
    for point in sorted(points, key=_diameter, reverse=True):
        options = _marker(point.row, square=shared and point.row.origin == "measured")
        if point.diameter is None:
            options = {"marker": "x", "color": _KINDS[point.row.kind][1], "linewidths": 1.0}
        axes.scatter([point.x], [point.y], s=_diameter(point) ** 2, zorder=3, **options)


def _marker(row: ComparisonRow, *, square: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"marker": "s" if square else "o"}
    if row.borrowed:
        return options | {
            "facecolors": "#ffffff66",  # what lies below is seen
            "edgecolors": _KINDS[row.kind][1],
            "linewidths": 1.0,
        }
    return options | {"facecolors": _fill(row.kind), "edgecolors": "white", "linewidths": 0.5}


def _fill(kind: str) -> str:
    """Return a kind's colour, a little transparent unless it is to stand out."""
    return _KINDS[kind][1] + ("" if kind == "esc" else "c0")


def _label(row: ComparisonRow, doubtful: str) -> str:
    """Name a bubble, with the marks that its numbers have in the table."""
    name = shortened(row.network)
    return name + ("†" if row.borrowed else "") + ("‡" if doubtful in row.doubtful else "")


def _draw_labels(
    axes: Axes, points: Sequence[_Point], frame: tuple[float, float], doubtful: str
) -> None:
    texts = [
        axes.text(
            0,
            0,
            _label(point.row, doubtful),
            transform=axes.transAxes,
            ha="left",
            va="bottom",
            color="black" if point.row.kind == "esc" else "#333333",
            fontweight="bold" if point.row.kind == "esc" else "normal",
            zorder=5,
        )
        for point in points
    ]
    radii = [_diameter(point) / 2 for point in points]
    arrange_labels(axes, texts, [(point.x, point.y) for point in points], radii, frame)


def _title(rows: Sequence[ComparisonRow], width: float, *, hardware: bool) -> str:
    origins = dict.fromkeys(row.origin for row in rows)
    title = " and ".join(origins).capitalize()
    if hardware:
        title = {"Published": "As published, on ", "Measured": "Measured on "}[title]
        title += rows[0].hardware
    for unit, told in {" threads": "\u00a0threads", "output ": "output\u00a0"}.items():
        title = title.replace(unit, told)  # a line does not end here
    return "\n".join(textwrap.wrap(title, int(width / (0.58 * FONT_SIZE))))


def _y_label(set_name: str, metric: str, scale: int) -> str:
    unit = " (dB)" if metric.startswith("psnr") else ""
    return f"{_metric_name(metric)} on {set_name} ×{scale}{unit}"


def _metric_name(metric: str) -> str:
    return metric.upper().replace("_", "-")


def _references(rows: Sequence[ComparisonRow], size: str) -> list[Entry]:
    """Return a legend of three round sizes."""
    values = [value for row in rows if (value := getattr(row, size)) is not None]
    if not values or max(values) <= 0:
        return []
    unit = f" ({rows[0].memory_unit})" if size == "memory" else ""
    per_unit = _area_per_unit(rows, size)
    outline = {"facecolors": "none", "edgecolors": "#666666", "linewidths": 0.7}
    return [
        Entry(f"{SIZES[size]}{unit}"),
        *(
            Entry(f"{value:.10g}", math.sqrt(value * per_unit), outline)
            for value in _reference_values(min(values), max(values))
        ),
    ]


def _reference_values(low: float, high: float) -> list[float]:
    """Return three round numbers that span a range."""
    numbers = round_numbers(high / 100, high)
    top = numbers[-1]
    wanted = max(min(low, top / 4), top / 100)
    bottom = min(numbers, key=lambda number: abs(math.log(number / wanted)))
    middle = min(numbers, key=lambda number: abs(math.log(number / math.sqrt(bottom * top))))
    return sorted({bottom, middle, top})


def _keys(parts: Sequence[Sequence[ComparisonRow]], size: str) -> list[list[Entry]]:
    """Return the rows of the legend below all panels: colours, then what marks mean."""
    rows = [row for part in parts for row in part]
    kinds = {row.kind for row in rows}
    colours = [
        Entry(name, 6.0, {"facecolors": _fill(kind), "linewidths": 0.0})
        for kind, (name, _) in _KINDS.items()
        if kind in kinds
    ]
    grey = {"facecolors": "#66666688", "edgecolors": "none"}
    marks = []
    if any(len({row.origin for row in part}) > 1 for part in parts):
        marks += [Entry("published", 6.0, grey), Entry("measured", 6.0, grey | {"marker": "s"})]
    if any(row.borrowed for row in rows):
        hollow = {"facecolors": "white", "edgecolors": "#666666"}
        marks.append(Entry("† published quality", 6.0, hollow))
    if any(getattr(row, size) is None for row in rows):
        cross = {"marker": "x", "color": "#666666", "linewidths": 1.0}
        marks.append(Entry(f"{SIZES[size].partition(' ')[0]} not available", 5.0, cross))
    return [colours, marks] if marks else [colours]
