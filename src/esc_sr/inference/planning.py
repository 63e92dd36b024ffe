"""Decide how an image is cut so that enlarging it stays within a memory budget."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from torch import nn

from esc_sr.errors import InputError, check_integers
from esc_sr.inference.layerwise import NUM_FEATURE_MAPS
from esc_sr.layers.window_attention import WindowAttention
from esc_sr.models.esc import ESCBase

Tiling = Literal["auto", "whole", "exact", "overlap"]

# Feature maps as wide as the widest layer that a forward pass holds at its peak, with what
# convolutions need beside them: measured 5.5 to 6.2 for ESC and ESC-FP, in fp32 and bf16, and
# counted 8.3 to 8.5 for RDN, RCAN and SwinIR.
_LIVE_MAPS = 7
_LIVE_MAPS_OF_OTHERS = 9
_HEAD_MAPS = 3  # as wide as the widest a head makes on its way to the result: measured 2.4 to 2.6
# What the rows that are put together from tiles cost beside the tiles, at most.
_SHARE_OF_ROWS = 0.25
_DEFAULT_OVERLAP = 32
_FEATHER = 8
_EXACT_TILES = (256, 128, 64)  # smaller ones spend their time on what lies around them
_COLORS = 3


@dataclass(frozen=True)
class Plan:
    """How an image is enlarged; sizes are (height, width) in LQ pixels.

    Attributes:
        method: "whole" at once; "exact" layer by layer, the same to rounding; "overlap" tile by
            tile, with seams.
        tile: Size of a tile's core, a multiple of the network's window.
        overlap: Pixels read around a core by "overlap", a multiple of the window.
        feather: Pixels on either side of a seam over which "overlap" blends.
    """

    method: Literal["whole", "exact", "overlap"]
    tile: tuple[int, int] = (0, 0)
    overlap: tuple[int, int] = (0, 0)
    feather: int = 0

    def __str__(self) -> str:
        tiles = f"tiles of {self.tile[0]}×{self.tile[1]}"
        return {
            "whole": "in one piece",
            "exact": f"layer by layer in {tiles}",
            "overlap": f"in {tiles}, {self.overlap[0]} pixels of overlap",
        }[self.method]


def plan_tiles(
    network: nn.Module,
    size: tuple[int, int],
    *,
    scale: int,
    budget: float,
    tiling: Tiling = "auto",
    tile: int | None = None,
    overlap: int | None = None,
    itemsize: int = 4,
    batch_size: int = 1,
) -> Plan:
    """Choose how to cut an image.

    "auto" takes the first that fits the budget: the whole image at once, layer by layer (for the
    members of ESC), else overlapping tiles as large as the budget allows.

    Args:
        network: The network; its convolutions tell what a pixel costs.
        size: Height and width of the LQ image.
        scale: Super-resolution factor of the network.
        budget: Bytes of working memory, beside the network and the image itself.
        tiling: "auto", or the method wanted.
        tile: Side of a tile in LQ pixels, rounded up to whole windows; None: from the budget.
        overlap: Pixels read around a tile, rounded up likewise; None: 32 or a window, if larger.
        itemsize: Bytes of a number in a feature map, 2 under autocast.
        batch_size: Images enlarged at the same time.

    Returns:
        The plan.

    Raises:
        InputError: Unknown method, a size that is no positive integer, or "exact" for a network
            that is not taken apart layer by layer.
    """
    if tiling not in get_args(Tiling):
        raise InputError(f"unknown tiling '{tiling}'; choose one of: {', '.join(get_args(Tiling))}")
    if tile is not None:
        check_integers(1, tile=tile)
    if overlap is not None:
        check_integers(0, overlap=overlap)
    by_layers = isinstance(network, ESCBase) and network.reconstruct_halo is not None
    if tiling == "exact" and not by_layers:
        raise InputError(
            "tiling=exact takes networks of ESC's family apart layer by layer, not "
            f"{getattr(network, 'title', type(network).__name__)}"
            f"{f', which {network.undivided_because}' if isinstance(network, ESCBase) else ''}; "
            "use tiling=overlap"
        )
    window = getattr(network, "window_size", (1, 1))
    per_pixel = bytes_per_pixel(network, scale=scale, itemsize=itemsize) * batch_size
    pixels = math.prod(size)
    if tiling == "whole" or (tiling == "auto" and tile is None and pixels * per_pixel <= budget):
        return Plan("whole")
    if tiling in ("auto", "exact") and by_layers:
        assert isinstance(network, ESCBase)
        maps = NUM_FEATURE_MAPS * network.config["dim"] * itemsize * pixels * batch_size
        sides = [_round_up(side, window) for side in ([tile] if tile else _EXACT_TILES)]
        for side in sides:
            working = math.prod(side) * per_pixel + _row_bytes(size, scale) * side[0]
            if maps + working <= budget:
                return Plan("exact", side)
        if tiling == "exact":
            return Plan("exact", sides[-1])
    around = _round_up(_DEFAULT_OVERLAP if overlap is None else overlap, window)
    core = (
        _round_up(tile, window)
        if tile
        else _largest_tile(size, scale, budget, per_pixel, around, window)
    )
    return Plan("overlap", core, around, min(_FEATHER, min(core) // 2, min(around) // 2))


def bytes_per_pixel(network: nn.Module, *, scale: int, itemsize: int = 4) -> float:
    """Estimate the working memory of a forward pass without gradient, for each LQ pixel.

    Args:
        network: Any network of convolutions, or one that says it itself: `bytes_per_pixel`.
        scale: Its super-resolution factor.
        itemsize: Bytes of a number in a feature map.

    Returns:
        Bytes, rather too many than too few.
    """
    known = getattr(network, "bytes_per_pixel", None)
    if known is not None:
        return known
    widths = [
        module.out_channels if isinstance(module, nn.Conv2d) else module.out_features
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    maps = _LIVE_MAPS if isinstance(network, ESCBase) else _LIVE_MAPS_OF_OTHERS
    features = max(maps * max(widths, default=0), _HEAD_MAPS * _head_width(network)) * itemsize
    # fp32: residual, enlarged input, their sum, and one more of a resize.
    image = 4 * _COLORS * scale**2 * 4
    return features + image + _score_bytes(network, itemsize)


def _head_width(network: nn.Module) -> int:
    """Return the most channels, times pixels for each LQ pixel, behind a step of enlargement."""
    widest, channels, factor = 0, 0, 1
    for module in getattr(network, "to_img", nn.Sequential()).modules():
        if isinstance(module, nn.Conv2d):
            channels = module.out_channels
        elif isinstance(module, nn.ConvTranspose2d):
            channels, factor = module.out_channels, factor * module.stride[0]
        elif isinstance(module, nn.PixelShuffle):
            factor *= module.upscale_factor
            channels //= module.upscale_factor**2
        elif isinstance(module, nn.Upsample):
            factor *= int(module.scale_factor or 1)  # pyright: ignore[reportArgumentType]
        if factor > 1:
            widest = max(widest, channels * factor**2)
    return widest


def _score_bytes(network: nn.Module, itemsize: int) -> float:
    """Bytes a pixel of attention scores, where a kernel stores them: with a softmax."""
    stored = [
        min(
            getattr(module.attention.kernel, "max_heads", None) or module.num_heads,
            module.num_heads,
        )
        * math.prod(module.window_size)
        for module in network.modules()
        if isinstance(module, WindowAttention) and module.attention.kernel.stores_scores
    ]
    return 3 * max(stored, default=0) * itemsize


def _row_bytes(size: tuple[int, int], scale: int) -> float:
    """Bytes of the result for one LQ row: fp32, and as much again while it is put together."""
    return 2 * 4 * _COLORS * size[1] * scale**2


def _largest_tile(
    size: tuple[int, int],
    scale: int,
    budget: float,
    per_pixel: float,
    around: tuple[int, int],
    window: tuple[int, int],
) -> tuple[int, int]:
    """Return the core that uses the budget up: as square as the rows of the result allow."""
    area = (1 - _SHARE_OF_ROWS) * budget / per_pixel
    rows = _SHARE_OF_ROWS * budget / _row_bytes(size, scale)
    height = min(math.sqrt(area) - 2 * around[0], rows, size[0])
    height = max(height // window[0] * window[0], window[0])
    width = max(area / (height + 2 * around[0]) - 2 * around[1], 0)
    width = max(min(width, size[1] + window[1]) // window[1] * window[1], window[1])
    return int(height), int(width)


def _round_up(length: int, window: tuple[int, int]) -> tuple[int, int]:
    height, width = (math.ceil(length / side) * side for side in window)
    return height, width
