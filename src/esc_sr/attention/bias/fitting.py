"""Fit one kind of bias to the values of another, for instance waves to a trained table.

What is near is measured as the attention sees it: without the mean, because the softmax sees no
constant, and each offset as often as pairs of a window have it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from esc_sr.attention.bias.axial import AxialBias
from esc_sr.attention.bias.fourier import FourierBias, frequency_grid
from esc_sr.attention.bias.offsets import share_along, share_of_pairs, without_mean
from esc_sr.attention.bias.table import TableBias
from esc_sr.attention.bias.waves import best_waves, find_waves
from esc_sr.attention.interface import Bias
from esc_sr.errors import InputError


@dataclass(frozen=True)
class BiasFit:
    """Parameters of a bias, and what they leave of the values that they were fitted to.

    Attributes:
        parameters: By the names of `Bias.initial`, in float64 on the CPU.
        rms: `(heads,)`, root mean square of the values over all pairs of a window, without their
            mean: how much the bias moves scores at all.
        relative_rms: `(heads,)`, the same of the difference, as a part of it; 0 where the values
            are constant.
        largest: `(heads,)`, largest absolute difference, without its mean.
        largest_amplitude: Largest absolute amplitude of a wave, or value of a table or an axis.
    """

    parameters: dict[str, Tensor]
    rms: Tensor
    relative_rms: Tensor
    largest: Tensor
    largest_amplitude: float


def fit_bias(
    bias: Bias, values: Tensor, window_size: tuple[int, int], *, refine: bool = True
) -> BiasFit:
    """Find the parameters of a bias that come nearest to given values.

    Args:
        bias: The kind wanted. A table is exact for any values. An axial bias is fitted by least
            squares. Waves are chosen one by one, all amplitudes by least squares; where the bias
            stores no frequencies, amplitudes alone.
        values: `(heads, (2·wh − 1)(2·ww − 1))`, what is added to the scores at each offset, as
            `BoundRelativeBias.values` gives it.
        window_size: (height, width) in feature pixels.
        refine: Move the frequencies of waves off the grid that they are chosen from: nearer, and
            some seconds slower.

    Returns:
        The parameters and what they leave.

    Raises:
        InputError: It is not known how to fit this bias.
        ValueError: The values are not those of such a window, or not finite.
    """
    shape = (2 * window_size[0] - 1, 2 * window_size[1] - 1)
    if values.ndim != 2 or values.shape[1] != math.prod(shape):
        raise ValueError(
            f"expected (heads, {math.prod(shape)}) values of a "
            f"{window_size[0]}×{window_size[1]} window, got {tuple(values.shape)}"
        )
    if not values.isfinite().all():
        raise ValueError("the values of a bias are not finite: the weights are broken")
    values = values.detach().to("cpu", torch.float64)
    target = without_mean(values, share_of_pairs(window_size))
    # Of a constant only the rounding of its mean is left.
    target[target.abs().amax(1) <= 1e-12 * values.abs().amax(1)] = 0
    if isinstance(bias, TableBias):
        parameters = {"relative_position_bias": values.clone()}
    elif isinstance(bias, AxialBias):
        parameters = _axial(target.unflatten(1, shape), window_size)
    elif isinstance(bias, FourierBias):
        parameters = _fourier(bias, target, window_size, refine=refine)
    else:
        raise InputError(f"it is not known how to fit the bias '{bias.kind}' to another")
    return _told(bias, parameters, target, window_size)


def _axial(table: Tensor, window_size: tuple[int, int]) -> dict[str, Tensor]:
    """Weights are products, so the best sum of a column and a row are the means along each."""
    height, width = window_size
    return {
        "axial_bias_y": (table * share_along(width)).sum(2),
        "axial_bias_x": (table * share_along(height)[:, None]).sum(1),
    }


def _fourier(
    bias: FourierBias, target: Tensor, window_size: tuple[int, int], *, refine: bool
) -> dict[str, Tensor]:
    count = bias.rank // 2
    if not bias.learned_frequencies:
        grid = frequency_grid(count, window_size).expand(target.shape[0], -1, -1)
        waves = best_waves(grid, target, window_size)
    else:
        waves = find_waves(target, count, window_size, refine=refine)
    cos, sin = waves.amplitudes.chunk(2, dim=1)
    parameters = {"fourier_cos": cos.contiguous(), "fourier_sin": sin.contiguous()}
    if bias.learned_frequencies:
        parameters["fourier_frequencies"] = waves.frequencies
    return parameters


def _told(
    bias: Bias, parameters: dict[str, Tensor], target: Tensor, window_size: tuple[int, int]
) -> BiasFit:
    """Measure what is left by the bias itself, not by what the fit thinks of it."""
    share = share_of_pairs(window_size)
    found = without_mean(bias.bind(parameters, window_size).values(), share)
    difference = found - target
    size, left = ((share * part.square()).sum(-1).sqrt() for part in (target, difference))
    amplitudes = [value for name, value in parameters.items() if "frequencies" not in name]
    return BiasFit(
        parameters,
        rms=size,
        relative_rms=torch.where(size > 0, left / size, 0.0),
        largest=difference.abs().amax(-1),
        largest_amplitude=max(value.abs().max().item() for value in amplitudes),
    )
