"""Rows of what was measured here: costs and quality of the same network, joined."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from esc_sr.comparison.reading import MeasuredQuality
from esc_sr.comparison.rows import (
    ComparisonRow,
    Sets,
    published_by_name,
    published_quality,
    snake,
)
from esc_sr.errors import InputError
from esc_sr.profiling.records import BenchRecord
from esc_sr.published.table import SETS

_NOT_COMPILED = "not compiled"
_Setting = Callable[[BenchRecord], str | None]
# What a label names where it differs among the rows, and their conditions where it does not.
_SETTINGS: tuple[_Setting, ...] = (
    lambda one: f"{one.threads} threads" if one.threads and one.device == "cpu" else None,
    lambda one: one.attention,
    lambda one: one.precision,
    lambda one: "compiled" if one.compile else _NOT_COMPILED,
)
_VERSIONS: tuple[_Setting, ...] = (
    lambda one: f"torch {one.versions.get('torch')}",
    lambda one: f"esc_sr {one.versions.get('esc_sr')}",
)
_MEMORY_SOURCES = {
    "resident_increase": "rise of the process's resident memory",
    "cuda_allocated": "peak that PyTorch allocated on the GPU",
}
# Attention that makes another network of the same name, which no published row describes.
_OTHER_NETWORK = "conv_attn"
# Folding a kernel changes the number of parameters by less, another width by far more.
_SAME_PARAMS = 0.1


@dataclass(frozen=True)
class _Result:
    network: str
    sets: Sets
    protocols: tuple[str, ...]
    weights: str | None = None


def measured_comparison(
    measurements: Sequence[BenchRecord], qualities: Sequence[MeasuredQuality], scale: int
) -> list[ComparisonRow]:
    """Join costs and quality at one scale.

    Quality belongs to costs of the same file of weights; to costs without such a file it belongs
    by the network's name. Quality of what has no costs becomes a row of its own.

    Args:
        measurements: Costs; those of other scales are left out.
        qualities: Means over sets; those of other scales are left out.
        scale: Super-resolution factor.

    Returns:
        A row for each setting that was measured, in order.

    Raises:
        InputError: Nothing is of this scale, the costs are those of several devices or sizes of
            image, or it is not clear what belongs together.
    """
    costs = [one for one in measurements if one.scale == scale]
    of_scale = [one for one in qualities if one.scale == scale]
    for given, kept, key in ((measurements, costs, "bench"), (qualities, of_scale, "results")):
        if given and not kept:
            there = ", ".join(f"×{found}" for found in sorted({one.scale for one in given}))
            raise InputError(f"{key}: nothing there is of ×{scale}, only of {there}; set scale")
    _check_comparable(costs)
    results = _results(of_scale)
    owners = [_owner(cost, results) for cost in costs]
    _check_distinct_weights(costs, owners)
    where = _conditions(costs)
    hardware = _hardware(costs)
    rows = [
        _with_quality(_costs_row(cost, label, where, hardware), owner)
        for cost, label, owner in zip(costs, _labels(costs), owners, strict=True)
    ]
    return rows + [
        _with_quality(_quality_row(result, scale), result)
        for result in results
        if result not in owners
    ]


def borrow_quality(rows: Sequence[ComparisonRow]) -> list[ComparisonRow]:
    """Give measured costs without quality the published quality of the same network.

    Args:
        rows: Any rows.

    Returns:
        The same, in order; what is borrowed says so (`ComparisonRow.borrowed`). A network that
        has another number of parameters than the published one borrows nothing.
    """
    return [_borrowing(row) if row.origin == "measured" and not row.sets else row for row in rows]


def _borrowing(row: ComparisonRow) -> ComparisonRow:
    published = published_by_name(row.scale).get(row.name)
    if published is None or not _same_size(row.params_k, published.params_k):
        return row
    return replace(
        row,
        sets=published_quality(published),
        quality_origin="published",
        doubtful=published.doubtful,
    )


def _same_size(params_k: float | None, published_k: float | None) -> bool:
    if params_k is None or published_k is None:
        return True
    return abs(params_k - published_k) <= _SAME_PARAMS * published_k


def _check_comparable(costs: Sequence[BenchRecord]) -> None:
    """Refuse costs that would stand in one column, or on one axis, and mean different things."""
    for what, key, values in (
        ("devices", "device", [one.device for one in costs]),
        ("devices", "device_name", [one.device_name for one in costs]),
        ("output sizes", "output_size", [list(one.output_size) for one in costs]),
        ("batch sizes", "batch_size", [one.batch_size for one in costs]),
    ):
        found = dict.fromkeys(map(json.dumps, values))
        if len(found) > 1:
            raise InputError(
                f"bench: costs of several {what} do not compare ({'; '.join(found)}): "
                f"give files of one, or choose with 'filter={{{key}: {next(iter(found))}}}'"
            )


def _results(qualities: Iterable[MeasuredQuality]) -> list[_Result]:
    """Put the sets of each network together; two files may add to each other, not disagree."""
    sets: dict[str, dict[str, dict[str, float]]] = {}
    protocols: dict[str, dict[str, None]] = {}
    weights: dict[str, str | None] = {}
    for one in qualities:
        # The costs of a plain forward pass are not those of a self-ensemble: a row of its own.
        told = ", ".join(one.conditions)
        network = f"{one.network} ({told})" if told else one.network
        if weights.setdefault(network, one.weights) != one.weights:
            raise InputError(
                f"{one.path}: {network} are other weights here than in another file of that name; "
                "give one of them"
            )
        set_name = _canonical(one.set_name)
        means = sets.setdefault(network, {}).setdefault(set_name, {})
        for metric, value in one.values.items():
            if means.setdefault(metric, value) != value:
                raise InputError(
                    f"{one.path}: {metric} of {network} on {set_name} is {value} here and "
                    f"{means[metric]} in another file; give one of them"
                )
        protocols.setdefault(network, {}).update(dict.fromkeys(one.protocols))
    return [
        _Result(name, found, tuple(protocols[name]), weights[name]) for name, found in sets.items()
    ]


def _canonical(set_name: str) -> str:
    """Return a set's name as it is printed, whatever case a folder had."""
    return {name.lower(): name for name in SETS}.get(set_name.lower(), set_name)


