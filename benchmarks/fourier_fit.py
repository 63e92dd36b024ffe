"""How much of a table of relative position biases do a few waves keep?

    python benchmarks/fourier_fit.py [--checkpoint model.safetensors]

Fits waves and axes to three synthetic tables and to those of a trained network, and prints what is
left of the table and of the output of an attention with random q, k and v; with a checkpoint also
how near the network's outputs stay on the packaged photographs.
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from in_turn import print_table
from torch import Tensor
from torch.utils.data import DataLoader

from esc_sr import load_model
from esc_sr.attention.bias import AxialBias, FourierBias, TableBias
from esc_sr.attention.bias.fitting import BiasFit, fit_bias
from esc_sr.attention.bias.offsets import offset_grid
from esc_sr.attention.eager import EagerKernel
from esc_sr.attention.interface import Bias
from esc_sr.data.pairs import PairedImages
from esc_sr.data.sample import sample_dir
from esc_sr.layers.window_attention import WindowAttention
from esc_sr.metrics.protocol import Protocol
from esc_sr.models.bias_conversion import convert_bias
from esc_sr.models.esc import ESCBase
from esc_sr.tasks.convert import compare


def synthetic(side: int) -> dict[str, Tensor]:
    """Tables of one head by the formula of the distance r in pixels that fills them."""
    dy, dx = offset_grid((side, side))
    r = (dy.square() + dx.square()).sqrt()
    near = side / 4
    return {
        f"4 exp(−r²/(2·{near:g}²))": 4 * torch.exp(-r.square() / (2 * near**2))[None],
        f"4 exp(−r/{near:g})": 4 * torch.exp(-r / near)[None],
        "−1.5 ln(1 + r)": -1.5 * torch.log1p(r)[None],
    }


def error_of_output(bias: Bias, fit: BiasFit, values: Tensor, window: tuple[int, int]) -> float:
    """Root mean square of what changes in an attention's output, as a part of the output."""
    torch.manual_seed(0)
    heads = values.shape[0]
    q, k, v = (torch.randn(1, heads, window[0] * window[1], 16).double() for _ in range(3))
    exact = TableBias().bind({"relative_position_bias": values.double()}, window)
    wanted, found = (
        EagerKernel()(q, k, v, bias=bound, softmax_scale=0.25)
        for bound in (exact, bias.bind(fit.parameters, window))
    )
    return ((found - wanted).norm() / wanted.norm()).item()


def attentions_of(network: ESCBase) -> dict[str, WindowAttention]:
    named = network.named_modules()
    return {name: layer for name, layer in named if isinstance(layer, WindowAttention)}


def print_fits(tables: Mapping[str, tuple[Tensor, tuple[int, int]]], biases: list[Bias]) -> None:
    rows = []
    for name, (values, window) in tables.items():
        for bias in biases:
            start = time.perf_counter()
            fit = fit_bias(bias, values, window)
            seconds = time.perf_counter() - start
            rows.append(
                [
                    name,
                    title(bias),
                    f"{fit.rms.mean():.3f}",
                    f"{100 * fit.relative_rms.mean():.2f}",
                    f"{fit.largest.max():.3f}",
                    f"{100 * error_of_output(bias, fit, values, window):.2f}",
                    f"{fit.largest_amplitude:.2f}",
                    f"{seconds:.1f}",
                ]
            )
    headings = ["table", "bias", "RMS", "left, RMS (%)", "left, largest", "output (%)"]
    print_table([*headings, "largest amplitude", "seconds"], rows, left=2)


def print_outputs(network: ESCBase, biases: list[Bias]) -> None:
    images = DataLoader(PairedImages(gt_dir=sample_dir("valid"), scale=network.scale))
    protocol = Protocol("paper", channel="y", crop_border=network.scale, suffix="y")
    rows = []
    for bias in biases:
        converted, _ = convert_bias(network, bias)
        found = [
            compare(network, converted, batch, protocol, device=torch.device("cpu"))
            for batch in images
        ]
        changes = [image.after - image.before for image in found]
        rows.append(
            [
                title(bias),
                f"{min(image.between for image in found):.2f}",
                f"{sum(image.before for image in found) / len(found):.3f}",
                f"{sum(changes) / len(changes):+.4f}",
                f"{min(changes):+.4f}",
            ]
        )
    headings = ["bias", "between, least (dB)", "PSNR-Y before", "change, mean", "change, worst"]
    print_table(headings, rows)


def title(bias: Bias) -> str:
    return f"fourier, rank {bias.rank}" if isinstance(bias, FourierBias) else bias.kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="a trained network with tables")
    parser.add_argument("--window", type=int, default=32, help="side, for synthetic tables")
    parser.add_argument("--ranks", type=int, nargs="+", default=[16, 48])
    arguments = parser.parse_args()
    biases: list[Bias] = [AxialBias(), *(FourierBias(rank=rank) for rank in arguments.ranks)]
    window = (arguments.window, arguments.window)
    tables = {name: (values, window) for name, values in synthetic(arguments.window).items()}
    if arguments.checkpoint is None:
        print_fits(tables, biases)
        return
    network = load_model(arguments.checkpoint)
    for name, layer in attentions_of(network).items():
        tables[name] = (layer.bound_bias().values().detach(), layer.window_size)
    print_fits(tables, biases)
    print_outputs(network, biases)


if __name__ == "__main__":
    main()
