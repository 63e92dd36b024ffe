"""What a row looks like in all pictures: a colour and a kind of line."""

from __future__ import annotations

from dataclasses import dataclass

# By Okabe and Ito, which the colour-blind tell apart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555")
# Lengths of strokes and gaps, in widths of the line; none: unbroken.
_DASHES: tuple[tuple[float, ...], ...] = ((), (4, 2), (1, 1.5), (6, 2, 1, 2))
MARKERS = ("o", "s", "^", "D")


@dataclass(frozen=True)
class Style:
    """A colour, dashes, and a marker of matplotlib."""

    colour: str
    dashes: tuple[float, ...]
    marker: str


def style_of(index: int) -> Style:
    """Return the style of a row: 28 different ones, then they repeat.

    Args:
        index: Of the row, from 0.
    """
    kind = index // len(_COLOURS) % len(_DASHES)
    return Style(_COLOURS[index % len(_COLOURS)], _DASHES[kind], MARKERS[kind])
