"""`esc-sr export`: write a network for other programs, and check what was written."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor, nn

from esc_sr.config import hydra_main
from esc_sr.errors import InputError, check_flags, check_integers
from esc_sr.export.check import Check, compare, sizes_to_check
from esc_sr.export.metadata import license_in, metadata_of
from esc_sr.export.model_card import model_card
from esc_sr.export.onnx_file import check_opset, write_onnx
from esc_sr.export.program import deployable, least_side, program_of
from esc_sr.export.torch_program import read_program, write_program
from esc_sr.export.weights import write_pth, write_safetensors
from esc_sr.files import replacing
from esc_sr.inference.onnx_network import OnnxNetwork, import_onnxruntime
from esc_sr.models.checkpoints import load_model, load_weights, read_checkpoint
from esc_sr.models.esc import ESCBase
from esc_sr.models.packaged import find_weights
from esc_sr.tasks.networks import (
    at_scale,
    build_network,
    check_attention,
    check_output,
    names_a_network,
    positional_checkpoints,
    with_output,
)
from esc_sr.tasks.tables import print_whole

SUFFIXES = {
    "onnx": ".onnx",
    "torch_export": ".pt2",
    "safetensors": ".safetensors",
    "pth": ".pth",
}
_PROGRAMS = ("onnx", "torch_export")  # what takes images, while the others hold weights
TOLERANCES = {"fp32": 1e-4, "fp16": 2e-2}
_MIB = 2**20


@dataclass(frozen=True)
class Export:
    """What was exported.

    Attributes:
        output: The file written.
        card: The model card beside it.
        metadata: What the file says of itself.
        check: How it was compared with the network.
    """

    output: Path
    card: Path
    metadata: dict[str, str]
    check: Check


def run(cfg: DictConfig) -> Export:
    """Export as `conf/export.yaml` describes.

    Args:
        cfg: The composed configuration.

    Returns:
        What was written, and how near it is.

    Raises:
        InputError: A value is wrong, the network cannot be exported, or what was made of it
            computes something else; nothing is written then.
    """
    lq_size = _check_options(cfg)
    output = output_path(cfg, lq_size)
    card = card_of(output)
    network = _network(cfg)
    source = find_weights(cfg.checkpoint)
    license = cfg.license if cfg.license is not None else license_in(source)
    made = deployable(network, precision=cfg.precision)
    scale = int(getattr(network, "scale", 0)) or int(cfg.scale)
    metadata = metadata_of(
        made,
        scale=scale,
        precision=cfg.precision,
        source=source,
        license=license,
        lq_size=lq_size,
    )
    sizes = sizes_to_check(
        getattr(network, "window_size", (1, 1)),
        lq_size=lq_size,
        batch_size=cfg.batch_size,
        least=least_side(network),
    )
    console = Console()
    with (
        ExitStack() as files,
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        bar = progress.add_task(f"writing {output.name}", total=len(sizes) + 1)
        written = files.enter_context(replacing(output))
        write, read = _writer(cfg, made, metadata, lq_size), _reader(cfg.format, network)
        write(written)
        progress.update(bar, advance=1, description="checking")
        check = compare(
            network,
            read(written),
            sizes,
            tolerance=TOLERANCES[cfg.precision] if cfg.tolerance is None else cfg.tolerance,
            on_case=lambda: progress.update(bar, advance=1),
        )
        settings = _settings(cfg, lq_size)
        # Renamed in reverse: the card first, the file that it is about last.
        text = model_card(output, cfg.format, metadata, check, settings=settings)
        files.enter_context(replacing(card)).write_text(text, encoding="utf-8")
    _tell(console, output, card, check, settings)
    return Export(output, card, metadata, check)


def output_path(cfg: DictConfig, lq_size: tuple[int, int] | None) -> Path:
    """Return where to write, and see before any work that it may be written.

    Args:
        cfg: The composed configuration.
        lq_size: (height, width) of the only image that the file takes; None: any.

    Raises:
        InputError: The name does not go with the format, is that of the checkpoint, or of a file
            that exists.
    """
    if not isinstance(cfg.checkpoint, str):
        raise InputError(f"give one checkpoint to export, got {cfg.checkpoint}")
    checkpoint = Path(cfg.checkpoint).expanduser()
    suffix = SUFFIXES[cfg.format]
    if cfg.output is None:
        parts = [checkpoint.stem]
        parts += ["export"] if suffix == checkpoint.suffix else []
        parts += ["fp16"] if cfg.precision == "fp16" else []
        parts += [f"{lq_size[0]}x{lq_size[1]}"] if lq_size is not None else []
        output = checkpoint.with_name("_".join(parts) + suffix)
    elif isinstance(cfg.output, str) and cfg.output:
        output = Path(cfg.output).expanduser()
    else:
        raise InputError(f"output must be a file, such as -o model{suffix}, got '{cfg.output}'")
    if output.suffix != suffix or output.is_dir():
        raise InputError(f"format={cfg.format} needs a {suffix} file as output, got {output}")
    check_output(output, card_of(output), checkpoint=checkpoint, overwrite=cfg.overwrite)
    return output


def card_of(output: Path) -> Path:
    """Return where the model card of a file lies."""
    return output.with_name(output.name + ".md")


def _check_options(cfg: DictConfig) -> tuple[int, int] | None:
    """Refuse wrong values; return the only size that the file shall take, if there is one.

    Raises:
        InputError: A value is wrong, or would not be heeded.
    """
    if cfg.format == "torchscript":
        raise InputError(
            "format=torchscript is not written, because PyTorch has deprecated it: use "
            "format=torch_export for PyTorch, format=onnx for other programs"
        )
    if cfg.format not in SUFFIXES:
        raise InputError(f"unknown format '{cfg.format}'; choose one of: {', '.join(SUFFIXES)}")
    if cfg.precision not in TOLERANCES:
        raise InputError(
            f"unknown precision '{cfg.precision}'; choose one of: {', '.join(TOLERANCES)}"
        )
    check_flags(overwrite=cfg.overwrite)
    check_integers(1, batch_size=cfg.batch_size)
    tolerance = cfg.tolerance
    if tolerance is not None:
        number = isinstance(tolerance, int | float) and not isinstance(tolerance, bool)
        if not number or not 0 < tolerance < math.inf:
            raise InputError(f"tolerance must be a finite number above 0, got {tolerance}")
    if cfg.license is not None and not (isinstance(cfg.license, str) and cfg.license.strip()):
        raise InputError(f"license must be a name such as MIT, got '{cfg.license}'")
    if cfg.format == "onnx":
        check_opset(cfg.opset)
        import_onnxruntime()
    lq_size = cfg.lq_size
    if lq_size is None:
        if cfg.batch_size != 1:
            raise InputError(
                "without lq_size the file takes any number of images: leave batch_size out"
            )
        return None
    if cfg.format not in _PROGRAMS:
        raise InputError(
            f"format={cfg.format} holds weights, which fit any image: leave lq_size out"
        )
    if not OmegaConf.is_list(lq_size) or len(lq_size) != 2:
        raise InputError(f"lq_size is [height,width], got {lq_size}")
    check_integers(1, **{"lq_size[0]": lq_size[0], "lq_size[1]": lq_size[1]})
    return lq_size[0], lq_size[1]


def _network(cfg: DictConfig) -> nn.Module:
    """Load the network in float32.

    Raises:
        InputError: It cannot be loaded, or is of another scale.
    """
    model = cfg.get("model") or OmegaConf.create({})
    if names_a_network(model):
        if cfg.scale is None:
            raise InputError("scale is needed beside a model: add scale=4")
        check_attention(model)
        return build_network(at_scale(cfg, cfg.scale).model, cfg.checkpoint)
    if cfg.checkpoint.endswith(".onnx"):
        raise InputError(
            f"{cfg.checkpoint} is an exported network already: give the checkpoint it came from"
        )
    network = load_model(cfg.checkpoint)
    if cfg.scale is not None and cfg.scale != network.scale:
        raise InputError(
            f"{cfg.checkpoint} enlarges ×{network.scale}, scale={cfg.scale} was asked for; "
            "leave it out"
        )
    return network


def _writer(
    cfg: DictConfig, made: nn.Module, metadata: dict[str, str], lq_size: tuple[int, int] | None
) -> Callable[[Path], None]:
    if cfg.format not in _PROGRAMS:
        write = write_pth if cfg.format == "pth" else write_safetensors
        return lambda path: write(made, path, metadata=metadata)
    program = program_of(made, lq_size=lq_size, batch_size=cfg.batch_size)
    if cfg.format == "onnx":
        return lambda path: write_onnx(program, path, opset=cfg.opset, metadata=metadata)
    return lambda path: write_program(program, path, metadata=metadata)


def _reader(format: str, network: nn.Module) -> Callable[[Path], Callable[[Tensor], Tensor]]:
    """Return what reads a file of the format back, as something to be called."""

    def weights(path: Path) -> nn.Module:
        if isinstance(network, ESCBase):
            return load_model(path)
        loaded = copy.deepcopy(network)
        load_weights(loaded, read_checkpoint(path).state_dict, source=str(path))
        return loaded

    if format == "onnx":
        return OnnxNetwork
    return weights if format not in _PROGRAMS else lambda path: read_program(path)[0]


def _settings(cfg: DictConfig, lq_size: tuple[int, int] | None) -> str:
    """Say what was chosen."""
    chosen = [f"opset {cfg.opset}"] if cfg.format == "onnx" else []
    chosen.append(cfg.precision)
    if cfg.format in _PROGRAMS:
        size = f"{cfg.batch_size}×3×{lq_size[0]}×{lq_size[1]} only" if lq_size else "any size"
        chosen.append(size)
    return ", ".join(chosen)


def _tell(console: Console, output: Path, card: Path, check: Check, settings: str) -> None:
    table = Table("input")
    table.add_column("largest error", justify="right", no_wrap=True)
    for case in check.cases:
        table.add_row(str(case), f"{case.max_error:.1e}")
    print_whole(console, table)
    console.print(
        f"against the network in PyTorch, images in [0, 1]; allowed {check.tolerance:g}",
        highlight=False,
    )
    size = output.stat().st_size / _MIB
    for line in (f"wrote {output}: {settings}, {size:.1f} MiB", f"wrote {card}"):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def main(arguments: Sequence[str]) -> None:
    """Run `esc-sr export` with what stands behind it."""
    hydra_main("export", run, positional_checkpoints(with_output(arguments)))
