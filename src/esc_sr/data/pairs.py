"""Pairs of low- and high-resolution images as a data set."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from esc_sr.data.crops import (
    augment_pair,
    crop,
    crop_pair,
    crop_to_multiple,
    random_dihedral,
    random_position,
)
from esc_sr.data.degradations import BicubicDegradation, Degradation, degrade_crop
from esc_sr.data.images import DEFAULT_MAX_MEGAPIXELS, UnreadableImageError
from esc_sr.data.names import core, match_names
from esc_sr.data.sampler import SampleKey
from esc_sr.data.sources import CachedImages, ImageSource, open_source
from esc_sr.errors import InputError, check_flags, check_integers

_log = logging.getLogger(__name__)


class Pair(TypedDict):
    """One sample: `lq` `(3, H, W)` and `gt` `(3, s·H, s·W)`, float32 in [0, 1]; the GT's name."""

    lq: Tensor
    gt: Tensor
    name: str


class PairedImages(Dataset[Pair]):
    """Image pairs from folders; LQ is read, or made from GT where there is no LQ folder.

    `dataset[SampleKey(index, seed)]` crops and augments as the seed alone decides, so that
    samples depend neither on workers nor on what was read before; `dataset[index]` is seed 0.
    GT whose size is no multiple of the scale loses the rest at the right and the bottom.

    LQ files are found by name, see `match_names`; for `img_001_SRF_2_HR.png`
    `img_001_SRF_2_LR.*`, also in the same folder.

    Args:
        gt_dir: Folder of high-resolution images, or an `….lmdb` of `esc-sr prepare`.
        scale: Super-resolution factor.
        lq_dir: Folder or LMDB of low-resolution images; None: made by `degradation`.
        degradation: Makes LQ where `lq_dir` is None; None: MATLAB bicubic.
        crop_size: Side of random crops in LQ pixels; None: whole images.
        augment: Flip and rotate at random, eight ways.
        cache: Keep decoded images in memory, 3 bytes a pixel.
        on_corrupt: What an unreadable image does: "stop" raises, "skip" logs its name once and
            takes the next readable one.
        max_megapixels: Images of more than so many million pixels are unreadable: a small file can
            promise any size.
        hint: How to come by the images, appended to messages about missing ones.

    Raises:
        InputError: A folder is missing or empty, pairs are missing, or the first pair does not
            fit the scale or the crop.
    """

    def __init__(
        self,
        *,
        gt_dir: str | Path,
        scale: int,
        lq_dir: str | Path | None = None,
        degradation: Degradation | None = None,
        crop_size: int | None = None,
        augment: bool = False,
        cache: bool = False,
        on_corrupt: Literal["stop", "skip"] = "stop",
        max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
        hint: str = "",
    ) -> None:
        check_integers(1, scale=scale)
        if crop_size is not None:
            check_integers(1, crop_size=crop_size)
        check_flags(augment=augment, cache=cache)
        if on_corrupt not in ("stop", "skip"):
            raise InputError(f"on_corrupt must be 'stop' or 'skip', got '{on_corrupt}'")
        self.scale = scale
        self.crop_size = crop_size
        self.augment = augment
        self.cache = cache
        self.on_corrupt = on_corrupt
        self._degradation = degradation or BicubicDegradation()
        self._reported: set[str] = set()

        opened = partial(open_source, hint=hint, max_megapixels=max_megapixels)
        gt: ImageSource = opened(gt_dir, purpose="GT")
        self._gt_names = gt.names
        self._lq_names: list[str] = []
        lq: ImageSource | None = None
        if lq_dir is not None:
            lq = opened(lq_dir, purpose=f"LQ ×{scale}")
            if Path(lq_dir).expanduser().resolve() == Path(gt_dir).expanduser().resolve():
                # `core` has dropped the ending of what is GT.
                self._gt_names = [n for n in gt.names if core(n) != Path(n).stem.lower()]
            self._lq_names = match_names(self._gt_names, lq.names, scale, str(lq_dir))
        self._gt: ImageSource = CachedImages(gt) if cache else gt
        self._lq: ImageSource | None = CachedImages(lq) if cache and lq else lq
        self._check_first()

    @property
    def reads_lq(self) -> bool:
        """Whether LQ is read, not made."""
        return self._lq is not None

    def __len__(self) -> int:
        return len(self._gt_names)

    def __getitem__(self, key: SampleKey | int) -> Pair:
        index, seed = key if isinstance(key, tuple) else (key, 0)
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} images")
        for offset in range(len(self)):
            try:
                return self._sample((index + offset) % len(self), seed)
            except UnreadableImageError as error:
                if self.on_corrupt == "stop":
                    raise
                self._report(error)
        raise InputError(
            f"none of the images can be read, e.g. {self._gt.where(self._gt_names[0])}"
        )

    def fill_cache(self) -> None:
        """Decode every image now, so that workers started later share one copy."""
        if not self.cache:
            return
        for index in range(len(self)):
            try:
                self._read(index)
            except UnreadableImageError as error:
                if self.on_corrupt == "stop":
                    raise
                self._report(error)

    def _report(self, error: UnreadableImageError) -> None:
        if str(error) not in self._reported:
            self._reported.add(str(error))
            _log.warning("skipped: %s", error)

    def _read(self, index: int) -> tuple[Tensor | None, Tensor]:
        gt = self._gt.read(self._gt_names[index])
        return (self._lq.read(self._lq_names[index]) if self._lq else None), gt

    def _sample(self, index: int, seed: int) -> Pair:
        lq, gt = self._read(index)
        self._check_sizes(index, gt.shape[-2:], None if lq is None else lq.shape[-2:])
        gt = crop_to_multiple(gt, self.scale)
        rng = random.Random(seed)
        if self.crop_size is None:
            lq = self._degradation(gt, self.scale) if lq is None else lq
        else:
            size, scale = self.crop_size, self.scale
            height, width = gt.shape[-2] // scale, gt.shape[-1] // scale
            top, left = random_position(height, width, size, rng)
            if lq is None:
                lq = degrade_crop(self._degradation, gt, top, left, size, scale)
                gt = crop(gt, top * scale, left * scale, size * scale, size * scale)
            else:
                lq, gt = crop_pair(lq, gt, top, left, size, scale)
        if self.augment:
            lq, gt = augment_pair(lq, gt, random_dihedral(rng))
        return {"lq": _to_float(lq), "gt": _to_float(gt), "name": Path(self._gt_names[index]).stem}

    def _check_first(self) -> None:
        """Compare the first pair's headers, so that a wrong scale stops before training."""
        try:
            gt_size = self._gt.size(self._gt_names[0])
            lq_size = self._lq.size(self._lq_names[0]) if self._lq else None
        except UnreadableImageError:
            if self.on_corrupt == "stop":
                raise
            return
        self._check_sizes(0, gt_size, lq_size)

    def _check_sizes(
        self, index: int, gt_size: Sequence[int], lq_size: Sequence[int] | None
    ) -> None:
        scale, (gt_height, gt_width) = self.scale, gt_size
        height, width = gt_height // scale, gt_width // scale
        gt_where = self._gt.where(self._gt_names[index])
        if lq_size is not None and self._lq is not None and tuple(lq_size) != (height, width):
            lq_height, lq_width = lq_size
            other = gt_height // lq_height
            fits = other != scale and (gt_height // max(other, 1), gt_width // max(other, 1)) == (
                lq_height,
                lq_width,
            )
            advice = f"they fit scale={other}" if fits else "they are not a pair"
            raise InputError(
                f"{self._lq.where(self._lq_names[index])} is {lq_height}×{lq_width}, but "
                f"{gt_where} ({gt_height}×{gt_width}) at scale={scale} needs "
                f"{height}×{width}; {advice}: mend scale or lq_dir"
            )
        if min(height, width) < (self.crop_size or 1):
            size = self.crop_size or 1
            raise InputError(
                f"{gt_where} is {gt_height}×{gt_width} pixels, {height}×{width} at LQ size, "
                f"smaller than the crop of {size}×{size} LQ ({size * scale}×{size * scale} GT) "
                f"pixels; set crop_size to {min(height, width)} or less, or remove the image"
            )


