"""The size of the image that is measured with."""

from __future__ import annotations

from collections.abc import Sequence

from esc_sr.errors import InputError


def check_lq_size(lq_size: Sequence[int]) -> tuple[int, int]:
    """Return `(height, width)` in low-resolution pixels.

    Raises:
        InputError: Not two positive numbers.
    """
    if len(lq_size) != 2 or min(lq_size) < 1:
        raise InputError(f"lq_size must be [height, width], both positive, got {list(lq_size)}")
    return lq_size[0], lq_size[1]
