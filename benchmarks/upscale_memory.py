"""Peak memory of `esc-sr upscale` on a large photograph, beyond the result itself.

    python benchmarks/upscale_memory.py --checkpoint esc_x4.safetensors [--size 6000x4000]

The photograph is a packaged crop enlarged to the size asked for. The command runs as a process of
its own; its peak is what the operating system has counted (ru_maxrss). Without a checkpoint the
network is ESC ×4 with fresh weights: they change neither time nor memory.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from esc_sr import create_model, save_model
from esc_sr.data.sample import sample_dir

MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--model", default="esc", help="without a checkpoint: esc, esc_lt, esc_fp")
    parser.add_argument("--size", default="6000x4000", help="width x height of the photograph")
    parser.add_argument("options", nargs="*", help="of esc-sr upscale, after --")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = arguments.checkpoint or save_model(
            create_model(arguments.model, scale=4), Path(folder) / "fresh_x4.safetensors"
        )
        photo, target = Path(folder) / "photo.jpg", Path(folder) / "result.png"
        crop = sorted(sample_dir("valid").iterdir())[0]
        with Image.open(crop) as image:
            image.convert("RGB").resize((width, height)).save(photo, quality=95)
        command = [sys.executable, "-m", "esc_sr", "upscale", photo, "-o", target]
        command += ["--checkpoint", checkpoint, *arguments.options]
        subprocess.run([*command, "--dry-run"], check=True)
        start = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        with Image.open(target) as result:
            num_bytes = result.width * result.height * 3
    print(f"{width}×{height}: peak {peak / MIB:.0f} MiB, result {num_bytes / MIB:.0f} MiB,")
    print(f"working memory {(peak - num_bytes) / MIB:.0f} MiB (imports included), {seconds:.0f} s")


if __name__ == "__main__":
    Image.MAX_IMAGE_PIXELS = None  # the result has more pixels than Pillow opens unasked
    main()
