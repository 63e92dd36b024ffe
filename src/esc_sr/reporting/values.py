"""The numbers of one run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from esc_sr.reporting.logs import best_step, last
from esc_sr.reporting.reading import Run
from esc_sr.runs.record import number

Value = float | str | None
BEST, LAST = "best", "last"
COSTS = ("latency_ms", "memory_mib", "training_memory_mib", "params_k", "macs_g")
_LOGGED = {
    "latency_ms": "perf/latency_ms",
    "memory_mib": "perf/inference_peak_memory_mib",
    "training_memory_mib": "perf/peak_memory_mib",
}
_COMMIT_DIGITS = 9
_LARGEST = 1e30  # no cost is; a record may say anything
_TARGETS = {
    "latency": "esc_sr.training.callbacks.latency.LatencyMonitor",
    "memory": "esc_sr.training.callbacks.memory.MemoryMonitor",
}


def run_values(run: Run) -> dict[str, Value]:
    """Return the numbers of a run by column.

    `<set>/<metric>` is the mean over images of the best weights, `<set>/<metric>/last` that of
    the last validation; the others are costs, steps, seconds and texts. What is not known is None.
    """
    record = run.record
    values: dict[str, Value] = {
        "scale": number(record.config.get("scale")),
        "seed": None if record.seed is None else str(record.seed),
    }
    values |= quality(run)
    for key, logged in _LOGGED.items():
        value = _amount(record.measured.get(logged))
        values[key] = _amount(last(run.curves.get(logged))) if value is None else value
    values["params_k"] = _amount(record.params_k)
    values["macs_g"] = _amount(record.macs_g)
    taken = _amount(record.step)
    values["steps"] = float(_last_logged(run)) if taken is None and run.curves else taken
    values["best_step"] = _optional(best_validation(run))
    values["wall_s"] = _amount(record.wall_s)
    values["commit"] = _commit(record.repository)
    values["state"] = record.state
    values["device"] = device(run)
    values["latency_lq_size"] = _lq_size(run, "latency")
    values["memory_lq_size"] = _lq_size(run, "memory")
    return values


def quality(run: Run) -> dict[str, Value]:
    """Return PSNR, SSIM and what else was measured, best and last, by set and metric."""
    found: dict[str, Value] = {}
    for set_name, per_metric in per_image(run).items():
        for metric, by_image in per_metric.items():
            values = list(by_image.values())
            if values:
                found[f"{set_name}/{metric}"] = sum(values) / len(values)
    step = best_validation(run)
    logged = dict.fromkeys([*run.curves, *run.record.measured])
    for key in logged:
        parts = key.split("/")
        if len(parts) != 3 or parts[0] != "val":  # `val/<metric>` is the mean over sets
            continue
        name = f"{parts[1]}/{parts[2]}"
        points = run.curves.get(key, {})
        if found.get(name) is None and step is not None:
            found[name] = points.get(step)
        found.setdefault(name, None)
        end = last(points)
        found[f"{name}/{LAST}"] = number(run.record.measured.get(key)) if end is None else end
    return found


def per_image(run: Run) -> dict[str, dict[str, dict[str, float]]]:
    """Return the values of the best weights by set, metric and image."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for set_name, result in run.record.results.items():
        names = [str(name) for name in result["images"]]
        found[set_name] = {
            metric: {
                name: value
                for name, one in zip(names, values, strict=True)
                if (value := number(one)) is not None
            }
            for metric, values in result.items()
            if metric != "images"
        }
    return found


def best_validation(run: Run) -> int | None:
    """Return the step whose weights were the best, as the log tells; None without one."""
    config = run.record.config
    mode = "max"
    callbacks = config.get("callbacks")
    for node in callbacks.values() if isinstance(callbacks, Mapping) else ():
        if isinstance(node, Mapping) and node.get("monitor") == config.get("monitor"):
            mode = str(node.get("mode", mode))
    return best_step(run.curves.get(str(config.get("monitor"))), mode)


def device(run: Run) -> str | None:
    """Say on what a run was computed; None if it is not known."""
    told: dict[str, Any] = run.record.session.get("device") or {}
    if not told.get("name"):
        return None
    processes, threads = number(told.get("processes")) or 1, number(told.get("threads"))
    name = str(told["name"]) + (f", {processes:g} processes" if processes > 1 else "")
    on_cpu = told.get("type") == "cpu" and threads is not None
    return f"{name}, {threads:g} thread{'s' * (threads != 1)}" if on_cpu else name


def _lq_size(run: Run, which: str) -> str | None:
    """Return the size of the image that a callback measured with, as width×height."""
    callbacks = run.record.config.get("callbacks")
    for node in callbacks.values() if isinstance(callbacks, Mapping) else ():
        if isinstance(node, Mapping) and node.get("_target_") == _TARGETS[which]:
            size = node.get("lq_size")
            if isinstance(size, list) and len(size) == 2:
                return f"{size[1]}×{size[0]}"
    return None


def _commit(repository: Mapping[str, Any]) -> str | None:
    commit = repository.get("commit")
    if not isinstance(commit, str):
        return None
    return commit[:_COMMIT_DIGITS] + ("+" if repository.get("dirty") is True else "")


def _last_logged(run: Run) -> int:
    return max(max(points) for points in run.curves.values())


def _amount(value: Any) -> float | None:
    """Return what can be an amount; None: it is NaN, negative or beyond all measure."""
    found = number(value)
    return found if found is not None and 0 <= found < _LARGEST else None


def _optional(value: int | None) -> float | None:
    return None if value is None else float(value)
