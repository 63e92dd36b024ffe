"""A W&B workspace for runs: its panels name what these runs have logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from esc_sr.errors import require_extra
from esc_sr.reporting.differences import differing_keys
from esc_sr.reporting.layout import metric_name
from esc_sr.reporting.reading import Run
from esc_sr.reporting.styles import style_of
from esc_sr.runs.fingerprint import leaves
from esc_sr.runs.labels import chosen, labels_of

_STEP = "trainer/global_step"
_LATENCY, _MEMORY = "perf/latency_ms", "perf/inference_peak_memory_mib"
_LR_MONITOR = "lightning.pytorch.callbacks.LearningRateMonitor"
_IMAGES = "esc_sr.training.callbacks.images.ImageLogger"


def workspace(runs: Sequence[Run], *, entity: str, project: str, name: str) -> Any:
    """Lay out a workspace; nothing is sent.

    Args:
        runs: Whose keys the panels shall show: of a project, or some that are like those to come.
        entity: User or team.
        project: Its project.
        name: Of the workspace.

    Returns:
        A `wandb_workspaces.workspaces.Workspace`.

    Raises:
        MissingExtraError: wandb-workspaces is not installed.
    """
    ws: Any = require_extra("wandb_workspaces.workspaces", "wandb")
    wr: Any = require_extra("wandb_workspaces.reports.v2", "wandb")

    def line(title: str, keys: Sequence[str], **options: Any) -> Any:
        return wr.LinePlot(title=title, x=_STEP, y=list(keys), **options)

    keys = logged_keys(runs)
    quality = [
        line(f"{metric_name(metric)} on {set_name}", [f"val/{set_name}/{metric}"])
        for set_name, metric in _qualities(keys)
    ]
    rates = [key for key in keys if key.startswith("lr-")]
    training = [line("loss", ["train/loss"], log_y=True)]
    training += [line("learning rate", rates)] if rates else []
    training += [line("norm of the gradient", ["train/grad_norm"], log_y=True)]
    costs = [
        wr.BarPlot(title=title, metrics=[key])
        for title, key in (
            ("latency of one forward pass (ms)", _LATENCY),
            ("peak memory of one forward pass (MiB)", _MEMORY),
        )
        if key in keys
    ]
    costs += [
        line(title, [key])
        for title, key in (
            ("peak memory of training (MiB)", "perf/peak_memory_mib"),
            ("patches a second", "perf/samples_per_sec"),
        )
        if key in keys
    ]
    pictures = [key for key in keys if key.endswith("/images") and key.startswith("val/")]
    best = [key for key in keys if key.startswith("best/")]
    compared = [
        wr.ScatterPlot(
            title=f"{_quality_title(key)} against latency",
            x=wr.SummaryMetric(_LATENCY),
            y=wr.SummaryMetric(key),
            log_x=True,
        )
        for key in ([key for key in best if key.count("/") == 2] or best)
        if _LATENCY in keys and key.rpartition("/")[2].startswith("psnr")
    ]
    columns = [wr.Config(key) for key in _told_apart(runs)]
    columns += [wr.SummaryMetric(key) for key in best[:1]]
    if len(columns) > 1:
        axes = [wr.ParallelCoordinatesPlotColumn(metric=column) for column in columns]
        compared.append(wr.ParallelCoordinatesPlot(title="what sets runs apart", columns=axes))
    if "final/images" in keys:
        compared.append(wr.WeavePanelSummaryTable(table_name="final/images"))
    sections = {
        "Quality": quality,
        "Comparison": compared,
        "Training": training,
        "Costs": costs,
        "Pictures": [
            wr.MediaBrowser(title=key.split("/")[1], media_keys=[key]) for key in pictures
        ],
    }
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            ws.Section(name=title, panels=panels, is_open=True)
            for title, panels in sections.items()
            if panels
        ],
        settings=ws.WorkspaceSettings(x_axis=_STEP),
        runset_settings=ws.RunsetSettings(
            # Runs that differ in their seed only are one line, those of an attention one colour.
            groupby=[ws.Config("run/attention"), ws.Config("run/variant")],
            group_colors=_colours(runs, ws.GroupPath),
            pinned_columns=[
                *(f"summary:{key}" for key in (*best[:1], _LATENCY) if key in keys),
                "config:seed.value",
            ],
        ),
    )


def logged_keys(runs: Sequence[Run]) -> list[str]:
    """Return the keys that runs have in W&B's history and summary, as their records tell.

    Args:
        runs: Whatever loggers they had.
    """
    keys = {"train/loss": None, "train/grad_norm": None}
    for run in runs:
        record, config = run.record, run.record.config
        keys |= dict.fromkeys(key for key in record.measured if key.startswith(("val/", "perf/")))
        targets = _targets(config)
        if _LR_MONITOR in targets:
            optimizer = str((config.get("optimizer") or {}).get("_target_")).rpartition(".")[2]
            keys[f"lr-{optimizer}"] = None
        if targets.get(_IMAGES, {}).get("num_images"):
            shown = targets[_IMAGES].get("sets")
            sets = {name for name, _ in _qualities(keys)}
            keys |= {f"val/{name}/images": None for name in sorted(shown or sets)}
        if record.best_score is not None:
            keys[f"best/{str(config.get('monitor')).removeprefix('val/')}"] = None
        for set_name, result in record.results.items():
            keys |= {f"best/{set_name}/{metric}": None for metric in result if metric != "images"}
            keys["final/images"] = None
    return list(keys)


def _quality_title(key: str) -> str:
    _, *set_name, metric = key.split("/")
    return f"best {metric_name(metric)}" + "".join(f" on {name}" for name in set_name)


def _targets(config: Mapping[str, Any]) -> dict[str, Any]:
    nodes = (config.get("callbacks") or {}).values()
    return {str(node.get("_target_")): node for node in nodes if isinstance(node, Mapping)}


def _qualities(keys: Mapping[str, None] | Sequence[str]) -> list[tuple[str, str]]:
    parts = [key.split("/") for key in keys if key.startswith("val/")]
    return [(one[1], one[2]) for one in parts if len(one) == 3 and one[2] != "images"]


def _told_apart(runs: Sequence[Run]) -> list[str]:
    """Return the keys of W&B's config by which runs differ, or might."""
    keys, _ = differing_keys(runs)
    found = []
    for key in keys or ("model", "attention", "seed"):
        values = [leaves(run.record.config).get(key) for run in runs]
        if all(isinstance(value, bool | int | float | str) for value in values):
            found.append(key)
        elif any(key in chosen(run.record) for run in runs):
            found.append(f"run/{key}")
    return found


def _colours(runs: Sequence[Run], path: Any) -> dict[Any, str]:
    attentions: dict[str, set[str]] = {}
    for run in runs:
        attention = chosen(run.record).get("attention")
        if attention is not None:
            variants = attentions.setdefault(str(attention), set())
            variants.add(labels_of(run.record).variant)
    colours = {}
    for index, (attention, variants) in enumerate(attentions.items()):
        colour = style_of(index).colour
        colours[attention] = colour
        colours |= {path(attention, variant): colour for variant in sorted(variants)}
    return colours
