"""Show what the network makes of validation images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from esc_sr.errors import InputError
from esc_sr.files import file_name, replacing
from esc_sr.functional.resize import matlab_imresize
from esc_sr.runs.grids import GAP, LABEL_HEIGHT
from esc_sr.training.callbacks.immediate import log_step


def comparison_grid(lq: Tensor, sr: Tensor, gt: Tensor, *, max_size: int) -> NDArray[np.uint8]:
    """Set an image and its versions side by side: lq (enlarged pixels), bicubic, sr, gt.

    Args:
        lq: `(3, h, w)`, RGB in [0, 1].
        sr: `(3, scale·h, scale·w)`, RGB, clamped to [0, 1] here.
        gt: `(3, scale·h, scale·w)`, RGB in [0, 1].
        max_size: Longest side of each panel in high-resolution pixels; the centre is shown.

    Returns:
        `(H, W, 3)` uint8 RGB: four labelled panels in a row.

    Raises:
        InputError: `sr` and `gt` are not the same whole multiple of `lq`.
    """
    scale = gt.shape[-1] // lq.shape[-1]
    size = (scale * lq.shape[-2], scale * lq.shape[-1])
    if scale < 1 or gt.shape[-2:] != size or sr.shape[-2:] != size:
        raise InputError(
            f"sr {tuple(sr.shape[-2:])} and gt {tuple(gt.shape[-2:])} must both be one whole "
            f"multiple of lq {tuple(lq.shape[-2:])}; crop gt to a multiple of the scale"
        )
    # Crop on the grid of the low resolution, so that the four panels show the same pixels.
    height, width = (min(side, max(1, max_size // scale)) for side in lq.shape[-2:])
    top, left = (lq.shape[-2] - height) // 2, (lq.shape[-1] - width) // 2
    rows, columns = slice(top, top + height), slice(left, left + width)
    rows_hr = slice(scale * top, scale * (top + height))
    columns_hr = slice(scale * left, scale * (left + width))

    lq = lq.detach().float()
    nearest = lq[:, rows, columns].repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    bicubic = matlab_imresize(lq, scale)
    panels = {
        "lq": nearest,
        "bicubic": bicubic[:, rows_hr, columns_hr],
        "sr": sr.detach()[:, rows_hr, columns_hr],
        "gt": gt.detach()[:, rows_hr, columns_hr],
    }
    gap = np.zeros((LABEL_HEIGHT + scale * height, GAP, 3), np.uint8)
    row = [part for label, image in panels.items() for part in (_panel(label, image), gap)]
    return np.concatenate(row[:-1], axis=1)


class ImageLogger(Callback):
    """Write and log comparisons lq | bicubic | sr | gt of the first images of validation sets.

    After each validation a PNG per image goes to
    `<output_dir>/images/<set>/<name>_step<NNNNNNN>.png`, and TensorBoard and W&B loggers get them
    under `val/<set>/images`; other loggers take no images. Needs a `validation_step` that
    returns `{"lq", "sr", "gt": (B, 3, H, W), "name": [str]}`. On rank zero only, with the images
    that rank zero has seen.

    Args:
        num_images: Images of each set, the first ones; 0 for none.
        max_size: Longest side of each panel in high-resolution pixels; the centre is shown.
        sets: Names of the validation sets to show; None for all.
        output_dir: Where `images/` goes; None for the trainer's `default_root_dir`.

    Raises:
        InputError: A number out of its range.
    """

    def __init__(
        self,
        *,
        num_images: int = 4,
        max_size: int = 256,
        sets: Sequence[str] | None = None,
        output_dir: str | None = None,
    ) -> None:
        super().__init__()
        if num_images < 0 or max_size < 1:
            raise InputError(
                "the image callback needs num_images >= 0 and max_size >= 1, "
                f"got num_images={num_images}, max_size={max_size}"
            )
        self.num_images = num_images
        self.max_size = max_size
        self.sets = None if sets is None else list(sets)
        self.output_dir = output_dir
        self._grids: dict[str, dict[str, NDArray[np.uint8]]] = {}

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget the last validation; check the names of the sets."""
        self._grids = {}
        known = _set_names(trainer)
        unknown = sorted(set(self.sets or ()) - set(known)) if known else []
        if unknown:
            raise InputError(
                f"the image callback asks for sets {unknown}, validation has {known}; "
                "set callbacks.images.sets to some of these or to null"
            )

    @rank_zero_only
    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the comparisons of the first images."""
        names = _set_names(trainer)
        set_name = names[dataloader_idx] if names else f"set{dataloader_idx}"
        if trainer.sanity_checking or (self.sets is not None and set_name not in self.sets):
            return
        grids = self._grids.setdefault(set_name, {})
        if len(grids) >= self.num_images:
            return
        if not (isinstance(outputs, Mapping) and {"lq", "sr", "gt", "name"} <= set(outputs)):
            raise InputError(
                f"{type(pl_module).__name__}.validation_step must return lq, sr, gt and name for "
                "the image callback; remove it with '~callbacks.images'"
            )
        for i in range(min(len(outputs["name"]), self.num_images - len(grids))):
            grids[str(outputs["name"][i])] = comparison_grid(
                outputs["lq"][i], outputs["sr"][i], outputs["gt"][i], max_size=self.max_size
            )

    @rank_zero_only
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the PNG files and hand the images to the loggers."""
        root = Path(self.output_dir or trainer.default_root_dir) / "images"
        for set_name, grids in self._grids.items():
            if not grids:
                continue
            for name, grid in grids.items():
                folder = root / file_name(set_name)
                path = folder / f"{file_name(name)}_step{trainer.global_step:07d}.png"
                with replacing(path) as temporary:
                    Image.fromarray(grid).save(temporary)
            _send_to_loggers(trainer, f"val/{set_name}/images", grids)
        self._grids = {}


def _set_names(trainer: L.Trainer) -> list[str]:
    """Return the names of the validation sets in the loaders' order; empty if not told."""
    datamodule: Any = getattr(trainer, "datamodule", None)
    return list(getattr(datamodule, "val_names", None) or ())


def _panel(label: str, image: Tensor) -> NDArray[np.uint8]:
    """Turn `(3, H, W)` in [0, 1] into `(LABEL_HEIGHT + H, W, 3)` uint8 with its name on top."""
    levels = image.float().clamp(0, 1).mul(255).round().to(torch.uint8).cpu()
    pixels = levels.permute(1, 2, 0).numpy()
    strip = Image.new("RGB", (pixels.shape[1], LABEL_HEIGHT))
    ImageDraw.Draw(strip).text((2, 1), label, fill=(255, 255, 255))
    return np.concatenate([np.asarray(strip), pixels])


def _send_to_loggers(trainer: L.Trainer, key: str, grids: dict[str, NDArray[np.uint8]]) -> None:
    """Give the images of one set to each logger that takes images."""
    step = log_step(trainer)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(key, _stack(grids), step, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image(key, list(grids.values()), step=step, caption=list(grids))


def _stack(grids: dict[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Put grids of any width below one another, each under its name: TensorBoard has no caption."""
    width = max(grid.shape[1] for grid in grids.values())
    parts = []
    for name, grid in grids.items():
        strip = Image.new("RGB", (width, LABEL_HEIGHT))
        ImageDraw.Draw(strip).text((2, 1), name, fill=(255, 255, 0))
        parts += [np.asarray(strip), np.pad(grid, ((0, 0), (0, width - grid.shape[1]), (0, 0)))]
    return np.concatenate(parts)
