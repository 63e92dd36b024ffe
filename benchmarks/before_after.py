"""What a network makes of photographs: crops of LQ, bicubic, its result and the original.

python benchmarks/before_after.py -o out.jpg photos/cat.jpg@400,1300 photos/city.jpg@600,900

A crop is a photograph and its first row and column. LQ is made by MATLAB's bicubic, of the whole
photograph; PSNR is that of the crop's Y channel, against the original.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from esc_sr import Upscaler
from esc_sr.data.crops import crop, crop_to_multiple
from esc_sr.data.degradations import BicubicDegradation
from esc_sr.data.images import read_image
from esc_sr.functional.color import rgb_to_y
from esc_sr.functional.psnr import psnr
from esc_sr.functional.resize import matlab_imresize


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("crops", nargs="+", metavar="PHOTOGRAPH@TOP,LEFT")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--checkpoint", help="default: the packaged weights")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--size", type=int, default=192, help="side of a crop, pixels of GT")
    arguments = parser.parse_args()
    upscaler = Upscaler(arguments.checkpoint, scale=arguments.scale)
    rows = [panels(text, upscaler, arguments) for text in arguments.crops]
    inches, room = 2.4, 0.25
    height = len(rows) * (inches + room)
    figure, axes = plt.subplots(len(rows), 4, figsize=(4 * inches, height), squeeze=False)
    for row, shown in zip(axes, rows, strict=True):
        for axis, (title, image) in zip(row, shown.items(), strict=True):
            axis.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
            axis.set_title(title, fontsize=9)
            axis.axis("off")
    figure.subplots_adjust(
        left=0, right=1, bottom=0, top=1 - room / height, wspace=0.02, hspace=room / inches
    )
    figure.savefig(arguments.output, dpi=160, pil_kwargs={"quality": 88})
    with Image.open(arguments.output) as written:
        print(f"{arguments.output}: {written.width}×{written.height}")


def panels(text: str, upscaler: Upscaler, arguments: argparse.Namespace) -> dict[str, Tensor]:
    path, _, place = text.rpartition("@")
    top, left = map(int, place.split(","))
    scale, size = arguments.scale, arguments.size
    gt = crop_to_multiple(read_image(path), scale)
    lq = BicubicDegradation()(gt, scale)
    result = upscaler(np.ascontiguousarray(lq.permute(1, 2, 0).numpy()))
    whole = {
        "bicubic": matlab_imresize(lq, scale),
        Path(arguments.checkpoint or "esc_sr").stem: torch.from_numpy(result).permute(2, 0, 1),
    }
    original = crop(gt, top, left, size, size)
    small = crop(lq, top // scale, left // scale, size // scale, size // scale)
    shown = {f"LQ, ×{scale}": small}
    for name, image in whole.items():
        part = crop(image, top, left, size, size)
        y, wanted = (rgb_to_y(one[None].double() / 255) for one in (part, original))
        shown[f"{name}, {psnr(y, wanted, data_range=1.0).item():.2f} dB"] = part
    return {**shown, "original": original}


if __name__ == "__main__":
    main()
