"""Results as files."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from esc_sr.evaluation import Evaluation
from esc_sr.files import write_atomically
from esc_sr.markup import csv_cell
from esc_sr.tasks.tables import quality_markdown


def write_results(evaluations: Sequence[Evaluation], output_dir: Path) -> None:
    """Write what was measured, each file all or nothing.

    `results.json` holds means by set, below the network's name and scale if there are several;
    `results.csv` every image; `results.md` the table.

    Args:
        evaluations: What was measured.
        output_dir: An existing folder.
    """
    by_run = {f"{run.network} x{run.scale}": _means(run) for run in evaluations}
    content = next(iter(by_run.values())) if len(by_run) == 1 else by_run
    write_atomically(
        output_dir / "results.json",
        json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    )
    write_atomically(output_dir / "results.csv", _csv(evaluations))
    write_atomically(output_dir / "results.md", quality_markdown(evaluations))


def _means(run: Evaluation) -> dict[str, dict[str, Any]]:
    return {
        name: {
            # JSON has no infinity, which identical images have.
            **{
                key: value if math.isfinite(value) else str(value)
                for key, value in result.means().items()
            },
            "images": len(result.images),
            "seconds": round(result.seconds, 3),
            "network": run.network,
            "scale": run.scale,
            "protocol": [str(protocol) for protocol in run.protocols],
            "conditions": list(run.conditions),
            "weights": run.weights,
        }
        for name, result in run.sets.items()
    }


def _csv(evaluations: Sequence[Evaluation]) -> str:
    names = [name for result in evaluations[0].sets.values() for name in result.values]
    names = list(dict.fromkeys(names))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["network", "scale", "protocol", "conditions", "set", "image", *names])
    for run in evaluations:
        how = ["+".join(p.name for p in run.protocols), ", ".join(run.conditions)]
        for set_name, result in run.sets.items():
            columns = (result.values[name] for name in names)
            for image, *values in zip(result.images, *columns, strict=True):
                cells = [run.network, run.scale, *how, set_name, image, *values]
                writer.writerow([csv_cell(cell) for cell in cells])
    return table.getvalue()
