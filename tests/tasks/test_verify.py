import shutil
import sys

import pytest

from esc_sr import create_model, save_model
from esc_sr.config import compose_config
from esc_sr.errors import InputError
from esc_sr.published.table import published_row
from esc_sr.tasks import verify
from tiny import NETWORK


@pytest.fixture
def benchmarks(shared_dir):
    return f"benchmark_dir={shared_dir / 'benchmarks'}"


def compare(*overrides):
    return verify.run(compose_config("verify", ["device=cpu", *map(str, overrides)]))


def test_bicubic_is_verified_within_what_its_rounding_costs(benchmarks, capsys):
    compared = compare(
        "model=bicubic",
        "table=bicubic_x4",
        benchmarks,
        "tolerance_psnr=0.1",
        "tolerance_ssim=0.005",
    )
    assert {one.set_name for one in compared if one.measured} == {"Set5", "Set14"}
    assert {one.verdict for one in compared} == {"ok", "not measured"}
    out = capsys.readouterr().out
    assert "bicubic ×4" in out
    assert "2 of 5 sets measured, all within the tolerance (0.1 dB, 0.005)" in out


def test_what_differs_is_found(benchmarks, tmp_path, capsys):
    fresh = save_model(create_model("esc", scale=4, **NETWORK), tmp_path / "fresh.safetensors")
    compared = compare(f"checkpoint={fresh}", "table=esc_x4", benchmarks, "sets=[Set5]")
    verdicts = {one.set_name: one.verdict for one in compared}
    assert verdicts["Set5"] == "differs"
    assert verdicts["Manga109"] == "not measured"
    assert "1 of 5 sets measured, 2 numbers differ" in capsys.readouterr().out


def test_finished_images_are_verified_too(shared_dir, benchmarks):
    compared = compare(
        f"sr_dir={shared_dir / 'golden' / 'imdn_set5' / 'X4'}",
        "table=esc_x4",
        benchmarks,
        "sets=[Set5]",
    )
    psnr = compared[0]
    assert (psnr.metric, psnr.published, psnr.verdict) == ("psnr_y", 32.68, "differs")
    assert psnr.measured == pytest.approx(32.21, abs=0.005)


def test_a_misprint_decides_nothing():
    row = published_row("esc_fp_x4")
    assert "Set5/ssim_y" in row.doubtful
    one = verify.compare(row, "Set5", "ssim_y", 0.5, 0.0002)
    assert one.verdict == "doubtful"
    assert verify.compare(row, "Set5", "psnr_y", 0.5, 0.01).verdict == "differs"


@pytest.mark.parametrize(("measured", "verdict"), [(32.69, "ok"), (32.67, "ok"), (32.7, "differs")])
def test_the_tolerance_is_inclusive(measured, verdict):
    one = verify.compare(published_row("esc_x4"), "Set5", "psnr_y", measured, 0.01)
    assert (one.published, one.verdict) == (32.68, verdict)


@pytest.mark.parametrize(("tolerance", "status"), [("1.0", 0), ("0.001", 1)])
def test_the_exit_status_says_it(benchmarks, monkeypatch, tolerance, status):
    monkeypatch.setattr(sys, "argv", ["esc-sr"])
    words = ["model=bicubic", "table=bicubic_x4", benchmarks, "sets=[Set5]", "device=cpu"]
    words += [f"tolerance_psnr={tolerance}", "tolerance_ssim=0.1"]
    if status:
        with pytest.raises(SystemExit) as left:
            verify.main(words)
        assert left.value.code == status
    else:
        verify.main(words)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["table=esc_x5", "model=bicubic"], "no published row 'esc_x5'; did you mean esc_x"),
        (["table=bicubic_x4", "model=bicubic", "scale=2"], "is a row of ×4, scale=2 was asked"),
        (["table=bicubic_x4", "model=bicubic", "benchmark_dir=/nowhere"], "none of Set5, .* is in"),
        (["table=bicubic_x4", "model=bicubic", "sets=[sample]"], "no published numbers for sample"),
        (["table=bicubic_x4", "model=bicubic", "protocol=rgb"], "those of protocol=paper"),
        (["table=bicubic_x4", "checkpoint=[a.pth,b.pth]"], "compares one checkpoint with one row"),
        (["table=bicubic_x4", "model=bicubic", "tolerance_psnr=-1"], "must be 0 or more, got -1"),
        (["table=bicubic_x4", "model=bicubic", "tolerance_ssim=x"], "must be 0 or more, got x"),
        (["table=bicubic_x4"], "give one thing to verify"),
    ],
)
def test_bad_input_is_told_in_one_line(overrides, message, tmp_path):
    (tmp_path / "Set5" / "HR").mkdir(parents=True)
    where = (
        [] if any("benchmark_dir" in word for word in overrides) else [f"benchmark_dir={tmp_path}"]
    )
    with pytest.raises(InputError, match=message) as caught:
        compare(*overrides, *where)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_scale_is_refused(benchmarks, tmp_path):
    fresh = save_model(create_model("esc", scale=2, **NETWORK), tmp_path / "fresh.safetensors")
    with pytest.raises(InputError, match="enlarges ×2, esc_x4 is a row of ×4: choose one of ×2"):
        compare(f"checkpoint={fresh}", "table=esc_x4", benchmarks)


def test_a_row_is_needed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["esc-sr"])
    with pytest.raises(SystemExit):
        verify.main(["model=bicubic"])
    assert "'table' has no default: give it on the command line" in capsys.readouterr().err


def test_without_sets_those_that_are_there_are_compared(shared_dir, tmp_path, capsys):
    shutil.copytree(shared_dir / "benchmarks" / "Set5", tmp_path / "set5")
    compared = compare(
        "model=bicubic",
        "table=bicubic_x3",
        f"benchmark_dir={tmp_path}",
        "tolerance_psnr=0.02",
        "tolerance_ssim=0.001",
    )
    assert {one.set_name for one in compared if one.verdict == "ok"} == {"Set5"}
