"""Quality over a cost, with the line of those that nobody beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from esc_sr.comparison.labels import arrange_labels, shortened
from esc_sr.drawing import add_axes, drawing_style, is_drawable, new_figure, scale_axis
from esc_sr.errors import printable
from esc_sr.reporting.layout import metric_name, unit_of
from esc_sr.reporting.styles import style_of
from esc_sr.reporting.table import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# By name of the picture: the column, what the axis says, and what a cost depends on beside the
# device; None: it is the same everywhere.
COSTS: dict[str, tuple[str, str, str | None]] = {
    "latency": ("latency_ms", "latency (ms)", "latency_lq_size"),
    "memory": ("memory_mib", "memory (MiB)", "memory_lq_size"),
    "macs": ("macs_g", "multiply-adds (G), output 1280×720", None),
}
_WIDTH, _AXES_HEIGHT = 300.0, 165.0
_LEFT, _RIGHT, _TITLE, _BOTTOM = 42.0, 8.0, 16.0, 28.0
_DIAMETER = 6.0
_LONGEST_LABEL = 40
# Of one panel; where there are more points, only those that nobody beats have labels.
_MOST_LABELS = 16

Condition = tuple[object, object, object]


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of points that none beats: cheaper or as cheap, and better or as good.

    Args:
        points: Cost and quality; of equal points the first counts.

    Returns:
        Indices, by rising cost.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i))
    kept: list[int] = []
    for i in order:
        if not kept or points[i][1] > points[kept[-1]][1]:
            kept.append(i)
    return kept


def draw_pareto(
    rows: Sequence[Row], cost: str, *, set_name: str, metric: str
) -> tuple[Figure | None, list[str]]:
    """Draw quality over a cost, a panel for each scale and each condition of measurement.

    Args:
        rows: All of the report, so that styles are those of their places.
        cost: A key of `COSTS`.
        set_name: Of the vertical axis.
        metric: Of the vertical axis.

    Returns:
        The figure, None if no row has both numbers; and labels of the rows that have no place.
    """
    column, x_label, size = COSTS[cost]
    quality = f"{set_name}/{metric}"
    panels: dict[Condition, list[tuple[int, float, float]]] = {}
    absent = []
    for i, row in enumerate(rows):
        x, y = row.number(column), row.number(quality)
        if x is None or y is None or not (is_drawable(x) and is_drawable(y)):
            absent.append(row.label)
            continue
        device, conditions = (
            (row.values.get("device"), row.values.get(size)) if size else (None, None)
        )
        condition = (row.values.get("scale"), device, conditions)
        panels.setdefault(condition, []).append((i, x, y))
    if not panels:
        return None, absent
    height = _TITLE + _AXES_HEIGHT + _BOTTOM
    frame = (_WIDTH - _LEFT - _RIGHT, _AXES_HEIGHT)
    with drawing_style():
        figure = new_figure(_WIDTH, height * len(panels))
        for place, (condition, points) in enumerate(panels.items()):
            bottom = (len(panels) - 1 - place) * height + _BOTTOM
            axes = add_axes(figure, _LEFT, bottom, *frame)
            title = shortened(_condition(condition), 75)
            axes.set_title(title, pad=4, parse_math=False)
            axes.set_xlabel(x_label, labelpad=2)
            unit = f" ({unit_of(metric)})" if unit_of(metric) else ""
            name = f"{metric_name(metric)} on {shortened(set_name)}{unit}"
            axes.set_ylabel(name, labelpad=2, parse_math=False)
            scale_axis(axes, "x", [x for _, x, _ in points], frame[0], 14)
            scale_axis(axes, "y", [y for _, _, y in points], frame[1], 14)
            # A cost for each level of quality: the line goes in steps.
            best = [points[i][1:] for i in front([point[1:] for point in points])]
            axes.step(*zip(*best, strict=True), where="post", color="#999999", linewidth=0.8)
            texts, labelled = [], []
            for i, x, y in points:
                style = style_of(i)
                axes.scatter(
                    [x],
                    [y],
                    s=_DIAMETER**2,
                    marker=style.marker,
                    facecolors=style.colour if (x, y) in best else "white",
                    edgecolors=style.colour,
                    linewidths=1.0,
                    zorder=3,
                )
                if len(points) > _MOST_LABELS and (x, y) not in best:
                    continue
                labelled.append((x, y))
                label = shortened(printable(rows[i].label), _LONGEST_LABEL)
                texts.append(
                    axes.text(0, 0, label, transform=axes.transAxes, zorder=5, parse_math=False)
                )
            arrange_labels(axes, texts, labelled, [_DIAMETER / 2] * len(labelled), frame)
    return figure, absent


def _condition(condition: Condition) -> str:
    scale, device, size = condition
    told = [f"×{scale:g}"] if isinstance(scale, int | float) else []
    told += [f"LQ {size}"] if size else []
    told += [str(device)] if device else []
    return printable(", ".join(told))