def _owner(cost: BenchRecord, results: Sequence[_Result]) -> _Result | None:
    """Find the quality of the network whose costs these are."""
    # Many files are called model.safetensors.
    results = [one for one in results if not _are_others(one.weights, cost.weights)]
    for result in results:
        if cost.checkpoint is not None and PurePath(result.network) == PurePath(cost.checkpoint):
            return result
    name = snake(cost.checkpoint, cost.scale) if cost.checkpoint else _name(cost)
    # A path with folders is written where names alone are ambiguous.
    found = [
        result
        for result in results
        if PurePath(result.network).name == result.network
        and snake(result.network, cost.scale) == name
    ]
    if len(found) > 1:
        names = " and ".join(result.network for result in found)
        raise InputError(f"results: {names} both belong to {name}; give one of them")
    return found[0] if found else None


def _are_others(weights: str | None, others: str | None) -> bool:
    return weights is not None and others is not None and weights != others


def _check_distinct_weights(costs: Sequence[BenchRecord], owners: Sequence[_Result | None]) -> None:
    """Refuse one file's quality for two files of weights of the same name."""
    claimed: dict[str, str | None] = {}
    for cost, owner in zip(costs, owners, strict=True):
        if owner is not None and claimed.setdefault(owner.network, cost.checkpoint) != (
            cost.checkpoint
        ):
            raise InputError(
                f"results of {owner.network} may be those of {claimed[owner.network]} or of "
                f"{cost.checkpoint}; give one of them, or choose with 'filter={{checkpoint: ...}}'"
            )


def _name(cost: BenchRecord) -> str:
    name = snake(cost.network, cost.scale)
    return f"{name}_{_OTHER_NETWORK}" if cost.attention == _OTHER_NETWORK else name


def _kind(name: str, scale: int) -> str:
    published = published_by_name(scale).get(name)
    if published is not None:
        return published.kind
    return "esc" if name.split("_")[0] == "esc" else "other"


