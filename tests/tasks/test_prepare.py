import pytest

from esc_sr.config import compose_config
from esc_sr.data.images import write_image
from esc_sr.data.pairs import PairedImages
from esc_sr.data.sample import sample_dir
from esc_sr.errors import InputError
from esc_sr.tasks.prepare import run


def test_prepare_cuts_and_tells_a_summary(tmp_path, capsys):
    config = compose_config(
        "prepare",
        [
            f"gt_dir={sample_dir('valid')}",
            "lq_dir=null",
            f"gt_out={tmp_path / 'HR'}",
            f"lq_out={tmp_path / 'LR'}",
            "scales=[2,3]",
            "window_size=144",
            "step=144",
            "num_workers=0",
        ],
    )
    result = run(config)
    assert (result.images, result.subimages, result.written) == (3, 12, 36)
    assert (
        f"3 images, 12 sub-images in {tmp_path / 'HR'}; wrote 36 files" in capsys.readouterr().out
    )
    pairs = PairedImages(gt_dir=tmp_path / "HR", lq_dir=tmp_path / "LR" / "X3", scale=3)
    assert pairs[0]["lq"].shape == (3, 48, 48)


def test_defaults_name_what_is_missing_and_the_archives(tmp_path):
    config = compose_config("prepare", [f"paths.data_dir={tmp_path}", "num_workers=0"])
    with pytest.raises(InputError, match=r"DIV2K/DIV2K_train_HR; unpack DIV2K_train_HR\.zip and"):
        run(config)
    assert not list(tmp_path.iterdir())


def test_the_default_layout_is_what_the_data_choice_reads(tmp_path):
    import torch

    for number in range(2):
        image = torch.randint(0, 256, (3, 504, 600), dtype=torch.uint8)
        write_image(tmp_path / "DIV2K" / "DIV2K_train_HR" / f"{number:04d}.png", image)
    overrides = [f"paths.data_dir={tmp_path}"]
    run(compose_config("prepare", [*overrides, "lq_dir=null", "num_workers=0", "scales=[4]"]))
    train = compose_config("train", ["data=div2k", *overrides]).data.train
    pairs = PairedImages(
        gt_dir=train.gt_dir, lq_dir=train.lq_dir, scale=train.scale, crop_size=train.crop_size
    )
    assert len(pairs) == 8
