import logging
import shutil

import pytest
import torch

from esc_sr.data.benchmarks import benchmark_folders, benchmark_set, set_folders
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


@pytest.mark.parametrize(
    ("name", "gt", "lq"),
    [
        ("B100", "BSD100/HR", "BSD100/LR_bicubic/X2"),
        ("BSD100", "B100/HR", "B100/LR/X2"),
        ("B100", "CBSD100/GT", "CBSD100/LRbicx2"),
        ("b100", "BSDS100/original", None),
        ("Set5", "set5/GTmod12", "set5/LRbicx2"),
        ("Urban100", "URBAN100/image_SRF_2", "URBAN100/image_SRF_2"),
        ("manga109", "Manga109/HR", None),
        ("DIV2K-valid", "DIV2K_valid_HR", "DIV2K_valid_LR_bicubic/X2"),
        ("DIV2K_valid", "DIV2K_valid_HR", None),
        ("DIV2K_valid_HR", "DIV2K_valid_HR", "DIV2K_valid_LR_bicubic/X2"),
        ("Set5", "Set5/GTmod24", "Set5/LRbic/X2"),
        ("Set5", "Set5/HR", "Set5/LRbicX2"),
        ("Set5", "Set5/GTmod12", "Set5/LR/X2"),
        ("My set", "my_set/hr", "my_set/lr_bicubic/x2"),
        ("deep/Mine", "deep/Mine/HR", "deep/Mine/LR/X2"),
        ("写真", "写真/HR", None),
    ],
)
def test_folders_in_the_wild(tmp_path, name, gt, lq):
    (tmp_path / gt).mkdir(parents=True)
    (tmp_path / "Set14" / "HR").mkdir(parents=True)
    if lq:
        (tmp_path / lq).mkdir(parents=True, exist_ok=True)
    expected = (tmp_path / gt, tmp_path / lq if lq else None)
    assert benchmark_folders(tmp_path, name, 2) == expected


def test_of_several_layouts_the_first_wins_with_its_own_lq(tmp_path):
    for folder in ("GTmod12", "HR", "LRbicx2", "LR_bicubic/X2", "LR_bicubic/X4"):
        (tmp_path / "Set5" / folder).mkdir(parents=True)
    found = benchmark_folders(tmp_path, "Set5", 2)
    assert found == (tmp_path / "Set5" / "HR", tmp_path / "Set5" / "LR_bicubic" / "X2")
    found = benchmark_folders(tmp_path, "Set5", 3)
    assert found == (tmp_path / "Set5" / "HR", None)


def test_another_name_of_a_set_has_its_count(tmp_path, make_images, caplog):
    make_images(tmp_path / "BSD100")
    with caplog.at_level(logging.WARNING):
        benchmark_set(root=tmp_path, name="BSDS100", scale=2)
    assert "has 3 images, the published set has 100" in caplog.text


def test_there_may_be_nothing(tmp_path):
    (tmp_path / "Set5").mkdir()
    assert benchmark_folders(tmp_path, "Set5", 2) is None
    assert benchmark_folders(tmp_path / "nowhere", "Set5", 2) is None


def test_lq_of_cropped_gt_is_not_paired_with_the_whole_images(tmp_path):
    for folder in ("HR", "GTmod12", "LRbicx2"):
        (tmp_path / "Set5" / folder).mkdir(parents=True)
    assert benchmark_folders(tmp_path, "Set5", 2) == (tmp_path / "Set5" / "HR", None)


def test_the_folder_called_as_asked_for_comes_first(tmp_path):
    for name in ("B100", "BSD100", "CBSD100"):
        (tmp_path / name / "HR").mkdir(parents=True)
    for name in ("B100", "BSD100", "CBSD100"):
        assert benchmark_folders(tmp_path, name, 2) == (tmp_path / name / "HR", None)
    assert set_folders(tmp_path, "cbsd100")[0].name == "CBSD100"


@pytest.mark.parametrize(("name", "other"), [("写真", "照片"), ("Mine1_2", "Mine12")])
def test_another_set_is_not_taken_for_the_one_asked_for(tmp_path, name, other):
    (tmp_path / other / "HR").mkdir(parents=True)
    assert benchmark_folders(tmp_path, name, 2) is None


def test_images_may_lie_in_the_folder_of_the_set_with_lq_beside(tmp_path, make_images):
    gt_dir, lq_dir = tmp_path / "Set5", tmp_path / "Set5_bicLRx4"
    make_images(gt_dir, lq_dir=lq_dir, lq_name="{}")
    assert benchmark_folders(tmp_path, "Set5", 4) == (gt_dir, lq_dir)
    assert benchmark_folders(tmp_path, "Set5", 2) == (gt_dir, None)


def test_the_root_may_be_the_set_itself(tmp_path):
    root = tmp_path / "set5"
    (root / "GTmod12").mkdir(parents=True)
    (root / "LRbicx3").mkdir()
    assert benchmark_folders(root, "Set5", 3) == (root / "GTmod12", root / "LRbicx3")
    assert benchmark_folders(root, "Set14", 3) is None


def test_div2k_by_the_name_of_its_folder_has_its_count(tmp_path, make_images, caplog):
    make_images(tmp_path / "DIV2K_valid_HR")
    with caplog.at_level(logging.WARNING):
        benchmark_set(root=tmp_path, name="DIV2K_valid_HR", scale=2)
    assert "has 3 images, the published set has 100" in caplog.text