def _costs_row(cost: BenchRecord, label: str, where: str, hardware: str) -> ComparisonRow:
    return ComparisonRow(
        network=label,
        name=_name(cost),
        kind=_kind(snake(cost.network, cost.scale), cost.scale),
        scale=cost.scale,
        origin="measured",
        where=where,
        hardware=hardware,
        latency_ms=cost.latency_ms,
        memory=cost.peak_memory_mib,
        memory_unit="MiB",
        macs_g=cost.macs_g,
        params_k=cost.params_k,
        standard_size=_is_standard(cost),
        error=cost.error,
    )


def _is_standard(cost: BenchRecord) -> bool:
    """Return whether costs are those of one output of 1280×720, input sides rounded up."""
    height, width = (-(-side // cost.scale) for side in (720, 1280))
    return cost.lq_size == (height, width) and cost.batch_size == 1


def _quality_row(result: _Result, scale: int) -> ComparisonRow:
    name = snake(result.network, scale)
    return ComparisonRow(
        network=result.network,
        name=name,
        kind=_kind(name, scale),
        scale=scale,
        origin="measured",
        where="quality only",
        hardware="",
        memory_unit="MiB",
    )


def _with_quality(row: ComparisonRow, result: _Result | None) -> ComparisonRow:
    if result is None:
        return row
    return replace(row, sets=result.sets, quality_origin="measured", protocols=result.protocols)


def _labels(costs: Sequence[BenchRecord]) -> list[str]:
    """Name each network with what tells it from others, every label once."""
    differing = [
        setting for setting in (*_SETTINGS, *_VERSIONS) if len(_values(setting, costs)) > 1
    ]
    weights: dict[str, set[str | None]] = {}
    for one in costs:
        weights.setdefault(one.network, set()).add(one.checkpoint)
    labels: list[str] = []
    for one in costs:
        words = [setting(one) for setting in differing]
        if len(weights[one.network]) > 1:
            words.insert(0, PurePath(one.checkpoint).name if one.checkpoint else "fresh weights")
        told = ", ".join(word for word in words if word is not None)
        label = f"{one.network} ({told})" if told else one.network
        count = sum(label == other.partition(" #")[0] for other in labels)
        labels.append(f"{label} #{count + 1}" if count else label)
    return labels


def _conditions(costs: Sequence[BenchRecord]) -> str:
    """Say in words under which conditions all of these costs were measured."""
    if not costs:
        return ""
    height, width = costs[0].output_size
    images = costs[0].batch_size
    passes = sorted({one.repeats for one in costs if one.repeats is not None})
    warmup = sorted({one.warmup for one in costs if one.warmup is not None})
    sources = dict.fromkeys(one.memory_source for one in costs if one.memory_source is not None)
    told = [
        ", ".join([costs[0].device_name, *_common(_SETTINGS, costs), *_common(_VERSIONS, costs)]),
        f"{'one output' if images == 1 else f'{images} outputs'} of {width}×{height}",
    ]
    if passes:
        after = f" after {_span(warmup)} for warm-up" if warmup else ""
        told.append(f"latency is the median of {_span(passes)} passes{after}")
    if sources:
        words = " or ".join(_MEMORY_SOURCES.get(source, source) for source in sources)
        told.append(f"memory is the {words}")
    return "; ".join(told)


def _hardware(costs: Sequence[BenchRecord]) -> str:
    """Say what a reader of latencies must know, in a few words."""
    if not costs:
        return ""
    first = costs[0]
    told = [first.device_name, *_common(_SETTINGS, costs)]
    if not _is_standard(first):
        told.append("output {1}×{0}".format(*first.output_size))
        told += [f"batch of {first.batch_size}"] if first.batch_size > 1 else []
    return ", ".join(told)


def _common(settings: Sequence[_Setting], costs: Sequence[BenchRecord]) -> list[str]:
    """Return the settings that all costs have in common; not to be compiled goes without saying."""
    found = (_values(setting, costs) for setting in settings)
    return [word for words in found if len(words) == 1 for word in words if word != _NOT_COMPILED]


def _values(setting: _Setting, costs: Sequence[BenchRecord]) -> list[str]:
    """Return the different values of a setting, without those that have none."""
    return [word for word in dict.fromkeys(map(setting, costs)) if word is not None]


def _span(numbers: Sequence[int]) -> str:
    return f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
