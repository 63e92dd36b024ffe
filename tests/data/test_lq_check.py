import logging

import pytest
import torch

from esc_sr.data.benchmarks import benchmark_set
from esc_sr.data.images import read_image, write_image
from esc_sr.data.lq_check import CheckedImages, bicubic_difference


@pytest.fixture
def folders(tmp_path, make_images):
    gt_dir, lq_dir = tmp_path / "Mine" / "HR", tmp_path / "Mine" / "LR_bicubic" / "X4"
    make_images(gt_dir, lq_dir=lq_dir)
    return tmp_path, lq_dir


def read_all(root):
    checked = CheckedImages(benchmark_set(root=root, name="Mine", scale=4), name="Mine")
    pairs = [checked[i] for i in range(len(checked))]
    assert [pair["name"] for pair in pairs] == ["a", "b", "c"]
    return checked


def test_exact_images_pass_in_silence(folders, caplog):
    checked = read_all(folders[0])
    with caplog.at_level(logging.WARNING):
        checked.warn()
    assert checked.differences == {"a": 0, "b": 0, "c": 0}
    assert not caplog.records


@pytest.mark.parametrize(
    ("change", "what"), [(1, "bicubic, rounded in another way"), (40, "made in another way")]
)
def test_others_are_told_in_one_warning(folders, caplog, change, what):
    root, lq_dir = folders
    for name, by in (("ax4.png", 1), ("cx4.png", change)):
        image = read_image(lq_dir / name)
        image[0, 1, 2] = image[0, 1, 2] + by if image[0, 1, 2] < 128 else image[0, 1, 2] - by
        write_image(lq_dir / name, image)
    checked = read_all(root)
    with caplog.at_level(logging.WARNING):
        checked.warn()
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith("Mine: the LQ images of 2 of 3 images are not MATLAB's bicubic")
    assert what in message
    worst = "c" if change > 1 else "a"
    assert f"({worst} differs by up to {change} of 255 levels)" in message
    assert "at ×4" in message
    assert ("will not compare with papers" in message) is (change > 1)


def test_images_that_are_made_are_not_checked(tmp_path, make_images):
    make_images(tmp_path / "Mine" / "HR")
    assert read_all(tmp_path).differences == {}


def test_all_published_lq_images_are_exact(shared_dir):
    for name in ("Set5", "Set14"):
        pairs = benchmark_set(root=shared_dir / "benchmarks", name=name, scale=4)
        checked = CheckedImages(pairs, name=name)
        for i in range(len(checked)):
            checked[i]
        assert set(checked.differences.values()) == {0}
        assert len(checked.differences) == len(pairs)


def test_the_difference_is_in_levels():
    gt = torch.full((3, 8, 8), 100 / 255)
    lq = torch.full((3, 4, 4), 100 / 255)
    lq[1, 2, 3] = 93 / 255
    assert bicubic_difference(lq, gt, 2) == 7


def test_an_image_is_compared_once(folders, monkeypatch):
    checked = read_all(folders[0])
    monkeypatch.setattr("esc_sr.data.lq_check.bicubic_difference", lambda *_: 99)
    assert checked[1]["name"] == "b"
    assert checked.differences == {"a": 0, "b": 0, "c": 0}
