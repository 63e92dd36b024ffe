"""What `esc-sr analyze` looks into: networks, and images to show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from esc_sr.config import instantiate
from esc_sr.data.degradations import Degradation, degrade_crop
from esc_sr.data.images import check_max_megapixels, list_images, read_image
from esc_sr.data.sample import sample_dir
from esc_sr.errors import InputError
from esc_sr.profiling.macs import count_parameters
from esc_sr.tasks.candidates import Candidate, candidates

_MOST_IMAGES = 64
_MOST_NETWORKS = 2
# Attributions take many passes, and are looked at one by one.
_IMAGES_OF_LAM = 3


@dataclass(frozen=True)
class Subject(Candidate):
    """A network that is looked into, in eval mode and on its device.

    Attributes:
        trained: False if its weights are fresh ones.
    """

    trained: bool

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "checkpoint": self.checkpoint,
            "scale": self.scale,
            "trained": self.trained,
        }


@dataclass(frozen=True)
class Images:
    """The middle squares of some images.

    Attributes:
        names: Of their files.
        lq: `(N, 3, crop, crop)` in [0, 1].
    """

    names: list[str]
    lq: Tensor


def open_subjects(cfg: DictConfig, device: torch.device) -> list[Subject]:
    """Make the networks that a configuration means.

    Args:
        cfg: With `model`, `models`, `checkpoint`, `scale` and `seed` as in `conf/analyze.yaml`.
        device: Where to compute.

    Returns:
        One or two, of one scale.

    Raises:
        InputError: More are meant, of several scales, or one cannot be made.
    """
    asked = cfg.copy()
    OmegaConf.set_readonly(asked, False)
    OmegaConf.set_struct(asked, False)
    asked.attentions = None  # one attention for all: kernels differ by rounding only
    chosen = cfg.get("model") or OmegaConf.create({})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cfg.seed)
        found = candidates(asked)
    if len(found) > _MOST_NETWORKS:
        raise InputError(
            f"got {len(found)} networks; analyze one, or two side by side: checkpoint=[A,B]"
        )
    names = [candidate.name for candidate in found]
    if len(set(names)) < len(names):
        raise InputError(f"'{names[0]}' was given twice; give two different networks, or one")
    scales = {candidate.scale for candidate in found}
    if len(scales) > 1:
        raise InputError(
            f"the networks enlarge ×{found[0].scale} and ×{found[1].scale}; two are analyzed side "
            "by side at one scale only"
        )
    from_file = chosen.get("path") is not None
    for candidate in found:
        candidate.network.to(device).eval()
    return [
        Subject(
            **vars(candidate),
            trained=candidate.checkpoint is not None
            or from_file
            or count_parameters(candidate.network) == 0,
        )
        for candidate in found
    ]


def open_images(cfg: DictConfig, scale: int, device: torch.device) -> Images:
    """Read the middle of each image, as low-resolution images.

    Args:
        cfg: With `images`, `num_images`, `crop` and `degradation` as in `conf/analyze.yaml`.
        scale: Super-resolution factor.
        device: Where to compute.

    Returns:
        The crops.

    Raises:
        InputError: There are none, or one cannot be read or is smaller than the crop.
    """
    if cfg.images is None:
        # Those that nothing of this package was trained on come first.
        paths = [path for split in ("valid", "train") for path in list_images(sample_dir(split))]
    else:
        paths = list_images(cfg.images)
        if not paths:
            raise InputError(f"images={cfg.images} holds no images; give a folder of PNG, JPEG, …")
    most = cfg.num_images or (_IMAGES_OF_LAM if cfg.kind == "lam" else _MOST_IMAGES)
    paths = paths[:most]
    degradation = instantiate(cfg.get("degradation"))
    check_max_megapixels(cfg.max_megapixels)
    crops = [_middle(path, scale, cfg, degradation) for path in paths]
    lq = torch.stack(crops).float().div(255)
    return Images(_short_names(paths), lq.to(device))


def _middle(path: Path, scale: int, cfg: DictConfig, degradation: Degradation | None) -> Tensor:
    """Return the middle of the LQ image, `(3, crop, crop)` uint8."""
    crop, image = cfg.crop, read_image(path, max_megapixels=cfg.max_megapixels)
    factor = 1 if degradation is None else scale
    height, width = (side // factor for side in image.shape[-2:])
    if min(height, width) < crop:
        raise InputError(
            f"crop={crop} is larger than {path.name}, {height}×{width} LQ pixels at ×{scale}; "
            f"set crop={min(height, width)} or less"
        )
    top, left = (height - crop) // 2, (width - crop) // 2
    if degradation is None:
        return image[:, top : top + crop, left : left + crop]
    image = image[:, : height * scale, : width * scale]
    return degrade_crop(degradation, image, top, left, crop, scale)


def _short_names(paths: Sequence[Path]) -> list[str]:
    """Name images by their files without extension, where that tells them apart."""
    stems = [path.stem for path in paths]
    return [p.stem if stems.count(p.stem) == 1 else p.name for p in paths]
