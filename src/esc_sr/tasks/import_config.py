"""`esc-sr import-config`: make an experiment of an option file of BasicSR."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig
from rich.console import Console

from esc_sr.config import compose_config, hydra_main, instantiate
from esc_sr.errors import InputError, check_flags, printable
from esc_sr.files import write_atomically
from esc_sr.integrations.basicsr import Experiment, experiment_of, experiment_yaml
from esc_sr.tasks.networks import positional_paths, with_output
from esc_sr.yaml_text import check_aliases

_LARGEST = 2**20  # bytes; option files have some thousands


def run(cfg: DictConfig) -> Path:
    """Import as `conf/import_config.yaml` describes.

    Args:
        cfg: The composed configuration.

    Returns:
        The file written.

    Raises:
        InputError: There is no such file, it holds no options of BasicSR, or the output exists.
    """
    check_flags(overwrite=cfg.overwrite)
    source = Path(str(cfg.file)).expanduser()
    experiment = experiment_of(read_options(source))
    output = _output(cfg, experiment)
    if output.exists() and not cfg.overwrite:
        raise InputError(f"{output} exists; set overwrite=true, or another output with -o")
    text = experiment_yaml(experiment, source.name)
    check(text, source)
    write_atomically(output, text)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(f"written: {output}")
    if experiment.not_carried:
        console.print("not carried:")
        for key, why in experiment.not_carried.items():
            console.print(f"  {printable(f'{key}={why}')}")
    folder = output.parent
    if folder.name == "experiment":
        console.print(f"esc-sr train --config-dir {folder.parent} experiment={output.stem}")
    return output


def read_options(path: Path) -> dict[str, Any]:
    """Read an option file; nothing but plain values is made of it.

    Args:
        path: A YAML file.

    Raises:
        InputError: There is none, it is too large, or no YAML of plain values.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    if path.stat().st_size > _LARGEST:
        raise InputError(f"{path} is larger than any option file")
    try:
        text = path.read_text(encoding="utf-8")
        check_aliases(text, path)
        options = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is no YAML of plain values: {reason[:200]}") from None
    if not isinstance(options, dict):
        raise InputError(f"{path} holds a {type(options).__name__}, not options by name")
    return options


def check(text: str, source: Path) -> None:
    """Compose an experiment, and build what it says of the network and of how it learns.

    Raises:
        InputError: It cannot be trained with; the message names the key.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "experiment" / "imported.yaml"
        path.parent.mkdir()
        path.write_text(text, encoding="utf-8")
        try:
            where = [f"hydra.searchpath=[file://{folder}]", "paths.output_dir=out"]
            cfg = compose_config("train", [*where, "experiment=imported"])
            instantiate(cfg.model)
            for part in (cfg.loss, cfg.optimizer, cfg.scheduler, cfg.protocol):
                instantiate(part)
        except InputError as error:
            raise InputError(f"{source}: {error}") from error


def _output(cfg: DictConfig, experiment: Experiment) -> Path:
    if cfg.output is not None:
        return Path(str(cfg.output)).expanduser()
    name = "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in experiment.name)
    return Path("experiment") / f"{name}.yaml"


def main(arguments: Sequence[str]) -> None:
    """Run `esc-sr import-config` with what stands behind it."""
    hydra_main("import_config", run, positional_paths(with_output(arguments), "file"))
