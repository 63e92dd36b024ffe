"""Training curves of all rows in one picture for each quantity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from esc_sr.drawing import add_axes, drawing_style, is_drawable, new_figure
from esc_sr.reporting.layout import metric_name, unit_of
from esc_sr.reporting.styles import style_of
from esc_sr.reporting.table import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 300.0, 190.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 8.0, 6.0, 28.0
_MOST_POINTS = 400  # of one line; more are averaged


def curve_keys(rows: Sequence[Row]) -> list[str]:
    """Return what is drawn: the loss and the learning rate, then every set's metrics."""
    keys = dict.fromkeys(key for row in rows for run in row.runs for key in run.curves)
    validation = [key for key in keys if key.startswith("val/") and key.count("/") == 2]
    rates = [key for key in keys if key.startswith("lr-")]
    order = sorted(validation, key=lambda key: (key.split("/")[1], key))
    return [key for key in ["train/loss", *order, *rates] if key in keys]


def draw_curves(rows: Sequence[Row], key: str) -> Figure | None:
    """Draw a quantity over the optimizer steps; runs of one row share its style.

    Args:
        rows: All of the report, so that styles are those of their places.
        key: A key of the logs.

    Returns:
        The figure; None if there is no number that can be drawn.
    """
    lines = [
        (style_of(i), points)
        for i, row in enumerate(rows)
        for run in row.runs
        if (points := _averaged(run.curves.get(key, {})))
    ]
    if not lines:
        return None
    logarithmic = key == "train/loss" and all(y > 0 for _, points in lines for _, y in points)
    with drawing_style():
        figure = new_figure(_WIDTH, _HEIGHT)
        frame = (_WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM)
        axes = add_axes(figure, _LEFT, _BOTTOM, *frame)
        for style, points in lines:
            x, y = zip(*points, strict=True)
            axes.plot(
                x,
                y,
                color=style.colour,
                linestyle=(0, style.dashes) if style.dashes else "solid",
                linewidth=1.0,
                marker=style.marker if len(points) <= 20 else None,
                markersize=2.5,
            )
        if logarithmic:
            axes.set_yscale("log")
        else:
            axes.ticklabel_format(axis="y", useOffset=False)
        axes.set_xlabel("optimizer steps", labelpad=2)
        axes.set_ylabel(curve_name(key), labelpad=2, parse_math=False)
    return figure


def curve_name(key: str) -> str:
    """Return what a curve shows.

    Example:
        >>> curve_name("val/Set5/psnr_y"), curve_name("train/loss")
        ('PSNR-Y on Set5 (dB)', 'train/loss')
    """
    parts = key.split("/")
    if parts[0] != "val" or len(parts) != 3:
        return key
    unit = unit_of(parts[2])
    return f"{metric_name(parts[2])} on {parts[1]}" + (f" ({unit})" if unit else "")


def _averaged(points: dict[int, float]) -> list[tuple[float, float]]:
    """Return points that can be drawn, means over neighbours where there are very many."""
    drawn = [(step, value) for step, value in points.items() if is_drawable(value)]
    if len(drawn) <= _MOST_POINTS:
        return [(float(step), value) for step, value in drawn]
    parts = np.array_split(np.array(drawn, dtype=np.float64), _MOST_POINTS)
    return [(float(x), float(y)) for x, y in (part.mean(axis=0) for part in parts)]
