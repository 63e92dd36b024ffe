"""Throughput of the training data, by where images lie and by the number of workers.

    python benchmarks/data_loading.py [--workers 0 1 2] [--batches 40]

The images are sub-images of 480×480 as `esc-sr prepare` makes them, cut from the packaged
photographs, which are continued by mirror images. They are few, so that files come from the
system's cache: what is measured is decoding, cropping, making LQ images and moving batches between
processes, not a disk.
"""

import argparse
import tempfile
import time
from itertools import islice
from pathlib import Path

import torch
from in_turn import print_table
from photograph import photograph
from torch.utils.data import DataLoader

from esc_sr.data.datamodule import SRDataModule
from esc_sr.data.images import encode_image
from esc_sr.data.pairs import PairedImages
from esc_sr.data.sample import sample_dir
from esc_sr.data.subimages import CutRecipe, cut_subimages
from esc_sr.profiling.conditions import device_name, versions
from esc_sr.profiling.latency import spread_of

SCALE, CROP, SIDE, BATCH_SIZE = 4, 64, 720, 16


def prepare(folder: Path) -> None:
    """Make HR images, PNG sub-images of them and their LMDBs."""
    (folder / "HR").mkdir()
    for path in sorted(sample_dir("train").iterdir()):
        image = torch.from_numpy(photograph(SIDE, SIDE, path)).permute(2, 0, 1).contiguous()
        (folder / "HR" / f"{path.stem}.png").write_bytes(encode_image(image))
    for lmdb in (False, True):
        cut_subimages(
            gt_dir=folder / "HR",
            gt_out=folder / "GT",
            lq_out=folder / "LQ",
            recipe=CutRecipe(scales=(SCALE,)),
            lmdb=lmdb,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batches", type=int, default=20, help="timed at a time")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        gt, lq = folder / "GT", folder / "LQ" / f"X{SCALE}"
        sources = {
            "PNG, LQ read": {"gt_dir": gt, "lq_dir": lq},
            "PNG, LQ made": {"gt_dir": gt},
            "LMDB, LQ read": {
                "gt_dir": gt.with_suffix(".lmdb"),
                "lq_dir": lq.with_suffix(".lmdb"),
            },
            "memory, LQ read": {"gt_dir": gt, "lq_dir": lq, "cache": True},
            "memory, LQ made": {"gt_dir": gt, "cache": True},
        }
        rows = []
        for workers in arguments.workers:
            loaders = {source: _loader(workers, **options) for source, options in sources.items()}
            # Every loader keeps its workers alive; those of others wait while one is timed.
            batches = {source: iter(loader) for source, loader in loaders.items()}
            speeds: dict[str, list[float]] = {source: [] for source in sources}
            for _ in range(1 + arguments.rounds):  # the first fills caches and queues
                for source, iterator in batches.items():
                    for _ in islice(iterator, 2 * workers):
                        pass  # what was made ahead while others were timed
                    start = time.perf_counter()
                    for _ in islice(iterator, arguments.batches):
                        pass
                    seconds = time.perf_counter() - start
                    speeds[source].append(BATCH_SIZE * arguments.batches / seconds)
            spreads = {source: spread_of(found[1:]) for source, found in speeds.items()}
            rows += [
                [
                    source,
                    str(workers),
                    f"{spread.median:.0f} ({spread.p10:.0f}–{spread.p90:.0f})",
                    f"{spread.median / spreads['PNG, LQ read'].median:.2f}",
                ]
                for source, spread in spreads.items()
            ]
    known = versions()
    print(f"{device_name('cpu')}; crops of {CROP} ×{SCALE}, batches of {BATCH_SIZE};")
    print(f"medians of {arguments.rounds} rounds of {arguments.batches} batches in turn;")
    print(f"esc_sr {known['esc_sr']}, torch {known['torch']}\n")
    print_table(["images", "workers", "patches/s", "÷ PNG, LQ read"], rows)


def _loader(workers: int, **options: object) -> DataLoader:
    images = PairedImages(scale=SCALE, crop_size=CROP, augment=True, **options)  # pyright: ignore
    return SRDataModule(train=images, batch_size=BATCH_SIZE, num_workers=workers).train_dataloader()


if __name__ == "__main__":
    main()
