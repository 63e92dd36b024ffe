"""Results as tables: for the terminal and for documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table

from esc_sr.evaluation import Evaluation

_UNITS = {"psnr": "PSNR-{} (dB)", "ssim": "SSIM-{}"}
_DIGITS = {"psnr": 3}


def quality_table(evaluations: Sequence[Evaluation]) -> Table:
    """Lay out results by set, scale and network, with the protocols below.

    Args:
        evaluations: What was measured; all with the same metrics.

    Returns:
        A table with one row for each set of each evaluation.
    """
    table = Table(caption="; ".join(_protocols(evaluations)), caption_justify="left")
    for i, heading in enumerate(_headings(evaluations)):
        table.add_column(heading, justify="left" if i in (0, 2) else "right")
    previous = ""
    for row in _rows(evaluations):
        if previous and row[0] != previous:
            table.add_section()
        previous = row[0]
        table.add_row(*row)
    return table


def quality_markdown(evaluations: Sequence[Evaluation]) -> str:
    """Write the same table in Markdown."""
    headings = _headings(evaluations)
    rules = [":--" if i in (0, 2) else "--:" for i in range(len(headings))]
    lines = (f"| {' | '.join(cells)} |" for cells in [headings, rules, *_rows(evaluations)])
    protocols = "\n".join(f"- {line}" for line in _protocols(evaluations))
    return "\n".join(lines) + f"\n\n{protocols}\n"


def _metric_names(evaluations: Iterable[Evaluation]) -> list[str]:
    results = (result for evaluation in evaluations for result in evaluation.sets.values())
    return list(dict.fromkeys(name for result in results for name in result.values))


def _headings(evaluations: Sequence[Evaluation]) -> list[str]:
    names = [_heading(name) for name in _metric_names(evaluations)]
    return ["set", "scale", "network", *names, "images", "seconds"]


def _heading(name: str) -> str:
    kind, _, suffix = name.partition("_")
    return _UNITS[kind].format(suffix.upper()) if kind in _UNITS else name.upper()


def _rows(evaluations: Sequence[Evaluation]) -> list[list[str]]:
    """One row for each set of each evaluation, the sets together."""
    names = _metric_names(evaluations)
    rows = []
    set_names = dict.fromkeys(name for evaluation in evaluations for name in evaluation.sets)
    for set_name in set_names:
        for evaluation in evaluations:
            result = evaluation.sets[set_name]
            means = result.means()
            digits = (_DIGITS.get(name.partition("_")[0], 4) for name in names)
            cells = [
                f"{means[name]:.{places}f}" for name, places in zip(names, digits, strict=True)
            ]
            rows.append(
                [
                    set_name,
                    f"×{evaluation.scale}",
                    evaluation.network,
                    *cells,
                    str(len(result.images)),
                    f"{result.seconds:.1f}",
                ]
            )
    return rows


def _protocols(evaluations: Iterable[Evaluation]) -> list[str]:
    """Say once what each protocol means; with several scales, how much each crops."""
    scales: dict[str, list[int]] = {}
    for evaluation in evaluations:
        for protocol in evaluation.protocols:
            scales.setdefault(str(protocol), []).append(evaluation.scale)
    several = len({scale for found in scales.values() for scale in found}) > 1
    return [
        told
        + (f" at {', '.join(f'×{scale}' for scale in dict.fromkeys(found))}" if several else "")
        for told, found in scales.items()
    ]
