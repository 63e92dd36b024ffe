"""`upscale` takes no more memory for many pictures than for some, and no more time for each."""

import re

import numpy as np
import pytest
from PIL import Image

import esc_sr.tasks.upscale as task


def resident_mib():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_memory_stays_as_it_is(esc_sr, tmp_path, weights, monkeypatch, count):
    """What 40 pictures (of 2,000 the first 200) take is what it takes.

    A leak of 50 kB for each picture would show, in the long test one of 5 kB; measured were 1 MiB
    between the 200th and the 2,000th.
    """
    generator = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for index in range(count):
        pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{index:04d}.png")
    measured = []
    write = task.write_picture

    def writing(*arguments, **options):
        measured.append(resident_mib())
        return write(*arguments, **options)

    monkeypatch.setattr(task, "write_picture", writing)
    done = esc_sr("upscale", "in", "-o", "out", "--checkpoint", weights, cwd=tmp_path)
    assert done.returncode == 0
    assert re.search(rf"^{count} enlarged ×2 in", done.stdout, re.MULTILINE)
    assert len(measured) == len(list((tmp_path / "out").iterdir())) == count
    settled = max(measured[: max(40, count // 10)])
    assert max(measured) - settled < 8  # MiB
