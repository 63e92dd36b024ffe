"""A bias made of a few learned waves over the offset."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor

from esc_sr.attention.bias.relative import BoundRelativeBias
from esc_sr.attention.interface import DeducedBias
from esc_sr.errors import check_flags, check_integers

_MOST_CHANNELS = 512


@dataclass(frozen=True, kw_only=True)
class FourierBias:
    """`Σ_f a_f cos(ω_f·δ) + b_f sin(ω_f·δ)` over the offset δ = key − query, for every head.

    A wave of a difference is a product of waves: the bias is exact in `rank` more channels of a
    head, two for each frequency, and needs no mask in any kernel. There is no constant term,
    because the softmax does not see one.

    Args:
        rank: Channels that it takes, even: 16 fill a head of 16 up to 32, 48 up to 64.
        learned_frequencies: Train the frequencies of every head, from the grid on; false: they
            stay on the grid and are not stored.

    Raises:
        ValueError: `rank` is not an even integer from 2 to 512.
    """

    rank: int = 16
    learned_frequencies: bool = True
    kind: ClassVar[str] = "fourier"

    def __post_init__(self) -> None:
        check_integers(2, rank=self.rank)
        check_flags(learned_frequencies=self.learned_frequencies)
        if self.rank % 2:
            raise ValueError(f"rank must be even, two for each frequency, got {self.rank}")
        if self.rank > _MOST_CHANNELS:
            raise ValueError(
                f"rank must be at most {_MOST_CHANNELS}, got {self.rank}: flash kernels take heads "
                "of 256 channels at most, and a few dozen say most about a bias"
            )

    def initial(self, num_heads: int, window_size: tuple[int, int]) -> dict[str, Tensor]:
        """Return small random amplitudes, `(heads, rank / 2)`, and the grid for every head.

        Frequencies are `(heads, rank / 2, 2)`, along the height and the width, in radians per
        feature pixel.
        """
        count = self.rank // 2
        parameters = {
            "fourier_cos": torch.randn(num_heads, count) * 1e-3,
            "fourier_sin": torch.randn(num_heads, count) * 1e-3,
        }
        if self.learned_frequencies:
            grid = frequency_grid(count, window_size).to(parameters["fourier_cos"])
            parameters["fourier_frequencies"] = grid.repeat(num_heads, 1, 1)
        return parameters

    def bind(
        self, parameters: Mapping[str, Tensor], window_size: tuple[int, int]
    ) -> BoundFourierBias:
        """Return the bias with these amplitudes and frequencies."""
        cos, sin = parameters["fourier_cos"], parameters["fourier_sin"]
        if self.learned_frequencies:
            frequencies = parameters["fourier_frequencies"]
        else:
            grid = frequency_grid(cos.shape[1], window_size)
            frequencies = grid.to(cos.device, cos.dtype).expand(cos.shape[0], -1, -1)
        return BoundFourierBias(cos, sin, frequencies, window_size)

    @classmethod
    def deduce(cls, parameters: Mapping[str, Tensor]) -> DeducedBias | None:
        """Recognise the amplitudes; see `interface.Bias`. They do not tell the window."""
        amplitudes = parameters.get("fourier_cos")
        if amplitudes is None or amplitudes.ndim != 2:
            return None
        num_heads, count = amplitudes.shape
        frequencies = parameters.get("fourier_frequencies")
        fits = frequencies is None or frequencies.shape == (num_heads, count, 2)
        if not fits or not 2 <= 2 * count <= _MOST_CHANNELS:
            return None
        bias = cls(rank=2 * count, learned_frequencies=frequencies is not None)
        return DeducedBias(bias, num_heads=num_heads, window_size=None)


@dataclass(frozen=True)
class BoundFourierBias(BoundRelativeBias):
    """A Fourier bias with its values.

    Args:
        cos: Amplitudes a_f, `(heads, F)`.
        sin: Amplitudes b_f, `(heads, F)`.
        frequencies: ω_f, `(heads, F, 2)`, radians per feature pixel along height and width.
        window_size: (height, width) in feature pixels.
    """

    cos: Tensor
    sin: Tensor
    frequencies: Tensor
    window_size: tuple[int, int]
    kind: ClassVar[str] = "fourier"

    def values(self) -> Tensor:
        """Return the sums of the waves at all offsets, as of a table."""
        height, width = self.window_size
        phase = self._phase(2 * height - 1, 2 * width - 1)
        waves = self.cos[..., None] * phase.cos() + self.sin[..., None] * phase.sin()
        return waves.sum(1).to(self.cos.dtype)

    @property
    def requires_grad(self) -> bool:
        """Whether amplitudes or frequencies are trained."""
        return any(value.requires_grad for value in (self.cos, self.sin, self.frequencies))

    def features(self) -> tuple[Tensor, Tensor]:
        """Write the bias as `q_features @ k_featuresᵀ`.

        With the phases α of a query and β of a key, `a cos(β − α) + b sin(β − α)` is
        `(a cos α − b sin α) cos β + (a sin α + b cos α) sin β`.

        Returns:
            Two tensors `(heads, N, rank)`.
        """
        phase = self._phase(*self.window_size)
        cos, sin = phase.cos(), phase.sin()
        a, b = self.cos[..., None], self.sin[..., None]
        of_query = torch.cat([a * cos - b * sin, a * sin + b * cos], dim=1)
        of_key = torch.cat([cos, sin], dim=1)
        dtype = self.cos.dtype
        return of_query.transpose(1, 2).to(dtype), of_key.transpose(1, 2).to(dtype)

    def _phase(self, height: int, width: int) -> Tensor:
        """Return ω·(y, x) over a grid of positions around zero, `(heads, F, height·width)`.

        In float64 where there is one: a phase of some hundred radians leaves float32 five digits,
        and it is a few thousand numbers. Positions are made on the device itself, because copies
        from the CPU would wait for it, and cannot be captured in a CUDA graph.
        """
        dtype = torch.float32 if self.frequencies.device.type == "mps" else torch.float64
        frequencies = self.frequencies.to(dtype)
        y, x = (
            torch.arange(count, dtype=dtype, device=frequencies.device) - (count - 1) / 2
            for count in (height, width)
        )
        along_y = frequencies[..., 0, None] * y
        along_x = frequencies[..., 1, None] * x
        return (along_y[..., :, None] + along_x[..., None, :]).flatten(2)


def frequency_grid(count: int, window_size: tuple[int, int]) -> Tensor:
    """Return the lowest frequencies of waves that repeat after two windows.

    Offsets run over almost two windows, hence the period. Of a frequency and its opposite, which
    make the same waves, one is taken; zero is a constant and is left out.

    Args:
        count: How many.
        window_size: (height, width) in feature pixels.

    Returns:
        `(count, 2)` in float64, radians per feature pixel along height and width, lowest first.

    Example:
        >>> (frequency_grid(4, (8, 8)) / math.pi * 8).int().tolist()
        [[0, 1], [1, 0], [1, -1], [1, 1]]
    """
    height, width = window_size
    most = count + 1  # the lowest `count` lie within it, even along one axis
    # Along an axis of one pixel every wave is a constant.
    steps_y = range(most if height > 1 or width == 1 else 1)
    steps_x = range(-most, most + 1) if width > 1 or height == 1 else range(1)
    half_plane = [
        (math.hypot(i / height, j / width), i, j)
        for i, j in product(steps_y, steps_x)
        if i > 0 or j > 0
    ]
    grid = [(math.pi * i / height, math.pi * j / width) for _, i, j in sorted(half_plane)[:count]]
    return torch.tensor(grid, dtype=torch.float64).reshape(count, 2)
