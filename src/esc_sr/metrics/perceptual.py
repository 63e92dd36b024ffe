"""LPIPS and DISTS: distances learned from human judgement, computed by torchmetrics.

Both need torchvision, which the extra `esc-sr[perceptual]` brings, and the weights of a classifier,
which torchvision downloads once.
"""

from __future__ import annotations

from collections.abc import Callable
from http.client import HTTPException
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchmetrics.functional.image.dists import DISTSNetwork
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

from esc_sr.errors import InputError, require_extra
from esc_sr.functional.pair import check_pair
from esc_sr.metrics.image_quality import MeanOverImages

Backbone = Literal["alex", "vgg", "squeeze"]

# Shortest side in pixels that reaches the last features compared.
_SMALLEST: dict[str, int] = {"alex": 31, "vgg": 16, "squeeze": 17}


class LPIPS(MeanOverImages):
    """Mean over images of the learned perceptual image patch similarity, a distance.

    0 for equal images, about 0.1 to 0.3 for images enlarged 4 times; lower is better. Measured on
    RGB rounded to 8 bits, at full resolution, always in float32.

    Args:
        crop_border: High-resolution pixels to drop from each side; the papers use `scale`.
        net: Whose features are compared: "alex" (what most papers report), "vgg" or "squeeze".
        **kwargs: Options of `torchmetrics.Metric`, such as `sync_on_compute`.

    Raises:
        MissingExtraError: torchvision is not installed.
        InputError: `crop_border` is negative, `net` unknown, or its weights cannot be had.

    Source: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
    CVPR 2018, version 0.1 of its linear weights.
    """

    higher_is_better = False

    def __init__(self, *, crop_border: int, net: Backbone = "alex", **kwargs: Any) -> None:
        super().__init__(crop_border=crop_border, channel="rgb", **kwargs)
        if net not in _SMALLEST:
            raise InputError(f"net must be one of {', '.join(_SMALLEST)}, got {net!r}")
        network = _load("LPIPS", lambda: LearnedPerceptualImagePatchSimilarity(net_type=net).net)
        self.formula = _NetworkDistance("LPIPS", network, _SMALLEST[net], normalize=True)


class DISTS(MeanOverImages):
    """Mean over images of the deep image structure and texture similarity, a distance.

    0 for equal images; lower is better. Measured on RGB rounded to 8 bits, at full resolution (the
    authors' example first shrinks the shorter side to 256 pixels, which gives other numbers),
    always in float32.

    Args:
        crop_border: High-resolution pixels to drop from each side; the papers use `scale`.
        **kwargs: Options of `torchmetrics.Metric`, such as `sync_on_compute`.

    Raises:
        MissingExtraError: torchvision is not installed.
        InputError: `crop_border` is negative, or the weights cannot be had.

    Source: Ding et al., "Image Quality Assessment: Unifying Structure and Texture Similarity",
    TPAMI 2020.
    """

    higher_is_better = False

    def __init__(self, *, crop_border: int, **kwargs: Any) -> None:
        super().__init__(crop_border=crop_border, channel="rgb", **kwargs)
        self.formula = _NetworkDistance("DISTS", _load("DISTS", DISTSNetwork), 1)


class _NetworkDistance:
    """A frozen network that compares images.

    Copies of a metric share it, one for each validation set, and it is no submodule of the metric:
    its weights would go into every checkpoint of what is trained.
    """

    def __init__(self, name: str, network: nn.Module, smallest: int, **options: Any) -> None:
        self.name = name
        self.network = network.eval().requires_grad_(False)
        self.smallest = smallest
        self.options = options

    def __deepcopy__(self, memo: dict[int, Any]) -> _NetworkDistance:
        return self

    def __call__(self, preds: Tensor, target: Tensor, *, data_range: float) -> Tensor:
        """Compare two `(B, 3, H, W)` batches in [0, data_range]; returns `(B,)`, float64."""
        check_pair(self.name, preds, target)
        if min(preds.shape[-2:]) < self.smallest:
            raise InputError(
                f"{self.name} needs images of at least {self.smallest}x{self.smallest} after "
                f"cropping the border, got {preds.shape[-2]}x{preds.shape[-1]}"
            )
        # Weights moved in inference mode, where Lightning validates, could not be moved back.
        with torch.inference_mode(False):
            self.network.to(preds.device)
        # Features of half precision would change the number: no autocast.
        with torch.autocast(preds.device.type, enabled=False):
            images = ((batch / data_range).float() for batch in (preds, target))
            return self.network(*images, **self.options).reshape(-1).double()


def _load(name: str, build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network with its trained weights, or say what is missing."""
    require_extra("torchvision", "perceptual")
    try:
        return build()
    except (OSError, HTTPException) as error:
        raise InputError(
            f"the weights of {name} could not be downloaded ({error}); connect to the network "
            f"once, or copy them from another machine to {torch.hub.get_dir()}/checkpoints"
        ) from error
