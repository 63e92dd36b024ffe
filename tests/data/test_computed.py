import pytest
import torch

from esc_sr.data.computed import ComputedImages
from esc_sr.data.images import read_image
from esc_sr.errors import InputError


@pytest.fixture
def gt_dir(tmp_path, make_images):
    make_images(tmp_path / "gt", names=("a", "b"), size=(26, 37))
    return tmp_path / "gt"


@pytest.mark.parametrize("place", ["sr", "sr/Mine", "sr/X4", "sr/Mine/X4"])
def test_results_are_found_and_gt_is_cropped(tmp_path, make_images, gt_dir, place):
    make_images(tmp_path / place, names=("a_ESC", "b_ESC"), size=(24, 36))
    images = ComputedImages(tmp_path / "sr", gt_dir=gt_dir, name="Mine", scale=4)
    assert len(images) == 2
    sample = images[1]
    assert sample["name"] == "b"
    assert torch.equal(sample["gt"] * 255, read_image(gt_dir / "b.png")[:, :24, :36].float())
    assert torch.equal(sample["sr"] * 255, read_image(tmp_path / place / "b_ESC.png").float())


def test_names_of_another_scale_are_warned_about(tmp_path, make_images, caplog):
    make_images(tmp_path / "gt", names=("a", "bx3"), size=(24, 36))
    for place, names, told in [
        ("one", ("a_x2", "bx3"), "a_x2.png is called a result of ×2, not of ×4"),
        ("X2", ("a", "bx3"), "X2/a.png is called a result of ×2, not of ×4"),
        ("two", ("ax4", "bx3"), None),
    ]:
        make_images(tmp_path / place, names=names, size=(24, 36))
        caplog.clear()
        ComputedImages(tmp_path / place, gt_dir=tmp_path / "gt", name="Mine", scale=4)
        assert [told in record.getMessage() for record in caplog.records if told] == (
            [True] if told else []
        )
        assert len(caplog.records) == bool(told)


def test_gt_and_lq_in_one_folder(tmp_path, make_images):
    folder = tmp_path / "image_SRF_4"
    make_images(folder, names=("img_1_SRF_4_HR",))
    make_images(folder, names=("img_1_SRF_4_LR",), size=(6, 9))
    make_images(tmp_path / "sr", names=("img_1_SRF_4_ESC",))
    images = ComputedImages(tmp_path / "sr", gt_dir=folder, name="Mine", scale=4)
    assert [image["name"] for image in images] == ["img_1_SRF_4_HR"]


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((26, 36), r"a.png is 26×36, .* at scale=4 needs 24×36; it fits scale=2"),
        ((24, 30), r"needs 24×36; it is no result of this image"),
        ((26, 37), r"needs 24×36; cut off the rest at its right and bottom"),
        ((6, 9), r"needs 24×36; it has the size of the LQ image"),
    ],
)
def test_another_size_is_refused(tmp_path, make_images, gt_dir, size, message):
    make_images(tmp_path / "sr", names=("a", "b"), size=size)
    with pytest.raises(InputError, match=message):
        ComputedImages(tmp_path / "sr", gt_dir=gt_dir, name="Mine", scale=4)


def test_missing_folders_and_images_are_told(tmp_path, gt_dir):
    with pytest.raises(InputError, match="no such folder: sr_dir="):
        ComputedImages(tmp_path / "sr", gt_dir=gt_dir, name="Mine", scale=4)
    (tmp_path / "sr").mkdir()
    with pytest.raises(InputError, match=r"no images in sr_dir=.*nor in Mine or X4 below it"):
        ComputedImages(tmp_path / "sr", gt_dir=gt_dir, name="Mine", scale=4)


@pytest.mark.parametrize(
    ("place", "name"),
    [("bsd100/x4", "B100"), ("B100", "BSD100"), ("x4", "B100"), ("b100/X4", "B100")],
)
def test_folders_are_found_in_another_case_and_by_another_name(
    tmp_path, make_images, gt_dir, place, name
):
    make_images(tmp_path / "sr" / place, names=("a", "b"), size=(24, 36))
    images = ComputedImages(tmp_path / "sr", gt_dir=gt_dir, name=name, scale=4)
    assert [image["name"] for image in images] == ["a", "b"]


def test_results_of_others_beside_gt_are_not_taken_for_gt(tmp_path, make_images):
    folder = tmp_path / "image_SRF_4"
    make_images(folder, names=("img_1_SRF_4_HR", "img_1_SRF_4_bicubic", "img_1_SRF_4_SRCNN"))
    make_images(tmp_path / "sr", names=("img_1_SRF_4_ESC",))
    images = ComputedImages(tmp_path / "sr", gt_dir=folder, name="Mine", scale=4)
    assert [image["name"] for image in images] == ["img_1_SRF_4_HR"]


def test_an_empty_gt_folder_is_told(tmp_path, make_images):
    make_images(tmp_path / "sr")
    (tmp_path / "gt").mkdir()
    with pytest.raises(InputError, match=r"no GT images in .*gt; check the path"):
        ComputedImages(tmp_path / "sr", gt_dir=tmp_path / "gt", name="Mine", scale=4)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_published_release_opens(shared_dir, scale):
    images = ComputedImages(
        shared_dir / "golden" / "imdn_set5",
        gt_dir=shared_dir / "benchmarks" / "Set5" / "HR",
        name="Set5",
        scale=scale,
    )
    assert len(images) == 5
    for i in range(5):
        sample = images[i]
        assert sample["sr"].shape == sample["gt"].shape
        mse = (sample["sr"] - sample["gt"]).square().mean()
        assert 0 < mse < 10**-2.5  # better than 25 dB: it is the same picture in the same place
