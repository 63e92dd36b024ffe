"""Are the low-resolution images on disk MATLAB's bicubic of the high-resolution ones?"""

from __future__ import annotations

import logging

import torch
from torch import Tensor
from torch.utils.data import Dataset

from esc_sr.data.pairs import Pair, PairedImages
from esc_sr.functional.resize import matlab_imresize

_log = logging.getLogger(__name__)

# Rounding once, not after each dimension, changes 10 to 15 % of the values by at most this much.
_ROUNDING_LEVELS = 2


class CheckedImages(Dataset[Pair]):
    """Whole pairs, compared with MATLAB's bicubic when they are first read.

    Numbers of the papers hold for exactly these low-resolution images. Read it in one process: the
    differences are kept in it. Where LQ is made nothing is compared.

    Args:
        pairs: Whole images, neither cropped nor turned.
        name: What messages call the set.

    Attributes:
        differences: By image, the largest difference in levels of 255, of those read so far.
    """

    def __init__(self, pairs: PairedImages, *, name: str) -> None:
        self.pairs = pairs
        self.name = name
        self.differences: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Pair:
        pair = self.pairs[index]
        if self.pairs.reads_lq and pair["name"] not in self.differences:
            self.differences[pair["name"]] = bicubic_difference(
                pair["lq"], pair["gt"], self.pairs.scale
            )
        return pair

    def warn(self) -> None:
        """Log one warning if any of the images read was not MATLAB's bicubic."""
        wrong = {name: value for name, value in self.differences.items() if value}
        if not wrong:
            return
        worst = max(wrong, key=lambda name: wrong[name])
        what, meaning = (
            ("they are bicubic, rounded in another way", "PSNR can be off by some 0.01 dB")
            if wrong[worst] <= _ROUNDING_LEVELS
            else (
                "they were made in another way",
                "the numbers will not compare with papers that use MATLAB bicubic",
            )
        )
        _log.warning(
            "%s: the LQ images of %d of %d images are not MATLAB's bicubic of their HR images at "
            "×%d, %s (%s differs by up to %d of 255 levels): %s; move the LQ folder away and exact "
            "ones are made",
            self.name,
            len(wrong),
            len(self.differences),
            self.pairs.scale,
            what,
            worst,
            wrong[worst],
            meaning,
        )


def bicubic_difference(lq: Tensor, gt: Tensor, scale: int) -> int:
    """Compare an LQ image with MATLAB's bicubic of its GT.

    Args:
        lq: `(3, H, W)` float in [0, 1], of 8 bits.
        gt: `(3, s·H, s·W)` float in [0, 1], of 8 bits.
        scale: Super-resolution factor s.

    Returns:
        Largest difference of a pixel in levels of 255; 0 if they are equal.
    """
    exact = matlab_imresize(_levels(gt)[None], 1 / scale)[0]
    return int((exact.short() - _levels(lq).short()).abs().max())


def _levels(image: Tensor) -> Tensor:
    return image.mul(255).round().to(torch.uint8)
