"""Benchmark sets in the folder layouts they are distributed in."""

from __future__ import annotations

import logging
from pathlib import Path

from esc_sr.data.degradations import Degradation
from esc_sr.data.pairs import PairedImages
from esc_sr.errors import InputError

_log = logging.getLogger(__name__)

EXPECTED_COUNTS = {
    "Set5": 5,
    "Set14": 14,
    "B100": 100,
    "Urban100": 100,
    "Manga109": 109,
    "DIV2K_valid": 100,
}


def benchmark_set(
    *,
    root: str | Path,
    name: str,
    scale: int,
    degradation: Degradation | None = None,
    hint: str = "",
) -> PairedImages:
    """Open a benchmark set, whole images, one by one.

    Layouts, the first that exists is taken:

    - `<root>/<name>/HR/*` with `<root>/<name>/LR_bicubic/X<scale>/*`
    - `<root>/<name>/image_SRF_<scale>/*_HR.*` with `*_LR.*` beside
    - `<root>/<name>_HR/*` with `<root>/<name>_LR_bicubic/X<scale>/*` (DIV2K)
    - `<root>/<name>/*`

    Where there is no folder of LQ images they are made by MATLAB's bicubic, exactly. A count of
    images other than the published one is logged as a warning.

    Args:
        root: Folder that holds the sets; `~` expands.
        name: A set, e.g. "Set5"; any folder of these layouts is accepted.
        scale: Super-resolution factor.
        degradation: Makes LQ where there is none; None: MATLAB bicubic.
        hint: How to come by the set, appended when it is missing.

    Returns:
        The pairs.

    Raises:
        InputError: The set is not there, or not complete.
    """
    folder = Path(root).expanduser()
    candidates = [
        (folder / name / "HR", folder / name / "LR_bicubic" / f"X{scale}"),
        (folder / name / f"image_SRF_{scale}", folder / name / f"image_SRF_{scale}"),
        (folder / f"{name}_HR", folder / f"{name}_LR_bicubic" / f"X{scale}"),
        (folder / name, None),
    ]
    present = [(gt_dir, lq_dir) for gt_dir, lq_dir in candidates if gt_dir.is_dir()]
    if not present:
        known = "" if name in EXPECTED_COUNTS else f" (known sets: {', '.join(EXPECTED_COUNTS)})"
        raise InputError(
            f"no benchmark set '{name}'{known}: expected {candidates[0][0]}/*.png and, optionally, "
            f"{candidates[0][1]}/*.png; {hint or 'put it there or set paths.benchmark_dir'}"
        )
    gt_dir, lq_dir = present[0]
    pairs = PairedImages(
        gt_dir=gt_dir,
        lq_dir=lq_dir if lq_dir is not None and lq_dir.is_dir() else None,
        scale=scale,
        degradation=degradation,
        hint=hint,
    )
    expected = EXPECTED_COUNTS.get(name)
    if expected is not None and len(pairs) != expected:
        _log.warning(
            "%s in %s has %d images, the published set has %d: the mean will not compare",
            name,
            gt_dir,
            len(pairs),
            expected,
        )
    return pairs
