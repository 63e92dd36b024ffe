"""`esc-sr workspace`: lay out a W&B workspace for runs, and save it there if asked."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from esc_sr.config import hydra_main
from esc_sr.errors import InputError, check_flags, require_extra
from esc_sr.files import write_atomically
from esc_sr.reporting.reading import Run, read_runs
from esc_sr.reporting.workspace import workspace
from esc_sr.tasks.report import positional_runs

_PROJECT = "esc_sr"


def run(cfg: DictConfig) -> dict[str, Any]:
    """Lay out a workspace as `conf/workspace.yaml` describes.

    Args:
        cfg: The composed configuration.

    Returns:
        What is, or would be, sent: entity, project, name and the layout.

    Raises:
        InputError: Something in the configuration is wrong, there is no run, or W&B refuses.
    """
    check_flags(send=cfg.send, unfinished=cfg.unfinished)
    if not OmegaConf.is_list(cfg.runs):
        raise InputError(f"runs must be a list of folders such as runs=[a,b], got {cfg.runs}")
    runs, _ = read_runs([str(place) for place in cfg.runs], unfinished=cfg.unfinished)
    entity = _own(cfg.entity) or _of(runs, "entity") or ""
    if cfg.send and not entity:
        raise InputError("send=true needs the user or team at W&B: entity=NAME")
    if cfg.send and os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun"):
        raise InputError(
            f"send=true, but WANDB_MODE={os.environ['WANDB_MODE']}: unset one of the two"
        )
    # Reports to W&B's makers of how their program fared.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    laid_out = workspace(
        runs,
        entity=entity,
        project=_own(cfg.project) or _of(runs, "project") or _PROJECT,
        name=str(cfg.name),
    )
    view = laid_out._to_model()
    content = {
        "entity": view.entity,
        "project": view.project,
        "name": view.display_name,
        "spec": view.spec.model_dump(mode="json", by_alias=True, exclude_none=True),
    }
    console = Console()

    def tell(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    for section in laid_out.sections:
        titles = [getattr(panel, "title", None) or panel.table_name for panel in section.panels]
        tell(f"{section.name}: {'; '.join(titles)}")
    if cfg.output is not None:
        write_atomically(
            Path(str(cfg.output)).expanduser(),
            json.dumps(content, indent=1, ensure_ascii=False) + "\n",
        )
        tell(f"written: {cfg.output}")
    if not cfg.send:
        tell("nothing was sent; send=true entity=NAME saves this at W&B")
        return content
    base = require_extra("wandb", "wandb").setup().settings.base_url
    tell(f"sending this layout, and nothing of the runs, to {base}: {entity}/{laid_out.project}")
    try:
        laid_out.save()
    except Exception as error:  # of W&B, its transport, or their answer
        raise InputError(f"W&B has not saved it: {' '.join(str(error).split())}") from None
    return content


def _own(value: Any) -> str | None:
    return None if value is None else str(value)


def _of(runs: Sequence[Run], key: str) -> str | None:
    """Return what the runs' W&B loggers agree on."""
    told: set[str] = set()
    for one in runs:
        loggers = one.record.config.get("logger")
        wandb = loggers.get("wandb") if isinstance(loggers, dict) else None
        if isinstance(wandb, dict) and wandb.get(key) is not None:
            told.add(str(wandb[key]))
    if len(told) > 1:
        raise InputError(f"the runs have several: {', '.join(sorted(told))}; give {key}=NAME")
    return told.pop() if told else None


def main(arguments: Sequence[str]) -> None:
    """Run `esc-sr workspace` with what stands behind it."""
    hydra_main("workspace", run, positional_runs(arguments))
