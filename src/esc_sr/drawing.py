"""Drawing in points with matplotlib: style, frames, round ticks, rows of a legend, files."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from esc_sr.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

POINTS_PER_INCH = 72.0
FONT_SIZE = 7.0
# Without the time and the program in them, files of the same picture are the same.
FORMATS: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
_DPI = 300
_STYLE = {
    "font.size": FONT_SIZE,
    "axes.linewidth": 0.6,
    "axes.labelsize": FONT_SIZE,
    "axes.titlesize": FONT_SIZE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e2e2e2",
    "grid.linewidth": 0.5,
    "xtick.labelsize": FONT_SIZE,
    "ytick.labelsize": FONT_SIZE,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "esc_sr",  # else names inside the file are drawn by chance
    "pdf.fonttype": 42,
}
_MANY_TICKS = 9
_SMALLEST, _LARGEST = 1e-100, 1e100  # of numbers that are drawn
_END = 6.0
_GAP = 3.0  # between a marker and its text; three of them between entries


@dataclass(frozen=True)
class Entry:
    """Of a legend: a marker, unless its diameter is 0, and a text.

    Attributes:
        text: Stands to the right.
        diameter: Of the marker, in points.
        marker: Further options of `scatter`.
    """

    text: str
    diameter: float = 0.0
    marker: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def drawing_style() -> Iterator[None]:
    """Draw by matplotlib's own defaults and ours, whatever the user's are; put those back."""
    from matplotlib import style

    with style.context(["default", _STYLE]), warnings.catch_warnings():
        # A name may be in any writing: a box is drawn for what the font lacks.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure that no window knows.

    Args:
        width: In points.
        height: In points.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = (width / POINTS_PER_INCH, height / POINTS_PER_INCH)
    figure = Figure(figsize=size, dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def add_axes(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Add axes at a place given in points from the lower left corner."""
    across, up = (side * POINTS_PER_INCH for side in figure.get_size_inches())
    return figure.add_axes((x / across, y / up, width / across, height / up))


def is_drawable(value: float) -> bool:
    """Return whether axes can hold a number: where floats end, the arithmetic of axes overflows.

    Example:
        >>> is_drawable(-2.5), is_drawable(math.nan), is_drawable(1e308)
        (True, False, False)
    """
    return value == 0 or _SMALLEST < abs(value) < _LARGEST


def size_in_points(text: Text) -> tuple[float, float]:
    """Return width and height of a text as drawn."""
    figure = text.get_figure(root=True)
    assert figure is not None
    extent = text.get_window_extent(figure.canvas.get_renderer())  # pyright: ignore
    factor = POINTS_PER_INCH / figure.dpi
    return extent.width * factor, extent.height * factor


def scale_axis(
    axes: Axes, which: Literal["x", "y"], values: Sequence[float], length: float, margin: float
) -> None:
    """Set limits and round ticks: logarithmic over more than a decade, if `which` is "x".

    Args:
        axes: The axes.
        which: The axis.
        values: All of which are to lie inside.
        length: Of the axis, in points.
        margin: Kept free at both ends, in points.
    """
    from matplotlib.ticker import (
        FixedLocator,
        MaxNLocator,
        NullLocator,
        ScalarFormatter,
        StrMethodFormatter,
    )

    axis = getattr(axes, f"{which}axis")
    low, high = min(values), max(values)
    logarithmic = which == "x" and low > 0 and high / low > 10
    if logarithmic:
        low, high = math.log10(low), math.log10(high)
    if low == high:
        low, high = low - (0.1 * abs(low) or 1.0), high + (0.1 * abs(high) or 1.0)
    per_point = (high - low) / (length - 2 * margin)
    low, high = low - margin * per_point, high + margin * per_point
    # A number at the very end would stick out.
    last = high - (_END * per_point if which == "x" else 0)
    if logarithmic:
        axes.set_xscale("log")
        axis.set_minor_locator(NullLocator())
        ticks = _log_ticks(10**low, 10**last)
        axis.set_major_formatter(StrMethodFormatter("{x:.10g}"))
        low, high = 10**low, 10**high
    else:
        found = MaxNLocator(nbins=6, steps=[1, 2, 5, 10]).tick_values(low, high)
        ticks = [tick for tick in found if low <= tick <= last]
        plain = ScalarFormatter(useOffset=False)
        plain.set_scientific(False)
        axis.set_major_formatter(plain)
    axis.set_major_locator(FixedLocator(ticks))
    getattr(axes, f"set_{which}lim")(low, high)


def _log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2, 5, 10 ..., or decades alone where those are too many."""
    ticks = round_numbers(low, high)
    return ticks if len(ticks) < _MANY_TICKS else round_numbers(low, high, (1,))


def round_numbers(low: float, high: float, steps: Sequence[int] = (1, 2, 5)) -> list[float]:
    """Return the products of steps and powers of ten within limits.

    Example:
        >>> round_numbers(8, 300)
        [10.0, 20.0, 50.0, 100.0, 200.0]
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    numbers = (step * 10.0**decade for decade in decades for step in steps)
    return [number for number in numbers if low <= number <= high]


def draw_legend(
    figure: Figure, entries: Sequence[Entry], x: float, y: float, width: float, height: float
) -> None:
    """Draw one row of a legend in the middle of a strip given in points."""
    strip = add_axes(figure, x, y, width, height)
    strip.set_axis_off()
    strip.set_xlim(0, width)
    strip.set_ylim(0, height)
    texts = [strip.text(0, height / 2, entry.text, va="center_baseline") for entry in entries]
    widths = [size_in_points(text)[0] for text in texts]
    lead = [entry.diameter + _GAP if entry.diameter else 0.0 for entry in entries]
    filled = sum(widths) + sum(lead)
    gap = min(3 * _GAP, (width - filled) / max(len(entries) - 1, 1))
    at = (width - filled - gap * (len(entries) - 1)) / 2
    for entry, text, text_width, before in zip(entries, texts, widths, lead, strict=True):
        if entry.diameter:
            centre = at + entry.diameter / 2
            strip.scatter([centre], [height / 2], s=entry.diameter**2, **entry.marker)
        text.set_x(at + before)
        at += before + text_width + gap


def rendered(figure: Figure, suffix: str) -> bytes:
    """Return a figure as the content of a file; the same figure gives the same bytes.

    Args:
        figure: What was drawn.
        suffix: A key of `FORMATS`.
    """
    content = io.BytesIO()
    with drawing_style():
        figure.savefig(content, format=suffix, dpi=_DPI, metadata=FORMATS[suffix])
    return content.getvalue()


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, all or nothing; the same figure gives the same bytes.

    Args:
        figure: What was drawn.
        path: Its suffix, a key of `FORMATS`, says the format.
    """
    content = rendered(figure, path.suffix.removeprefix("."))
    with replacing(path) as temporary:
        temporary.write_bytes(content)
