"""What the networks make of the same images: the panels of the runs' pictures, side by side."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from esc_sr.errors import printable
from esc_sr.files import fault_of_file
from esc_sr.reporting.reading import Run
from esc_sr.reporting.table import Row
from esc_sr.reporting.values import best_validation
from esc_sr.runs.grids import PANELS, split_grid

_FILE = re.compile(r"(.+)_step(\d{1,15})\.png")
_LARGEST = 4096 * 1100  # pixels of a picture: four panels of 1024×1024
_LARGEST_FILE = 32 * 2**20
Panels = dict[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Crop:
    """One picture of a comparison.

    Attributes:
        label: What it is: a row's label, or lq, bicubic or gt.
        row: Index of the row that made it; None: it is of the data.
        png: The file.
    """

    label: str
    row: int | None
    png: bytes


@dataclass(frozen=True)
class Comparison:
    """An image as every row shows it.

    Attributes:
        title: Set, image and scale.
        crops: The data's, then a row's each.
    """

    title: str
    crops: tuple[Crop, ...]


def comparisons(rows: Sequence[Row], *, images: int) -> list[Comparison]:
    """Cut the panels out of the runs' pictures and put those of an image together.

    Of several runs of a row the first one that has pictures is shown, of several steps that of
    the best weights, else the last.

    Args:
        rows: All of the report.
        images: Of each set and scale, the most that are shown.

    Returns:
        By scale, set and image; none where there are no pictures.
    """
    found: dict[tuple[str, str, str], dict[int, tuple[Path, Path, int]]] = {}
    for i, row in enumerate(rows):
        for run in row.runs:
            pictures = _pictures(run)
            for (set_name, image), (path, step) in pictures.items():
                place = (f"×{row.values.get('scale'):g}", set_name, image)
                found.setdefault(place, {})[i] = (path, run.folder, step)
            if pictures:
                break
    shown, counts = [], {}
    # Those that most rows have come first.
    for (scale, set_name, image), by_row in sorted(
        found.items(), key=lambda item: (item[0][:2], -len(item[1]), item[0][2])
    ):
        if counts.get((scale, set_name), 0) >= images:
            continue
        crops = _crops(rows, by_row)
        if crops:
            counts[scale, set_name] = counts.get((scale, set_name), 0) + 1
            shown.append(Comparison(printable(f"{image}, {set_name} {scale}"), tuple(crops)))
    return shown


def _pictures(run: Run) -> dict[tuple[str, str], tuple[Path, int]]:
    """Find one picture of each image of a run, by set and name."""
    by_image: dict[tuple[str, str], dict[int, Path]] = {}
    for path in sorted(run.folder.glob("images/*/*.png")):
        match = _FILE.fullmatch(path.name)
        if match:
            steps = by_image.setdefault((path.parent.name, match[1]), {})
            steps[int(match[2])] = path
    best = best_validation(run)
    chosen = {}
    for place, steps in by_image.items():
        step = best if best in steps else max(steps)
        chosen[place] = (steps[step], step)
    return chosen


def _crops(rows: Sequence[Row], by_row: dict[int, tuple[Path, Path, int]]) -> list[Crop]:
    crops: list[Crop] = []
    for i, (path, folder, step) in by_row.items():
        panels = _panels(path, folder)
        if panels is None:
            continue
        if not crops:
            crops = [Crop(name, None, _png(panels[name])) for name in PANELS if name != "sr"]
        label = f"{printable(rows[i].label)}, step {step}"
        crops.append(Crop(label, i, _png(panels["sr"])))
    return crops


def _panels(path: Path, folder: Path) -> Panels | None:
    """Read a picture; None where it is none of ours, or leads out of the run."""
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
        if not inside or fault_of_file(path, most_bytes=_LARGEST_FILE) is not None:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=["PNG"]) as image:
                if image.width * image.height > _LARGEST:
                    return None
                return split_grid(np.asarray(image.convert("RGB")))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode anew: nothing of the file but its pixels comes into a report."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG", optimize=True)
    return content.getvalue()
