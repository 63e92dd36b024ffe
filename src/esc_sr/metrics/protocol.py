"""How super-resolved images are measured: a name for every choice that changes the numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor
from torchmetrics import Metric

from esc_sr.errors import InputError
from esc_sr.metrics.image_quality import PSNR, SSIM, Channel, check_options, image_quality


@dataclass(frozen=True)
class Protocol:
    """What is measured of an image, and how; the configurations are those of `conf/protocol`.

    All protocols share the rest: images are rounded to 8 bits, each has its own PSNR (peak 255)
    and SSIM (11×11 Gaussian, valid borders), the mean is over images, and LQ images are
    reflect-padded to whole windows and the result cropped (`inference.enlarge`).

    Args:
        name: Stands beside every number.
        channel: "y" for BT.601 luma in studio range, "rgb" for all three channels.
        crop_border: High-resolution pixels dropped from each side.
        suffix: Tells this protocol's numbers from others': `psnr_<suffix>`, `ssim_<suffix>`.

    Raises:
        InputError: `crop_border` is negative or `channel` unknown.

    Example:
        >>> import torch
        >>> paper = Protocol("paper", channel="y", crop_border=4, suffix="y")
        >>> str(paper)
        'paper: PSNR and SSIM on Y, 4 pixels cropped'
        >>> gt = torch.zeros(1, 3, 32, 32)
        >>> {name: round(value.item(), 2) for name, value in paper.measure(gt + 0.1, gt).items()}
        {'psnr_y': 21.15, 'ssim_y': 0.71}

    Source: the protocol of EDSR (Lim et al., CVPRW 2017) and later papers, Lee et al., ICCV 2025,
    section 4; that of the NTIRE challenges on efficient super-resolution.
    """

    name: str
    channel: Channel
    crop_border: int
    suffix: str

    def __post_init__(self) -> None:
        check_options(self.crop_border, self.channel)

    @property
    def keys(self) -> tuple[str, str]:
        """Names of its numbers."""
        return f"psnr_{self.suffix}", f"ssim_{self.suffix}"

    def measure(self, sr: Tensor, gt: Tensor) -> dict[str, Tensor]:
        """Measure images one by one.

        Args:
            sr: `(B, 3, H, W)`, floating point RGB in [0, 1].
            gt: `(B, 3, H, W)`, floating point RGB in [0, 1].

        Returns:
            By name, `(B,)` float64: PSNR in dB, and SSIM.

        Raises:
            InputError: The shapes differ, or an image is too small.
        """
        quality = image_quality(sr, gt, crop_border=self.crop_border, channel=self.channel)
        return dict(zip(self.keys, (quality["psnr"], quality["ssim"]), strict=True))

    def metrics(self) -> dict[str, Metric]:
        """Build torchmetrics classes that accumulate the same numbers, by name."""
        metrics = (
            kind(crop_border=self.crop_border, channel=self.channel) for kind in (PSNR, SSIM)
        )
        return dict(zip(self.keys, metrics, strict=True))

    @property
    def meaning(self) -> str:
        """What is measured, without the border, which may depend on the scale."""
        return f"{self.name}: PSNR and SSIM on {self.channel.upper()}"

    def __str__(self) -> str:
        return f"{self.meaning}, {self.crop_border} pixels cropped"


def check_distinct(protocols: Iterable[Protocol]) -> None:
    """Refuse protocols whose numbers would have the same name.

    Args:
        protocols: Those to be used at the same time.

    Raises:
        InputError: Two share a suffix.
    """
    by_suffix: dict[str, Protocol] = {}
    for protocol in protocols:
        other = by_suffix.setdefault(protocol.suffix, protocol)
        if other is not protocol:
            raise InputError(
                f"protocols {other.name} and {protocol.name} both write psnr_{protocol.suffix}; "
                "give one of them another suffix"
            )
