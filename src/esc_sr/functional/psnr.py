"""Peak signal-to-noise ratio, per image."""

from __future__ import annotations

import torch
from torch import Tensor

from esc_sr.functional.pair import check_pair


def psnr(preds: Tensor, target: Tensor, *, data_range: float) -> Tensor:
    """Compute the peak signal-to-noise ratio of each image of a batch.

    PSNR = 10 log10(data_range² / MSE), with one mean squared error per image over channels and
    pixels. The arithmetic is done in the dtype of the input: feed float64 where the second
    decimal must be exact.

    Args:
        preds: `(B, C, H, W)`, floating point.
        target: `(B, C, H, W)`, floating point.
        data_range: Largest possible value, in the unit of the images: 1 or 255.

    Returns:
        `(B,)`, decibels; `inf` where the two images are identical.

    Raises:
        InputError: The shapes differ, or an image is not floating point.

    Example:
        >>> import torch
        >>> target = torch.zeros(2, 1, 4, 4)
        >>> psnr(target + torch.tensor([0.1, 0.0]).view(2, 1, 1, 1), target, data_range=1.0)
        tensor([20., inf])
    """
    check_pair("psnr", preds, target)
    mse = (preds - target).square().mean((1, 2, 3))
    return 10.0 * torch.log10(data_range**2 / mse)
