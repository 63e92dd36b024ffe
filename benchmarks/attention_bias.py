"""Does a Fourier bias learn what a table learns? Small networks, equal steps, the same seeds.

python benchmarks/attention_bias.py --train PHOTOS --valid HELD_OUT [--seeds 0 1 2]

Runs `esc-sr train experiment=ablation/recipe` for each bias and seed, one after the other. Called
again it goes on where it was stopped, and tells the table of what is finished.
"""

import argparse
import csv
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

from in_turn import print_table

FLASH = ["attention=flash", "model.attention.kernel.kernel=sdpa"]
BIASES = {
    "table": ["attention=sdpa"],
    "axial": [*FLASH, "attention/bias=axial"],
    "fourier-16": [*FLASH, "model.attention.bias.rank=16"],
    "fourier-48": [*FLASH, "model.attention.bias.rank=48"],
}


def last_psnr(run: Path) -> float | None:
    """Return PSNR-Y of the averaged weights at the last step; None: the run is not finished."""
    files = sorted(run.glob("csv/version_*/metrics.csv"))
    rows = [row for file in files for row in csv.DictReader(file.open()) if row["val/psnr_y"]]
    # The weights are written at the end of a run.
    finished = (run / "model.safetensors").is_file() and rows
    return float(rows[-1]["val/psnr_y"]) if finished else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--valid", type=Path, required=True, help="folder of other photographs")
    parser.add_argument("--biases", nargs="+", default=list(BIASES), choices=list(BIASES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/attention_bias"))
    parser.add_argument("overrides", nargs="*", help="more of `esc-sr train`, e.g. trainer=gpu")
    arguments = parser.parse_args()
    found: dict[str, list[float]] = {bias: [] for bias in arguments.biases}
    # Seeds outside, so that what is finished early can be compared.
    for seed in arguments.seeds:
        for bias in arguments.biases:
            run = arguments.runs_dir / f"{bias}_{seed}"
            if last_psnr(run) is None:
                command = [sys.executable, "-m", "esc_sr", "train", "experiment=ablation/recipe"]
                command += [f"data.train.gt_dir='{arguments.train.resolve()}'"]
                command += [f"data.val.valid.gt_dir='{arguments.valid.resolve()}'"]
                command += [f"run_dir={run}", "ckpt_path=last", f"seed={seed}", *BIASES[bias]]
                subprocess.run([*command, *arguments.overrides], check=True)
            psnr = last_psnr(run)
            assert psnr is not None, f"{run} has no measured weights"
            found[bias].append(psnr)
            print(f"{bias}, seed {seed}: {psnr:.3f} dB", flush=True)
    first = arguments.biases[0]
    rows = []
    for bias, values in found.items():
        differences = [a - b for a, b in zip(values, found[first], strict=True)]
        spread = f" ± {stdev(differences):.3f}" if len(differences) > 1 else ""
        rows.append(
            [
                bias,
                *(f"{value:.3f}" for value in values),
                f"{mean(values):.3f}",
                "–" if bias == first else f"{mean(differences):+.3f}{spread}",
            ]
        )
    seeds = [f"seed {seed}" for seed in arguments.seeds]
    print()
    print_table(["bias", *seeds, "mean", f"− {first}"], rows)


if __name__ == "__main__":
    main()
