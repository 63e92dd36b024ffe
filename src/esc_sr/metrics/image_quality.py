"""PSNR and SSIM as the super-resolution papers report them, accumulated over a data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from esc_sr.errors import InputError, check_integers
from esc_sr.functional.color import rgb_to_y
from esc_sr.functional.psnr import psnr
from esc_sr.functional.ssim import ssim

Channel = Literal["y", "rgb"]

DATA_RANGE = 255.0  # measured on the 8-bit scale


def to_measured_range(image: Tensor, *, crop_border: int, channel: Channel) -> Tensor:
    """Turn an RGB image into the pixels that the papers measure.

    Clamp to [0, 1] and round to the 256 levels that a file holds, convert to Y if asked (Y is not
    rounded: that would cost 0.02 to 0.09 dB), then drop the border.

    Args:
        image: `(B, 3, H, W)`, floating point RGB in [0, 1], any float dtype and device.
        crop_border: High-resolution pixels to drop from each side; the papers use `scale`.
        channel: `"y"` for BT.601 luma in studio range, `"rgb"` for all three channels.

    Returns:
        `(B, 1 or 3, H - 2·crop_border, W - 2·crop_border)`, float64 in [0, 255], on the device
        of `image` (on the CPU where the device has no float64, as Apple's).

    Raises:
        InputError: Not an RGB image, an unknown channel, or nothing is left after cropping.

    Example:
        >>> import torch
        >>> to_measured_range(torch.full((1, 3, 4, 4), 0.5), crop_border=1, channel="rgb")[0, 0]
        tensor([[128., 128.],
                [128., 128.]], dtype=torch.float64)
    """
    if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
        raise InputError(
            "image quality is measured on floating point (B, 3, H, W) RGB in [0, 1], "
            f"got {tuple(image.shape)} of {image.dtype}; convert grey or uint8 images first"
        )
    check_options(crop_border, channel)
    if 2 * crop_border >= min(image.shape[-2:]):
        raise InputError(
            f"crop_border={crop_border} leaves nothing of a {image.shape[-2]}x{image.shape[-1]} "
            "image; use a larger image or a smaller crop_border"
        )
    if image.device.type == "mps":
        image = image.cpu()
    levels = image.detach().double().clamp(0.0, 1.0).mul(255.0).round()
    if channel == "y":
        levels = rgb_to_y(levels / 255.0) * 255.0
    if crop_border:
        levels = levels[..., crop_border:-crop_border, crop_border:-crop_border]
    return levels


def image_quality(
    preds: Tensor, target: Tensor, *, crop_border: int, channel: Channel
) -> dict[str, Tensor]:
    """Compute PSNR and SSIM of each image by the protocol of the super-resolution papers.

    Args:
        preds: `(B, 3, H, W)`, floating point RGB in [0, 1]; rounded to 8 bits here.
        target: `(B, 3, H, W)`, floating point RGB in [0, 1].
        crop_border: High-resolution pixels to drop from each side; the papers use `scale`.
        channel: `"y"` for BT.601 luma in studio range, `"rgb"` for all three channels.

    Returns:
        `{"psnr": (B,) in dB, "ssim": (B,)}`, float64. PSNR is `inf` for identical images.

    Raises:
        InputError: The shapes differ or do not fit the options.

    Example:
        >>> import torch
        >>> target = torch.zeros(1, 3, 32, 32)
        >>> quality = image_quality(target + 10 / 255, target, crop_border=2, channel="rgb")
        >>> {name: round(value.item(), 2) for name, value in quality.items()}
        {'psnr': 28.13, 'ssim': 0.06}
    """
    options: dict[str, Any] = {"crop_border": crop_border, "channel": channel}
    preds, target = to_measured_range(preds, **options), to_measured_range(target, **options)
    return {
        "psnr": psnr(preds, target, data_range=DATA_RANGE),
        "ssim": ssim(preds, target, data_range=DATA_RANGE),
    }


class MeanOverImages(Metric):
    """Mean of one value per image of the measured range; what full-reference metrics share."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    # Two batches and their `data_range` to one value for each image.
    formula: Callable[..., Tensor]
    # Declared for the type checker: add_state sets them.
    total: Tensor
    num_images: Tensor

    def __init__(self, *, crop_border: int, channel: Channel, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_options(crop_border, channel)
        self.crop_border = crop_border
        self.channel: Channel = channel
        # float32 holds the sum of thousands of values to five decimals of their mean, and exists
        # on every device; the values themselves are computed in float64.
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("num_images", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def per_image(self, preds: Tensor, target: Tensor) -> Tensor:
        """Compute the value of each image without touching the state.

        Args:
            preds: `(B, 3, H, W)`, floating point RGB in [0, 1].
            target: `(B, 3, H, W)`, floating point RGB in [0, 1].

        Returns:
            `(B,)`, float64.

        Raises:
            InputError: The shapes differ, or do not fit the options or the measure.
        """
        options: dict[str, Any] = {"crop_border": self.crop_border, "channel": self.channel}
        return self.formula(
            to_measured_range(preds, **options),
            to_measured_range(target, **options),
            data_range=DATA_RANGE,
        )

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch: two `(B, 3, H, W)` floating point RGB tensors in [0, 1]."""
        values = self.per_image(preds, target)
        self.total += values.sum().to(self.total)
        self.num_images += values.numel()

    def compute(self) -> Tensor:
        """Return the mean over all images since the last reset; NaN if there was none."""
        return self.total / self.num_images


class PSNR(MeanOverImages):
    """Mean over images of the peak signal-to-noise ratio, in dB.

    Each image has its own mean squared error (torchmetrics' class pools it over the batch, which
    gives another number). Identical images have PSNR `inf`, and then so is the mean, as in
    MATLAB: a perfect image in a set is told, never dropped or capped.

    Args:
        crop_border: High-resolution pixels to drop from each side; the papers use `scale`.
        channel: `"y"` for BT.601 luma in studio range, `"rgb"` for all three channels.
        **kwargs: Options of `torchmetrics.Metric`, such as `sync_on_compute`.

    Raises:
        InputError: `crop_border` is negative or `channel` unknown.

    Example:
        >>> import torch
        >>> metric = PSNR(crop_border=0, channel="rgb")
        >>> metric.update(torch.full((2, 3, 8, 8), 10 / 255), torch.zeros(2, 3, 8, 8))
        >>> metric.compute()
        tensor(28.1308)
    """

    formula = staticmethod(psnr)


class SSIM(MeanOverImages):
    """Mean over images of the structural similarity (11×11 Gaussian, valid borders).

    Args:
        crop_border: High-resolution pixels to drop from each side; the papers use `scale`.
        channel: `"y"` for BT.601 luma in studio range, `"rgb"` for the mean over the channels.
        **kwargs: Options of `torchmetrics.Metric`, such as `sync_on_compute`.

    Raises:
        InputError: `crop_border` is negative or `channel` unknown.

    Example:
        >>> import torch
        >>> metric = SSIM(crop_border=2, channel="y")
        >>> image = torch.rand(1, 3, 24, 24)
        >>> metric.update(image, image)
        >>> metric.compute()
        tensor(1.)
    """

    formula = staticmethod(ssim)


def check_options(crop_border: int, channel: str) -> None:
    """Refuse a negative border and an unknown channel, by name."""
    check_integers(0, crop_border=crop_border)
    if channel not in ("y", "rgb"):
        raise InputError(f"channel must be 'y' or 'rgb', got {channel!r}")
