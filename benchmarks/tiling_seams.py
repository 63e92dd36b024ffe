"""What tiles change in a picture, and what they cost in time and memory.

    python benchmarks/tiling_seams.py model.safetensors [--photo photo.jpg] [--tile 128]

Enlarges one photograph untiled, layer by layer, and in tiles of several overlaps, and prints the
largest and the mean difference from the untiled result in levels of 255 (computed with 16 bits,
so that parts of a level are seen).
"""

import argparse
import time
from pathlib import Path

import numpy as np
from photograph import photograph

from esc_sr import Upscaler
from esc_sr.profiling.memory import PeakMemory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--photo", type=Path)
    parser.add_argument("--side", type=int, default=512, help="of the square taken from the photo")
    parser.add_argument("--tile", type=int, default=128)
    arguments = parser.parse_args()
    pixels = photograph(arguments.side, arguments.side, arguments.photo).astype(np.uint16) * 257
    modes = {
        "whole": {"tiling": "whole"},
        "exact": {"tiling": "exact", "tile": arguments.tile},
        **{
            f"overlap {overlap}": {
                "tiling": "overlap",
                "tile": arguments.tile,
                "overlap": overlap,
            }
            for overlap in (0, 16, 32, 64)
        },
    }
    print(f"{arguments.side}×{arguments.side}, tiles of {arguments.tile}")
    print("| mode | largest difference | mean difference | seconds | memory (MiB) |")
    print("|---|--:|--:|--:|--:|")
    whole: np.ndarray | None = None
    for name, options in modes.items():
        upscaler = Upscaler(arguments.checkpoint, device="cpu", **options)
        with PeakMemory("cpu") as memory:
            start = time.perf_counter()
            result = upscaler(pixels)
            seconds = time.perf_counter() - start
        whole = result if whole is None else whole
        difference = abs(result.astype(float) - whole) / 257
        print(
            f"| {name} | {difference.max():.3f} | {difference.mean():.5f} | {seconds:.1f} | "
            f"{memory.read().increase_mib:.0f} |"
        )


if __name__ == "__main__":
    main()
