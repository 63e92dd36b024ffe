"""Enlarge an image layer by layer, each layer tile by tile: the untiled result in less memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from esc_sr.errors import InputError
from esc_sr.inference.tiling import kept_part, spans
from esc_sr.layers.conv_attn import DYNAMIC_KERNEL_SIZE, ConvAttn
from esc_sr.layers.window_attention import WindowAttention
from esc_sr.models.esc import ESCBase, ESCBlock

# Feature maps of the whole image that are held at a time.
NUM_FEATURE_MAPS = 3
# What the 3×3 convolutions of a ConvFFN and at a block's ends see around a pixel.
_CONV_HALO = 1


def enlarge_layerwise(
    network: ESCBase,
    lq: Tensor,
    *,
    tile: tuple[int, int],
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> Iterator[Tensor]:
    """Enlarge an image with three feature maps and the working memory of one tile.

    A dynamic kernel of ConvAttn depends on the whole image, and layer after layer sees further, so
    tiles that pass through the network one by one cannot agree with the untiled result. Here all
    tiles pass a layer before any tile passes the next, and every layer reads what it sees around a
    tile from the feature map: the result is the untiled one up to rounding, for any weights and
    any tile.

    Args:
        network: The network, in eval mode.
        lq: `(B, 3, H, W)` in [0, 1] on the network's device, H and W multiples of its window.
        tile: Height and width of a tile in LQ pixels, multiples of the window.
        on_progress: Called after each layer with the share that is done.

    Yields:
        Rows of the result from top to bottom, `(B, 3, some, s·W)` float32, not clamped.

    Raises:
        InputError: The network cannot be taken apart: its features are not on the grid of the
            image, or its head reads them anywhere.

    Source: the layers of Lee et al., ICCV 2025.
    """
    halo_behind = network.reconstruct_halo
    if halo_behind is None:
        raise InputError(
            f"{network.title} {network.undivided_because} and is not taken apart layer by layer; "
            "use tiling=overlap"
        )
    shared_kernel = network.shared_kernel()
    total = network.config["num_blocks"] * (1 + network.config["num_conv_attn"])
    mixed = 0

    def sweep(
        layer: Callable[[Tensor], Tensor],
        source: Tensor,
        into: Tensor,
        halo: int,
        add: bool = False,
    ) -> None:
        for row in spans(source.shape[-2], tile[0], overlap=halo):
            for column in spans(source.shape[-1], tile[1], overlap=halo):
                result = layer(source[..., row.read, column.read])
                result = result[..., kept_part(row), kept_part(column)]
                target = into[..., row.kept, column.kept]
                target.copy_(target + result if add else result)

    def report() -> None:
        nonlocal mixed
        mixed += 1
        on_progress(mixed / (total + 1))

    def sweep_mixer(mixer: nn.Module, source: Tensor, into: Tensor) -> None:
        if isinstance(mixer, WindowAttention):
            # Tiles are whole windows, and nothing is seen beyond a window.
            sweep(mixer, source, into, halo=0, add=True)
            return
        assert isinstance(mixer, ConvAttn)
        mean = source[:, : mixer.plk.partial_dim].mean((-2, -1), keepdim=True)
        kernel = mixer.plk.dynamic_kernel(mean)
        halo = max(network.config["large_kernel_size"], DYNAMIC_KERNEL_SIZE) // 2
        sweep(lambda t: mixer(t, shared_kernel, kernel), source, into, halo, add=True)

    # What the network computes in decides the type of its maps, autocast included.
    corner = network.enter(lq[..., :1, :1])
    skip = corner.new_empty(lq.shape[0], corner.shape[1], *lq.shape[-2:])
    x, y = torch.empty_like(skip), torch.empty_like(skip)
    sweep(network.enter, lq, skip, _CONV_HALO)
    for block in network.blocks:
        assert isinstance(block, ESCBlock)
        sweep(block.enter, skip, x, _CONV_HALO)
        sweep(block.ln_attn, x, y, halo=0)
        sweep_mixer(block.attn, y, x)
        report()
        for ln, conv_ffn, mixer in zip(block.lns, block.convffns, block.pconvs, strict=True):
            sweep(nn.Sequential(ln, conv_ffn), x, y, _CONV_HALO)
            sweep_mixer(mixer, y, x)
            report()
        sweep(block.leave, x, skip, _CONV_HALO, add=True)
    del x, y

    scale, width = network.scale, lq.shape[-1]
    for row in spans(lq.shape[-2], tile[0], overlap=halo_behind):
        rows = (row.stop - row.start) * scale
        strip = lq.new_empty(*lq.shape[:2], rows, width * scale, dtype=torch.float32)
        for column in spans(width, tile[1], overlap=halo_behind):
            area = (..., row.read, column.read)
            sr = network.reconstruct(skip[area], network.enter(lq[area]), lq[area])
            target = slice(column.start * scale, column.stop * scale)
            strip[..., target] = sr[..., kept_part(row, scale), kept_part(column, scale)]
        yield strip
