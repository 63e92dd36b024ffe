import logging
import shutil

import pytest
import torch

from esc_sr.data.benchmarks import benchmark_set
from esc_sr.errors import InputError


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("name", "count"), [("Set5", 5), ("Set14", 14)])
def test_published_sets_open(shared_dir, caplog, name, count, scale):
    pairs = benchmark_set(root=shared_dir / "benchmarks", name=name, scale=scale)
    assert len(pairs) == count
    assert not caplog.messages
    for i in range(2):
        lq, gt = pairs[i]["lq"], pairs[i]["gt"]
        assert gt.shape == (3, lq.shape[1] * scale, lq.shape[2] * scale)


def test_lq_is_made_exactly_where_it_is_absent(shared_dir, tmp_path):
    shutil.copytree(shared_dir / "benchmarks" / "Set5" / "HR", tmp_path / "Set5" / "HR")
    made = benchmark_set(root=tmp_path, name="Set5", scale=3)
    read = benchmark_set(root=shared_dir / "benchmarks", name="Set5", scale=3)
    for i in range(5):
        assert torch.equal(made[i]["lq"], read[i]["lq"])
        assert torch.equal(made[i]["gt"], read[i]["gt"])


@pytest.mark.parametrize(
    ("gt", "lq", "gt_name", "lq_name"),
    [
        ("Mine/HR", "Mine/LR_bicubic/X2", "{}", "{}x{}"),
        ("Mine/image_SRF_2", "Mine/image_SRF_2", "{}_SRF_2_HR", "{}"),
        ("Mine_HR", "Mine_LR_bicubic/X2", "{}", "{}x{}"),
        ("Mine", None, "{}", ""),
    ],
)
def test_layouts(tmp_path, make_images, gt, lq, gt_name, lq_name):
    names = [gt_name.format(name) for name in "ab"]
    if "SRF" in gt_name:
        make_images(tmp_path / gt, names=names, scale=2)
        for name in "ab":
            make_images(tmp_path / gt, names=[f"{name}_SRF_2_LR"], size=(12, 18))
    else:
        lq_dir = tmp_path / lq if lq else None
        make_images(tmp_path / gt, names=names, scale=2, lq_dir=lq_dir, lq_name=lq_name)
    pairs = benchmark_set(root=tmp_path, name="Mine", scale=2)
    assert [pairs[i]["name"] for i in range(len(pairs))] == names
    if lq:  # it is read, not made: the first image is of the wrong size now
        make_images(tmp_path / gt, names=names[:1], size=(24, 40))
        with pytest.raises(InputError, match="at scale=2 needs 12×20"):
            benchmark_set(root=tmp_path, name="Mine", scale=2)


def test_an_incomplete_set_is_warned_about(tmp_path, make_images, caplog):
    make_images(tmp_path / "Set5" / "HR")
    with caplog.at_level(logging.WARNING):
        benchmark_set(root=tmp_path, name="Set5", scale=2)
    assert "has 3 images, the published set has 5" in caplog.text


def test_a_missing_set_is_told_with_the_paths_expected(tmp_path):
    with pytest.raises(InputError) as error:
        benchmark_set(root=tmp_path, name="Set5", scale=2, hint="get it somewhere")
    expected = tmp_path / "Set5" / "HR"
    assert f"no benchmark set 'Set5': expected {expected}/*.png" in str(error.value)
    assert str(error.value).endswith("; get it somewhere")
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="known sets: Set5, Set14, B100"):
        benchmark_set(root=tmp_path, name="Set6", scale=2)
