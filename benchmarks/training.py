"""A training step (forward, L1, backward, AdamW): throughput, memory, hours of a whole recipe.

python benchmarks/training.py [--batch-size 4] [--crop 64] [--device cuda --precision bf16]
    [--attention sdpa flash:sdpa_flash] [--compile]
"""

import argparse
from collections.abc import Callable
from functools import partial
from itertools import product

import torch
import torch.nn.functional as F
from in_turn import attention_of, esc, measure, print_conditions, print_table, ratio_text
from torch import Tensor, nn

from esc_sr.profiling.fresh import Setting

RECIPE = 500_000 * 64  # patches that the paper trains on for each scale, of 64×64 LQ pixels


class TrainingStep(nn.Module):
    """A network whose forward pass is a whole step of training."""

    def __init__(self, build: Callable[[], nn.Module], compiled: bool, channels_last: bool) -> None:
        super().__init__()
        self.network = build()
        if channels_last:
            self.network.to(memory_format=torch.channels_last)
        if compiled:
            self.network.compile(dynamic=False)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), betas=(0.9, 0.9))

    @torch.enable_grad()
    def forward(self, lq: Tensor) -> Tensor:
        self.network.train()
        sr = self.network(lq)
        loss = F.l1_loss(sr, torch.zeros_like(sr))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["esc", "esc_lt"])
    parser.add_argument(
        "--attention",
        nargs="+",
        default=["sdpa", "eager", "flash:sdpa_flash", "flash:sdpa_flash:48", "conv_attn"],
        help="the first is the baseline",
    )
    parser.add_argument("--compile", action="store_true", help="each of them compiled, too")
    parser.add_argument("--channels-last", action="store_true", help="each of them so, too")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--crop", type=int, default=64, help="side of the LQ patches")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    arguments = parser.parse_args()
    setting = Setting(
        lq_size=(arguments.crop, arguments.crop),
        batch_size=arguments.batch_size,
        device=arguments.device,
        precision=arguments.precision,
    )
    rows = []
    for model in arguments.models:
        variants = product(
            arguments.attention,
            [False, True][: 1 + arguments.compile],
            [False, True][: 1 + arguments.channels_last],
        )
        builds = {
            name + ", compiled" * compiled + ", channels last" * last: partial(
                TrainingStep, esc(model, attention=attention_of(name)), compiled, last
            )
            for name, compiled, last in variants
        }
        found = measure(builds, setting, rounds=arguments.rounds)
        rows += [
            [
                model,
                name,
                f"{costs.median_ms:.0f}",
                f"{1e3 * arguments.batch_size / costs.median_ms:.2f}",
                f"{RECIPE / arguments.batch_size * costs.median_ms / 3.6e6:.0f}",
                ratio_text(costs.ratio_to(found[arguments.attention[0]])),
                f"{costs.memory_mib:.0f}",
            ]
            for name, costs in found.items()
        ]
    print_conditions(setting, rounds=arguments.rounds)
    headings = ["network", "attention", "step (ms)", "patches/s", "recipe (h)"]
    headings += [f"÷ {arguments.attention[0]}", "memory (MiB)"]
    print_table(headings, rows, left=2)


if __name__ == "__main__":
    main()
