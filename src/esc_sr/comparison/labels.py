"""Texts beside the points of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from esc_sr.comparison.placement import Bubble, Point, place_labels
from esc_sr.drawing import size_in_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

_LONGEST = 25


def shortened(name: str, longest: int = _LONGEST) -> str:
    """Leave out the middle of a long name.

    Example:
        >>> shortened("a_very_long_name", 9)
        'a_ve…name'
    """
    half = (longest - 1) // 2
    return f"{name[:half]}…{name[-half:]}" if len(name) > longest else name


def arrange_labels(
    axes: Axes,
    texts: Sequence[Text],
    points: Sequence[Point],
    radii: Sequence[float],
    frame: tuple[float, float],
) -> None:
    """Move texts to where they cover neither points nor each other, with lines where they are far.

    Args:
        axes: With its limits set.
        texts: Drawn in coordinates of the axes.
        points: In coordinates of the data, one for each text.
        radii: Of the points' markers, in points.
        frame: Width and height of the axes in points.
    """
    to_axes = axes.transData + axes.transAxes.inverted()
    bubbles = []
    for point, radius in zip(points, radii, strict=True):
        x, y = to_axes.transform(point)
        bubbles.append(Bubble(x * frame[0], y * frame[1], radius))
    labels = place_labels(bubbles, [size_in_points(text) for text in texts], frame)
    for text, label in zip(texts, labels, strict=True):
        text.set_position((label.box.x / frame[0], label.box.y / frame[1]))
        if label.leader is not None:
            (x, y), (to_x, to_y) = label.leader
            axes.plot(
                [x / frame[0], to_x / frame[0]],
                [y / frame[1], to_y / frame[1]],
                transform=axes.transAxes,
                color="#777777",
                linewidth=0.5,
                zorder=4,
            )