class JoinedImages(Dataset[Pair]):
    """Several data sets one after the other, read by `SampleKey` too.

    Args:
        datasets: At least one; all with the same scale and crop size.

    Raises:
        InputError: There is none, or scales or crop sizes differ.
    """

    def __init__(self, datasets: Sequence[PairedImages]) -> None:
        if not datasets:
            raise InputError("no training set is given; choose one, e.g. data=div2k")
        shapes = {(dataset.scale, dataset.crop_size) for dataset in datasets}
        if len(shapes) > 1:
            told = ", ".join(f"scale {scale} crop_size {size}" for scale, size in shapes)
            raise InputError(f"joined training sets must have one scale and crop_size, got {told}")
        self.datasets = list(datasets)
        self.scale = datasets[0].scale
        self.crop_size = datasets[0].crop_size

    def __len__(self) -> int:
        return sum(map(len, self.datasets))

    def __getitem__(self, key: SampleKey | int) -> Pair:
        index, seed = key if isinstance(key, tuple) else (key, 0)
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} images")
        index %= len(self)
        for dataset in self.datasets:
            if index < len(dataset):
                return dataset[SampleKey(index, seed)]
            index -= len(dataset)
        raise AssertionError("unreachable: the index was checked")

    def fill_cache(self) -> None:
        """Decode every image of the sets that cache."""
        for dataset in self.datasets:
            dataset.fill_cache()


def _to_float(image: Tensor) -> Tensor:
    return image.to(torch.float32).div_(255).contiguous()
