"""`esc-sr info`: what files of weights are."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text

from esc_sr.api import list_models
from esc_sr.attention import attention_by_name, attention_names
from esc_sr.config import conf_dir, hydra_main
from esc_sr.errors import InputError, check_flags, printable
from esc_sr.layers.window_attention import WindowAttention
from esc_sr.models.checkpoints import ARCHITECTURES, Checkpoint, network_of, read_checkpoint
from esc_sr.models.esc import ESCBase
from esc_sr.profiling.macs import count_macs, count_parameters
from esc_sr.runs.record import FILE_NAME, RunRecord, read_record
from esc_sr.tasks.networks import positional_paths

_SR_SIZE = (720, 1280)  # what the papers count multiply-adds for
# What a configuration holds beside the settings by which variants differ.
_NOT_SETTINGS = {"architecture", "scale", "self_attention", "bias"}


def run(cfg: DictConfig) -> list[dict[str, Any]]:
    """Tell as `conf/info.yaml` describes.

    Args:
        cfg: The composed configuration.

    Returns:
        For each file what is known of it, plain values by name.

    Raises:
        InputError: A file cannot be read, or is not of a network of the family.
    """
    check_flags(json=cfg.json)
    if not OmegaConf.is_list(cfg.files) or not cfg.files:
        raise InputError("give files of weights: esc-sr info FILE...")
    found = [describe(str(path)) for path in cfg.files]
    if cfg.json:
        sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
        return found
    console = Console()
    for facts in found:
        title = Text(printable(facts["file"]))
        table = Table(show_header=False, title=title, title_justify="left")
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in facts.items():
            if name != "file" and value is not None:
                table.add_row(name, Text(printable(_text(value))))
        console.print(table)
    return found


def describe(path: str | Path) -> dict[str, Any]:
    """Return what is known of a file of weights.

    Args:
        path: Any file that `read_checkpoint` reads.

    Returns:
        Plain values by name, None where nothing is known.

    Raises:
        InputError: It cannot be read, or is not of a network of the family.
    """
    path = Path(path)
    checkpoint = read_checkpoint(path)
    network = network_of(checkpoint)
    config = network.config
    scale = network.scale
    lq_size = (math.ceil(_SR_SIZE[0] / scale), math.ceil(_SR_SIZE[1] / scale))
    facts: dict[str, Any] = {
        "file": str(path),
        "kind": _kind(checkpoint),
        "size_mib": round(path.stat().st_size / 2**20, 2),
        "network": network.title,
        "variant": variant_of(config),
        "scale": scale,
        "parameters": count_parameters(network),
        "multiply_adds_g": round(count_macs(network, lq_size) / 1e9, 1),
        "dtype": sorted({str(v.dtype).removeprefix("torch.") for v in _floats(checkpoint)}),
        **_looks_at(network),
        "settings": {key: value for key, value in config.items() if key not in _NOT_SETTINGS},
    }
    return facts | _training(checkpoint, _record_of(path))


def variant_of(config: Mapping[str, Any]) -> str:
    """Name the file of `conf/model` whose network has these settings, or the nearest one.

    Args:
        config: As `ESCBase.config`.

    Returns:
        Its name; behind "but" the settings that differ.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in list_models():
        settings = _settings_of(name)
        if settings.pop("_target_").rpartition(".")[2] == config["architecture"]:
            variant = ARCHITECTURES[config["architecture"]](**settings | {"scale": config["scale"]})
            found[name] = {
                key: value
                for key, value in config.items()
                if key not in _NOT_SETTINGS and variant.config.get(key) != value
            }
    name = min(found, key=lambda name: len(found[name]))
    return name + (f" but {_text(found[name])}" if found[name] else "")


def _settings_of(name: str) -> dict[str, Any]:
    """Read a file of `conf/model` with those that it is based on, without composing all of conf."""
    node: Any = OmegaConf.to_container(OmegaConf.load(conf_dir() / "model" / f"{name}.yaml"))
    settings: dict[str, Any] = {}
    for base in node.pop("defaults", []):
        if base != "_self_":
            settings |= _settings_of(base)
    return settings | node


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


def _looks_at(network: ESCBase) -> dict[str, Any]:
    """Say how far the network sees, and who can compute its self-attention."""
    layers = [module for module in network.modules() if isinstance(module, WindowAttention)]
    sees = []
    if layers:
        height, width = network.window_size
        sees.append(f"windows of {height}×{width} by self-attention")
    size = network.config.get("large_kernel_size")
    if size is not None:
        sees.append(f"{size}×{size} by each ConvAttn")
        if network.config["dynamic_kernel"]:
            sees.append("the whole image by the means its dynamic kernels are made from")
    facts: dict[str, Any] = {"sees": "; ".join(sees), "attention": None, "kernels": None}
    if layers:
        kind = layers[0].attention.bias.kind
        facts["attention"] = f"{len(layers)} × self-attention, {kind} bias"
        named = {name: attention_by_name(name) for name in attention_names()}
        facts["kernels"] = [
            name for name, one in named.items() if one is not None and kind in one.kernel.biases
        ]
    else:
        facts["attention"] = "none: each one is a ConvAttn"
    return facts


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


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_text(one)}" for key, one in value.items())
    if isinstance(value, list):
        numbers = all(isinstance(one, int) for one in value)
        return ("×" if numbers else ", ").join(str(one) for one in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def main(arguments: Sequence[str]) -> None:
    """Run `esc-sr info` with what stands behind it."""
    hydra_main("info", run, positional_paths(arguments, "files", always_a_list=True))
