"""`esc-sr info`: what files of weights and exported programs are."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text

from esc_sr.config import hydra_main
from esc_sr.errors import InputError, check_flags, printable
from esc_sr.models.checkpoints import (
    PROGRAM_SUFFIXES,
    Checkpoint,
    network_of,
    read_checkpoint,
)
from esc_sr.models.packaged import find_weights
from esc_sr.runs.record import FILE_NAME, RunRecord, read_record
from esc_sr.tasks.info_networks import facts_of, text_of
from esc_sr.tasks.info_programs import describe_program
from esc_sr.tasks.networks import positional_paths


def run(cfg: DictConfig) -> list[dict[str, Any]]:
    """Tell as `conf/info.yaml` describes.

    Args:
        cfg: The composed configuration.

    Returns:
        For each file what is known of it, plain values by name.

    Raises:
        InputError: A file cannot be read, or is not of a network of the family; of several, when
            the others have been told.
    """
    check_flags(json=cfg.json)
    if not OmegaConf.is_list(cfg.files) or not cfg.files:
        raise InputError("give files of weights or programs: esc-sr info FILE...")
    found: list[dict[str, Any]] = []
    for path in map(str, cfg.files):
        try:
            found.append(describe(path))
        except InputError as error:
            if len(cfg.files) == 1:
                raise
            found.append({"file": path, "error": str(error)})
    _tell(found, as_json=cfg.json)
    failed = [facts["file"] for facts in found if "error" in facts]
    if failed:
        raise InputError(f"{len(failed)} of {len(found)} tell nothing: {', '.join(failed)}")
    return found


def _tell(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")  # for any encoding
        return
    console = Console()
    for facts in found:
        title = Text(printable(facts["file"]))
        table = Table(show_header=False, title=title, title_justify="left")
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in facts.items():
            if name != "file" and value is not None:
                table.add_row(name, Text(printable(text_of(value))))
        console.print(table)


def describe(path: str | Path) -> dict[str, Any]:
    """Return what is known of a file of weights, or of an exported program.

    Args:
        path: Any file that `read_checkpoint` reads, or an `.onnx` or `.pt2` file.

    Returns:
        Plain values by name, None where nothing is known.

    Raises:
        InputError: It cannot be read, or is not of a network of the family; of ONNX any network
            will do.
    """
    path = find_weights(path)
    if path.suffix.lower() in PROGRAM_SUFFIXES:
        return describe_program(path)
    checkpoint = read_checkpoint(path)
    facts: dict[str, Any] = {
        "file": str(path),
        "kind": _kind(checkpoint),
        "size_mib": round(path.stat().st_size / 2**20, 2),
        **facts_of(network_of(checkpoint)),
        "dtype": sorted({str(v.dtype).removeprefix("torch.") for v in _floats(checkpoint)}),
    }
    return facts | _training(checkpoint, _record_of(path))


def _floats(checkpoint: Checkpoint) -> list[Any]:
    return [value for value in checkpoint.state_dict.values() if value.is_floating_point()]


def _kind(checkpoint: Checkpoint) -> str:
    if checkpoint.is_training_state:
        return "Lightning checkpoint, which training can resume; averaged weights"
    if checkpoint.entry is not None:
        averaged = ", averaged weights" if checkpoint.entry == "params_ema" else ""
        return f"weights under '{checkpoint.entry}'{averaged}"
    is_ours = checkpoint.path.suffix == ".safetensors" and checkpoint.config is not None
    return "weights" + (" with their configuration" if is_ours else " alone")


def _record_of(path: Path) -> RunRecord | None:
    """Return the record of the run in whose folder a file lies, if it is in one."""
    for folder in (path.parent, path.parent.parent):
        if (folder / FILE_NAME).is_file():
            try:
                return read_record(folder)
            except InputError:
                return None
    return None


def _training(checkpoint: Checkpoint, record: RunRecord | None) -> dict[str, Any]:
    config = checkpoint.run_config or (record.config if record else None) or {}
    trainer = config.get("trainer") or {}
    best = None
    if record is not None and record.best_score is not None:
        best = f"{config.get('monitor')} {record.best_score:.4g}"
    return {
        "steps": checkpoint.steps or (record.session.get("step") if record else None),
        "steps_wanted": trainer.get("max_steps"),
        "seed": config.get("seed"),
        "overrides": record.overrides if record else None,
        "commit": record.repository.get("commit") if record else None,
        "best": best,
    }


def main(arguments: Sequence[str]) -> None:
    """Run `esc-sr info` with what stands behind it."""
    hydra_main("info", run, positional_paths(arguments, "files", always_a_list=True))
