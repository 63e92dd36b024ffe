"""`esc-sr analyze`: what the layers of a network do, in numbers and pictures."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import Progress

from esc_sr.analysis.cka import FEWEST
from esc_sr.config import compose_config, hydra_main
from esc_sr.drawing import FORMATS, save_figure
from esc_sr.errors import InputError, check_integers
from esc_sr.files import make_folder, replacing, write_atomically
from esc_sr.inference.device import pick_device
from esc_sr.profiling.conditions import device_name, versions
from esc_sr.tasks.analyses import KINDS, Outcome, Work
from esc_sr.tasks.analyze_inputs import open_images, open_subjects
from esc_sr.tasks.networks import listed_choices, positional_checkpoints

_MEASURES = ("cka", "attention")
_EXAMPLES = ("pixels", "images")
# What looks at an option: where another choice was made, it would do nothing.
_ONLY = {
    "layers": {"kind": ("similarity", "spectrum")},
    "measure": {"kind": ("similarity",)},
    "examples": {"kind": ("similarity",), "measure": ("cka",)},
    "estimator": {"kind": ("similarity",), "measure": ("cka",)},
    "num_pixels": {"kind": ("similarity",), "examples": ("pixels",)},
    "window": {"kind": ("lam",)},
    "steps": {"kind": ("lam",)},
    "sigma": {"kind": ("lam",)},
    "shares": {"kind": ("erf",)},
}


def run(cfg: DictConfig) -> Outcome:
    """Analyze as `conf/analyze.yaml` describes.

    Args:
        cfg: The composed configuration.

    Returns:
        What was found.

    Raises:
        InputError: Something in the configuration, a checkpoint or the images is wrong.
    """
    check_options(cfg)
    device = pick_device(cfg.device)
    subjects = open_subjects(cfg, device)
    images = open_images(cfg, subjects[0].scale, device)
    if cfg.output_dir is not None:
        make_folder(cfg.output_dir)
    console = Console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(str(cfg.kind), total=None)
        outcome = KINDS[cfg.kind](
            Work(
                cfg,
                subjects,
                images,
                start=lambda total: progress.update(task, total=total),
                advance=lambda: progress.update(task, advance=1),
            )
        )
    fresh = [subject.name for subject in subjects if not subject.trained]
    if fresh:
        outcome.notes.insert(0, f"not trained, with fresh weights: {', '.join(fresh)}")
    outcome.numbers = {
        "kind": cfg.kind,
        "networks": [subject.as_dict() for subject in subjects],
        "images": images.names,
        "crop": cfg.crop,
        "seed": cfg.seed,
        "device": device_name(device),
        "versions": versions(),
        **outcome.numbers,
    }
    console.print(outcome.table)
    of_images = f"{len(images.names)} images, {cfg.crop}×{cfg.crop} LQ pixels, ×{subjects[0].scale}"
    for note in (of_images, *outcome.notes):
        console.print(note, highlight=False, markup=False, style="dim")
    if cfg.output_dir is not None:
        for path in write(outcome, cfg.kind, Path(cfg.output_dir), list(cfg.formats)):
            console.print(f"written: {path}", highlight=False, markup=False, soft_wrap=True)
    return outcome


def write(outcome: Outcome, kind: str, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write `KIND.json`, `KIND.npz` and the pictures, each all or nothing.

    Args:
        outcome: What was found.
        kind: The kind of analysis.
        folder: Where to; it is made.
        formats: Of the pictures; keys of `drawing.FORMATS`.

    Returns:
        The files.
    """
    text = json.dumps(
        {**outcome.numbers, "notes": outcome.notes}, indent=2, ensure_ascii=False, allow_nan=False
    )
    # Drawn before anything is written, so that what fails here leaves nothing.
    figures = {stem: draw() for stem, draw in outcome.pictures.items()} if formats else {}
    written = []
    for stem, figure in figures.items():
        for suffix in formats:
            written.append(folder / f"{stem}.{suffix}")
            save_figure(figure, written[-1])
    arrays, numbers = folder / f"{kind}.npz", folder / f"{kind}.json"
    with replacing(arrays) as temporary:
        np.savez_compressed(temporary, **outcome.arrays)
    write_atomically(numbers, text + "\n")
    return [numbers, arrays, *written]


