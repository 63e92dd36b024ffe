"""The effective receptive field (ERF): from how far around a pixel of the result is made.

Source: Luo et al., NeurIPS 2016; drawn over many images as in Ding et al., CVPR 2022.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from esc_sr.analysis.frozen import frozen
from esc_sr.analysis.precision import double
from esc_sr.errors import InputError


@dataclass(frozen=True)
class Area:
    """What holds a share of the field.

    Attributes:
        share: In (0, 1].
        side: Of the smallest square around the middle that holds it, in LQ pixels: odd, or the
            longer side of the image where the square would reach over all its borders.
        pixels: The fewest pixels that hold it, wherever they lie.
    """

    share: float
    side: int
    pixels: int


def effective_receptive_field(
    network: nn.Module, batches: Iterable[Tensor], *, on_batch: Callable[[], None] | None = None
) -> Tensor:
    """Return how strongly the middle of the result depends on each pixel of the input.

    Args:
        network: Any network that maps `(B, 3, H, W)` to `(B, 3, s·H, s·W)`; left as it is.
        batches: LQ images of one size, `(B, 3, H, W)` in [0, 1].
        on_batch: Called after each batch.

    Returns:
        `(H, W)` in float64 on the CPU: magnitude of the gradient of the middle pixel (the sum of
        its colours), summed over the colours of the input, averaged over images. The middle is
        pixel (s·H // 2, s·W // 2), made at LQ pixel (H // 2, W // 2).

    Raises:
        InputError: There are no images, or of several sizes.
    """
    total: Tensor | None = None
    images = 0
    with frozen(network), torch.enable_grad():
        for batch in batches:
            lq = batch.detach().requires_grad_()
            sr = network(lq)
            middle = sr[..., sr.shape[-2] // 2, sr.shape[-1] // 2]
            (gradient,) = torch.autograd.grad(middle.sum(), lq)
            added = double(gradient).abs().sum((0, 1)).cpu()
            if total is not None and total.shape != added.shape:
                raise InputError("images must have one size for a receptive field: set crop")
            total = added if total is None else total + added
            images += len(lq)
            if on_batch is not None:
                on_batch()
    if total is None:
        raise InputError("a receptive field needs at least one image")
    return total / images


def areas(field: Tensor, shares: Sequence[float] = (0.5, 0.9, 0.99)) -> list[Area]:
    """Return what holds shares of a field.

    Args:
        field: `(H, W)`, at least 0, as `effective_receptive_field` returns it.
        shares: Each in (0, 1].

    Returns:
        One for each share.

    Raises:
        InputError: A share is out of range, or the field is zero everywhere or not finite.
    """
    field = field.double()
    total = float(field.sum())
    if math.isnan(total):
        raise InputError("the network's gradient is not finite: its weights are broken")
    if not total > 0:
        raise InputError("the middle of the result does not depend on the input: no field")
    row, column = (side // 2 for side in field.shape)
    farthest = max(row, column, field.shape[0] - 1 - row, field.shape[1] - 1 - column)
    inside = torch.stack(
        [
            field[max(row - r, 0) : row + r + 1, max(column - r, 0) : column + r + 1].sum()
            for r in range(farthest + 1)
        ]
    )
    strongest = field.flatten().sort(descending=True).values.cumsum(0)
    found = []
    for share in shares:
        if not 0 < share <= 1:
            raise InputError(f"shares must be above 0 and at most 1, got {share}")
        # Sums in another order differ by rounding, which must not cost the whole image at 1.
        wanted = share * total * (1 - 1e-12)
        radius = int((inside < wanted).sum())
        side = min(2 * radius + 1, max(field.shape))
        found.append(Area(share, side, int((strongest < wanted).sum()) + 1))
    return found


def reach(field: Tensor) -> int:
    """Return the side of the smallest square around the middle outside of which all is zero.

    Args:
        field: `(H, W)`, not zero everywhere.

    Returns:
        Odd, or the longer side of the image.
    """
    row, column = (side // 2 for side in field.shape)
    rows, columns = field.nonzero().unbind(1)
    farthest = int(torch.maximum((rows - row).abs(), (columns - column).abs()).max())
    return min(2 * farthest + 1, max(field.shape))
