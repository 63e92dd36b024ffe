"""`esc-sr verify`: does a checkpoint reach the numbers that were published for it?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from esc_sr.config import hydra_main
from esc_sr.data.benchmarks import benchmark_folders
from esc_sr.errors import InputError
from esc_sr.models.checkpoints import load_model
from esc_sr.published.table import PublishedRow, published_row
from esc_sr.tasks import evaluate
from esc_sr.tasks.networks import names_a_network, positional_checkpoints

Verdict = Literal["ok", "differs", "doubtful", "not measured"]
_STYLES = {"ok": "green", "differs": "red"}


@dataclass(frozen=True)
class Comparison:
    """One number of one set.

    Attributes:
        set_name: The set.
        metric: "psnr_y" or "ssim_y".
        published: As printed.
        measured: Mean over the images; None if the set was not measured.
        verdict: "ok" within the tolerance, else "differs"; "doubtful" for what is taken for a
            misprint, which decides nothing.
    """

    set_name: str
    metric: str
    published: float
    measured: float | None
    verdict: Verdict


def run(cfg: DictConfig) -> list[Comparison]:
    """Measure as `conf/verify.yaml` describes and compare with the published row.

    Args:
        cfg: The composed configuration.

    Returns:
        Every published number, compared.

    Raises:
        InputError: There is no such row, its scale is another, or nothing can be measured.
    """
    row = published_row(cfg.table)
    tolerances = {"psnr_y": cfg.tolerance_psnr, "ssim_y": cfg.tolerance_ssim}
    for name, tolerance in tolerances.items():
        number = isinstance(tolerance, int | float) and not isinstance(tolerance, bool)
        if not (number and tolerance >= 0):
            raise InputError(f"the tolerance of {name} must be 0 or more, got {tolerance}")
    if cfg.get("protocol") is None or "paper" not in cfg.protocol:
        raise InputError("published numbers are those of protocol=paper: leave it among protocols")
    (evaluation,) = evaluate.run(_completed(cfg, row))
    measured = {name: result.means() for name, result in evaluation.sets.items()}
    compared = [
        compare(row, name, metric, measured.get(name, {}).get(metric), tolerance)
        for name in row.sets
        for metric, tolerance in tolerances.items()
    ]
    console = Console()
    console.print(_table(row, compared))
    differing = sum(one.verdict == "differs" for one in compared)
    sets = f"{len(measured)} of {len(row.sets)} sets measured"
    outcome = f"{differing} numbers differ" if differing else "all within the tolerance"
    console.print(f"{sets}, {outcome} ({cfg.tolerance_psnr:g} dB, {cfg.tolerance_ssim:g})")
    return compared


def compare(
    row: PublishedRow, set_name: str, metric: str, measured: float | None, tolerance: float
) -> Comparison:
    """Compare one number with what was printed.

    Args:
        row: The published row.
        set_name: A set of it.
        metric: "psnr_y" or "ssim_y".
        measured: Mean over the images; None if the set was not measured.
        tolerance: Largest difference that passes.

    Returns:
        Both numbers and the verdict.
    """
    published = getattr(row.sets[set_name], metric)
    verdict: Verdict = "not measured"
    if measured is not None:
        # The last digit of what floats print must not decide.
        verdict = "ok" if abs(measured - published) <= tolerance + 1e-9 else "differs"
        if verdict == "differs" and f"{set_name}/{metric}" in row.doubtful:
            verdict = "doubtful"
    return Comparison(set_name, metric, published, measured, verdict)


def _completed(cfg: DictConfig, row: PublishedRow) -> DictConfig:
    """Fill in the scale and the sets that the row means."""
    if OmegaConf.is_list(cfg.checkpoint):
        raise InputError("verify compares one checkpoint with one row: give a single one")
    if cfg.scale not in (None, row.scale):
        raise InputError(f"{cfg.table} is a row of ×{row.scale}, scale={cfg.scale} was asked for")
    of_esc = not names_a_network(cfg.get("model") or OmegaConf.create({}))
    if of_esc and cfg.checkpoint is None and cfg.sr_dir is None:
        raise InputError(
            "give one thing to verify: checkpoint=PATH, model=bicubic or sr_dir=FOLDER"
        )
    if of_esc and cfg.checkpoint is not None:
        scale = load_model(cfg.checkpoint).scale
        if scale != row.scale:
            raise InputError(
                f"{cfg.checkpoint} enlarges ×{scale}, {cfg.table} is a row of ×{row.scale}: "
                f"choose one of ×{scale}"
            )
    completed = cfg.copy()
    OmegaConf.set_readonly(completed, False)
    completed.scale = row.scale
    if cfg.sets is None:
        completed.sets = [
            name
            for name in row.sets
            if benchmark_folders(cfg.benchmark_dir, name, row.scale) is not None
        ]
        if not completed.sets:
            raise InputError(
                f"none of {', '.join(row.sets)} is in {cfg.benchmark_dir}; "
                "put one there or set benchmark_dir"
            )
    strange = [name for name in completed.sets if name not in row.sets]
    if strange:
        raise InputError(
            f"{cfg.table} has no published numbers for {', '.join(strange)}; "
            f"choose among: {', '.join(row.sets)}"
        )
    return completed


def _table(row: PublishedRow, compared: Sequence[Comparison]) -> Table:
    table = Table(
        "set", "metric", title=f"{row.network} ×{row.scale}", caption=f"published: {row.source}"
    )
    for heading in ("published", "measured", "difference"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for one in compared:
        digits = 3 if one.metric == "psnr_y" else 4
        cells = ["–", "–"]
        if one.measured is not None:
            difference = one.measured - one.published
            cells = [f"{one.measured:.{digits}f}", f"{difference:+.{digits}f}"]
        published = f"{one.published:.{2 if digits == 3 else 4}f}"
        style = _STYLES.get(one.verdict)
        table.add_row(one.set_name, one.metric, published, *cells, one.verdict, style=style)
    return table


def main(arguments: Sequence[str]) -> None:
    """Run `esc-sr verify` with what stands behind it."""
    failed = False

    def task(cfg: DictConfig) -> None:
        nonlocal failed
        failed |= any(one.verdict == "differs" for one in run(cfg))

    hydra_main("verify", task, positional_checkpoints(arguments))
    if failed:
        sys.exit(1)
