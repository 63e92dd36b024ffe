"""The pictures that a run leaves: four panels in a row, each below its name."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LABEL_HEIGHT = 14  # pixels; Pillow's built-in font is 11 high
GAP = 2  # pixels between panels
PANELS = ("lq", "bicubic", "sr", "gt")


def split_grid(grid: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]] | None:
    """Take a picture apart.

    Args:
        grid: `(H, W, 3)`, RGB.

    Returns:
        By name of the panel, `(H - LABEL_HEIGHT, w, 3)`; None where it is no such picture.
    """
    count = len(PANELS)
    width, rest = divmod(grid.shape[1] - (count - 1) * GAP, count)
    if rest or width < 1 or grid.shape[0] <= LABEL_HEIGHT:
        return None
    starts = (i * (width + GAP) for i in range(count))
    return {
        name: grid[LABEL_HEIGHT:, start : start + width]
        for name, start in zip(PANELS, starts, strict=True)
    }
