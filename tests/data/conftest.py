import numpy as np
import pytest
import torch
from PIL import Image

from esc_sr.data.images import write_image
from esc_sr.functional.resize import matlab_imresize


@pytest.fixture
def make_images():
    """Return a function that writes random photographs, and LQ where a folder is given."""

    def make(gt_dir, names=("a", "b", "c"), size=(24, 36), scale=4, lq_dir=None, lq_name="{}x{}"):
        rng = np.random.default_rng(0)
        for name in names:
            small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
            pixels = np.asarray(small.resize(size[::-1], Image.Resampling.BICUBIC)).copy()
            gt = torch.from_numpy(pixels).permute(2, 0, 1)
            write_image(gt_dir / f"{name}.png", gt)
            if lq_dir is not None:
                cut = gt[:, : size[0] // scale * scale, : size[1] // scale * scale]
                target = lq_dir / (lq_name.format(name, scale) + ".png")
                write_image(target, matlab_imresize(cut, 1 / scale))

    return make
