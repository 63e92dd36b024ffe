import pytest

from esc_sr.data.images import list_images, read_image
from esc_sr.data.pairs import PairedImages
from esc_sr.data.sample import sample_dir
from esc_sr.errors import InputError


@pytest.mark.parametrize(("split", "count"), [("train", 12), ("valid", 3)])
def test_packaged_photographs_open_at_every_scale(split, count):
    for scale in (2, 3, 4):
        pairs = PairedImages(gt_dir=sample_dir(split), scale=scale)
        assert len(pairs) == count
        assert all(size % 12 == 0 for size in pairs[0]["gt"].shape[1:])


def test_every_photograph_is_credited_and_the_splits_do_not_meet():
    paths = [path for split in ("train", "valid") for path in list_images(sample_dir(split))]
    credits = (sample_dir("train").parent / "CREDITS.md").read_text()
    assert all(f"`{path.parent.name}/{path.name}` | " in credits for path in paths)
    assert len({path.stem for path in paths}) == 15
    assert sum(path.stat().st_size for path in paths) < 2_000_000
    for path in paths:
        assert read_image(path).shape[1:] in {(432, 432), (288, 288)}


def test_another_split_is_refused():
    with pytest.raises(InputError, match="has 'train' and 'valid', not 'test'"):
        sample_dir("test")
