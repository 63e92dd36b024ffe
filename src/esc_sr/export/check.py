"""Compare an exported network with the one that it was made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from esc_sr.errors import InputError

Size = tuple[int, int, int]  # images, height, width


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        size: Images, height, width of the input.
        max_error: Largest absolute difference of the outputs, of images in [0, 1].
    """

    size: Size
    max_error: float

    def __str__(self) -> str:
        images, height, width = self.size
        return f"{images}×3×{height}×{width}"


@dataclass(frozen=True)
class Check:
    """What was compared, with what result.

    Attributes:
        cases: One for each size.
        tolerance: The largest error allowed.
    """

    cases: tuple[Case, ...]
    tolerance: float

    @property
    def max_error(self) -> float:
        """Largest error of all sizes."""
        return max(case.max_error for case in self.cases)


def sizes_to_check(
    window: tuple[int, int],
    *,
    lq_size: tuple[int, int] | None = None,
    batch_size: int = 1,
    least: int = 1,
) -> list[Size]:
    """Choose inputs at which an exported network might go wrong.

    Args:
        window: (height, width) that the network pads to, (1, 1) if it does not.
        lq_size: The only size that it takes; None: any.
        batch_size: Images of that size.
        least: Smallest side that it takes.

    Returns:
        One to three images each, of seven sizes: a single pixel, sides below half a window, which
        are reflected more than once, one pixel less than a window, a window, one pixel more, two
        windows, and more in one direction than in the other. Of the only size, the same thrice.
    """
    if lq_size is not None:
        return [(batch_size, *lq_size)] * 3
    height, width = (max(side, 8) for side in window)
    sides = [
        (1, 1),
        (height // 2 - 1, 3),
        (height - 1, width - 1),
        (height, width),
        (height + 1, width + 1),
        (2 * height, width),
        (3, 2 * width + 5),
    ]
    return [(1 + i % 3, max(high, least), max(wide, least)) for i, (high, wide) in enumerate(sides)]


def compare(
    network: nn.Module,
    exported: Callable[[Tensor], Tensor],
    sizes: Sequence[Size],
    *,
    tolerance: float,
    on_case: Callable[[], None] = lambda: None,
) -> Check:
    """Run both on the same random images.

    Args:
        network: What was to be exported, in float32 on the CPU.
        exported: What was read back from the file.
        sizes: Of the inputs.
        tolerance: Largest absolute error allowed, for images in [0, 1].
        on_case: Called after each size.

    Returns:
        The errors.

    Raises:
        InputError: An error is larger, or a result is of another size or not finite.
    """
    generator = torch.Generator().manual_seed(0)
    cases = []
    for images, height, width in sizes:
        lq = torch.rand(images, 3, height, width, generator=generator)
        with torch.inference_mode():
            expected = network(lq)
        with torch.no_grad():  # exported programs know no inference mode
            found = exported(lq)
        if found.shape != expected.shape:
            raise InputError(
                f"of {tuple(lq.shape)} the exported network makes {tuple(found.shape)}, not "
                f"{tuple(expected.shape)}: nothing was written"
            )
        error = (found.float() - expected).abs().max().item()
        case = Case((images, height, width), error)
        if not (math.isfinite(error) and error <= tolerance):
            raise InputError(
                f"the exported network differs by {error:.2g} at {case}, more than "
                f"tolerance={tolerance:g}: nothing was written"
            )
        cases.append(case)
        on_case()
    return Check(tuple(cases), tolerance)
