"""Tell by their configurations whether two runs would give the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# Where a run writes and what it reports to; what depends on these is interpolated elsewhere.
NOT_OF_THE_RESULT = {"run_dir", "paths", "logger", "ckpt_path", "skip_finished"}
# A limit that a run which has finished did not reach.
_LIMIT = "max_megapixels"
# Who reads samples changes nothing: a sample follows from the seed and its position alone.
READING = {"data.num_workers", "data.pin_memory", "data.persistent_workers"}
# Callbacks that only look on.
_OBSERVERS = {
    "esc_sr.training.callbacks.images.ImageLogger",
    "esc_sr.training.callbacks.latency.LatencyMonitor",
    "esc_sr.training.callbacks.memory.MemoryMonitor",
    "esc_sr.training.callbacks.progress.StepProgressBar",
    "esc_sr.training.callbacks.spikes.SpikeReport",
    "esc_sr.training.callbacks.throughput.ThroughputMonitor",
    "lightning.pytorch.callbacks.LearningRateMonitor",
}
_GUARD = "esc_sr.training.callbacks.non_finite.NonFiniteGuard"
# Records of runs from before these were there hold the same configuration without them.
_LIGHTNINGS = {
    "esc_sr.training.callbacks.averaging.EMA": "lightning.pytorch.callbacks.EMAWeightAveraging",
    "esc_sr.training.callbacks.checkpoint.BestCheckpoint": (
        "lightning.pytorch.callbacks.ModelCheckpoint"
    ),
}


def leaves(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of a configuration by dotted key; lists and empty mappings are values.

    Example:
        >>> leaves({"a": {"b": 1, "c": [2]}, "d": {}})
        {'a.b': 1, 'a.c': [2], 'd': {}}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= leaves(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def relevant(config: Mapping[str, Any], *, seeds: bool = True) -> dict[str, Any]:
    """Return what a run's result follows from.

    Left out are the folders that the run writes to, its loggers, callbacks that only look on, and
    how samples are read; paths within the run's folder begin with "RUN".

    Args:
        config: Resolved, of `conf/train.yaml`.
        seeds: Whether values called "seed" belong to it; without, runs that differ in these
            only are repetitions of each other.

    Returns:
        The values by dotted key.
    """
    paths, callbacks = config.get("paths"), config.get("callbacks")
    folder = str(paths.get("output_dir", "")) if isinstance(paths, Mapping) else ""
    looking_on = {
        f"callbacks.{name}"
        for name, node in (callbacks.items() if isinstance(callbacks, Mapping) else ())
        if isinstance(node, Mapping) and _looks_on(node)
    }
    kept = {}
    for key, value in leaves(config).items():
        parts = key.split(".")
        if parts[0] in NOT_OF_THE_RESULT or key in READING or ".".join(parts[:2]) in looking_on:
            continue
        if parts[0] == "callbacks" and parts[-1] == "warmup" and value is False:
            continue
        if parts[0] == "callbacks" and parts[-1] == "_target_":
            value = _LIGHTNINGS.get(value, value)
        if parts[-1] != _LIMIT and (seeds or parts[-1] != "seed"):
            kept[key] = _moved(value, folder)
    return kept


def fingerprint(
    config: Mapping[str, Any], files: Mapping[str, str] | None = None, *, seeds: bool = True
) -> str:
    """Return 16 digits that are equal for runs whose results follow from the same.

    Args:
        config: Resolved, of `conf/train.yaml`.
        files: By key, digests of files that stand for the paths there, such as `init_from`: what
            a file holds counts, not where it lies.
        seeds: As for `relevant`.
    """
    what = relevant(config, seeds=seeds) | dict(files or {})
    text = json.dumps(what, sort_keys=True, ensure_ascii=False, default=str)
    # Names of files may hold bytes that are no text.
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _looks_on(callback: Mapping[str, Any]) -> bool:
    target = callback.get("_target_")
    # That training stops at what is not finite holds without a guard too.
    return target in _OBSERVERS or (target == _GUARD and callback.get("policy") == "stop")


def _moved(value: Any, folder: str) -> Any:
    if isinstance(value, list):
        return [_moved(inner, folder) for inner in value]
    inside = isinstance(value, str) and folder and f"{value}/".startswith(f"{folder}/")
    return f"RUN{value[len(folder) :]}" if inside else value
