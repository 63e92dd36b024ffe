"""Costs of networks as files, each written all or nothing."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from esc_sr.files import write_atomically
from esc_sr.markup import csv_cell
from esc_sr.profiling.records import BenchRecord
from esc_sr.tasks.bench_tables import Ratio, bench_markdown


def write_records(records: Sequence[BenchRecord], output_dir: Path) -> None:
    """Write `bench.json` (everything), `bench.csv` (the same, flat) and `bench.md` (the table).

    Args:
        records: What was measured.
        output_dir: Where to; the folder is made.
    """
    _write_json(output_dir / "bench.json", [record.as_dict() for record in records])
    write_atomically(output_dir / "bench.csv", _csv(records))
    write_atomically(output_dir / "bench.md", bench_markdown(records))


def write_ratio(ratio: Ratio, output_dir: Path) -> None:
    """Write `compare.json`.

    Args:
        ratio: What was compared.
        output_dir: Where to; the folder is made.
    """
    _write_json(output_dir / "compare.json", asdict(ratio))


def _csv(records: Sequence[BenchRecord]) -> str:
    rows = [_flat(record.as_dict()) for record in records]
    table = io.StringIO()
    writer = csv.DictWriter(
        table, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n"
    )
    writer.writeheader()
    for row in rows:
        writer.writerow({key: csv_cell(cell) for key, cell in row.items()})
    return table.getvalue()


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if key == "versions":
            flat |= {f"version_{name}": version for name, version in value.items()}
        else:
            flat[key] = "x".join(map(str, value)) if isinstance(value, list) else value
    return flat


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, text + "\n")
