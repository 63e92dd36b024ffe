import logging
import pickle
import re

import pytest
import torch

from esc_sr.data.images import read_image, write_image
from esc_sr.data.pairs import JoinedImages, PairedImages
from esc_sr.data.sampler import SampleKey
from esc_sr.errors import InputError
from esc_sr.functional.geometry import dihedral
from esc_sr.functional.resize import matlab_imresize


def refusal(**arguments):
    """Return the message with which a data set is refused, one line."""
    with pytest.raises(InputError) as error:
        PairedImages(**arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def equal(a, b):
    return a["name"] == b["name"] and all(torch.equal(a[k], b[k]) for k in ("lq", "gt"))


def test_whole_images_are_pairs_in_the_unit_range(tmp_path, make_images):
    make_images(tmp_path, size=(27, 38))
    pairs = PairedImages(gt_dir=tmp_path, scale=4)
    assert [pairs[i]["name"] for i in range(len(pairs))] == ["a", "b", "c"]
    gt = read_image(tmp_path / "b.png")[:, :24, :36]
    assert torch.equal(pairs[1]["gt"], gt / 255)
    assert torch.equal(pairs[1]["lq"], matlab_imresize(gt, 1 / 4) / 255)
    assert pairs[1]["lq"].dtype == pairs[1]["gt"].dtype == torch.float32
    assert pairs[-1]["name"] == "c"
    with pytest.raises(IndexError):
        pairs[3]


@pytest.mark.parametrize("crop_size", [None, 5])
def test_made_and_read_lq_agree_bit_for_bit(tmp_path, make_images, crop_size):
    make_images(tmp_path / "gt", size=(51, 70), lq_dir=tmp_path / "lq")
    options = {"gt_dir": tmp_path / "gt", "scale": 4, "crop_size": crop_size, "augment": True}
    made = PairedImages(**options)
    read = PairedImages(**options, lq_dir=tmp_path / "lq")
    for seed in range(40):
        key = SampleKey(seed % 3, seed)
        assert equal(made[key], read[key])


def test_the_seed_alone_decides_crop_and_flip(tmp_path, make_images):
    make_images(tmp_path, size=(48, 64))
    options = {"gt_dir": tmp_path, "scale": 2, "crop_size": 6, "augment": True}
    pairs, cached = PairedImages(**options), PairedImages(**options, cache=True)
    samples = [pairs[SampleKey(0, seed)] for seed in range(60)]
    for seed in reversed(range(60)):
        assert equal(cached[SampleKey(0, seed)], samples[seed])
    assert len({tuple(sample["gt"].flatten().tolist()) for sample in samples}) > 50
    assert all(sample["lq"].shape == (3, 6, 6) for sample in samples)
    assert all(sample["gt"].shape == (3, 12, 12) for sample in samples)
    assert equal(pairs[0], pairs[SampleKey(0, 0)])


def test_every_sample_is_a_flipped_crop_of_the_image(tmp_path, make_images):
    make_images(tmp_path, names=("a",), size=(16, 20))
    pairs = PairedImages(gt_dir=tmp_path, scale=2, crop_size=6, augment=True)
    image = read_image(tmp_path / "a.png") / 255
    crops = {
        (top, left, index): dihedral(image[:, top : top + 12, left : left + 12], index)
        for top in range(0, 5, 2)
        for left in range(0, 9, 2)
        for index in range(8)
    }
    found = set()
    for seed in range(1500):
        gt = pairs[SampleKey(0, seed)]["gt"]
        found |= {place for place, crop in crops.items() if torch.equal(gt, crop)}
        assert any(torch.equal(gt, crop) for crop in crops.values())
        if len(found) == len(crops):
            break
    assert found == set(crops)


def test_pairs_in_one_folder_are_told_apart_by_name(tmp_path, make_images):
    make_images(tmp_path, names=("img_001_SRF_4_HR", "img_002_SRF_4_HR"))
    for name in ("img_001_SRF_4", "img_002_SRF_4"):
        gt = read_image(tmp_path / f"{name}_HR.png")
        write_image(tmp_path / f"{name}_LR.png", matlab_imresize(gt, 1 / 4))
        write_image(tmp_path / f"{name}_bicubic.png", gt)
    pairs = PairedImages(gt_dir=tmp_path, lq_dir=tmp_path, scale=4)
    assert [pair["name"] for pair in (pairs[0], pairs[1])] == [
        "img_001_SRF_4_HR",
        "img_002_SRF_4_HR",
    ]
    assert equal(pairs[0], PairedImages(gt_dir=tmp_path, scale=4)[0])


def test_a_tilde_expands(tmp_path, make_images, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    make_images(tmp_path / "gt", lq_dir=tmp_path / "lq")
    assert len(PairedImages(gt_dir="~/gt", lq_dir="~/lq", scale=4)) == 3


def test_a_missing_folder_is_named_with_the_hint(tmp_path, make_images):
    missing = tmp_path / "DIV2K"
    message = refusal(gt_dir=missing, scale=2, hint="unpack DIV2K_train_HR.zip there")
    assert message == f"no such folder of GT images: {missing}; unpack DIV2K_train_HR.zip there"
    make_images(tmp_path / "gt")
    message = refusal(gt_dir=tmp_path / "gt", lq_dir=missing, scale=2)
    assert message == f"no such folder of LQ ×2 images: {missing}; check the path"


def test_an_empty_folder_is_named(tmp_path):
    assert refusal(gt_dir=tmp_path, scale=2) == f"no GT images in {tmp_path}; check the path"


def test_missing_pairs_are_counted_and_the_first_named(tmp_path, make_images):
    make_images(tmp_path / "gt", names="abcdefg")
    make_images(tmp_path / "lq", names=["gx4", "x"])
    message = refusal(gt_dir=tmp_path / "gt", lq_dir=tmp_path / "lq", scale=4)
    assert message == (
        f"6 of 7 GT images have no LQ image in {tmp_path / 'lq'}: a.png, b.png, c.png, …; "
        "expected e.g. ax4.png or a.png there"
    )


def test_a_folder_of_another_scale_is_recognised_by_its_names(tmp_path, make_images):
    make_images(tmp_path / "gt", scale=3, lq_dir=tmp_path / "lq")
    message = refusal(gt_dir=tmp_path / "gt", lq_dir=tmp_path / "lq", scale=4)
    assert message.endswith("the folder holds ×3: mend scale or lq_dir")


def test_sizes_that_do_not_fit_are_told_with_the_scale_that_would(tmp_path, make_images):
    make_images(tmp_path / "gt", scale=2, lq_dir=tmp_path / "lq", lq_name="{}")
    message = refusal(gt_dir=tmp_path / "gt", lq_dir=tmp_path / "lq", scale=4)
    assert message == (
        f"{tmp_path / 'lq' / 'a.png'} is 12×18, but {tmp_path / 'gt' / 'a.png'} (24×36) at scale=4 "
        "needs 6×9; they fit scale=2: mend scale or lq_dir"
    )


def test_later_sizes_are_checked_when_read(tmp_path, make_images):
    make_images(tmp_path / "gt", lq_dir=tmp_path / "lq")
    write_image(tmp_path / "lq" / "cx4.png", torch.zeros(3, 60, 5, dtype=torch.uint8))
    pairs = PairedImages(gt_dir=tmp_path / "gt", lq_dir=tmp_path / "lq", scale=4)
    assert pairs[1]["name"] == "b"
    with pytest.raises(InputError, match=r"cx4\.png is 60×5, but .*they are not a pair"):
        pairs[2]


def test_an_image_smaller_than_the_crop_is_told_with_both_sizes(tmp_path, make_images):
    make_images(tmp_path)
    message = refusal(gt_dir=tmp_path, scale=4, crop_size=7)
    assert message == (
        f"{tmp_path / 'a.png'} is 24×36 pixels, 6×9 at LQ size, smaller than the crop of 7×7 LQ "
        "(28×28 GT) pixels; set crop_size to 6 or less, or remove the image"
    )
    make_images(tmp_path, names="b", size=(20, 20))
    pairs = PairedImages(gt_dir=tmp_path, scale=4, crop_size=6)
    assert pairs[0]["name"] == "a"
    with pytest.raises(InputError, match=r"b\.png is 20×20 pixels, 5×5 at LQ size"):
        pairs[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0}, "scale must be an integer of at least 1, got 0"),
        ({"scale": 2, "crop_size": 0}, "crop_size must be an integer of at least 1"),
        ({"scale": 2, "on_corrupt": "ignore"}, "on_corrupt must be 'stop' or 'skip'"),
    ],
)
def test_values_out_of_range_are_refused(tmp_path, make_images, arguments, message):
    make_images(tmp_path)
    assert message in refusal(gt_dir=tmp_path, **arguments)


