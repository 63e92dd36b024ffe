"""Local attribution maps (LAM): which pixels of the input a part of the result is made from.

Source: Gu and Dong, "Interpreting super-resolution networks with local attribution maps", CVPR
2021. The gradient is integrated along a path from a blurred image to the image itself, so that what
is attributed are edges and textures, which a blur takes away, rather than brightness.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from esc_sr.analysis.frozen import frozen
from esc_sr.analysis.precision import double
from esc_sr.errors import InputError, check_integers

# Under the root of the gradient's magnitude, whose slope is infinite in flat areas.
_EPSILON = 1e-12
_RADIUS_IN_SIGMAS = 4.0


@dataclass(frozen=True)
class Window:
    """A square of the low-resolution image, whose place in the result is explained.

    Attributes:
        top: First row, in LQ pixels.
        left: First column, in LQ pixels.
        side: In LQ pixels.
    """

    top: int
    left: int
    side: int


@dataclass(frozen=True)
class Attribution:
    """What a window of the result is made from.

    Attributes:
        attributions: `(3, H, W)` on the CPU: signed share of each number of the input.
        window: The window explained.
        start: The objective at the blurred end of the path.
        end: The objective of the image itself.
        diffusion_index: (1 − Gini coefficient of `pixels`) · 100: 0 where one pixel is all that is
            used, 100 where all are used alike.
    """

    attributions: Tensor
    window: Window
    start: float
    end: float
    diffusion_index: float

    @property
    def pixels(self) -> Tensor:
        """Total of each pixel, `(H, W)`, at least 0: the magnitude of the sum over its colours."""
        return self.attributions.sum(0).abs()

    @property
    def completeness_error(self) -> float:
        """Relative difference of the sum of attributions from `end − start`, which it approaches.

        It is the error of the numerical integral: more `steps` make it smaller.
        """
        difference = self.end - self.start
        error = abs(float(self.attributions.double().sum()) - difference)
        return error / max(abs(difference), torch.finfo(torch.float32).tiny)


def local_attribution(
    network: nn.Module,
    lq: Tensor,
    *,
    window: Window | None = None,
    steps: int = 50,
    sigma: float = 1.2,
    on_step: Callable[[], None] | None = None,
) -> Attribution:
    """Attribute the edges inside a window of the result to the pixels of the input.

    The path takes away the blur step by step: σ falls from `sigma` to 0 in equal steps. Each step
    weighs the change of the image with the gradient in its middle.

    Args:
        network: Any network that maps `(1, 3, H, W)` to `(1, 3, s·H, s·W)`; left as it is.
        lq: `(1, 3, H, W)` in [0, 1].
        window: What is explained; None: a square of 16 pixels (or the image, if smaller) in the
            middle, as in the paper.
        steps: Of the path.
        sigma: Of the Gaussian blur at its start, in pixels; the paper's is 1.2.
        on_step: Called after each step.

    Returns:
        The attributions.

    Raises:
        InputError: A value is out of range, or nothing in the window depends on the input.
    """
    check_integers(1, steps=steps)
    if not sigma > 0:
        raise InputError(f"sigma must be above 0, got {sigma}")
    if lq.ndim != 4 or len(lq) != 1:
        raise ValueError(f"expected one image (1, 3, H, W), got {tuple(lq.shape)}")
    height, width = lq.shape[-2:]
    window = middle_window((height, width)) if window is None else window
    check_window(window, (height, width))
    radius = math.ceil(_RADIUS_IN_SIGMAS * sigma)
    attributions = double(torch.zeros_like(lq))

    def blurred(step: float) -> Tensor:
        return gaussian_blur(lq, sigma * (1 - step / steps), radius)

    def objective(image: Tensor) -> Tensor:
        sr = network(image)
        scale = sr.shape[-1] // width
        rows = slice(scale * window.top, scale * (window.top + window.side))
        columns = slice(scale * window.left, scale * (window.left + window.side))
        return gradient_magnitude(sr)[..., rows, columns].sum()

    with frozen(network):
        with torch.no_grad():
            start, end = float(objective(blurred(0))), float(objective(lq))
        before = blurred(0)
        for step in range(steps):
            middle = blurred(step + 0.5).requires_grad_()
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(objective(middle), middle)
            after = blurred(step + 1)
            attributions += double(gradient) * double(after - before)
            before = after
            if on_step is not None:
                on_step()
    found = attributions[0].float().cpu()
    return Attribution(found, window, start, end, diffusion_index(found.sum(0).abs()))


def middle_window(lq_size: tuple[int, int], side: int = 16) -> Window:
    """Return a square in the middle of an image, no larger than it.

    Args:
        lq_size: (H, W).
        side: Of the square, in LQ pixels.
    """
    side = min(side, *lq_size)
    return Window((lq_size[0] - side) // 2, (lq_size[1] - side) // 2, side)


def check_window(window: Window, lq_size: tuple[int, int]) -> None:
    """Check that a window lies in an image.

    Raises:
        InputError: It does not.
    """
    bottom, right = window.top + window.side, window.left + window.side
    inside = bottom <= lq_size[0] and right <= lq_size[1]
    if window.side < 1 or min(window.top, window.left) < 0 or not inside:
        raise InputError(
            f"window=[{window.top},{window.left},{window.side}] (top, left, side in LQ pixels) "
            f"does not lie in an image of {lq_size[0]}×{lq_size[1]}"
        )


def gaussian_blur(x: Tensor, sigma: float, radius: int) -> Tensor:
    """Blur with a Gaussian, sampled at pixels and summing to 1; borders are repeated.

    Args:
        x: `(B, C, H, W)`, any size.
        sigma: In pixels; 0 changes nothing.
        radius: The kernel has 2·radius + 1 pixels. The same along a path, so that it is smooth.

    Returns:
        `(B, C, H, W)`.
    """
    if sigma <= 0:
        return x.clone()
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-offsets.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).to(x.dtype).to(x.device)
    batch, channels, height, width = x.shape
    x = x.reshape(batch * channels, 1, height, width)
    x = F.conv2d(F.pad(x, (radius, radius, 0, 0), mode="replicate"), kernel.reshape(1, 1, 1, -1))
    x = F.conv2d(F.pad(x, (0, 0, radius, radius), mode="replicate"), kernel.reshape(1, 1, -1, 1))
    return x.reshape(batch, channels, height, width)


def gradient_magnitude(image: Tensor) -> Tensor:
    """Return the length of the gradient by differences of neighbours, the objective of LAM.

    Args:
        image: `(B, C, H, W)`.

    Returns:
        `(B, C, H, W)`; the last row and column, which have no neighbour, are compared with
        themselves.
    """
    padded = F.pad(image, (0, 1, 0, 1), mode="replicate")
    down = padded[..., 1:, :-1] - image
    right = padded[..., :-1, 1:] - image
    return (down.square() + right.square() + _EPSILON).sqrt()


def gini(values: Tensor) -> float:
    """Return the Gini coefficient: 0 where all are equal, (n − 1)/n where one has everything.

    Args:
        values: Any shape, at least 0.

    Raises:
        InputError: All are zero, or one is not finite.
    """
    ordered = values.double().flatten().sort().values
    total = float(ordered.sum())
    if math.isnan(total):
        raise InputError("the network's gradient is not finite: its weights are broken")
    if not total > 0:
        raise InputError(
            "nothing in the window depends on the input: it holds no edge; choose another window"
        )
    num = len(ordered)
    ranks = torch.arange(1, num + 1, dtype=torch.float64)
    return float(((2 * ranks - num - 1) * ordered).sum()) / (num * total)


def diffusion_index(pixels: Tensor) -> float:
    """Return how evenly pixels are used, (1 − Gini) · 100.

    Args:
        pixels: `(H, W)`, at least 0.

    Raises:
        InputError: All are zero.

    Source: Gu and Dong, CVPR 2021, Eq. 8.
    """
    return (1 - gini(pixels)) * 100
