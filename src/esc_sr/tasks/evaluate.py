"""`esc-sr evaluate`: PSNR and SSIM of networks, or of finished images, on benchmark sets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from esc_sr.config import hydra_main, instantiate
from esc_sr.data.benchmarks import benchmark_set, require_benchmark
from esc_sr.data.computed import ComputedImages
from esc_sr.data.images import write_image
from esc_sr.data.lq_check import CheckedImages
from esc_sr.data.pairs import PairedImages
from esc_sr.data.sample import sample_dir
from esc_sr.errors import InputError, check_flags, check_integers
from esc_sr.evaluation import Evaluation, SetResult, evaluate_network, measure_sets
from esc_sr.files import file_digest, file_name, make_folder
from esc_sr.inference.device import memory_budget, pick_device
from esc_sr.inference.planning import Plan, Tiling, plan_tiles
from esc_sr.models.esc import ESCBase
from esc_sr.models.for_inference import Precision, for_inference
from esc_sr.tasks.networks import (
    at_scale,
    checkpoint_names,
    open_networks,
    positional_checkpoints,
    refuse_empty_lists,
    with_default_weights,
)
from esc_sr.tasks.results import write_results
from esc_sr.tasks.tables import print_quality

_AUTOCAST_DTYPES = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
# With fast=true the weights have this type.
_PRECISIONS: dict[str, Precision] = {"32-true": "fp32", "bf16-true": "bf16", "16-true": "fp16"}
Sets = dict[str, Dataset[Any]]


def run(cfg: DictConfig) -> list[Evaluation]:
    """Evaluate as `conf/evaluate.yaml` describes.

    Args:
        cfg: The composed configuration.

    Returns:
        What was measured, by network and scale.

    Raises:
        InputError: Something in the configuration, a checkpoint or the data is wrong.
    """
    check_options(cfg)
    cfg = with_default_weights(cfg)
    if cfg.output_dir is not None:
        make_folder(cfg.output_dir)
    networks = open_networks(cfg)
    opened = {scale: open_sets(at_scale(cfg, scale)) for _, scale, _ in networks}
    digests = {}
    if cfg.checkpoint is not None:
        named = checkpoint_names(cfg.checkpoint).items()
        digests = {name: file_digest(path) for name, path in named}
    console = Console()
    evaluations = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        total = sum(_count(opened[scale].values()) for _, scale, _ in networks)
        task = progress.add_task("", total=total)
        for name, scale, network in networks:

            def on_image(
                set_name: str, image: str, sr: Tensor, name: str = name, scale: int = scale
            ) -> None:
                progress.update(task, advance=1, description=f"{set_name} {image}")
                if cfg.save_images:
                    _save_image(cfg, f"{_slug(name)}_x{scale}", set_name, image, sr)

            protocols = tuple(instantiate(at_scale(cfg, scale).protocol).values())
            evaluations.append(
                Evaluation(
                    name,
                    scale,
                    protocols,
                    measure(at_scale(cfg, scale), network, opened[scale], on_image),
                    conditions=() if network is None else conditions(cfg),
                    weights=digests.get(name),
                )
            )
    for sets in opened.values():
        for images in sets.values():
            if isinstance(images, CheckedImages):
                images.warn()
    print_quality(console, evaluations)
    if cfg.output_dir is not None:
        write_results(evaluations, Path(cfg.output_dir))
    return evaluations


def check_options(cfg: DictConfig) -> None:
    """Refuse values and combinations that would fail, or do nothing, later.

    Raises:
        InputError: One is wrong.
    """
    check_flags(self_ensemble=cfg.self_ensemble, save_images=cfg.save_images, fast=cfg.fast)
    precisions = _PRECISIONS if cfg.fast else _AUTOCAST_DTYPES
    if cfg.precision not in precisions:
        raise InputError(
            f"unknown precision '{cfg.precision}'; choose one of: {', '.join(precisions)}"
            + (" (with fast=true)" if cfg.fast else "")
        )
    if cfg.fast and cfg.sr_dir is not None:
        raise InputError("sr_dir holds finished images: leave fast out")
    refuse_empty_lists(cfg, "scale", "checkpoint")
    for scale in cfg.scale if OmegaConf.is_list(cfg.scale) else [cfg.scale]:
        if scale is not None:
            check_integers(1, scale=scale)
    if not OmegaConf.is_list(cfg.sets) or not cfg.sets:
        raise InputError(f"sets must be a list such as sets=[Set5,Set14], got {cfg.sets}")
    for name in cfg.sets:
        if not isinstance(name, str):
            raise InputError(f"sets must be names such as Set5, got {name}")
    if cfg.benchmark_dir is None and set(cfg.sets) != {"sample"}:
        raise InputError("benchmark_dir must be the folder that holds the sets, got null")
    if cfg.tiling == "whole" and cfg.tile is not None:
        raise InputError("tiling=whole has no tiles: leave tile out")
    if cfg.save_images and (cfg.output_dir is None or cfg.sr_dir is not None):
        raise InputError("save_images=true needs an output_dir, and a network instead of sr_dir")
    if cfg.get("protocol") is None:
        raise InputError("a protocol is needed: leave protocol=paper, or choose rgb or ntire")


def conditions(cfg: DictConfig) -> tuple[str, ...]:
    """Say what changes the numbers of a network beside the protocol, if anything."""
    told = []
    if cfg.self_ensemble:
        told.append("self-ensemble of 8")
    if cfg.precision != "32-true":
        told.append(cfg.precision)
    if cfg.fast:
        told.append("made fast")
    if cfg.tiling == "overlap":
        told.append("overlapping tiles" + (f" of {cfg.tile}" if cfg.tile else ""))
    return tuple(told)


def measure(
    cfg: DictConfig,
    network: nn.Module | None,
    sets: Sets,
    on_image: Callable[[str, str, Tensor], None] | None = None,
) -> dict[str, SetResult]:
    """Measure a network, or finished images, on opened sets.

    Args:
        cfg: The configuration at one scale.
        network: The network; None: the sets hold finished images.
        sets: By name, what `open_sets` has opened.
        on_image: Called after each image with the set, the image's name and the result.

    Returns:
        The results by set.
    """
    loaders = {name: DataLoader(images, batch_size=1) for name, images in sets.items()}
    protocols = list(instantiate(cfg.protocol).values())
    metrics = instantiate(cfg.get("metrics")) or {}
    device = pick_device(cfg.device)
    if network is None:
        return measure_sets(
            lambda batch: batch["sr"].to(device),
            loaders,
            protocols,
            metrics=metrics,
            on_image=on_image,
        )
    if cfg.fast:
        network, _ = for_inference(network.to(device), precision=_PRECISIONS[cfg.precision])
    dtype = _AUTOCAST_DTYPES.get(cfg.precision)
    itemsize = 4 if cfg.precision == "32-true" else 2

    def plan(size: tuple[int, int]) -> Plan:
        return uncut_plan(
            network,
            size,
            device,
            scale=cfg.scale,
            tiling=cfg.tiling,
            tile=cfg.tile,
            itemsize=itemsize,
        )

    plan((1, 1))  # refuses wrong options before any work
    return evaluate_network(
        network,
        loaders,
        protocols,
        scale=cfg.scale,
        metrics=metrics,
        device=device,
        autocast=lambda: torch.autocast(device.type, dtype, enabled=dtype is not None),
        plan=plan,
        ensemble=cfg.self_ensemble,
        on_image=on_image,
    )


def open_sets(cfg: DictConfig) -> Sets:
    """Open the sets of a configuration at one scale: pairs, or finished images with their GT."""
    # The first of several spellings of one name.
    names = {str(name).casefold(): str(name) for name in reversed(cfg.sets)}
    return {name: _open_set(name, cfg) for name in reversed(names.values())}


def _open_set(name: str, cfg: DictConfig) -> Dataset[Any]:
    if cfg.sr_dir is not None:
        gt_dir = (
            sample_dir("valid")
            if name == "sample"
            else require_benchmark(cfg.benchmark_dir, name, cfg.scale)[0]
        )
        return ComputedImages(
            cfg.sr_dir,
            gt_dir=gt_dir,
            name=name,
            scale=cfg.scale,
            max_megapixels=cfg.max_megapixels,
        )
    degradation = instantiate(cfg.degradation)
    if name == "sample":
        return PairedImages(gt_dir=sample_dir("valid"), scale=cfg.scale, degradation=degradation)
    return CheckedImages(
        benchmark_set(
            root=cfg.benchmark_dir,
            name=name,
            scale=cfg.scale,
            degradation=degradation,
            max_megapixels=cfg.max_megapixels,
        ),
        name=name,
    )


def uncut_plan(
    network: nn.Module,
    size: tuple[int, int],
    device: torch.device,
    *,
    scale: int,
    tiling: Tiling = "auto",
    tile: int | None = None,
    itemsize: int = 4,
) -> Plan:
    """Cut an image so that the result stays that of the whole, unless overlap is asked for.

    Args:
        network: The network.
        size: (height, width) of the LQ image.
        device: Where it is computed; its free memory decides.
        scale: Super-resolution factor.
        tiling: "whole", "exact", "overlap" or "auto".
        tile: Side of a tile in LQ pixels; None: by the memory that is free.
        itemsize: Bytes of a feature.

    Returns:
        The plan.

    Raises:
        InputError: The options do not fit each other or the network.
    """
    options: dict[str, Any] = {
        "scale": scale,
        "budget": memory_budget(device),
        "tile": tile,
        "itemsize": itemsize,
    }
    plan = plan_tiles(network, size, tiling=tiling, **options)
    if plan.method != "overlap" or tiling == "overlap":
        return plan
    return plan_tiles(
        network, size, tiling="exact" if isinstance(network, ESCBase) else "whole", **options
    )


def _save_image(cfg: DictConfig, run: str, set_name: str, image: str, sr: Tensor) -> None:
    # A set may be named by a path: what is written stays below the output folder.
    folder = Path(cfg.output_dir) / "images" / run / file_name(set_name)
    path = folder / f"{file_name(image)}.png"
    # In double precision as it is measured, so that the file has the very levels that were.
    write_image(path, sr[0].cpu().double().clamp(0, 1).mul(255).round().to(torch.uint8))


def _count(sets: Iterable[Any]) -> int:
    return sum(len(images) for images in sets)


def _slug(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", name).strip("_")


def main(arguments: Sequence[str]) -> None:
    """Run `esc-sr evaluate` with what stands behind it."""
    hydra_main("evaluate", run, positional_checkpoints(arguments))
