"""One ConvAttn against one window attention of ESC, on features of 64 channels.

python benchmarks/layers.py [--sides 64 128 256] [--precision bf16]
"""

import argparse
from functools import partial

import torch
from in_turn import measure, print_conditions, print_table, ratio_text
from torch import Tensor, nn

from esc_sr.attention import attention_by_name
from esc_sr.layers.conv_attn import ConvAttn, LargeKernelConv
from esc_sr.layers.window_attention import WindowAttention
from esc_sr.profiling.fresh import Setting

DIM, PARTIAL_DIM, KERNEL_SIZE, WINDOW, HEADS = 64, 16, 13, 32, 4


class OnFeatures(nn.Module):
    """A layer as a network of its own; the image it is given decides the size of its features."""

    def __init__(self, layer: str, side: int) -> None:
        super().__init__()
        if layer == "ConvAttn":
            self.layer = ConvAttn(DIM, LargeKernelConv(PARTIAL_DIM))
        else:
            attention = attention_by_name(layer)
            assert attention is not None
            self.layer = WindowAttention(
                DIM, num_heads=HEADS, window_size=(WINDOW, WINDOW), attention=attention
            )
        self.register_buffer("features", torch.randn(1, DIM, side, side))
        self.register_buffer("kernel", torch.randn(PARTIAL_DIM, PARTIAL_DIM, *[KERNEL_SIZE] * 2))

    def forward(self, image: Tensor) -> Tensor:
        return self.layer(self.features, (self.kernel,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    arguments = parser.parse_args()
    rows = []
    for side in arguments.sides:
        setting = Setting(
            lq_size=(side, side), device=arguments.device, precision=arguments.precision
        )
        builds = {
            layer: partial(OnFeatures, layer, side) for layer in ("ConvAttn", "sdpa", "eager")
        }
        found = measure(builds, setting, rounds=arguments.rounds, warmup=3)
        rows += [
            [
                f"{side}×{side}",
                "ConvAttn" if layer == "ConvAttn" else f"window attention, {layer}",
                f"{costs.median_ms:.1f}",
                ratio_text(costs.ratio_to(found["ConvAttn"])),
                f"{costs.memory_mib:.0f}",
            ]
            for layer, costs in found.items()
        ]
    print_conditions(setting, rounds=arguments.rounds)
    print_table(["features", "layer", "latency (ms)", "÷ ConvAttn", "memory (MiB)"], rows, left=2)


if __name__ == "__main__":
    main()
