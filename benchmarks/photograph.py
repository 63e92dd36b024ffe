"""A photograph of any size, for scripts that need one."""

from pathlib import Path

import numpy as np

from esc_sr.data.images import read_image
from esc_sr.data.sample import sample_dir


def photograph(height: int, width: int, path: Path | None = None) -> np.ndarray:
    """Return `(height, width, 3)` uint8: the first packaged crop unless a file is given.

    It is repeated in mirror images until it is large enough, and cut.
    """
    image = read_image(path or sorted(sample_dir("valid").iterdir())[0]).permute(1, 2, 0).numpy()
    missing = [max(size - had, 0) for size, had in zip((height, width), image.shape, strict=False)]
    return np.pad(image, [(0, missing[0]), (0, missing[1]), (0, 0)], "symmetric")[:height, :width]
