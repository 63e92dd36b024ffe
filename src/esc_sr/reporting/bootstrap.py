"""How sure a difference of means over images is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
_FEWEST = 2
_AT_ONCE = 2**20  # numbers drawn at a time, 8 MiB


@dataclass(frozen=True)
class Interval:
    """A mean difference over images and where it may lie.

    Attributes:
        mean: Over the images.
        low: Lower end of the interval.
        high: Upper end.
        images: How many pairs there were.
    """

    mean: float
    low: float
    high: float
    images: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the sign is as good as certain, as far as the images tell."""
        return self.low > 0 or self.high < 0


def mean_by_image(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average over runs, image by image: those that all of them have.

    Args:
        runs: Values by image, of runs that differ in their seed.
    """
    if not runs:
        return {}
    names = [name for name in runs[0] if all(name in run for run in runs)]
    return {name: sum(run[name] for run in runs) / len(runs) for name in names}


def paired_interval(
    values: Mapping[str, float], baseline: Mapping[str, float], *, resamples: int, seed: int
) -> Interval | None:
    """Return the percentile bootstrap interval of the mean difference, over the images.

    Images are drawn with replacement, each with both its values, so that what makes an image easy
    or hard cancels out. Pairs whose difference is not finite are left out.

    Args:
        values: By image.
        baseline: By image.
        resamples: How often to draw.
        seed: Of the draws; the same gives the same interval.

    Returns:
        The interval; None with fewer than two pairs.
    """
    differences = np.array(
        [values[name] - baseline[name] for name in sorted(values) if name in baseline],
        dtype=np.float64,
    )
    differences = differences[np.isfinite(differences)]
    if differences.size < _FEWEST:
        return None
    means = _resampled_means(differences, resamples, np.random.default_rng(seed))
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(differences.mean()), float(low), float(high), differences.size)


def _resampled_means(
    differences: NDArray[np.float64], resamples: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return `(resamples,)` means of as many differences as there are, drawn with replacement."""
    count = differences.size
    rows = max(1, _AT_ONCE // count)
    means = [
        differences[generator.integers(count, size=(min(rows, resamples - start), count))].mean(1)
        for start in range(0, resamples, rows)
    ]
    return np.concatenate(means)
