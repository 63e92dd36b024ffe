"""The few waves that come nearest to given values over the offsets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from esc_sr.attention.bias.offsets import (
    offset_grid,
    offsets_along,
    share_along,
    share_of_pairs,
    without_mean,
)

# What an amplitude costs, in the unit of the mean square that is left: rounding a wave's two
# factors to bfloat16 puts each off by up to 2⁻⁹ of itself, evenly. Large waves that cancel would
# leave that noise.
ROUNDING = 2.0**-18 / 3
# Frequencies that are tried lie so many times closer than those of `fourier.frequency_grid`.
_OVERSAMPLING = 4
_STEPS_BETWEEN = 2  # of refinement, after each frequency but the last
_STEPS_AT_THE_END = 80
_WORTH_A_STEP = 1e-4  # part of the cost


@dataclass(frozen=True)
class Waves:
    """Frequencies with the best amplitudes for them.

    Attributes:
        frequencies: `(heads, count, 2)`, radians per feature pixel along height and width.
        cos: `(heads, count, offsets)`, the cosines themselves.
        sin: `(heads, count, offsets)`.
        basis: `(heads, 2·count, offsets)`, cosines and sines without their means.
        amplitudes: `(heads, 2·count)`, cosines first.
        left: `(heads, offsets)`, what they do not explain.
        cost: `(heads,)`, mean square of that, and the price of the amplitudes.
    """

    frequencies: Tensor
    cos: Tensor
    sin: Tensor
    basis: Tensor
    amplitudes: Tensor
    left: Tensor
    cost: Tensor


def best_waves(frequencies: Tensor, target: Tensor, window_size: tuple[int, int]) -> Waves:
    """Find the amplitudes of given frequencies by least squares.

    Args:
        frequencies: `(heads, count, 2)`.
        target: `(heads, offsets)` in float64, without its mean.
        window_size: (height, width) in feature pixels.
    """
    share = share_of_pairs(window_size)
    dy, dx = offset_grid(window_size)
    phase = frequencies[..., :1] * dy + frequencies[..., 1:] * dx
    cos, sin = phase.cos(), phase.sin()
    basis = without_mean(torch.cat([cos, sin], dim=1), share)
    weighted = basis * share
    gram = weighted @ basis.transpose(1, 2)
    gram = gram + ROUNDING * torch.eye(gram.shape[-1], dtype=gram.dtype)
    amplitudes = torch.linalg.solve(gram, (weighted @ target[..., None])[..., 0])
    left = target - (amplitudes[:, None] @ basis)[:, 0]
    cost = (share * left.square()).sum(-1) + ROUNDING * amplitudes.square().sum(-1)
    return Waves(frequencies, cos, sin, basis, amplitudes, left, cost)


def find_waves(
    target: Tensor, count: int, window_size: tuple[int, int], *, refine: bool = True
) -> Waves:
    """Add one wave after another, each time that which explains most of what is left.

    Args:
        target: `(heads, offsets)` in float64, without its mean.
        count: How many for each head.
        window_size: (height, width) in feature pixels.
        refine: Move the frequencies off the grid that they are chosen from.

    Returns:
        The waves, frequencies between −π and π.

    Source: orthogonal matching pursuit (Pati et al., 1993).
    """
    grid = _Grid(window_size)
    heads = torch.arange(target.shape[0])
    taken = torch.zeros(len(heads), len(grid.frequencies), dtype=torch.bool)
    waves = best_waves(target.new_zeros(len(heads), 0, 2), target, window_size)
    for i in range(count):
        best = grid.explained(waves.left).masked_fill(taken, -1.0).argmax(1)
        taken[heads, best] = True
        frequencies = torch.cat([waves.frequencies, grid.frequencies[best][:, None]], dim=1)
        waves = best_waves(frequencies, target, window_size)
        if refine:
            steps = _STEPS_AT_THE_END if i == count - 1 else _STEPS_BETWEEN
            waves = _refined(waves, target, window_size, steps)
    # Offsets are whole pixels: frequencies a whole turn apart make the same waves.
    turned = torch.remainder(waves.frequencies + math.pi, 2 * math.pi) - math.pi
    return best_waves(turned, target, window_size)


class _Grid:
    """Frequencies that are tried, and how much each of them explains.

    All their waves together would fill a gigabyte; as offsets and frequencies are products of two
    axes, two small matrices do.
    """

    def __init__(self, window_size: tuple[int, int]) -> None:
        height, width = (_OVERSAMPLING * side for side in window_size)
        self._window_size = window_size
        # Of a frequency and its opposite, which make the same waves, one is enough.
        self._along = (
            torch.arange(0, height + 1, dtype=torch.float64) * (math.pi / height),
            torch.arange(1 - width, width + 1, dtype=torch.float64) * (math.pi / width),
        )
        y, x = torch.meshgrid(*self._along, indexing="ij")
        self.frequencies = torch.stack([y, x], dim=-1).flatten(0, 1)
        self._is_constant = (y == 0) & (x <= 0)  # or an opposite
        # Mean squares of the waves without their means; sines have none.
        once, twice = self._mean_cosine(1), self._mean_cosine(2)
        self._cos_square = (1 + twice) / 2 - once.square()
        self._sin_square = (1 - twice) / 2

    def _mean_cosine(self, times: int) -> Tensor:
        """Return the mean of `cos(times · ω·δ)` over all pairs, for each frequency."""
        along_y, along_x = (
            (share_along(side) * torch.cos(times * omega[:, None] * offsets_along(side))).sum(-1)
            for omega, side in zip(self._along, self._window_size, strict=True)
        )
        return along_y[:, None] * along_x

    def explained(self, left: Tensor) -> Tensor:
        """Return how much of the mean square a wave of each frequency takes away.

        Args:
            left: `(heads, offsets)`, without its mean.

        Returns:
            `(heads, frequencies)`; negative for what may not be chosen.
        """
        rows = 2 * self._window_size[0] - 1
        weighted = (share_of_pairs(self._window_size) * left).unflatten(1, (rows, -1))
        of_y, of_x = (
            torch.exp(1j * omega[:, None] * offsets_along(side))
            for omega, side in zip(self._along, self._window_size, strict=True)
        )
        products = of_y @ weighted.to(of_y.dtype) @ of_x.T
        # With the price of amplitudes, what is almost constant does not seem to explain much.
        explained = products.real.square() / (self._cos_square + ROUNDING)
        explained = explained + products.imag.square() / (self._sin_square + ROUNDING)
        return explained.masked_fill(self._is_constant, -1.0).flatten(1)


def _refined(waves: Waves, target: Tensor, window_size: tuple[int, int], steps: int) -> Waves:
    """Move frequencies downhill, with the best amplitudes at every step.

    Args:
        waves: Where to begin.
        target: `(heads, offsets)`, without its mean.
        window_size: (height, width).
        steps: Most steps; fewer, if they are not worth it.

    Returns:
        Waves, for no head worse than before.

    Source: Levenberg and Marquardt, with the amplitudes found anew (Golub and Pereyra, 1973).
    """
    share = share_of_pairs(window_size)
    dy, dx = offset_grid(window_size)
    count = waves.frequencies.shape[1]
    damping = target.new_full((target.shape[0], 1), 1e-2)
    price = torch.cat([torch.full((2 * count,), ROUNDING), torch.full((2 * count,), 1e-14)])
    price = price.to(target)
    idle = 0
    for _ in range(steps):
        a, b = waves.amplitudes[..., None].chunk(2, dim=1)
        slope = b * waves.cos - a * waves.sin  # of the waves, along their phases
        slopes = without_mean(torch.cat([slope * dy, slope * dx], dim=1), share)
        jacobian = torch.cat([waves.basis, slopes], dim=1)
        weighted = jacobian * share
        pull = (weighted @ waves.left[..., None])[..., 0]
        pull[:, : 2 * count] -= ROUNDING * waves.amplitudes
        gram = weighted @ jacobian.transpose(1, 2)
        damped = gram + torch.diag_embed(price + damping * gram.diagonal(dim1=1, dim2=2))
        step = torch.linalg.solve(damped, pull)[:, 2 * count :]
        step = step.unflatten(1, (2, count)).transpose(1, 2)
        tried = best_waves(waves.frequencies + step, target, window_size)
        better = tried.cost < waves.cost
        gained = ((waves.cost - tried.cost) / waves.cost.clamp_min(1e-30)).amax().item()
        waves = _chosen(better, tried, waves)
        damping = torch.where(better[:, None], damping / 3, damping * 4).clamp(1e-9, 1e9)
        idle = idle + 1 if gained < _WORTH_A_STEP else 0
        if idle == 5:
            break
    return waves


def _chosen(first: Tensor, a: Waves, b: Waves) -> Waves:
    """Return the waves of `a` for the heads where `first` says so, those of `b` elsewhere."""
    return Waves(
        *(
            torch.where(first.reshape(-1, *[1] * (x.ndim - 1)), x, y)
            for x, y in zip(vars(a).values(), vars(b).values(), strict=True)
        )
    )