def check_options(cfg: DictConfig) -> None:
    """Refuse values that would fail, or do nothing, later.

    Raises:
        InputError: One is wrong.
    """
    choices: dict[str, Collection[str]] = {
        "kind": KINDS,
        "measure": _MEASURES,
        "estimator": FEWEST,
        "examples": _EXAMPLES,
    }
    for key, allowed in choices.items():
        if cfg[key] not in allowed:
            raise InputError(f"unknown {key} '{cfg[key]}'; choose one of: {', '.join(allowed)}")
    defaults = compose_config("analyze")
    for key, users in _ONLY.items():
        for other, values in users.items():
            if cfg[key] != defaults[key] and cfg[other] not in values:
                raise InputError(
                    f"{key}={cfg[key]} is for {other}={' or '.join(values)}, not for "
                    f"{other}={cfg[other]}: leave it out"
                )
    check_integers(1, crop=cfg.crop, num_pixels=cfg.num_pixels, steps=cfg.steps)
    check_integers(0, seed=cfg.seed)
    for key in ("scale", "num_images", "batch_size"):
        if cfg[key] is not None:
            check_integers(1, **{key: cfg[key]})
    _check_list(cfg, "layers", "[blocks.*.attn]", str)
    _check_list(cfg, "shares", "[0.5,0.9]", float, int)
    _check_list(cfg, "formats", "[png,svg]", str, empty=True)
    _check_list(cfg, "window", "[20,30,16] (top, left, side)", int)
    if cfg.window is not None and len(cfg.window) != 3:
        raise InputError(f"window must be [top,left,side] in LQ pixels, got {cfg.window}")
    for share in cfg.shares:
        if not 0 < share <= 1:
            raise InputError(f"shares must be above 0 and at most 1, got {share}")
    for suffix in cfg.formats:
        if suffix not in FORMATS:
            raise InputError(f"unknown formats '{suffix}'; choose one of: {', '.join(FORMATS)}")
    number = isinstance(cfg.sigma, int | float) and not isinstance(cfg.sigma, bool)
    if not (number and 0 < cfg.sigma <= cfg.crop):
        raise InputError(f"sigma must be a number above 0 and at most crop, got {cfg.sigma}")
    if cfg.seed >= 2**63:
        raise InputError(f"seed must be below 2**63, got {cfg.seed}")
    if not isinstance(cfg.images, str | None):
        raise InputError(f"images must be a folder, got {cfg.images}; write ./3 for a number")


def _check_list(
    cfg: DictConfig, key: str, example: str, *types: type[Any], empty: bool = False
) -> None:
    if cfg[key] is None and key in ("layers", "window"):
        return
    value: Any = cfg[key]
    listed: list[Any] | None = list(value) if OmegaConf.is_list(value) else None
    right = listed is not None and all(
        isinstance(one, types) and not isinstance(one, bool) for one in listed
    )
    if not right or not (listed or empty):
        raise InputError(f"{key} must be a list such as {key}={example}, got {value}")


def translated(arguments: Sequence[str]) -> list[str]:
    """Turn paths into `checkpoint=…`, and a list of models into a key of its own.

    Args:
        arguments: What stands behind the command's name.

    Returns:
        The arguments for Hydra.

    Example:
        >>> translated(["a.pth", "kind=erf"])
        ["checkpoint='a.pth'", 'kind=erf']
        >>> translated(["model=[esc,rcan]"])
        ['models=[esc,rcan]']
    """
    return listed_choices(positional_checkpoints(arguments), "model")


def main(arguments: Sequence[str]) -> None:
    """Run `esc-sr analyze` with what stands behind it."""
    hydra_main("analyze", run, translated(arguments))
