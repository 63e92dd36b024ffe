"""Features of any layout as maps, channels first, and as examples: rows of a matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from esc_sr.errors import InputError


def as_map(feature: Tensor, lq_size: tuple[int, int], *, layer: str) -> Tensor:
    """Return features as a map over the image, channels first.

    Layers of convolutional networks give `(B, C, H', W')`, of transformers often `(B, H', W', C)`
    or tokens `(B, H'·W', C)`. The sides that have the proportions of the image tell; where both
    readings do, channels come first.

    Args:
        feature: What a layer gave.
        lq_size: (H, W) of the network's input.
        layer: Its name, for messages.

    Returns:
        `(B, C, H', W')`.

    Raises:
        InputError: It is no map over the image.
    """
    height, width = lq_size
    if feature.ndim == 3:
        enlarged = round((feature.shape[1] / (height * width)) ** 0.5)
        if enlarged >= 1 and feature.shape[1] == height * width * enlarged**2:
            return feature.movedim(2, 1).unflatten(2, (height * enlarged, width * enlarged))
    if feature.ndim == 4:
        first, last = feature.shape[2:4], feature.shape[1:3]

        def misfit(size: torch.Size) -> int:
            return abs(size[0] * width - size[1] * height)

        return feature if misfit(first) <= misfit(last) else feature.movedim(3, 1)
    raise InputError(
        f"layers: '{layer}' gives {tuple(feature.shape)} for a {height}×{width} image, which is no "
        "map over it; choose other layers, or examples=images"
    )


def choose_positions(
    batch: int, lq_size: tuple[int, int], num_pixels: int, generator: torch.Generator
) -> Tensor:
    """Draw places in a batch of images, each once.

    Args:
        batch: Images B.
        lq_size: (H, W) of the images.
        num_pixels: Places wanted.
        generator: Decides which; on the CPU.

    Returns:
        `(n, 3)` integers: image, row, column. All of them, if fewer than `num_pixels` are there.
    """
    height, width = lq_size
    drawn = torch.randperm(batch * height * width, generator=generator)[:num_pixels]
    places = drawn.sort().values  # neighbours in memory
    return torch.stack(
        [places // (height * width), places // width % height, places % width], dim=1
    )


def pixel_examples(
    feature: Tensor, positions: Tensor, lq_size: tuple[int, int], *, layer: str
) -> Tensor:
    """Return the features at places of the images: an example is a pixel.

    Args:
        feature: What a layer gave, in any layout that `as_map` reads.
        positions: `(n, 3)` image, row and column in LQ pixels.
        lq_size: (H, W) of the network's input.
        layer: Its name, for messages.

    Returns:
        `(n, C)`. An enlarged map is read at the middle of the pixel, a reduced one where the pixel
        lies.

    Raises:
        InputError: The map is neither the image's size nor a whole multiple or part of it, as where
            a network pads to whole windows.
    """
    found = as_map(feature, lq_size, layer=layer)
    image, *places = positions.to(found.device).unbind(1)
    index = []
    for place, side, lq_side in zip(places, found.shape[2:], lq_size, strict=True):
        if side % lq_side and lq_side % side:
            raise InputError(
                f"layers: '{layer}' gives {found.shape[2]}×{found.shape[3]} pixels for an image of "
                f"{lq_size[0]}×{lq_size[1]}, so its pixels have no place there; set crop to a "
                "multiple of the network's windows, or examples=images"
            )
        index.append((2 * place + 1) * side // (2 * lq_side))
    return found[image, :, index[0], index[1]]


def image_examples(feature: Tensor) -> Tensor:
    """Return each image's features as one long row: an example is an image.

    Args:
        feature: `(B, …)`.

    Returns:
        `(B, p)`.
    """
    return feature.flatten(1)
