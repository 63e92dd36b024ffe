"""Measure a network on named sets of image pairs, image by image."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torchmetrics import Metric

from esc_sr.inference.enlarge import enlarge


@dataclass
class SetResult:
    """What was measured on one set.

    Attributes:
        images: Names of the images, in order.
        values: By metric, one value for each image.
        seconds: Wall time of enlarging and measuring.
    """

    images: list[str] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0

    def means(self) -> dict[str, float]:
        """Return the mean over images by metric, as the papers print it."""
        return {name: sum(values) / len(values) for name, values in self.values.items()}


def evaluate_network(
    network: nn.Module,
    loaders: Mapping[str, Iterable[dict[str, Any]]],
    metrics: Mapping[str, Metric],
    *,
    device: torch.device | str = "cpu",
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    on_image: Callable[[str, str], None] | None = None,
) -> dict[str, SetResult]:
    """Enlarge every image of every set and measure it.

    Args:
        network: Maps `(B, 3, H, W)` in [0, 1] to `(B, 3, s·H, s·W)`; moved to `device`, its
            mode is restored.
        loaders: By set, batches of one `{"lq", "gt", "name"}`.
        metrics: By name, metrics over (sr, gt).
        device: Where to compute.
        autocast: Makes the context the network runs in, e.g. for bfloat16.
        on_image: Called after each image with the set and the image's name.

    Returns:
        The results by set, in the order given.
    """
    was_training = network.training
    network = network.to(device).eval()
    scorers = {name: metric.clone().to(device) for name, metric in metrics.items()}
    results: dict[str, SetResult] = {}
    for set_name, loader in loaders.items():
        result = results[set_name] = SetResult(values={name: [] for name in scorers})
        start = time.perf_counter()
        for batch in loader:
            with torch.inference_mode(), autocast():
                sr = enlarge(network, batch["lq"].to(device))
            for name, scorer in scorers.items():
                result.values[name].append(float(scorer(sr, batch["gt"].to(device))))
            result.images.extend(batch["name"])
            if on_image is not None:
                on_image(set_name, batch["name"][0])
        result.seconds = time.perf_counter() - start
    network.train(was_training)
    return results
