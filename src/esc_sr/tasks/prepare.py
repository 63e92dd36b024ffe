"""`esc-sr prepare`: cut a data set into sub-images."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from esc_sr.config import hydra_main
from esc_sr.data.subimages import CutRecipe, PrepareResult, cut_subimages
from esc_sr.errors import InputError


def run(cfg: DictConfig) -> PrepareResult:
    """Prepare as `conf/prepare.yaml` describes; what exists already is kept.

    Args:
        cfg: The composed configuration.

    Returns:
        A summary of what was cut.

    Raises:
        InputError: Something in the configuration or the images is wrong.
    """
    console = Console()
    if not OmegaConf.is_list(cfg.scales):
        raise InputError(f"scales must be a list such as scales=[2,4], got {cfg.scales}")
    if not OmegaConf.is_list(cfg.shrink):
        raise InputError(f"shrink must be a list such as shrink=[1,2], got {cfg.shrink}")
    recipe = CutRecipe(
        scales=tuple(cfg.scales),
        window_size=cfg.window_size,
        step=cfg.step,
        threshold=cfg.threshold,
        shrink=tuple(cfg.shrink),
        min_error=cfg.min_error,
    )
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("cutting images")
        result = cut_subimages(
            gt_dir=cfg.gt_dir,
            gt_out=cfg.gt_out,
            lq_dir=cfg.lq_dir,
            lq_out=cfg.lq_out,
            recipe=recipe,
            lmdb=cfg.lmdb,
            num_workers=cfg.num_workers,
            max_megapixels=cfg.max_megapixels,
            hint=cfg.hint,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    console.print(
        f"{result.images} images, {result.subimages} sub-images in {cfg.gt_out}"
        f"{'.lmdb' if cfg.lmdb else ''}"
        f"{f', {result.left_out} left out' if recipe.min_error else ''}; "
        f"wrote {result.written} files, {result.megabytes:.1f} MB, in {result.seconds:.1f} s",
        highlight=False,
        soft_wrap=True,
    )
    return result


def main(arguments: Sequence[str]) -> None:
    """Run `esc-sr prepare` with what stands behind it."""
    hydra_main("prepare", run, arguments)
