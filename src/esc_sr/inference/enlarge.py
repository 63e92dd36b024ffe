"""Enlarge a batch as the papers' evaluation does, in one piece or in parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from esc_sr.functional.windows import pad_to_multiple
from esc_sr.inference.layerwise import enlarge_layerwise
from esc_sr.inference.planning import Plan
from esc_sr.inference.pooling import pooled_over
from esc_sr.inference.tiling import enlarge_in_tiles, spans
from esc_sr.models.esc import ESCBase

# The parts of an image that stand for the whole: at most so many along each axis, and their side.
_MOST_SAMPLES = 8
_SAMPLE_SIDE = 64


def enlarge(
    network: nn.Module, lq: Tensor, *, forward: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Reflect-pad the images to whole windows, enlarge, crop.

    Published PSNR values come from images padded before the network; padding each feature map
    instead, as the network does by itself, gives slightly different borders.

    Args:
        network: Maps `(B, 3, H, W)` to `(B, 3, s·H, s·W)`; padded to its `window_size`, if it has
            one.
        lq: `(B, 3, H, W)` in [0, 1].
        forward: What to call instead of the network itself, e.g. its uncompiled `forward`.

    Returns:
        `(B, 3, s·H, s·W)`, not clamped.
    """
    height, width = lq.shape[-2:]
    padded = pad_to_multiple(lq, _window(network))
    sr = (forward or network)(padded)
    scale = sr.shape[-1] // padded.shape[-1]
    return sr[..., : height * scale, : width * scale]


def enlarge_rows(
    network: nn.Module,
    lq: Tensor,
    plan: Plan,
    *,
    scale: int,
    device: torch.device | str = "cpu",
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> Iterator[Tensor]:
    """Enlarge as `enlarge` does, following a plan, from top to bottom.

    Args:
        network: On `device`, in eval mode.
        lq: `(B, 3, H, W)` in [0, 1], on the CPU. Only one image at a time for "overlap".
        plan: How to cut.
        scale: Super-resolution factor of the network.
        device: Where to compute.
        on_progress: Called now and then with the share that is done.

    Yields:
        Rows of the result on the CPU, `(B, 3, some, s·W)` float32, not clamped.
    """
    height, width = lq.shape[-2:]
    padded = pad_to_multiple(lq, _window(network))
    if plan.method == "whole":
        rows: Iterator[Tensor] = iter([network(padded.to(device)).float()])
    elif plan.method == "exact":
        assert isinstance(network, ESCBase)
        rows = enlarge_layerwise(
            network, padded.to(device), tile=plan.tile, on_progress=on_progress
        )
    else:
        rows = _enlarge_overlapping(network, padded, plan, scale, device, on_progress)
    missing = height * scale
    for strip in rows:
        kept = strip[..., :missing, : width * scale].cpu()
        missing -= kept.shape[-2]
        if kept.shape[-2]:
            yield kept
    on_progress(1.0)


def _enlarge_overlapping(
    network: nn.Module,
    lq: Tensor,
    plan: Plan,
    scale: int,
    device: torch.device | str,
    on_progress: Callable[[float], None],
) -> Iterator[Tensor]:
    height, width = lq.shape[-2:]
    total = len(spans(height, plan.tile[0])) * len(spans(width, plan.tile[1]))
    done = 0

    def forward(tile: Tensor) -> Tensor:
        nonlocal done
        sr = network(tile.to(device)).float().cpu()
        done += 1
        on_progress(done / total)
        return sr

    # All tiles get the dynamic kernels of a sample of the whole image.
    sample = _sample(lq, _window(network), math.prod(plan.tile))
    margin = min(sample.shape[-2:]) // 4
    with pooled_over(network, sample.to(device), margin=margin):
        yield from enlarge_in_tiles(
            forward,
            lq,
            scale=scale,
            tile=plan.tile,
            overlap=plan.overlap,
            feather=plan.feather,
        )


def _sample(lq: Tensor, window: tuple[int, int], pixels: int) -> Tensor:
    """Return whole windows that lie evenly over an image, about as many pixels as given."""
    height, width = (
        min(length, math.ceil(_SAMPLE_SIDE / side) * side)
        for length, side in zip(lq.shape[-2:], window, strict=True)
    )
    number = max(2, min(_MOST_SAMPLES, math.isqrt(pixels // (height * width))))

    def starts(length: int, part: int, side: int) -> list[int]:
        return [int(at) // side * side for at in torch.linspace(0, length - part, number)]

    return torch.cat(
        [
            lq[..., top : top + height, left : left + width]
            for top in starts(lq.shape[-2], height, window[0])
            for left in starts(lq.shape[-1], width, window[1])
        ]
    )


def _window(network: nn.Module) -> tuple[int, int]:
    return getattr(network, "window_size", (1, 1))
