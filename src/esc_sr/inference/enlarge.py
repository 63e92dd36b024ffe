"""Enlarge a batch as the papers' evaluation does."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from esc_sr.functional.windows import pad_to_multiple


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
    padded = pad_to_multiple(lq, getattr(network, "window_size", (1, 1)))
    sr = (forward or network)(padded)
    scale = sr.shape[-1] // padded.shape[-1]
    return sr[..., : height * scale, : width * scale]
