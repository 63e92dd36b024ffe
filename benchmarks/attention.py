"""ESC with its attention computed in three ways, at three sizes.

    python benchmarks/attention.py [--lq 90x160 180x320 270x480] [--device cuda --precision bf16]

eager writes the scores of every window to memory, sdpa does not; conv_attn has no self-attention
at all and is another network, the paper's ablation.
"""

import argparse

from in_turn import esc, measure, print_conditions, print_table, ratio_text

from esc_sr.profiling.fresh import Setting

KERNELS = ("eager", "sdpa", "conv_attn")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="esc", help="esc, esc_lt or esc_fp")
    parser.add_argument("--lq", nargs="+", default=["90x160", "180x320", "270x480"])
    parser.add_argument("--kernels", nargs="+", default=KERNELS, help="the first is the baseline")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    arguments = parser.parse_args()
    rows = []
    for size in arguments.lq:
        height, width = map(int, size.split("x"))
        setting = Setting(
            lq_size=(height, width), device=arguments.device, precision=arguments.precision
        )
        builds = {kernel: esc(arguments.model, attention=kernel) for kernel in arguments.kernels}
        found = measure(builds, setting, rounds=arguments.rounds)
        baseline = found[arguments.kernels[0]]
        rows += [
            [
                f"{4 * width}×{4 * height}",
                kernel,
                f"{costs.median_ms:.0f}",
                ratio_text(costs.ratio_to(baseline)),
                f"{costs.memory_mib:.0f}",
                f"{costs.memory_mib / baseline.memory_mib:.2f}",
            ]
            for kernel, costs in found.items()
        ]
    first = arguments.kernels[0]
    headings = ["output", "attention", "latency (ms)", f"÷ {first}", "memory (MiB)", f"÷ {first}"]
    print_conditions(setting, rounds=arguments.rounds)
    print_table(headings, rows, left=2)


if __name__ == "__main__":
    main()
