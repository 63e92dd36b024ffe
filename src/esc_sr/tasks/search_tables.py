"""What a search shows: its best trials as a table and a picture, all of them as CSV."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from esc_sr.drawing import rendered
from esc_sr.errors import InputError
from esc_sr.markup import csv_cell
from esc_sr.reporting.pareto import COSTS, draw_pareto
from esc_sr.reporting.reading import read_runs
from esc_sr.reporting.table import short, tabulate
from esc_sr.search.space import Value, override, overrides_of
from esc_sr.search.study import TRIALS, Search

_MOST_ROWS = 10


def short_values(values: Mapping[str, Value]) -> str:
    """Return values as a text, without what is not needed to tell their keys apart."""
    keys = list(values)
    return ", ".join(f"{short(key, keys)}={shown(value)}" for key, value in values.items())


def shown(value: Value) -> str:
    """Return a value with the digits that matter."""
    return f"{value:.4g}" if isinstance(value, float) else override("", value)[1:]


def print_best(console: Console, search: Search) -> None:
    """Print the best trials, or all that none beats, and how to train the first again."""
    best = search.best()
    several = len(search.objectives) > 1
    keys = [parameter.key for parameter in search.space]
    table = Table()
    table.add_column("trial", justify="right")
    for key in keys:
        table.add_column(Text(short(key, keys)), justify="right")
    for name in search.objectives:
        table.add_column(Text(name), justify="right")
    for trial in best if several else best[:_MOST_ROWS]:
        cells = [Text(shown(trial.params[key])) for key in keys]
        values = [Text(f"{value:.5g}") for value in trial.values]
        table.add_row(str(trial.number), *cells, *values)
    states = [trial.state.name for trial in search.trials()]
    told = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
    counts = [f"{states.count(name)} {word}" for name, word in told.items() if name in states]
    what = "Pareto set" if several else "best"
    folder = search.folder / TRIALS / str(best[0].number)
    console.print(table)
    lines = [
        f"{what} of {len(states)} trials: {', '.join(counts)}",
        f"all of them: {_relative(search.folder / 'trials.csv')}",
        f"trial {best[0].number} once more: esc-sr train --from {_relative(folder)}",
        f"its values: {' '.join(overrides_of(best[0].params))}",
        f"side by side: esc-sr report {_relative(search.folder)}",
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def comma_separated(search: Search) -> str:
    """Write every trial: its state, its objectives and values unrounded, its folder."""
    keys = [parameter.key for parameter in search.space]
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(
        ["trial", "state", *search.objectives, *keys, "step", "wall_s", "folder", "error"]
    )
    for trial in search.trials():
        values: list[Any] = list(trial.values or [])
        values += [None] * (len(search.objectives) - len(values))
        cells = [
            trial.number,
            trial.state.name.lower(),
            *values,
            *(trial.params.get(key) for key in keys),
            trial.last_step if trial.state.name == "PRUNED" else None,
            trial.user_attrs.get("seconds"),
            f"{TRIALS}/{trial.number}",
            trial.user_attrs.get("error"),
        ]
        writer.writerow([csv_cell(cell) for cell in cells])
    return content.getvalue()


def pareto_pictures(search: Search) -> dict[str, bytes]:
    """Draw quality over a cost that is an objective too, as `esc-sr report` does.

    Args:
        search: With finished trials.

    Returns:
        Files by name; empty if no objective is a cost that reports draw.
    """
    costs = {"perf/latency_ms": "latency", "perf/inference_peak_memory_mib": "memory"}
    files = {}
    for cost in (costs[name] for name in search.objectives if name in costs):
        try:
            runs, _ = read_runs([str(search.folder / TRIALS)])
        except InputError:
            return {}  # folders that somebody has moved
        table = tabulate(runs)
        assert cost in COSTS
        metric = next((n.removeprefix("val/") for n in search.objectives if n[:4] == "val/"), "")
        pairs = [pair for pair in table.qualities if pair[1] == metric]
        if not pairs:
            continue
        figure, _ = draw_pareto(table.rows, cost, set_name=pairs[0][0], metric=metric)
        if figure is not None:
            for suffix in ("svg", "png"):
                files[f"pareto_{cost}.{suffix}"] = rendered(figure, suffix)
    return files


def _relative(path: Path) -> str:
    """Shorten paths below the working directory, and quote them for a shell where need be."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
