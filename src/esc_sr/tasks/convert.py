"""`esc-sr convert`: fit another bias to that of a trained network, and tell what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader

from esc_sr.attention.bias import AxialBias, FourierBias, TableBias
from esc_sr.attention.bias.fitting import BiasFit
from esc_sr.attention.interface import Bias
from esc_sr.config import hydra_main, instantiate
from esc_sr.data.pairs import PairedImages
from esc_sr.data.sample import sample_dir
from esc_sr.errors import InputError, check_flags
from esc_sr.evaluation import evaluate_network
from esc_sr.functional.psnr import psnr
from esc_sr.inference.device import pick_device
from esc_sr.layers.window_attention import WindowAttention
from esc_sr.metrics.protocol import Protocol
from esc_sr.models.bias_conversion import convert_bias
from esc_sr.models.checkpoints import load_model, save_model
from esc_sr.models.esc import ESCBase
from esc_sr.tasks.evaluate import uncut_plan
from esc_sr.tasks.networks import (
    at_scale,
    check_output,
    positional_checkpoints,
    with_output,
)
from esc_sr.tasks.tables import print_whole

_KINDS = ("fourier", "axial", "table")
_DEFAULT_RANK = 16
_MORE_RANK = 48  # fills a head of 16 channels up to 64


@dataclass(frozen=True)
class ImageComparison:
    """How the outputs of two networks differ on one photograph.

    Attributes:
        name: Of the image.
        between: PSNR in dB between both outputs, RGB clamped to [0, 1], all pixels.
        before: PSNR in dB of the first against the photograph, as the protocol says.
        after: The same of the second.
    """

    name: str
    between: float
    before: float
    after: float


@dataclass(frozen=True)
class Conversion:
    """What was converted.

    Attributes:
        output: The file written.
        fits: What is left of the bias, by layer.
        images: What is left of the output, by image.
    """

    output: Path
    fits: dict[str, BiasFit]
    images: list[ImageComparison]


def run(cfg: DictConfig) -> Conversion:
    """Convert as `conf/convert.yaml` describes.

    Args:
        cfg: The composed configuration.

    Returns:
        What was written, and how near it is.

    Raises:
        InputError: A value is wrong, the checkpoint cannot be converted, or the outputs differ by
            more than is allowed; nothing is written then.
    """
    bias = wanted_bias(cfg)
    output = output_path(cfg)
    network = load_model(cfg.checkpoint)
    cfg = at_scale(cfg, network.scale)
    device = pick_device(cfg.device)
    images = PairedImages(
        gt_dir=sample_dir("valid") if cfg.images is None else cfg.images,
        scale=network.scale,
        degradation=instantiate(cfg.degradation),
        max_megapixels=cfg.max_megapixels,
    )
    (protocol,) = instantiate(cfg.protocol).values()
    console = Console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        layers = sum(isinstance(module, WindowAttention) for module in network.modules())
        bar = progress.add_task("", total=layers + len(images))

        def on_step(name: str) -> None:
            progress.update(bar, advance=1, description=name)

        try:
            converted, fits = convert_bias(network, bias, refine=cfg.refine, on_layer=on_step)
        except InputError as error:
            raise InputError(f"{cfg.checkpoint}: {error}") from error
        compared = []
        for batch in DataLoader(images, batch_size=1):
            on_step(batch["name"][0])
            compared.append(compare(network, converted, batch, protocol, device=device))
    print_whole(console, _fit_table(fits, bias))
    print_whole(console, _image_table(compared, protocol))
    _check_kept(cfg, bias, compared)
    save_model(converted.cpu(), output)
    console.print(f"wrote {output}", soft_wrap=True, highlight=False)
    return Conversion(output, fits, compared)


def wanted_bias(cfg: DictConfig) -> Bias:
    """Make the bias that is asked for, and refuse options that would do nothing.

    Raises:
        InputError: An option is wrong.
    """
    if cfg.bias not in _KINDS:
        raise InputError(f"unknown bias '{cfg.bias}'; choose one of: {', '.join(_KINDS)}")
    check_flags(refine=cfg.refine, force=cfg.force, overwrite=cfg.overwrite)
    number = isinstance(cfg.min_psnr, int | float) and not isinstance(cfg.min_psnr, bool)
    if not number or not 0 <= cfg.min_psnr < math.inf:
        raise InputError(f"min_psnr must be a finite number of 0 dB or more, got {cfg.min_psnr}")
    if cfg.scale is not None:
        raise InputError("the scale is that of the checkpoint: leave scale out")
    if cfg.get("protocol") is None or len(cfg.protocol) != 1:
        raise InputError("one protocol is needed: leave protocol=paper, or choose rgb or ntire")
    if cfg.bias != "fourier":
        if cfg.rank is not None:
            raise InputError(f"rank is a setting of bias=fourier: leave it out of bias={cfg.bias}")
        return AxialBias() if cfg.bias == "axial" else TableBias()
    try:
        return FourierBias(rank=_DEFAULT_RANK if cfg.rank is None else cfg.rank)
    except ValueError as error:
        raise InputError(str(error)) from error


def output_path(cfg: DictConfig) -> Path:
    """Return where to write, and see before any work that it may be written.

    Raises:
        InputError: It is not a `.safetensors` file, exists already, or is the checkpoint itself.
    """
    if not isinstance(cfg.checkpoint, str):
        raise InputError(f"give one checkpoint to convert, got {cfg.checkpoint}")
    checkpoint = Path(cfg.checkpoint).expanduser()
    if cfg.output is None:
        output = checkpoint.with_name(f"{checkpoint.stem}_{cfg.bias}.safetensors")
    elif isinstance(cfg.output, str) and cfg.output:
        output = Path(cfg.output).expanduser()
    else:
        raise InputError(f"output must be a file, such as -o flash.safetensors, got '{cfg.output}'")
    if output.suffix != ".safetensors" or output.is_dir():
        raise InputError(f"output must be a .safetensors file, got {output}")
    check_output(output, checkpoint=checkpoint, overwrite=cfg.overwrite)
    return output


def compare(
    before: ESCBase,
    after: ESCBase,
    batch: Mapping[str, Any],
    protocol: Protocol,
    *,
    device: torch.device,
) -> ImageComparison:
    """Enlarge one image with two networks, as `esc-sr evaluate` does.

    Args:
        before: The network as it was.
        after: The converted one, of the same scale.
        batch: One `{"lq", "gt", "name"}`.
        protocol: How the outputs are measured against the photograph.
        device: Where to compute.

    Returns:
        How the outputs differ.

    Raises:
        InputError: An output is not finite.
    """
    outputs: list[Tensor] = []
    measured: list[float] = []
    for network in (before, after):

        def keep(set_name: str, image: str, sr: Tensor) -> None:
            outputs.append(sr.double().clamp(0, 1))

        results = evaluate_network(
            network,
            {"test": [dict(batch)]},
            [protocol],
            scale=network.scale,
            device=device,
            plan=lambda size, net=network: uncut_plan(net, size, device, scale=net.scale),
            on_image=keep,
        )
        measured.append(results["test"].values[protocol.keys[0]][0])
    between = psnr(outputs[1], outputs[0], data_range=1.0).item()
    return ImageComparison(batch["name"][0], between, *measured)


def _check_kept(cfg: DictConfig, bias: Bias, compared: Sequence[ImageComparison]) -> None:
    """Refuse what differs by more than is allowed.

    Raises:
        InputError: It does, and is not forced; the message says what to do.
    """
    worst = min(compared, key=lambda image: image.between)
    if worst.between >= cfg.min_psnr or cfg.force:
        return
    then = f"attention=flash attention/bias={bias.kind}"
    ways = []
    if isinstance(bias, FourierBias):
        more = _MORE_RANK if bias.rank < _MORE_RANK else 2 * bias.rank
        ways.append(f"rank={more}" + ("" if cfg.refine else " or refine=true"))
        then += f" model.attention.bias.rank={bias.rank}"
    elif isinstance(bias, AxialBias):
        ways.append(f"bias=fourier rank={_MORE_RANK}")
    ways.append(f"force=true and training it on (esc-sr train init_from=FILE {then})")
    raise InputError(
        f"the outputs are {worst.between:.2f} dB apart on '{worst.name}', less than min_psnr="
        f"{cfg.min_psnr:g}: nothing was written; try {', or '.join(ways)}"
    )


def _fit_table(fits: Mapping[str, BiasFit], bias: Bias) -> Table:
    settings = f", rank {bias.rank}" if isinstance(bias, FourierBias) else ""
    table = Table(
        "layer",
        title=f"what the {bias.kind} bias{settings} leaves, in scores",
        caption="over all pairs of a window, without the mean; least and most of the heads\n"
        "largest value: amplitude of a wave, or entry of a table or axis",
        caption_justify="left",
    )
    for heading in ("bias, RMS", "left, RMS (%)", "left, largest", "largest value"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, fit in fits.items():
        table.add_row(
            name,
            _span(fit.rms, "{:.3f}"),
            _span(100 * fit.relative_rms, "{:.2f}"),
            f"{fit.largest.max().item():.3f}",
            f"{fit.largest_amplitude:.3f}",
        )
    return table


def _span(values: Tensor, form: str) -> str:
    """Write the least and the most, or one number where they are written alike."""
    least, most = (form.format(value.item()) for value in (values.min(), values.max()))
    return least if least == most else f"{least}–{most}"


def _image_table(compared: Sequence[ImageComparison], protocol: Protocol) -> Table:
    heading = f"PSNR-{protocol.suffix.upper()}"
    table = Table(
        "image",
        title="outputs of both networks",
        caption="between: PSNR of one output against the other, RGB clamped to 0..1, not rounded, "
        f"all pixels\n{heading}: against the photograph, {protocol}",
        caption_justify="left",
    )
    for name in ("between (dB)", f"{heading} before", "after", "difference"):
        table.add_column(name, justify="right", no_wrap=True)

    def add(name: str, between: float, before: float, after: float) -> None:
        table.add_row(
            name, f"{between:.2f}", f"{before:.3f}", f"{after:.3f}", f"{after - before:+.4f}"
        )

    for image in compared:
        add(image.name, image.between, image.before, image.after)
    if len(compared) > 1:
        table.add_section()
        means = (
            sum(getattr(image, key) for image in compared) / len(compared)
            for key in ("between", "before", "after")
        )
        add("mean", *means)
    return table


def main(arguments: Sequence[str]) -> None:
    """Run `esc-sr convert` with what stands behind it."""
    hydra_main("convert", run, positional_checkpoints(with_output(arguments)))
