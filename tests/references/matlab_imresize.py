"""MATLAB's bicubic imresize, pixel by pixel in exact fractions, from its documentation."""

from fractions import Fraction
from math import ceil, floor

import numpy as np


def cubic(x: Fraction) -> Fraction:
    x = abs(x)
    if x <= 1:
        return Fraction(3, 2) * x**3 - Fraction(5, 2) * x**2 + 1
    if x < 2:
        return -Fraction(1, 2) * x**3 + Fraction(5, 2) * x**2 - 4 * x + 2
    return Fraction(0)


def reflect(index: int, length: int) -> int:
    while not 0 <= index < length:
        index = -1 - index if index < 0 else 2 * length - 1 - index
    return index


def resize_line(line: list[int], ratio: Fraction) -> list[Fraction]:
    """Resize one row or column; `ratio` is output over input."""
    shrink = min(ratio, Fraction(1))
    out = []
    for position in range(ceil(len(line) * ratio)):
        # MATLAB counts pixels from 1: u = x / scale + (1 - 1 / scale) / 2.
        u = (position + 1) / ratio + (1 - 1 / ratio) / 2
        total = norm = Fraction(0)
        for source in range(floor(u - 2 / shrink) - 1, ceil(u + 2 / shrink) + 2):
            weight = shrink * cubic(shrink * (u - source))
            total += weight * line[reflect(source - 1, len(line))]
            norm += weight
        out.append(total / norm)
    return out


def round_uint8(value: Fraction) -> int:
    """Clip to 0..255 and round half up, which is away from zero there."""
    return min(255, max(0, floor(value + Fraction(1, 2))))


def imresize(image: np.ndarray, ratio: Fraction) -> np.ndarray:
    """Resize (H, W) uint8: columns first, rounded, then rows, rounded."""
    columns = [
        [round_uint8(v) for v in resize_line([int(p) for p in column], ratio)] for column in image.T
    ]
    rows = [
        [round_uint8(v) for v in resize_line(list(row), ratio)]
        for row in zip(*columns, strict=True)
    ]
    return np.array(rows, dtype=np.uint8)
