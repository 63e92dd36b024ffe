"""What a training run tells its dashboards: before the first step, and at the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from esc_sr.runs.fingerprint import leaves
from esc_sr.runs.labels import chosen, labels_of, override_key
from esc_sr.runs.record import RunRecord, number
from esc_sr.training.loggers import Conclusion, Dashboard, Introduction, Scalar

# By what runs are compared in tables of hyperparameters, beside the overrides.
_SECTIONS = {"model", "optimizer", "scheduler", "loss"}
_KEYS = {"scale", "seed", "ema_decay", "data.batch_size", "data.train.crop_size"}
_KEYS |= {"trainer.max_steps", "trainer.precision"}
_COSTS = ("perf/latency_ms", "perf/inference_peak_memory_mib")


@contextmanager
def dashboards_of(trainer: L.Trainer) -> Iterator[list[Dashboard]]:
    """Give the loggers that are told about the run, and end them, however the run ends.

    Args:
        trainer: Who trains.

    Yields:
        Those of its loggers.
    """
    found: list[Dashboard] = [one for one in trainer.loggers if isinstance(one, Dashboard)]
    finished = False
    try:
        yield found
        finished = True
    finally:
        for dashboard in found:
            dashboard.close(finished=finished)


def introduction(
    record: RunRecord, output_dir: Path, val_names: Sequence[str], metrics: Sequence[str]
) -> Introduction:
    """Say what a run is.

    Args:
        record: Of the run, opened.
        output_dir: Its folder.
        val_names: Names of the validation sets.
        metrics: What is measured on them.
    """
    group, common = _multirun()
    told = labels_of(record, common=common, group=group)
    choices = chosen(record)
    repository = record.repository
    device = record.session.get("device") or {}
    about = {
        **choices,
        "variant": told.variant,
        "overrides": record.overrides,
        "config_hash": record.config_hash,
        "network": record.network,
        "commit": repository.get("commit"),
        "dirty": repository.get("dirty"),
        "device": device.get("name"),
        "processes": device.get("processes"),
        "versions": record.session.get("versions"),
    }
    diff = repository.get("diff")
    sets = [f"best/{name}/{metric}" for name in val_names for metric in metrics]
    expected = [_best_key(record), *sets, *_COSTS, "model/params_k", "model/macs_g"]
    return Introduction(
        labels=told,
        about={f"run/{key}": value for key, value in about.items() if value is not None},
        hyperparameters={**choices, **_hyperparameters(record)},
        metrics=list(dict.fromkeys(expected)),
        diff=output_dir / diff if isinstance(diff, str) else None,
        resumed=len(record.sessions) > 1,
    )


def conclusion(record: RunRecord, trainer: L.Trainer, checkpoint: Path | None) -> Conclusion:
    """Say what came of a run.

    Args:
        record: Of the run, with what was reached.
        trainer: Who has trained.
        checkpoint: The best one, or else the last, or none.
    """
    summary: dict[str, float | None] = {
        "model/params_k": record.params_k,
        "model/macs_g": record.macs_g,
        _best_key(record): record.best_score,
    }
    for name, results in (("best", record.results), ("bicubic", record.bicubic)):
        for set_name, by_metric in results.items():
            for metric, values in _numbers(by_metric).items():
                summary[f"{name}/{set_name}/{metric}"] = sum(values) / len(values)
    for key in _COSTS:
        if key in trainer.callback_metrics:
            summary[key] = float(trainer.callback_metrics[key])
    known = {key: value for key, value in summary.items() if value is not None}
    columns, rows = _images(record)
    metadata = {
        "network": record.network,
        "scale": record.config.get("scale"),
        "monitor": record.config.get("monitor"),
        "steps": trainer.global_step,
        "config_hash": record.config_hash,
        "commit": record.repository.get("commit"),
        "overrides": record.overrides,
        "choices": chosen(record),
        **known,
    }
    return Conclusion(
        step=trainer.global_step,
        summary=known,
        columns=columns,
        rows=rows,
        checkpoint=checkpoint,
        metadata=metadata,
    )


def _multirun() -> tuple[str | None, set[str]]:
    """Return what the runs of a multirun share: a name, and overrides."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None, set()
    hydra = HydraConfig.get()
    folder = Path(hydra.sweep.dir)
    experiment = hydra.runtime.choices.get("experiment")
    group = folder.name if experiment is None else f"{experiment}-{folder.name}"
    # What stands on the command line as it is was not swept. A launcher may have started this
    # job elsewhere, with another command line: Hydra's own sweeper leaves a note of it.
    common = set(sys.argv[1:])
    note = folder / "multirun.yaml"
    if note.is_file():
        common |= {str(one) for one in OmegaConf.load(note).hydra.overrides.task}
    return group, common


def _hyperparameters(record: RunRecord) -> dict[str, Scalar]:
    """Return the scalars of the parts that are learnt with, and of the overrides."""
    given = {
        override_key(override)
        for override in record.overrides or ()
        if not override.startswith(("logger", "paths", "run_dir", "callbacks", "hydra"))
    }
    found: dict[str, Scalar] = {}
    for key, value in leaves(record.config).items():
        top, _, rest = key.partition(".")
        wanted = key in given or top in _SECTIONS or key in _KEYS
        if wanted and not rest.rpartition(".")[2].startswith("_") and _is_scalar(value):
            found[key] = value
    return found


def _is_scalar(value: Any) -> bool:
    return isinstance(value, bool | int | float | str)


def _best_key(record: RunRecord) -> str:
    return f"best/{str(record.config.get('monitor')).removeprefix('val/')}"


def _numbers(by_metric: Mapping[str, Sequence[Any]]) -> dict[str, list[float]]:
    found = {}
    for metric, values in by_metric.items():
        told = [one for value in values if (one := number(value)) is not None]
        if metric != "images" and told:
            found[metric] = told
    return found


def _images(record: RunRecord) -> tuple[list[str], list[list[Scalar]]]:
    """Return the final table image by image, with what bicubic reaches beside it."""
    metrics = list(dict.fromkeys(m for one in record.results.values() for m in _numbers(one)))
    columns = ["set", "image", *metrics, *(f"bicubic_{metric}" for metric in metrics)]
    rows: list[list[Scalar]] = []
    for set_name, result in record.results.items():
        both = (result, record.bicubic.get(set_name, {}))
        values = [one.get(m, [None] * len(result["images"])) for one in both for m in metrics]
        for image, *row in zip(result["images"], *values, strict=True):
            rows.append([set_name, image, *row])
    return columns, rows
