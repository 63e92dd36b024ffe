"""Read, strictly, the files that `esc-sr bench` and `esc-sr evaluate` write."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esc_sr.errors import InputError
from esc_sr.files import MOST_BYTES_OF_JSON, fault_of_file
from esc_sr.profiling.records import BenchRecord

# Beside the means, what a set of results.json holds.
_NO_METRIC = {"images", "seconds", "network", "scale", "protocol", "conditions", "weights"}


@dataclass(frozen=True)
class MeasuredQuality:
    """Means over one set, as `esc-sr evaluate` writes them.

    Attributes:
        path: The file.
        network: The network's name, or its checkpoint's.
        scale: Super-resolution factor.
        set_name: The set.
        values: Means by metric.
        protocols: How they were measured.
        conditions: What else has changed the network's results, such as a self-ensemble.
        weights: Digest of the file of weights, if that is known.
    """

    path: Path
    network: str
    scale: int
    set_name: str
    values: Mapping[str, float]
    protocols: tuple[str, ...]
    conditions: tuple[str, ...] = ()
    weights: str | None = None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer of any length
        return False


def _is_amount(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_size(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_count, value))


# What a value must be: how that is said, and the test; a "?" before it allows null.
_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "text": ("a text", _is_text),
    "count": ("a whole number", _is_count),
    "amount": ("a number of at least 0", _is_amount),
    "size": ("[height, width]", _is_size),
    "flag": ("true or false", lambda value: isinstance(value, bool)),
    "versions": ("an object of versions", lambda value: isinstance(value, dict)),
}
_FIELDS = {
    "network": "text",
    "title": "text",
    "checkpoint": "?text",
    "attention": "?text",
    "scale": "count",
    "lq_size": "size",
    "output_size": "size",
    "batch_size": "count",
    "precision": "text",
    "compile": "flag",
    "device": "text",
    "device_name": "text",
    "threads": "?count",
    "latency_ms": "?amount",
    "latency_p10_ms": "?amount",
    "latency_p90_ms": "?amount",
    "warmup": "count",
    "repeats": "count",
    "peak_memory_mib": "?amount",
    "memory_source": "?text",
    "macs_g": "?amount",
    "params_k": "amount",
    "activations_m": "?amount",
    "build_s": "?amount",
    "versions": "versions",
    "error": "?text",
}


def read_measurements(path: Path) -> list[BenchRecord]:
    """Read a file of `esc-sr bench`.

    Args:
        path: JSON, a list of records.

    Returns:
        The records, in order; keys that are not known are left out.

    Raises:
        InputError: It is missing, not such a file, or a record lacks something.
    """
    content = _read_json(path, "bench")
    if not isinstance(content, list):
        raise InputError(f"{path}: a list of records is expected, as `esc-sr bench` writes it")
    if not content:
        raise InputError(f"{path} holds no record: nothing was measured")
    return [_measurement(f"{path}: record {i}", record) for i, record in enumerate(content, 1)]


def filter_measurements(
    measurements: Sequence[BenchRecord], wanted: Mapping[str, Any] | None
) -> list[BenchRecord]:
    """Keep the records that have certain values.

    Args:
        measurements: The records.
        wanted: Value by key of a record; None: all are kept.

    Returns:
        Those that agree in every key.

    Raises:
        InputError: A key is unknown, or no record is left.
    """
    kept = list(measurements)
    for key, value in (wanted or {}).items():
        if key not in _FIELDS:
            raise InputError(f"filter: a record has no '{key}'; choose among: {', '.join(_FIELDS)}")
        there = dict.fromkeys(str(_plain(getattr(one, key))) for one in kept)
        kept = [one for one in kept if _plain(getattr(one, key)) == value]
        if not kept:
            raise InputError(
                f"filter: no record has {key}={value}; there are {key}={', '.join(there)}"
            )
    return kept


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def read_quality(path: Path) -> list[MeasuredQuality]:
    """Read a `results.json` of `esc-sr evaluate`, of one network or of several.

    Args:
        path: The file.

    Returns:
        The means, set by set.

    Raises:
        InputError: It is missing, not such a file, or a set lacks something.
    """
    content = _read_json(path, "evaluate")
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: sets are expected, as `esc-sr evaluate` writes results.json")
    return [
        _quality(path, where, set_name, values) for where, set_name, values in _sets(path, content)
    ]


def _read_json(path: Path, command: str) -> Any:
    try:
        fault = fault_of_file(path, most_bytes=MOST_BYTES_OF_JSON)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if fault is not None:
        raise InputError(f"{path} {fault}; `esc-sr {command}` writes what is read here")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not JSON ({str(error)[:80]}); `esc-sr {command}` writes it"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def _measurement(where: str, record: Any) -> BenchRecord:
    if not isinstance(record, dict):
        raise InputError(f"{where} is no object with keys and values; `esc-sr bench` writes them")
    fields = {}
    for key, kind in _FIELDS.items():
        if key not in record:
            raise InputError(f"{where} has no '{key}'; measure with `esc-sr bench`")
        value = record[key]
        told, test = _KINDS[kind.removeprefix("?")]
        if not test(value) and not (kind[0] == "?" and value is None):
            or_null = " or null" if kind[0] == "?" else ""
            raise InputError(f"{where}: '{key}' must be {told}{or_null}, got {value!r}")
        fields[key] = tuple(value) if isinstance(value, list) else value
    weights = record.get("weights")  # not known of older files
    return BenchRecord(**fields, weights=weights if isinstance(weights, str) else None)


def _sets(path: Path, content: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Give every set and where it stands: at the top, or below "<network> x<scale>"."""
    for key, value in content.items():
        if not isinstance(value, dict):
            raise InputError(f"{path}: '{key}' is no set with its means; is it a results.json?")
        if value and all(isinstance(below, dict) for below in value.values()):
            for set_name, below in value.items():
                yield f"'{key}', '{set_name}'", set_name, below
        else:
            yield f"'{key}'", key, value


def _quality(path: Path, where: str, set_name: str, entry: Mapping[str, Any]) -> MeasuredQuality:
    for key, kind in {"network": "text", "scale": "count"}.items():
        told, test = _KINDS[kind]
        if key not in entry:
            raise InputError(
                f"{path}: {where} has no '{key}'; measure again with `esc-sr evaluate`"
            )
        if not test(entry[key]):
            raise InputError(f"{path}: {where}: '{key}' must be {told}, got {entry[key]!r}")
    values = {}
    for key, value in entry.items():
        if key in _NO_METRIC:
            continue
        if value != "inf" and not _is_number(value):  # JSON has no infinity
            raise InputError(f"{path}: {where}: '{key}' must be a number or 'inf', got {value!r}")
        values[key] = float(value)
    texts = {key: entry.get(key, []) for key in ("protocol", "conditions")}
    for key, told in texts.items():
        if not isinstance(told, list) or not all(map(_is_text, told)):
            raise InputError(f"{path}: {where}: '{key}' must be a list of texts, got {told!r}")
    if not isinstance(entry.get("weights"), str | None):
        raise InputError(f"{path}: {where}: 'weights' must be a text, got {entry['weights']!r}")
    return MeasuredQuality(
        path,
        entry["network"],
        entry["scale"],
        set_name,
        values,
        *map(tuple, texts.values()),
        weights=entry.get("weights"),
    )
