import pytest
from PIL import Image

from esc_sr.data.sample import sample_dir


@pytest.fixture
def small(tmp_path):
    """A set of two small pictures, for what is the same at any size."""
    folder = tmp_path / "sets" / "Small" / "HR"
    folder.mkdir(parents=True)
    with Image.open(sorted(sample_dir("valid").iterdir())[0]) as image:
        for name, box in (("a", (0, 0, 96, 72)), ("b", (100, 100, 160, 196))):
            image.convert("RGB").crop(box).save(folder / f"{name}.png")
    return [f"benchmark_dir={tmp_path / 'sets'}", "sets=[Small]"]
