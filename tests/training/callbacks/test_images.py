import os

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from esc_sr.errors import InputError
from esc_sr.training.callbacks.images import GAP, LABEL_HEIGHT, ImageLogger, comparison_grid
from esc_sr.training.loggers import TensorBoardLogger, WandbLogger


def _levels(image):
    return image.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()


def test_panels_show_the_same_centre_of_lq_bicubic_sr_and_gt():
    lq, scale = torch.rand(3, 12, 9), 3
    gt, sr = torch.rand(2, 3, 36, 27)
    grid = comparison_grid(lq, sr + 0.5, gt, max_size=17)  # 17 // 3 = 5 low-resolution pixels
    assert grid.shape == (LABEL_HEIGHT + 15, 4 * 15 + 3 * GAP, 3)
    panels = [grid[LABEL_HEIGHT:, i : i + 15] for i in range(0, 4 * (15 + GAP), 15 + GAP)]
    rows, columns = slice(9, 24), slice(6, 21)  # from low-resolution row 3 and column 2
    np.testing.assert_array_equal(panels[3], _levels(gt)[rows, columns])
    np.testing.assert_array_equal(panels[2], _levels(sr + 0.5)[rows, columns])
    np.testing.assert_array_equal(
        panels[0], np.kron(_levels(lq)[3:8, 2:7], np.ones((scale, scale, 1), np.uint8))
    )
    bicubic = F.interpolate(lq[None], scale_factor=3, mode="bicubic", antialias=True)[0]
    assert np.abs(panels[1].astype(int) - _levels(bicubic)[rows, columns]).max() <= 1
    labels = [grid[:LABEL_HEIGHT, i : i + 15] for i in range(0, 4 * (15 + GAP), 15 + GAP)]
    assert all(label.any() for label in labels)


def test_a_small_image_is_shown_whole():
    grid = comparison_grid(torch.rand(3, 4, 6), *torch.rand(2, 3, 8, 12), max_size=256)
    assert grid.shape == (LABEL_HEIGHT + 8, 4 * 12 + 3 * GAP, 3)


def test_half_precision_is_shown_too():
    images = torch.rand(3, 4, 6).bfloat16(), *torch.rand(2, 3, 8, 12).bfloat16()
    assert comparison_grid(*images, max_size=256).any()


@pytest.mark.parametrize("size", [(9, 12), (8, 11), (3, 6)])
def test_sizes_that_do_not_belong_together_are_told(size):
    with pytest.raises(InputError, match="whole multiple"):
        comparison_grid(torch.rand(3, 4, 6), torch.rand(3, 8, 12), torch.rand(3, *size), max_size=9)


def test_writes_the_first_images_of_each_set_after_each_validation(fit, tmp_path):
    csv = CSVLogger(tmp_path, name="", version="csv")
    fit([ImageLogger(num_images=2, max_size=16)], csv, max_steps=4)
    written = sorted(
        p.relative_to(tmp_path / "images").as_posix() for p in (tmp_path / "images").rglob("*")
    )
    # nothing of the sanity check, no third image, no temporary file
    assert written == [
        "SetA",
        "SetA/image0_step0000002.png",
        "SetA/image0_step0000004.png",
        "SetA/image1_step0000002.png",
        "SetA/image1_step0000004.png",
        "SetB",
        "SetB/image0_step0000002.png",
        "SetB/image0_step0000004.png",
    ]
    with Image.open(tmp_path / "images" / "SetA" / "image0_step0000002.png") as image:
        assert image.size == (4 * 16 + 3 * GAP, LABEL_HEIGHT + 16)


def test_sets_and_folder_can_be_chosen(fit, tmp_path):
    callback = ImageLogger(num_images=1, sets=["SetB"], output_dir=str(tmp_path / "elsewhere"))
    fit([callback], max_steps=2)
    written = [p.name for p in tmp_path.rglob("*.png")]
    assert written == ["image0_step0000002.png"]
    assert (tmp_path / "elsewhere" / "images" / "SetB" / written[0]).is_file()


def test_an_unknown_set_is_told_with_the_known_ones(fit):
    with pytest.raises(InputError, match=r"\['Set5'\].*\['SetA', 'SetB'\]"):
        fit([ImageLogger(sets=["Set5"])], max_steps=2)


def test_a_failed_write_leaves_nothing_that_looks_like_an_image(fit, tmp_path, monkeypatch):
    def broken(self, path, **options):
        path.write_bytes(b"half an image")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        fit([ImageLogger(num_images=1)], max_steps=2)
    assert not list(tmp_path.rglob("*.png"))


def test_tensorboard_gets_a_picture_per_set_and_step(fit, tmp_path):
    logger = TensorBoardLogger(save_dir=str(tmp_path / "tensorboard"))
    fit([ImageLogger(num_images=2, max_size=16)], logger, max_steps=4)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(events.Tags()["images"]) == ["val/SetA/images", "val/SetB/images"]
    images = events.Images("val/SetA/images")
    assert [event.step for event in images] == [
        event.step for event in events.Scalars("val/loss/dataloader_idx_0")
    ]
    assert (images[0].width, images[0].height) == (4 * 16 + 3 * GAP, 2 * (2 * LABEL_HEIGHT + 16))
    assert "train/loss" in events.Tags()["scalars"]


def test_wandb_gets_the_pictures_offline(fit, tmp_path, monkeypatch, wandb_variables, read_wandb):
    for variable, value in wandb_variables.items():
        monkeypatch.setenv(variable, value)
    logger = WandbLogger(save_dir=str(tmp_path / "run"), project="esc_sr_test", mode="offline")
    fit([ImageLogger(num_images=2, max_size=16)], logger, max_steps=2)
    (run,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    pictures = sorted((run / "files" / "media" / "images" / "val").rglob("*.png"))
    assert [p.parent.name for p in pictures] == ["SetA", "SetA", "SetB"]
    with Image.open(pictures[0]) as image:
        assert image.size == (4 * 16 + 3 * GAP, LABEL_HEIGHT + 16)
    keys = {key for row in read_wandb(run).history for key in row}
    assert {"val/SetA/images/captions", "train/loss"} <= keys


def test_a_step_without_images_is_told(fit):
    class Bare(ImageLogger):
        def on_validation_batch_end(self, trainer, pl_module, outputs, *args, **kwargs):
            super().on_validation_batch_end(trainer, pl_module, None, *args, **kwargs)

    with pytest.raises(InputError, match="must return lq, sr, gt and name"):
        fit([Bare()], max_steps=2)


def test_names_with_folders_stay_in_the_folder_of_the_set(tmp_path, fit):
    class Nested(ImageLogger):
        def on_validation_batch_end(self, trainer, pl_module, outputs, *args, **kwargs):
            outputs = {**outputs, "name": [f"..{os.sep}a/b"]}
            super().on_validation_batch_end(trainer, pl_module, outputs, *args, **kwargs)

    fit([Nested(num_images=1, sets=["SetA"])], max_steps=2)
    (path,) = tmp_path.rglob("*.png")
    assert path.parent == tmp_path / "images" / "SetA"


def test_mistakes_are_told():
    with pytest.raises(InputError, match="num_images"):
        ImageLogger(num_images=-1)
    with pytest.raises(InputError, match="max_size"):
        ImageLogger(max_size=0)
