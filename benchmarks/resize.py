"""The exact resize against PyTorch's own antialiased one, which is close but not exact.

    python benchmarks/resize.py [--rounds 7]

Both in turn, on one RGB image of 8 bits; PyTorch's works in fp32 and is rounded at the end. The
largest difference is told in levels of 255.
"""

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from in_turn import print_table, ratio_text
from photograph import photograph
from torch import Tensor

from esc_sr.functional.resize import matlab_imresize
from esc_sr.profiling.conditions import device_name, versions
from esc_sr.profiling.latency import spread_of

CASES = {
    "2040×1356 to ×1/4": ((1356, 2040), 1 / 4),
    "2040×1356 to ×1/2": ((1356, 2040), 1 / 2),
    "510×339 to ×4": ((339, 510), 4.0),
    "2040×1356 to ×4": ((1356, 2040), 4.0),
    "256×256 to ×1/4": ((256, 256), 1 / 4),
}


def interpolate(image: Tensor, scale: float) -> Tensor:
    resized = F.interpolate(image.float(), scale_factor=scale, mode="bicubic", antialias=True)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def milliseconds(resize: Callable[[Tensor, float], Tensor], image: Tensor, scale: float) -> float:
    start = time.perf_counter()
    resize(image, scale)
    if image.device.type == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    rows = []
    for name, ((height, width), scale) in CASES.items():
        image = torch.from_numpy(photograph(height, width)).permute(2, 0, 1)[None].contiguous()
        image = image.to(arguments.device)
        exact, close = matlab_imresize(image, scale), interpolate(image, scale)
        difference = (exact.int() - close.int()).abs().max().item()
        times = [
            (milliseconds(matlab_imresize, image, scale), milliseconds(interpolate, image, scale))
            for _ in range(arguments.rounds)
        ]
        ours, theirs = (spread_of(list(found)) for found in zip(*times, strict=True))
        ratio = spread_of([mine / other for mine, other in times])
        rows.append(
            [
                name,
                f"{ours.median:.1f}",
                f"{theirs.median:.1f}",
                ratio_text(ratio),
                str(difference),
            ]
        )
    known = versions()
    print(f"{device_name(arguments.device)}, {torch.get_num_threads()} threads;")
    print(f"medians of {arguments.rounds} rounds in turn, in brackets p10–p90;")
    print(f"esc_sr {known['esc_sr']}, torch {known['torch']}\n")
    headings = ["resize", "exact (ms)", "interpolate (ms)", "ratio", "largest difference"]
    print_table(headings, rows)


if __name__ == "__main__":
    main()
