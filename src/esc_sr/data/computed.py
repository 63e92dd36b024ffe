"""Super-resolved images that another program has computed, beside their GT."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from esc_sr.data.benchmarks import set_folders
from esc_sr.data.crops import crop_to_multiple
from esc_sr.data.images import (
    DEFAULT_MAX_MEGAPIXELS,
    check_max_megapixels,
    image_size,
    list_images,
    read_image,
)
from esc_sr.data.names import core, match_results
from esc_sr.errors import InputError

_log = logging.getLogger(__name__)


class Computed(TypedDict):
    """One sample: `sr` and `gt` `(3, s·H, s·W)`, float32 in [0, 1]; the GT's name."""

    sr: Tensor
    gt: Tensor
    name: str


class ComputedImages(Dataset[Computed]):
    """Results of another program with their GT, whole images, found by name.

    GT whose size is no multiple of the scale loses the rest at the right and the bottom, as it
    does before it is degraded.

    Args:
        sr_dir: Folder of the results, or one that holds `<set>`, `X<scale>` or `<set>/X<scale>`,
            whatever their case; the deepest of these with images in it is taken. `~` expands.
        gt_dir: Folder of high-resolution images; where some end in `_HR` or `_GT`, those alone.
        name: The set, a possible folder below `sr_dir`, by any of its names.
        scale: Super-resolution factor.
        max_megapixels: Images of more than so many million pixels are refused.

    Raises:
        InputError: A folder or results are missing, or a result has another size than its GT.
    """

    def __init__(
        self,
        sr_dir: str | Path,
        *,
        gt_dir: str | Path,
        name: str,
        scale: int,
        max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
    ) -> None:
        check_max_megapixels(max_megapixels)
        self.scale = scale
        self._limit = max_megapixels
        folder = _result_folder(Path(sr_dir).expanduser(), name, scale)
        self._gt = _gt_images(gt_dir)
        results = [path.name for path in list_images(folder)]
        matched = match_results([path.name for path in self._gt], results, scale, str(folder))
        self._sr = [folder / match for match in matched]
        for sr, gt in zip(self._sr, self._gt, strict=True):
            _check_size(sr, gt, scale, max_megapixels)
        for sr, gt in zip(self._sr, self._gt, strict=True):
            if _warn_of_other_scale(sr, gt, scale):
                break

    def __len__(self) -> int:
        return len(self._gt)

    def __getitem__(self, index: int) -> Computed:
        gt = crop_to_multiple(self._read(self._gt[index]), self.scale)
        return {
            "sr": self._read(self._sr[index]).to(torch.float32) / 255,
            "gt": gt.to(torch.float32) / 255,
            "name": self._gt[index].stem,
        }

    def _read(self, path: Path) -> Tensor:
        return read_image(path, max_megapixels=self._limit)


def _warn_of_other_scale(sr: Path, gt: Path, scale: int) -> bool:
    """Where sizes divide by several scales, names alone tell whose results they are."""
    names = [sr.parent.name] + ([sr.stem] if sr.stem.lower() != gt.stem.lower() else [])
    for name in names:
        told = re.search(r"(?:^|\D)x([2-9])$", name, re.IGNORECASE)
        if told and int(told.group(1)) != scale:
            _log.warning("%s is called a result of ×%s, not of ×%d", sr, told.group(1), scale)
            return True
    return False


def _gt_images(gt_dir: str | Path) -> list[Path]:
    """The GT of a folder, which may hold LQ and results of others too, `…_SRF_2_LR.png`."""
    images = list_images(gt_dir)
    if not images:
        raise InputError(f"no GT images in {gt_dir}; check the path")
    # `core` has dropped the ending of what is GT.
    return [path for path in images if core(path.name) != path.stem.lower()] or images


def _result_folder(sr_dir: Path, name: str, scale: int) -> Path:
    if not sr_dir.is_dir():
        raise InputError(f"no such folder: sr_dir={sr_dir}; check the path")
    for folder in (*set_folders(sr_dir, name), sr_dir):
        for place in (*set_folders(folder, f"X{scale}"), folder):
            if list_images(place):
                return place
    raise InputError(
        f"no images in sr_dir={sr_dir}, nor in {name} or X{scale} below it; check the path"
    )


def _check_size(sr: Path, gt: Path, scale: int, max_megapixels: float) -> None:
    sr_size, gt_size = (image_size(path, max_megapixels=max_megapixels) for path in (sr, gt))
    expected = _cut(gt_size, scale)
    if sr_size == expected:
        return
    fits = [str(other) for other in range(2, 9) if sr_size == _cut(gt_size, other)]
    if sr_size == gt_size:
        advice = "cut off the rest at its right and bottom"
    elif sr_size == tuple(length // scale for length in gt_size):
        advice = "it has the size of the LQ image"
    elif fits:
        advice = f"it fits scale={' or '.join(fits)}"
    else:
        advice = "it is no result of this image"
    raise InputError(
        f"{sr} is {sr_size[0]}×{sr_size[1]}, but {gt} ({gt_size[0]}×{gt_size[1]}) at "
        f"scale={scale} needs {expected[0]}×{expected[1]}; {advice}"
    )


def _cut(size: tuple[int, int], scale: int) -> tuple[int, int]:
    return size[0] // scale * scale, size[1] // scale * scale