def test_a_corrupt_image_stops_by_name(tmp_path, make_images):
    make_images(tmp_path)
    content = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(content[: len(content) // 2])
    pairs = PairedImages(gt_dir=tmp_path, scale=4)
    with pytest.raises(InputError, match=re.escape(f"cannot read image {tmp_path / 'b.png'}")):
        pairs[1]


@pytest.mark.parametrize("cache", [False, True])
def test_corrupt_images_are_skipped_and_logged_once(tmp_path, make_images, caplog, cache):
    make_images(tmp_path, names="abcd")
    (tmp_path / "b.png").write_bytes(b"")
    (tmp_path / "d.png").write_bytes(b"")
    pairs = PairedImages(gt_dir=tmp_path, scale=4, on_corrupt="skip", cache=cache)
    with caplog.at_level(logging.WARNING):
        pairs.fill_cache()
        for _ in range(2):
            assert [pairs[i]["name"] for i in range(4)] == ["a", "c", "c", "a"]
    assert len(caplog.messages) == 2
    assert "b.png" in caplog.text
    assert "d.png" in caplog.text


def test_a_corrupt_first_image_is_skipped_too_and_all_corrupt_stops(tmp_path, make_images):
    make_images(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.png"):
        PairedImages(gt_dir=tmp_path, scale=4)
    pairs = PairedImages(gt_dir=tmp_path, scale=4, on_corrupt="skip")
    assert pairs[0]["name"] == "b"
    for name in "bc":
        (tmp_path / f"{name}.png").write_bytes(b"")
    with pytest.raises(InputError, match="none of the images can be read"):
        pairs[0]


def test_the_cache_reads_each_file_once(tmp_path, make_images):
    make_images(tmp_path)
    pairs = PairedImages(gt_dir=tmp_path, scale=4, cache=True)
    pairs.fill_cache()
    first = pairs[0]
    for path in tmp_path.iterdir():
        path.unlink()
    first["gt"].zero_()  # what a user does to a sample must not reach the cache
    assert pairs[0]["gt"].any()
    assert pickle.loads(pickle.dumps(pairs))[2]["name"] == "c"


def test_joined_sets_are_read_by_key(tmp_path, make_images):
    make_images(tmp_path / "one", names="ab", size=(48, 64))
    make_images(tmp_path / "two", names="xyz", size=(48, 64))
    one = PairedImages(gt_dir=tmp_path / "one", scale=4, crop_size=3)
    two = PairedImages(gt_dir=tmp_path / "two", scale=4, crop_size=3)
    joined = JoinedImages([one, two])
    assert [joined[i]["name"] for i in range(len(joined))] == list("abxyz")
    assert equal(joined[SampleKey(3, 9)], two[SampleKey(1, 9)])
    with pytest.raises(IndexError):
        joined[5]


def test_joined_sets_must_agree(tmp_path, make_images):
    make_images(tmp_path)
    sets = [PairedImages(gt_dir=tmp_path, scale=4, crop_size=size) for size in (3, 4)]
    with pytest.raises(InputError, match="must have one scale and crop_size"):
        JoinedImages(sets)
    with pytest.raises(InputError, match="no training set"):
        JoinedImages([])
