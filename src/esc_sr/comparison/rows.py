"""What is compared, and the rows that papers printed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Literal

from esc_sr.errors import InputError
from esc_sr.published.table import PublishedRow, published_rows

Origin = Literal["published", "measured"]
Sets = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class ComparisonRow:
    """One network at one scale: its quality and its costs, each with where it comes from.

    Attributes:
        network: How it is labelled, e.g. "ESC-lt", "esc_lt (eager, bf16)".
        name: Its name in snake case without scale, by which rows are joined, e.g. "esc_lt".
        kind: "interpolation", "cnn", "transformer", "ssm", "esc" or "other".
        scale: Super-resolution factor.
        origin: Whether the row, and so its costs, was published or measured here.
        where: The paper, or the hardware, versions and settings.
        hardware: On what the costs were measured, in a few words.
        sets: Quality by set and metric; what is not available is missing.
        quality_origin: Where the quality comes from; None if there is none.
        protocols: How measured quality was measured.
        latency_ms: Time of one pass, in ms.
        memory: Peak memory, in `memory_unit`.
        memory_unit: "MB" as printed, "MiB" as measured.
        macs_g: Multiply-adds in 10⁹.
        params_k: Parameters in thousands.
        standard_size: Whether the costs are those of one 1280×720 output, as in print.
        doubtful: What is taken for a misprint, as "<set>/<metric>".
        error: Why the costs could not be measured; None if they could.
    """

    network: str
    name: str
    kind: str
    scale: int
    origin: Origin
    where: str
    hardware: str
    sets: Sets = field(default_factory=dict)
    quality_origin: Origin | None = None
    protocols: tuple[str, ...] = ()
    latency_ms: float | None = None
    memory: float | None = None
    memory_unit: Literal["MB", "MiB"]
    macs_g: float | None = None
    params_k: float | None = None
    standard_size: bool = True
    doubtful: frozenset[str] = frozenset()
    error: str | None = None

    @property
    def borrowed(self) -> bool:
        """Whether the quality is another origin's than the costs."""
        return self.quality_origin not in (None, self.origin)

    def quality(self, set_name: str, metric: str) -> float | None:
        """Return one mean over a set, None if it is not available."""
        return self.sets.get(set_name, {}).get(metric)


def snake(name: str, scale: int) -> str:
    """Return the form in which names are compared.

    Args:
        name: A network as printed, or a file of weights.
        scale: Dropped from the end.

    Returns:
        Lower snake case without folder, extension and scale, "light" being "lt" as printed.

    Example:
        >>> snake("ESC-lt", 4), snake("weights/ESC_lt_X4.pth", 4), snake("swinir_light", 4)
        ('esc_lt', 'esc_lt', 'swinir_lt')
    """
    path = PurePath(name)
    stem = path.stem if path.suffix in (".pth", ".ckpt", ".safetensors") else path.name
    name = stem.lower().replace("-", "_")
    name = name.removesuffix(f"x{scale}").rstrip("_") or name
    return name.removesuffix("_light") + "_lt" if name.endswith("_light") else name


def published_comparison(scale: int, networks: Sequence[str] | None = None) -> list[ComparisonRow]:
    """Return what was published at one scale, in the order printed.

    Args:
        scale: Super-resolution factor.
        networks: Those wanted, as printed or in snake case; None: all.

    Returns:
        The rows.

    Raises:
        InputError: Nothing was published at this scale, or not of such a network.
    """
    by_name = published_by_name(scale)
    if not by_name:
        scales = sorted({row.scale for row in published_rows()})
        raise InputError(
            f"nothing is published at ×{scale}, only at {', '.join(f'×{s}' for s in scales)}; "
            "choose one of them, or published=none"
        )
    wanted = set(by_name) if networks is None else {snake(name, scale) for name in networks}
    for name in networks or ():
        if snake(name, scale) not in by_name:
            close = difflib.get_close_matches(snake(name, scale), by_name, n=1)
            hint = f"; did you mean {close[0]}?" if close else ";"
            raise InputError(f"no published network '{name}'{hint} there are {', '.join(by_name)}")
    return [_from_published(name, row) for name, row in by_name.items() if name in wanted]


def published_by_name(scale: int) -> dict[str, PublishedRow]:
    """Return the published rows of one scale by the name that joins rows."""
    return {snake(row.network, scale): row for row in published_rows() if row.scale == scale}


def published_quality(row: PublishedRow) -> dict[str, dict[str, float]]:
    """Return the quality of a published row by set and metric."""
    return {
        name: {"psnr_y": quality.psnr_y, "ssim_y": quality.ssim_y}
        for name, quality in row.sets.items()
    }


def _from_published(name: str, row: PublishedRow) -> ComparisonRow:
    return ComparisonRow(
        network=row.network,
        name=name,
        kind=row.kind,
        scale=row.scale,
        origin="published",
        where=row.source,
        hardware="the authors' GPU",
        sets=published_quality(row),
        quality_origin="published",
        latency_ms=row.latency_ms,
        memory=row.memory_mb,
        memory_unit="MB",
        macs_g=row.gflops,
        params_k=row.params_k,
        doubtful=row.doubtful,
    )
