"""Published quality and cost of networks trained on DIV2K, from the packaged table."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from esc_sr.errors import InputError

SETS = ("Set5", "Set14", "B100", "Urban100", "Manga109")


@dataclass(frozen=True)
class Quality:
    """Mean quality over a set by the papers' protocol: Y channel, `scale` pixels cropped.

    Attributes:
        psnr_y: In dB, two decimals.
        ssim_y: Four decimals.
    """

    psnr_y: float
    ssim_y: float


@dataclass(frozen=True)
class PublishedRow:
    """What was printed of one network at one scale; costs are None where nothing was printed.

    Attributes:
        network: Its name as printed, e.g. "ESC-lt".
        kind: "interpolation", "cnn", "transformer", "ssm" or "esc".
        scale: Super-resolution factor.
        sets: Quality by set; a set that was not printed is missing.
        latency_ms: Time of one image on the paper's GPU, in ms.
        memory_mb: Peak memory on the paper's GPU, in MB.
        gflops: Multiply-adds in 10⁹.
        params_k: Parameters in thousands.
        doubtful: What is taken for a misprint, as "<set>/psnr_y" or "<set>/ssim_y".
        source: Where it was printed.

    Costs are those of an output of 1280×720.
    """

    network: str
    kind: str
    scale: int
    sets: Mapping[str, Quality]
    latency_ms: float | None
    memory_mb: float | None
    gflops: float | None
    params_k: float | None
    doubtful: frozenset[str]
    source: str

    @property
    def name(self) -> str:
        """Name for `published_row`: the network in snake case and the scale, e.g. esc_lt_x4."""
        return f"{self.network.lower().replace('-', '_')}_x{self.scale}"


@cache
def published_rows() -> tuple[PublishedRow, ...]:
    """Return every row, by scale and then in the order printed, bicubic first.

    Source: Lee et al., ICCV 2025 (arXiv 2503.06671), Table 2, networks trained on DIV2K; each row
    names its own.
    """
    text = (resources.files("esc_sr.published") / "esc_table2.csv").read_text(encoding="utf-8")
    return tuple(_parse(line) for line in csv.DictReader(text.splitlines()))


def published_row(name: str) -> PublishedRow:
    """Return one row by its name.

    Args:
        name: Network in lower snake case and scale: "esc_x4", "esc_lt_x2", "bicubic_x3".

    Returns:
        The row.

    Raises:
        InputError: There is none of that name.
    """
    rows = {row.name: row for row in published_rows()}
    if name in rows:
        return rows[name]
    close = difflib.get_close_matches(str(name).lower().replace("-", "_"), rows, n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ";"
    networks = dict.fromkeys(row_name.rpartition("_x")[0] for row_name in rows)
    scales = sorted({row.scale for row in rows.values()})
    raise InputError(
        f"no published row '{name}'{hint} rows are <network>_x<scale> with scale "
        f"{', '.join(map(str, scales))} and network {', '.join(networks)}"
    )


def _parse(line: dict[str, str]) -> PublishedRow:
    def number(column: str) -> float | None:
        return float(line[column]) if line[column] else None

    sets: dict[str, Quality] = {}
    for name in SETS:
        psnr_y, ssim_y = number(f"{name}/psnr_y"), number(f"{name}/ssim_y")
        if psnr_y is not None and ssim_y is not None:
            sets[name] = Quality(psnr_y, ssim_y)
    return PublishedRow(
        network=line["network"],
        kind=line["kind"],
        scale=int(line["scale"]),
        sets=sets,
        latency_ms=number("latency_ms"),
        memory_mb=number("memory_mb"),
        gflops=number("gflops"),
        params_k=number("params_k"),
        doubtful=frozenset(line["doubtful"].split()),
        source=line["source"],
    )
