"""Heads that make an image of features, as real-world networks have them.

All are sequences whose keys are those of the authors' ESC-Real and ESC-Real-M.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from esc_sr.errors import InputError
from esc_sr.layers.dysample import NUM_GROUPS, DySample

# In the order that weights record: the authors', then traiNNer-redux's.
Upsampler = Literal[
    "conv", "pixelshuffledirect", "pixelshuffle", "nearest+conv", "dysample", "transpose+conv"
]
UPSAMPLERS: tuple[str, ...] = get_args(Upsampler)
_RECORD = "MetaUpsample"
_RECORD_LENGTH = 7  # numbers of 8 bits
_RECORD_VERSION = 2
_RECORD_VERSION_OF_TRAINNER = 3
_NOT_THE_AUTHORS = {"transpose+conv"}


class UpsamplerHead(nn.Sequential):
    """From features to an image, by one of `UPSAMPLERS`.

    Its state dict has one entry more than its parameters, `MetaUpsample`, by which the authors'
    weights say what they are: version, place among the upsamplers, factor, channels in, channels
    out, channels between, groups. It is no buffer, since averaging would round it away.

    Args:
        upsampler: "pixelshuffledirect": one convolution, then a shuffle. "pixelshuffle": a
            narrower convolution first, and one for each step. "nearest+conv": every pixel
            repeated, convolutions before and behind; costs most memory. "dysample": `DySample`,
            behind a convolution where `mid_dim` is not `dim`. "transpose+conv": transposed
            convolutions, and one of the image, as traiNNer-redux has it. "conv": no enlargement.
        scale: Factor, a power of two or 3, "transpose+conv" 2, 3 or 4, "pixelshuffledirect" and
            "dysample" any; 1 is always one convolution.
        dim: Channels of the features.
        mid_dim: Channels between, of "pixelshuffle" and "dysample".
        num_colors: Channels of the image.

    Raises:
        InputError: An unknown upsampler, or a factor that it does not know.
    """

    def __init__(
        self, upsampler: str, *, scale: int, dim: int, mid_dim: int, num_colors: int = 3
    ) -> None:
        if upsampler not in UPSAMPLERS:
            raise InputError(
                f"unknown model.upsampler '{upsampler}'; choose one of: {', '.join(UPSAMPLERS)}"
            )
        if upsampler == "conv" and scale != 1:
            raise InputError(f"model.upsampler=conv does not enlarge, and the scale is {scale}")
        if upsampler == "pixelshuffledirect" or scale == 1:
            layers: Iterator[nn.Module] = iter(
                [
                    _conv(dim, num_colors * scale**2),
                    *([nn.PixelShuffle(scale)] if scale > 1 else []),
                ]
            )
        elif upsampler == "pixelshuffle":
            layers = _pixelshuffle(scale, dim, mid_dim, num_colors)
        elif upsampler == "dysample":
            layers = _dysample(scale, dim, mid_dim, num_colors)
        elif upsampler == "transpose+conv":
            layers = _transpose_conv(scale, dim, num_colors)
        else:
            layers = _nearest_conv(scale, dim, num_colors)
        super().__init__(*layers)
        record = record_of(upsampler, scale=scale, dim=dim, mid_dim=mid_dim, num_colors=num_colors)
        if max(record) > torch.iinfo(torch.uint8).max:
            raise InputError(
                "model.dim, model.mid_dim and the scale of this head are at most 255, which is "
                f"what its weights can record; got {dim}, {mid_dim} and {scale}"
            )
        self.record = record

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + _RECORD] = torch.tensor(self.record, dtype=torch.uint8)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        state_dict.pop(prefix + _RECORD, None)  # what it says, shapes say
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def record_of(
    upsampler: str, *, scale: int, dim: int, mid_dim: int, num_colors: int = 3
) -> tuple[int, ...]:
    """Return what the weights of a head record of it.

    Args:
        upsampler: One of `UPSAMPLERS`.
        scale: As of `UpsamplerHead`.
        dim: As of `UpsamplerHead`.
        mid_dim: As of `UpsamplerHead`.
        num_colors: As of `UpsamplerHead`.

    Example:
        >>> record_of("nearest+conv", scale=4, dim=64, mid_dim=48)
        (2, 3, 4, 64, 3, 48, 4)
    """
    is_theirs = upsampler in _NOT_THE_AUTHORS
    version = _RECORD_VERSION_OF_TRAINNER if is_theirs else _RECORD_VERSION
    index = UPSAMPLERS.index(upsampler)
    return (version, index, scale, dim, num_colors, mid_dim, NUM_GROUPS)


def upsampler_of(record: Tensor) -> str:
    """Return the upsampler that a `MetaUpsample` names.

    Raises:
        InputError: It is none of `UPSAMPLERS`.
    """
    numbers = record.flatten()[: _RECORD_LENGTH + 1].tolist()
    is_whole = len(numbers) == _RECORD_LENGTH and all(float(one).is_integer() for one in numbers)
    if is_whole and 0 < numbers[0] <= _RECORD_VERSION_OF_TRAINNER:
        index = int(numbers[1])
        if index in range(len(UPSAMPLERS)):
            return UPSAMPLERS[index]
    raise InputError(
        f"these weights end in an upsampler that is not known here (to_img.MetaUpsample is "
        f"{numbers}); known are: {', '.join(UPSAMPLERS)}"
    )


def double_nearest_conv(dim: int, num_colors: int = 3) -> nn.Sequential:
    """Make the head of ESC-Real: ×4 by repeating pixels twice, four convolutions."""
    return nn.Sequential(
        nn.Upsample(scale_factor=2),
        _conv(dim, dim),
        _leaky(),
        nn.Upsample(scale_factor=2),
        _conv(dim, dim),
        _leaky(),
        _conv(dim, dim),
        _leaky(),
        _conv(dim, num_colors),
    )


def steps(scale: int) -> list[int]:
    """Return the factors by which a head enlarges, one after the other.

    Raises:
        InputError: The scale is neither a power of two nor 3.

    Example:
        >>> steps(4), steps(3)
        ([2, 2], [3])
    """
    if scale == 3:
        return [3]
    if scale < 1 or scale & (scale - 1):
        raise InputError(
            f"scale={scale}: this upsampler knows powers of two and 3; "
            "choose model.upsampler=pixelshuffledirect"
        )
    return [2] * int(math.log2(scale))


def _pixelshuffle(scale: int, dim: int, mid_dim: int, num_colors: int) -> Iterator[nn.Module]:
    yield _conv(dim, mid_dim)
    yield nn.LeakyReLU()
    for step in steps(scale):
        yield _conv(mid_dim, mid_dim * step**2)
        yield nn.PixelShuffle(step)
    yield _conv(mid_dim, num_colors)


def _nearest_conv(scale: int, dim: int, num_colors: int) -> Iterator[nn.Module]:
    for step in steps(scale):
        yield _conv(dim, dim)
        yield nn.Upsample(scale_factor=step)
        yield _leaky()
    yield _conv(dim, dim)
    yield _leaky()
    yield _conv(dim, num_colors)


def _dysample(scale: int, dim: int, mid_dim: int, num_colors: int) -> Iterator[nn.Module]:
    if mid_dim != dim:
        yield _conv(dim, mid_dim)
        yield nn.LeakyReLU()
    yield DySample(dim=mid_dim, scale=scale, num_colors=num_colors)


def _transpose_conv(scale: int, dim: int, num_colors: int) -> Iterator[nn.Module]:
    if scale not in (2, 3, 4):
        raise InputError(
            f"scale={scale}: model.upsampler=transpose+conv knows 2, 3 and 4; "
            "choose model.upsampler=pixelshuffledirect"
        )
    if scale == 3:
        yield nn.ConvTranspose2d(dim, num_colors, 3, stride=3)
    else:
        if scale == 4:
            yield nn.ConvTranspose2d(dim, dim, 4, stride=2, padding=1)
            yield nn.GELU()
        yield nn.ConvTranspose2d(dim, num_colors, 4, stride=2, padding=1)
    yield _conv(num_colors, num_colors)


def _conv(channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out_channels, 3, padding=1)


def _leaky() -> nn.LeakyReLU:
    return nn.LeakyReLU(0.2)
