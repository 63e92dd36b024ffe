"""`esc-sr report`: runs side by side, as tables, a page and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from esc_sr.config import hydra_main
from esc_sr.drawing import rendered
from esc_sr.errors import InputError, check_flags, check_integers
from esc_sr.files import make_folder, replacing
from esc_sr.reporting.crops import comparisons
from esc_sr.reporting.curves import curve_keys, curve_name, draw_curves
from esc_sr.reporting.documents import comma_separated, latex, markdown, print_layouts
from esc_sr.reporting.layout import absences, difference_table, main_table, metric_name, notes
from esc_sr.reporting.page import Picture, page
from esc_sr.reporting.pareto import COSTS, draw_pareto
from esc_sr.reporting.reading import LeftOut, read_runs
from esc_sr.reporting.table import GROUPS, Table, tabulate
from esc_sr.tasks.networks import positional_paths

_FEWEST_RESAMPLES = 100


def run(cfg: DictConfig) -> Table:
    """Report as `conf/report.yaml` describes.

    Args:
        cfg: The composed configuration.

    Returns:
        What the documents show.

    Raises:
        InputError: Something in the configuration is wrong, or there is no run to tell of.
    """
    check_options(cfg)
    runs, left_out = read_runs([str(place) for place in cfg.runs], unfinished=cfg.unfinished)
    table = tabulate(
        runs,
        group=cfg.group,
        wanted=_plain(cfg.filter),
        sort=None if cfg.sort is None else str(cfg.sort),
        baseline=_plain(cfg.baseline),
        resamples=cfg.resamples,
        seed=cfg.seed,
    )
    files: dict[str, bytes] = {}
    told = notes(table)
    if cfg.output_dir is not None:
        files, about = _documents(cfg, table, left_out, told)
        told = [*told, *about]
        folder = make_folder(cfg.output_dir)
        for name, content in files.items():
            with replacing(folder / name) as temporary:
                temporary.write_bytes(content)
    console = Console()
    layouts = [one for one in (main_table(table), difference_table(table)) if one is not None]
    print_layouts(console, layouts, [*told, *absences(left_out)])
    for name in files:
        told_path = Path(str(cfg.output_dir)) / name
        console.print(f"written: {told_path}", highlight=False, markup=False, soft_wrap=True)
    return table


def check_options(cfg: DictConfig) -> None:
    """Refuse values that would fail, or do nothing, later.

    Raises:
        InputError: One is wrong.
    """
    if not OmegaConf.is_list(cfg.runs):
        raise InputError(f"runs must be a list of folders such as runs=[a,b], got {cfg.runs}")
    if cfg.group not in GROUPS:
        raise InputError(f"unknown group '{cfg.group}'; choose one of: {', '.join(GROUPS)}")
    check_flags(unfinished=cfg.unfinished)
    check_integers(0, images=cfg.images, seed=cfg.seed)
    check_integers(_FEWEST_RESAMPLES, resamples=cfg.resamples)
    if cfg.filter is not None and not OmegaConf.is_dict(cfg.filter):
        raise InputError(f"filter must be like filter={{attention: eager}}, got {cfg.filter}")
    if OmegaConf.is_list(cfg.baseline):
        raise InputError(f"baseline is one run or a filter, got {cfg.baseline}")


def _documents(
    cfg: DictConfig, table: Table, left_out: Sequence[LeftOut], told: Sequence[str]
) -> tuple[dict[str, bytes], list[str]]:
    """Make every file before the first is written; and say what the pictures lack."""
    title = str(cfg.title)
    main, differences = main_table(table), difference_table(table)
    layouts = [main] if differences is None else [main, differences]
    files: dict[str, bytes] = {}
    pareto, about = [], []
    set_name, metric = _plotted(cfg, table)
    for cost in COSTS if metric else ():
        axes = {"set_name": set_name, "metric": metric}
        figure, absent = draw_pareto(table.rows, cost, **axes)
        if figure is None:
            about.append(f"No picture of {cost}: no run has it and {metric_name(metric)}.")
            continue
        if absent:
            about.append(f"Not in the picture of {cost}: {'; '.join(absent)}.")
        for suffix in ("svg", "png"):
            files[f"pareto_{cost}.{suffix}"] = rendered(figure, suffix)
        caption = f"{metric_name(metric)} on {set_name} over {cost}; filled: none beats it in both"
        pareto.append(Picture(caption, files[f"pareto_{cost}.svg"]))
    curves = [
        Picture(curve_name(key), rendered(figure, "svg"))
        for key in curve_keys(table.rows)
        if (figure := draw_curves(table.rows, key)) is not None
    ]
    told = [*told, *about]
    pictures = [name for name in files if name.endswith(".svg")]
    texts = {
        "report.html": page(
            title=title,
            rows=table.rows,
            main=main,
            differences=differences,
            told=told,
            left_out=left_out,
            pareto=pareto,
            curves=curves,
            crops=comparisons(table.rows, images=cfg.images),
        ),
        "report.md": markdown(
            layouts, [*told, *absences(left_out)], title=title, pictures=pictures
        ),
        "report.csv": comma_separated(table),
        "report.tex": latex(layouts, told, title=title),
    }
    # A name of a file may hold bytes that are no text.
    encoded = {name: text.encode("utf-8", "replace") for name, text in texts.items()}
    return encoded | files, about


def _plotted(cfg: DictConfig, table: Table) -> tuple[str, str]:
    """Return the set and the metric of the pictures; empty where nothing was measured."""
    there = [pair for pair in table.qualities if cfg.metric in (None, pair[1])]
    there = [pair for pair in there if cfg.set in (None, pair[0])]
    if there:
        return there[0]
    if (cfg.set is None and cfg.metric == "psnr_y") or not table.qualities:
        return table.qualities[0] if table.qualities else ("", "")
    known = ", ".join(f"{set_name}/{metric}" for set_name, metric in table.qualities)
    raise InputError(f"no run has metric={cfg.metric} on set={cfg.set}; there are {known}")


def _plain(value: Any) -> Any:
    if OmegaConf.is_config(value):
        plain: Any = OmegaConf.to_container(value)
        return {str(key): inner for key, inner in plain.items()}  # `check_options`: no list
    return None if value is None else str(value)


def main(arguments: Sequence[str]) -> None:
    """Run `esc-sr report` with what stands behind it."""
    hydra_main("report", run, positional_runs(arguments))


def positional_runs(arguments: Sequence[str]) -> list[str]:
    """Turn folders on a command line into Hydra's `runs=[...]`.

    Args:
        arguments: What stands behind the command's name. A folder may have "=" in its name.
    """
    return positional_paths(arguments, "runs", always_a_list=True)
