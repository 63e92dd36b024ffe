"""`esc-sr evaluate`: PSNR and SSIM of a checkpoint or of bicubic on benchmark sets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import Progress
from torch import nn
from torch.utils.data import DataLoader

from esc_sr.config import hydra_main, instantiate
from esc_sr.data.benchmarks import benchmark_set
from esc_sr.data.pairs import PairedImages
from esc_sr.data.sample import sample_dir
from esc_sr.errors import InputError, check_integers
from esc_sr.evaluation import SetResult, evaluate_network
from esc_sr.files import write_atomically
from esc_sr.inference.device import pick_device
from esc_sr.models.checkpoints import load_model
from esc_sr.tasks.tables import quality_table

_AUTOCAST_DTYPES = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def run(cfg: DictConfig) -> dict[str, SetResult]:
    """Evaluate as `conf/evaluate.yaml` describes.

    Args:
        cfg: The composed configuration.

    Returns:
        The results by set.

    Raises:
        InputError: Something in the configuration, the checkpoint or the data is wrong.
    """
    if cfg.precision not in _AUTOCAST_DTYPES:
        raise InputError(
            f"unknown precision '{cfg.precision}'; choose one of: {', '.join(_AUTOCAST_DTYPES)}"
        )
    check_integers(1, scale=cfg.scale)
    if not OmegaConf.is_list(cfg.sets) or not cfg.sets:
        raise InputError(f"sets must be a list such as sets=[Set5,Set14], got {cfg.sets}")
    if cfg.output_dir is not None:
        Path(cfg.output_dir).mkdir(parents=True, exist_ok=True)  # fails before the work is done
    network = build_network(cfg)
    device = pick_device(cfg.device)
    sets = {name: open_set(name, cfg) for name in cfg.sets}
    dtype = _AUTOCAST_DTYPES[cfg.precision]
    console = Console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=sum(len(images) for images in sets.values()))
        results = evaluate_network(
            network,
            {name: DataLoader(images, batch_size=1) for name, images in sets.items()},
            instantiate(cfg.metrics),
            device=device,
            autocast=lambda: torch.autocast(device.type, dtype, enabled=dtype is not None),
            on_image=lambda set_name, image: progress.update(
                task, advance=1, description=f"{set_name} {image}"
            ),
        )
    name = Path(cfg.checkpoint).name if cfg.checkpoint else type(network).__name__.lower()
    console.print(quality_table({name: results}))
    if cfg.output_dir is not None:
        write_results(results, Path(cfg.output_dir))
    return results


def build_network(cfg: DictConfig) -> nn.Module:
    """Load the checkpoint, or build the model chosen instead.

    Raises:
        InputError: Neither or both were given, or the checkpoint's scale is another.
    """
    # The attention group writes into the model's node, so that may hold nothing else.
    chosen = cfg.get("model") or {}
    if (cfg.checkpoint is None) != ("_target_" in chosen):
        raise InputError("give what to evaluate: either checkpoint=PATH or model=bicubic")
    if cfg.checkpoint is None:
        return instantiate(chosen)
    attention = None
    if "attention" in chosen:
        attention = instantiate(chosen["attention"]) or "conv_attn"
    network = load_model(cfg.checkpoint, attention=attention)
    if network.scale != cfg.scale:
        raise InputError(
            f"{cfg.checkpoint} enlarges ×{network.scale}, scale={cfg.scale} was asked for; "
            f"set scale={network.scale}"
        )
    return network


def open_set(name: str, cfg: DictConfig) -> PairedImages:
    """Open a benchmark set, or the packaged crops as "sample"."""
    degradation = instantiate(cfg.degradation)
    if name == "sample":
        return PairedImages(gt_dir=sample_dir("valid"), scale=cfg.scale, degradation=degradation)
    return benchmark_set(
        root=cfg.benchmark_dir, name=name, scale=cfg.scale, degradation=degradation
    )


def write_results(results: dict[str, SetResult], output_dir: Path) -> None:
    """Write `results.json` (means by set) and `results.csv` (every image), each all or nothing."""
    means = {
        name: {**result.means(), "images": len(result.images)} for name, result in results.items()
    }
    write_atomically(output_dir / "results.json", json.dumps(means, indent=2) + "\n")
    metric_names = list(next(iter(results.values())).values) if results else []
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["set", "image", *metric_names])
    for set_name, result in results.items():
        columns = [result.values[name] for name in metric_names]
        for image, *values in zip(result.images, *columns, strict=True):
            writer.writerow([set_name, image, *values])
    write_atomically(output_dir / "results.csv", table.getvalue())


def main(arguments: Sequence[str]) -> None:
    """Run `esc-sr evaluate` with what stands behind it."""
    hydra_main("evaluate", run, arguments)
