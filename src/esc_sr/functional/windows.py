"""Padding to whole windows, and cutting a feature map into windows and back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


def pad_to_multiple(x: Tensor, multiple: tuple[int, int]) -> Tensor:
    """Reflect-pad the bottom and right until both sides are multiples.

    Reflection leaves the border pixel out, as `torch.nn.functional.pad(mode="reflect")` does, and
    goes on bouncing between both borders where the padding is larger than the image: a side of
    1 pixel repeats it.

    Args:
        x: `(B, C, H, W)`.
        multiple: (height, width), each at least 1.

    Returns:
        `(B, C, H', W')`, H' and W' the next multiples; `x` itself if it fits already.

    Raises:
        ValueError: `x` is empty or not four-dimensional.

    Example:
        >>> import torch
        >>> pad_to_multiple(torch.tensor([[[[1.0, 2.0, 3.0]]]]), (1, 8))
        tensor([[[[1., 2., 3., 2., 1., 2., 3., 2.]]]])
    """
    if x.ndim != 4 or 0 in x.shape:
        raise ValueError(f"expected a non-empty (B, C, H, W) tensor, got shape {tuple(x.shape)}")
    height, width = x.shape[-2:]
    if is_open(height, width):
        for dim, side, step in ((-2, height, multiple[0]), (-1, width, multiple[1])):
            # Written so that a compiler sees a multiple.
            padded = (side + step - 1) // step * step
            x = x.index_select(dim, _reflected_index(side, 0, padded, x.device))
        return x
    pad_h, pad_w = -height % multiple[0], -width % multiple[1]
    if pad_h == 0 and pad_w == 0:
        return x
    if pad_h < height and pad_w < width:
        return F.pad(x, (0, pad_w, 0, pad_h), mode="reflect")
    for dim, side, pad in ((-2, height, pad_h), (-1, width, pad_w)):
        x = x.index_select(dim, _reflected_index(side, 0, side + pad, x.device))
    return x


def crop(x: Tensor, height: int, width: int) -> Tensor:
    """Keep the top left part of an image; the inverse of `pad_to_multiple`.

    Args:
        x: `(B, C, H, W)`.
        height: Rows to keep, at most H.
        width: Columns to keep, at most W.

    Returns:
        `(B, C, height, width)`.
    """
    if not is_open(height, width):
        return x[..., :height, :width]
    for dim, side in ((-2, height), (-1, width)):
        # A slice could end early: whether this one does, a compiler would want to know.
        x = x.index_select(dim, torch.arange(side, device=x.device))
    return x


def reflect_pad(x: Tensor, margin: int) -> Tensor:
    """Reflect-pad all four sides, as `pad_to_multiple` does, for images of any size.

    Args:
        x: `(B, C, H, W)`.
        margin: Pixels on every side.

    Returns:
        `(B, C, H + 2·margin, W + 2·margin)`.

    Example:
        >>> import torch
        >>> reflect_pad(torch.tensor([[[[1.0, 2.0]]]]), 2)[0, 0, 0]
        tensor([1., 2., 1., 2., 1., 2.])
    """
    if not is_open(*x.shape[-2:]) and margin < min(x.shape[-2:]):
        return F.pad(x, (margin,) * 4, mode="reflect")
    for dim in (-2, -1):
        side = x.shape[dim]
        x = x.index_select(dim, _reflected_index(side, -margin, side + margin, x.device))
    return x


def is_open(*sides: int) -> bool:
    """Return whether a program for any size is being exported: no `if` may look at a side.

    Args:
        sides: Of an image or a feature map.
    """
    return any(isinstance(side, torch.SymInt) for side in sides)


def _reflected_index(side: int, start: int, stop: int, device: torch.device) -> Tensor:
    """Source position of each padded position: a triangle wave of period 2·(side − 1)."""
    # Tensors, which exporters know in more places than numbers that are still open.
    last = torch.full((), side - 1, dtype=torch.int64, device=device)
    period = (2 * last).clamp(min=1)
    position = torch.arange(start, stop, device=device) % period
    return torch.minimum(position, period - position)


def to_windows(x: Tensor, window_size: tuple[int, int], num_heads: int) -> Tensor:
    """Cut a feature map into windows of tokens, split into heads.

    Args:
        x: `(B, heads·d, H, W)`, H and W multiples of the window.
        window_size: (height, width) in feature pixels.
        num_heads: Number of heads.

    Returns:
        `(B·nW, heads, N, d)`, N the pixels of a window in row-major order.

    Example:
        >>> import torch
        >>> to_windows(torch.zeros(2, 8, 12, 8), (4, 4), 2).shape
        torch.Size([12, 2, 16, 4])
    """
    return rearrange(
        x,
        "b (heads d) (nh wh) (nw ww) -> (b nh nw) heads (wh ww) d",
        heads=num_heads,
        wh=window_size[0],
        ww=window_size[1],
    )


def from_windows(
    windows: Tensor, window_size: tuple[int, int], image_size: tuple[int, int]
) -> Tensor:
    """Put windows of tokens back together; the inverse of `to_windows`.

    Args:
        windows: `(B·nW, heads, N, d)`.
        window_size: (height, width) in feature pixels.
        image_size: (H, W) of the feature map, multiples of the window.

    Returns:
        `(B, heads·d, H, W)`.

    Example:
        >>> import torch
        >>> x = torch.randn(2, 8, 12, 8)
        >>> torch.equal(from_windows(to_windows(x, (4, 4), 2), (4, 4), (12, 8)), x)
        True
    """
    nhwc = rearrange(
        windows,
        "(b nh nw) heads (wh ww) d -> b (nh wh) (nw ww) (heads d)",
        nh=image_size[0] // window_size[0],
        nw=image_size[1] // window_size[1],
        wh=window_size[0],
        ww=window_size[1],
    )
    return nhwc.permute(0, 3, 1, 2)
