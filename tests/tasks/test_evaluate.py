import csv
import json

import pytest
from PIL import Image

from esc_sr import create_model, save_model
from esc_sr.config import compose_config
from esc_sr.errors import InputError
from esc_sr.tasks.evaluate import run

TINY = {"dim": 16, "partial_dim": 8, "num_blocks": 1, "num_conv_attn": 1, "window_size": 8}


def evaluate(*overrides):
    return run(compose_config("evaluate", ["device=cpu", *overrides]))


@pytest.fixture
def checkpoint(tmp_path):
    return save_model(create_model("esc", scale=2, **TINY), tmp_path / "x2.safetensors")


# The exact port of MATLAB's bicubic; the published rows are within 0.02 dB and 0.001.
@pytest.mark.parametrize(
    ("scale", "psnr", "ssim"),
    [(2, 33.678, 0.9304), (3, 30.404, 0.8690), (4, 28.431, 0.8113)],
)
def test_bicubic_on_set5_gives_the_known_numbers(shared_dir, scale, psnr, ssim):
    results = evaluate(
        "model=bicubic",
        f"benchmark_dir={shared_dir / 'benchmarks'}",
        "sets=[Set5]",
        f"scale={scale}",
    )
    means = results["Set5"].means()
    assert means["psnr_y"] == pytest.approx(psnr, abs=0.001)
    assert means["ssim_y"] == pytest.approx(ssim, abs=0.0001)


def test_results_are_written_by_set_and_by_image(tmp_path, checkpoint, capsys):
    out = tmp_path / "out"
    results = evaluate(f"checkpoint={checkpoint}", "scale=2", "sets=[sample]", f"output_dir={out}")
    means = json.loads((out / "results.json").read_text())
    assert means == {"sample": {**results["sample"].means(), "images": 3}}
    with open(out / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == results["sample"].images
    assert float(rows[0]["psnr_y"]) == results["sample"].values["psnr_y"][0]
    assert sorted(path.name for path in out.iterdir()) == ["results.csv", "results.json"]
    table = capsys.readouterr().out
    assert f"{means['sample']['psnr_y']:.3f}" in table
    assert "PSNR-Y (dB)" in table


def test_attention_and_precision_change_rounding_only(checkpoint):
    values = [
        evaluate(f"checkpoint={checkpoint}", "scale=2", "sets=[sample]", *changes)["sample"]
        for changes in ([], ["attention=eager"], ["precision=bf16-mixed"])
    ]
    sdpa, eager, bf16 = (value.means()["psnr_y"] for value in values)
    assert eager == pytest.approx(sdpa, abs=1e-3)
    assert bf16 == pytest.approx(sdpa, abs=0.2)
    assert bf16 != sdpa


def test_both_metrics_at_once(capsys):
    results = evaluate("model=bicubic", "sets=[sample]", "metrics=[y_channel,rgb]", "scale=3")
    assert set(results["sample"].means()) == {"psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb"}
    means, table = results["sample"].means(), capsys.readouterr().out
    assert f"{means['psnr_rgb']:.3f}" in table
    assert f"{means['ssim_rgb']:.4f}" in table


def test_a_set_without_lq_images_is_degraded_exactly(shared_dir, tmp_path):
    hr = tmp_path / "Mine" / "HR"
    hr.mkdir(parents=True)
    with Image.open(shared_dir / "benchmarks" / "Set5" / "HR" / "bird.png") as image:
        image.save(hr / "bird.png")
    common = ["model=bicubic", "scale=4"]
    made = evaluate(*common, f"benchmark_dir={tmp_path}", "sets=[Mine]")["Mine"]
    shipped = evaluate(*common, f"benchmark_dir={shared_dir / 'benchmarks'}", "sets=[Set5]")["Set5"]
    assert made.values["psnr_y"][0] == shipped.values["psnr_y"][shipped.images.index("bird")]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], r"either checkpoint=PATH or model=bicubic"),
        (["model=bicubic", "checkpoint=x.pth"], r"either checkpoint=PATH or model=bicubic"),
        (["checkpoint=nowhere.pth"], "checkpoint not found: nowhere.pth"),
        (["model=bicubic", "benchmark_dir=/nowhere"], "no benchmark set 'Set5'.*/nowhere/Set5/HR"),
        (["model=bicubic", "precision=fp8"], "unknown precision 'fp8'; choose one of: 32-true"),
        (["model=bicubic", "device=tpu9"], "device=tpu9 is not available here"),
    ],
)
def test_bad_input_is_told_in_one_line(overrides, message):
    with pytest.raises(InputError, match=message) as caught:
        evaluate(*overrides) if any("device" in o for o in overrides) else run(
            compose_config("evaluate", overrides)
        )
    assert "\n" not in str(caught.value)


def test_another_scale_than_the_checkpoints_is_refused(checkpoint):
    with pytest.raises(InputError, match=r"enlarges ×2, scale=4 was asked for; set scale=2"):
        evaluate(f"checkpoint={checkpoint}", "sets=[sample]")


def test_nothing_is_left_half_written(tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.json").write_text("old")

    def fail(self, *args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.write_text", fail)
    with pytest.raises(OSError, match="disk full"):
        evaluate("model=bicubic", "sets=[sample]", f"output_dir={out}")
    assert (out / "results.json").read_text() == "old"
    assert [path.name for path in out.iterdir()] == ["results.json"]
