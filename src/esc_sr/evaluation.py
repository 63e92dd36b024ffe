"""Measure images on named sets, one by one: a network's, or those computed by another program."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from esc_sr.errors import InputError
from esc_sr.inference.enlarge import enlarge_rows
from esc_sr.inference.planning import Plan
from esc_sr.inference.self_ensemble import self_ensemble
from esc_sr.metrics.protocol import Protocol, check_distinct

Batch = dict[str, Any]


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


@dataclass(frozen=True)
class Evaluation:
    """What was measured of one network at one scale.

    Attributes:
        network: Its name.
        scale: Super-resolution factor.
        protocols: How it was measured.
        sets: The results by set.
        conditions: What else has changed its results, such as "self-ensemble of 8".
        weights: Digest of the file of its weights, if there is one.
    """

    network: str
    scale: int
    protocols: tuple[Protocol, ...]
    sets: dict[str, SetResult]
    conditions: tuple[str, ...] = ()
    weights: str | None = None


def measure_sets(
    sr_of: Callable[[Batch], Tensor],
    loaders: Mapping[str, Iterable[Batch]],
    protocols: Sequence[Protocol],
    *,
    metrics: Mapping[str, Metric] | None = None,
    on_image: Callable[[str, str, Tensor], None] | None = None,
) -> dict[str, SetResult]:
    """Measure every image of every set.

    Args:
        sr_of: Gives the super-resolved image of a batch, `(1, 3, s·H, s·W)` in [0, 1].
        loaders: By set, batches of one image with at least `gt` and `name`.
        protocols: What is measured, and how.
        metrics: Further metrics over (sr, gt) by name, such as LPIPS.
        on_image: Called after each image with the set, the image's name and the result.

    Returns:
        The results by set, in the order given.

    Raises:
        InputError: Two protocols write the same name, or a result is not finite.
    """
    check_distinct(protocols)
    scorers = {name: metric.clone() for name, metric in (metrics or {}).items()}
    results: dict[str, SetResult] = {}
    for set_name, loader in loaders.items():
        keys = [key for protocol in protocols for key in protocol.keys]
        result = results[set_name] = SetResult(values={key: [] for key in [*keys, *scorers]})
        start = time.perf_counter()
        for batch in loader:
            sr = sr_of(batch)
            if not torch.isfinite(sr).all():
                raise InputError(
                    f"the output for {set_name} image '{batch['name'][0]}' is not finite: the "
                    "weights are broken, or 16 bits overflow"
                )
            gt = batch["gt"].to(sr.device)
            measured: dict[str, Tensor] = {}
            for protocol in protocols:
                measured |= protocol.measure(sr, gt)
            for name, scorer in scorers.items():
                measured[name] = scorer.to(sr.device)(sr, gt)
            for name, value in measured.items():
                result.values[name].append(float(value))
            result.images.extend(batch["name"])
            if on_image is not None:
                on_image(set_name, batch["name"][0], sr)
        result.seconds = time.perf_counter() - start
    return results


def evaluate_network(
    network: nn.Module,
    loaders: Mapping[str, Iterable[Batch]],
    protocols: Sequence[Protocol],
    *,
    scale: int,
    metrics: Mapping[str, Metric] | None = None,
    device: torch.device | str = "cpu",
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    plan: Callable[[tuple[int, int]], Plan] = lambda size: Plan("whole"),
    ensemble: bool = False,
    on_image: Callable[[str, str, Tensor], None] | None = None,
) -> dict[str, SetResult]:
    """Enlarge every image of every set and measure it.

    Args:
        network: Maps `(B, 3, H, W)` in [0, 1] to `(B, 3, s·H, s·W)`; moved to `device`, its
            mode is restored.
        loaders: By set, batches of one `{"lq", "gt", "name"}`.
        protocols: What is measured, and how.
        scale: Super-resolution factor of the network.
        metrics: Further metrics over (sr, gt) by name.
        device: Where to compute.
        autocast: Makes the context the network runs in, e.g. for bfloat16.
        plan: Says how an image of this height and width is cut.
        ensemble: Average over the eight flips and rotations.
        on_image: Called after each image with the set, the image's name and the result.

    Returns:
        The results by set, in the order given.
    """
    was_training = network.training
    network = network.to(device).eval()

    def enlarge_one(lq: Tensor) -> Tensor:
        cut = plan((lq.shape[-2], lq.shape[-1]))
        rows = list(enlarge_rows(network, lq, cut, scale=scale, device=device))
        return rows[0] if len(rows) == 1 else torch.cat(rows, dim=-2)

    forward = self_ensemble(enlarge_one) if ensemble else enlarge_one

    def sr_of(batch: Batch) -> Tensor:
        with torch.inference_mode(), autocast():
            return forward(batch["lq"]).to(device)

    results = measure_sets(sr_of, loaders, protocols, metrics=metrics, on_image=on_image)
    network.train(was_training)
    return results
