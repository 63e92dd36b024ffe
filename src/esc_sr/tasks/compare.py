"""`esc-sr compare`: networks side by side, published and measured, as a table and a picture."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from esc_sr.comparison.bubbles import SIZES, X_AXES, draw, left_out
from esc_sr.comparison.documents import comma_separated, latex, markdown, print_tables
from esc_sr.comparison.measured import borrow_quality, measured_comparison
from esc_sr.comparison.reading import filter_measurements, read_measurements, read_quality
from esc_sr.comparison.rows import ComparisonRow, published_comparison
from esc_sr.comparison.sections import check_sets, notes, tabulate
from esc_sr.config import hydra_main
from esc_sr.drawing import FORMATS, save_figure
from esc_sr.errors import InputError, check_integers
from esc_sr.files import write_atomically

_WIDTHS = (2.5, 20.0)


def run(cfg: DictConfig) -> list[ComparisonRow]:
    """Compare as `conf/compare.yaml` describes.

    Args:
        cfg: The composed configuration.

    Returns:
        The rows, the published ones first.

    Raises:
        InputError: Something in the configuration or the files is wrong.
    """
    check_options(cfg)
    rows = _published(cfg) + _measured(cfg)
    if not rows:
        raise InputError("nothing to compare: give bench=FILE or results=FILE, or published=all")
    sets = check_sets(rows, None if cfg.sets is None else list(cfg.sets))
    sections, told, title = tabulate(rows, sets), notes(rows, sets), f"Networks at ×{cfg.scale}"
    console = Console()
    written: list[Path] = []
    about_picture: list[str] = []
    if cfg.output_dir is not None:
        folder = Path(cfg.output_dir)
        pictures = [folder / f"comparison.{suffix}" for suffix in cfg.formats]
        if pictures:
            # First, since it refuses what has no place in it.
            axes = {"set_name": cfg.plot_set, "metric": cfg.plot_metric, "x": cfg.x}
            figure = draw(rows, **axes, size=cfg.size, width=cfg.width)
            about_picture = left_out(rows, **axes)
            for path in pictures:
                save_figure(figure, path)
        shown = next((path.name for path in pictures if path.suffix != ".pdf"), None)
        texts = {
            "md": markdown(sections, [*told, *about_picture], title=title, picture=shown),
            "tex": latex(sections, told, title=title),
            "csv": comma_separated(rows, sets),
        }
        for suffix, text in texts.items():
            write_atomically(folder / f"comparison.{suffix}", text)
        written = [*(folder / f"comparison.{suffix}" for suffix in texts), *pictures]
    print_tables(console, sections, [*told, *about_picture], title=title)
    for path in written:
        console.print(f"written: {path}", highlight=False, markup=False, soft_wrap=True)
    return rows


def check_options(cfg: DictConfig) -> None:
    """Refuse values that would fail, or do nothing, later.

    Raises:
        InputError: One is wrong.
    """
    check_integers(1, scale=cfg.scale)
    for key, choices in {"x": X_AXES, "size": SIZES}.items():
        _check_choice(key, cfg[key], choices)
    for suffix in _listed("formats", cfg.formats):
        _check_choice("formats", suffix, FORMATS)
    if not isinstance(cfg.width, int | float) or not _WIDTHS[0] <= cfg.width <= _WIDTHS[1]:
        raise InputError(
            f"width must be a number of inches from {_WIDTHS[0]:g} to {_WIDTHS[1]:g}, "
            f"got {cfg.width}"
        )
    if cfg.sets is not None:
        _listed("sets", cfg.sets)
    if not isinstance(cfg.quality_from_published, bool):
        raise InputError(
            f"quality_from_published must be true or false, got {cfg.quality_from_published}"
        )
    if cfg.filter is not None and not OmegaConf.is_dict(cfg.filter):
        raise InputError(f"filter must be like filter={{precision: fp32}}, got {cfg.filter}")
    if cfg.bench is None and cfg.filter is not None:
        raise InputError("filter chooses among the records of bench: give bench=FILE too")


def _check_choice(key: str, value: Any, choices: Collection[str]) -> None:
    if value not in choices:
        raise InputError(f"unknown {key} '{value}'; choose one of: {', '.join(choices)}")


def _listed(key: str, value: Any) -> list[str]:
    if not OmegaConf.is_list(value):
        raise InputError(f"{key} must be a list such as {key}=[a,b], got {value}")
    return [str(one) for one in value]


def _published(cfg: DictConfig) -> list[ComparisonRow]:
    if cfg.published in (None, "none"):
        return []
    if cfg.published == "all":
        return published_comparison(cfg.scale)
    return published_comparison(cfg.scale, _one_or_more(cfg.published))


def _measured(cfg: DictConfig) -> list[ComparisonRow]:
    measurements = [
        one for path in _one_or_more(cfg.bench) for one in read_measurements(Path(path))
    ]
    qualities = [one for path in _one_or_more(cfg.results) for one in read_quality(Path(path))]
    wanted: Any = None if cfg.filter is None else OmegaConf.to_container(cfg.filter)
    rows = measured_comparison(filter_measurements(measurements, wanted), qualities, cfg.scale)
    return borrow_quality(rows) if cfg.quality_from_published else rows


def _one_or_more(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(one) for one in value] if OmegaConf.is_list(value) else [str(value)]


def main(arguments: Sequence[str]) -> None:
    """Run `esc-sr compare` with what stands behind it."""
    hydra_main("compare", run, arguments)
