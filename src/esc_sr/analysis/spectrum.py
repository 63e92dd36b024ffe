"""Which frequencies the features of each layer hold.

Source: the radial log-amplitudes of Park and Kim, "How do vision transformers work?", ICLR 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from esc_sr.analysis.features import capture
from esc_sr.analysis.layout import as_map
from esc_sr.analysis.precision import double
from esc_sr.errors import InputError

# Half of the highest frequency along an axis, which is 0.5 cycles a pixel.
CUTOFF = 0.25


@dataclass(frozen=True)
class Spectrum:
    """Of the features of one layer, averaged over channels and images.

    Attributes:
        frequencies: Middle of each ring, `(rings,)`, in cycles a pixel of the feature map.
        log_amplitude: Natural logarithm of the mean amplitude in the ring over that in the lowest
            one, `(rings,)`.
        high_share: Share of the power, the mean of each channel left out, above `CUTOFF` cycles a
            pixel; in [0, 1]. White noise has about 0.8.
    """

    frequencies: Tensor
    log_amplitude: Tensor
    high_share: float

    @property
    def low_share(self) -> float:
        """Share of the power up to `CUTOFF`."""
        return 1 - self.high_share


def feature_spectra(
    network: nn.Module,
    layers: Sequence[str],
    batches: Iterable[Tensor],
    *,
    on_batch: Callable[[], None] | None = None,
) -> dict[str, Spectrum]:
    """Return the spectra of the features of layers.

    Args:
        network: Any network; left as it is.
        layers: Names of layers that give maps over the image.
        batches: LQ images of one size, `(B, 3, H, W)` in [0, 1].
        on_batch: Called after each batch.

    Returns:
        By layer, in order of execution.

    Raises:
        InputError: A layer gives no map over the image, or images are of several sizes.
    """
    amplitude: dict[str, Tensor] = {}
    power: dict[str, Tensor] = {}
    for lq in batches:
        for name, feature in capture(network, layers, lq).items():
            found = as_map(feature, (lq.shape[-2], lq.shape[-1]), layer=name)
            transformed = torch.fft.fft2(double(found), norm="ortho").abs()
            sums = transformed.sum((0, 1)).cpu(), transformed.square().sum((0, 1)).cpu()
            if name in amplitude and amplitude[name].shape != sums[0].shape:
                raise InputError("images must have one size for spectra: set crop")
            amplitude[name] = amplitude.get(name, 0) + sums[0]
            power[name] = power.get(name, 0) + sums[1]
        if on_batch is not None:
            on_batch()
    return {name: summarize(amplitude[name], power[name]) for name in amplitude}


def summarize(amplitude: Tensor, power: Tensor) -> Spectrum:
    """Average a two-dimensional spectrum over directions.

    Args:
        amplitude: `(H, W)`, as `torch.fft.fft2` orders frequencies; any factor.
        power: `(H, W)`, the same of the squares.

    Returns:
        Rings as wide as one frequency of the shorter side, up to 0.5 cycles a pixel: the corners
        beyond belong to diagonals alone and count for `high_share` only.

    Raises:
        InputError: The map is smaller than 4×4.
    """
    height, width = amplitude.shape
    side = min(height, width)
    if side < 4:
        raise InputError(f"a spectrum needs maps of at least 4×4 pixels, got {height}×{width}")
    rows = torch.fft.fftfreq(height, dtype=torch.float64)
    radius = torch.hypot(rows[:, None], torch.fft.fftfreq(width, dtype=torch.float64)[None])
    ring = (radius * side).round().long()
    rings = side // 2
    means = torch.stack([amplitude[ring == i].mean() for i in range(1, rings + 1)])
    tiny = torch.finfo(torch.float64).tiny
    logarithm = means.clamp_min(tiny).log()
    varying = power.clone()
    varying[0, 0] = 0
    total = float(varying.sum())
    high = float(varying[radius > CUTOFF].sum())
    return Spectrum(
        frequencies=torch.arange(1, rings + 1, dtype=torch.float64) / side,
        log_amplitude=logarithm - logarithm[0],
        high_share=high / total if total > 0 else 0.0,
    )
