"""How latency and memory of ESC ×4 grow with the window and with the image.

    python benchmarks/growth.py [--windows 8 16 32 48] [--sides 64 128 192 256 384]

Windows are compared on one image whose side (192) all of them divide, areas with windows of 32.
"""

import argparse

from in_turn import Costs, esc, measure, print_conditions, print_table

from esc_sr.profiling.fresh import Setting

KERNELS = ("eager", "sdpa")


def growth_rows(found: dict[tuple[int, str], Costs], first: int) -> list[list[str]]:
    """Return rows of both kernels side by side, and how far each has come from the first one."""
    rows = []
    for value in dict.fromkeys(value for value, _ in found):
        cells = [str(value)]
        for kernel in KERNELS:
            costs, start = found[value, kernel], found[first, kernel]
            cells += [
                f"{costs.median_ms:.0f}",
                f"{costs.median_ms / start.median_ms:.2f}",
                f"{costs.memory_mib:.0f}",
                f"{costs.memory_mib / start.memory_mib:.2f}",
            ]
        rows.append(cells)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, nargs="+", default=[8, 16, 32, 48])
    parser.add_argument("--window-side", type=int, default=192, help="of the LQ image for these")
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 128, 192, 256, 384])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    arguments = parser.parse_args()

    def setting(side: int) -> Setting:
        return Setting(lq_size=(side, side), device=arguments.device, precision=arguments.precision)

    def headings(first: str) -> list[str]:
        each = ["{} (ms)", "growth", "{} (MiB)", "growth"]
        return [first, *(text.format(kernel) for kernel in KERNELS for text in each)]

    print_conditions(setting(1), rounds=arguments.rounds)
    pairs = [(window, kernel) for window in arguments.windows for kernel in KERNELS]
    builds = {
        f"{window} {kernel}": esc(attention=kernel, window_size=window) for window, kernel in pairs
    }
    found = measure(builds, setting(arguments.window_side), rounds=arguments.rounds)
    side = arguments.window_side
    print(f"An LQ image of {side}×{side}:\n")
    by_window = dict(zip(pairs, found.values(), strict=True))
    print_table(headings("window"), growth_rows(by_window, arguments.windows[0]))

    by_side: dict[tuple[int, str], Costs] = {}
    for side in arguments.sides:
        builds = {kernel: esc(attention=kernel) for kernel in KERNELS}
        found = measure(builds, setting(side), rounds=arguments.rounds)
        by_side |= {(side, kernel): costs for kernel, costs in found.items()}
    print("Windows of 32:\n")
    print_table(headings("LQ side"), growth_rows(by_side, arguments.sides[0]))


if __name__ == "__main__":
    main()
