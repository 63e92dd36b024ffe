import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from esc_sr import create_model, save_model
from esc_sr.tasks import upscale
from tiny import NETWORK


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    return save_model(create_model("esc", scale=4, **NETWORK), folder / "x4.safetensors")


@pytest.fixture
def run(checkpoint, capsys):
    """Run the command; return its exit status, output and errors."""

    def call(*arguments, weights=checkpoint):
        words = [str(argument) for argument in arguments]
        status = 0
        try:
            upscale.main([*words, "--checkpoint", str(weights)] if weights else words)
        except SystemExit as left:
            status = left.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def picture(path, size=(12, 9), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    shape = (size[1], size[0], *([] if mode == "L" else [len(mode)]))
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), mode).save(path)
    return path


def test_one_picture_to_one_picture(run, tmp_path):
    source = picture(tmp_path / "a.png", mode="RGBA")
    status, out, err = run(source, "-o", tmp_path / "b.png")
    assert (status, err) == (0, "")
    assert "1 enlarged ×4 in" in out
    with Image.open(tmp_path / "b.png") as result:
        assert (result.size, result.mode) == ((48, 36), "RGBA")


def test_a_folder_keeps_its_order_and_formats(run, tmp_path):
    for name in ("a.png", "deep/b.jpg", "deep/er/c.bmp", "d.webp"):
        picture(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    status, out, _ = run(tmp_path / "in", "-o", tmp_path / "out")
    assert status == 0
    assert "4 enlarged" in out
    found = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*"))
    assert found == ["a.png", "d.webp", "deep/b.jpg", "deep/er/c.bmp"]
    for path in (tmp_path / "out").rglob("*.*"):
        with Image.open(path) as result:
            assert result.size == (48, 36)


def test_existing_outputs_are_skipped_or_overwritten(run, tmp_path):
    source = picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "b.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_text("old")
    status, out, _ = run(source.parent, "-o", tmp_path / "out")
    assert status == 0
    assert "1 enlarged" in out
    assert "1 skipped (they exist; --overwrite replaces them)" in out
    assert (tmp_path / "out" / "a.png").read_text() == "old"
    assert run(source.parent, "-o", tmp_path / "out", "--overwrite")[0] == 0
    with Image.open(tmp_path / "out" / "a.png") as result:
        assert result.size == (48, 36)


def test_one_bad_picture_does_not_stop_the_rest(run, tmp_path):
    good = [picture(tmp_path / "in" / name) for name in ("a.png", "z.png")]
    whole = good[0].read_bytes()
    (tmp_path / "in" / "empty.png").touch()
    (tmp_path / "in" / "text.png").write_text("I am text")
    (tmp_path / "in" / "truncated.png").write_bytes(whole[: len(whole) // 2])
    status, out, _ = run(tmp_path / "in", "-o", tmp_path / "out")
    assert status == 1
    assert "2 enlarged ×4" in out
    assert "3 failed" in out
    lines = [line for line in out.splitlines() if line.startswith("failed: ")]
    assert [name in line for name, line in zip(("empty", "text", "truncated"), lines, strict=True)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "z.png"]


def test_batches_give_the_same_pictures(run, tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / "in" / name)
    picture(tmp_path / "in" / "d.png", size=(10, 10))
    for batch in (1, 2):
        out = tmp_path / f"out{batch}"
        assert run(tmp_path / "in", "-o", out, "--batch", batch)[0] == 0
    for path in (tmp_path / "out1").iterdir():
        with Image.open(path) as one, Image.open(tmp_path / "out2" / path.name) as two:
            difference = np.asarray(one).astype(int) - np.asarray(two)
        assert abs(difference).max() <= 1


def test_dry_run_tells_and_writes_nothing(run, tmp_path):
    picture(tmp_path / "in" / "a.png", mode="L")
    (tmp_path / "in" / "bad.png").write_text("text")
    status, out, _ = run(
        tmp_path / "in", "-o", tmp_path / "out", "--dry-run", "--scale", 2, "--format", "jpg"
    )
    assert status == 1  # the bad one would fail
    assert "a.png (12×9, 1 channels of 8 bit) -> " in out
    assert "a.jpg (24×18), in one piece" in out
    assert "failed: cannot read" in out
    assert "1 to enlarge, 1 failed; nothing was written" in out
    assert not (tmp_path / "out").exists()


def test_a_folder_in_the_place_of_a_result_is_no_result(run, tmp_path):
    source = picture(tmp_path / "a.png")
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    status, out, _ = run(source, "-o", tmp_path / "out")
    assert status == 1
    assert "a.png: it is a folder" in out


def test_names_do_not_write_to_the_terminal(run, tmp_path):
    source = picture(tmp_path / "a\x1b[31m\nb.png")
    status, out, _ = run(source, "-o", tmp_path / "out")
    assert status == 0
    assert r"out/a\x1b[31m\nb.png" in out
    assert "\x1b" not in out


def test_a_smaller_scale_is_said_and_done(run, tmp_path):
    source = picture(tmp_path / "a.png")
    status, out, _ = run(source, "-o", tmp_path / "b.png", "--scale", "3")
    assert status == 0
    assert "the network enlarges ×4; its results are shrunk to ×3 as MATLAB's bicubic does" in out
    assert "1 enlarged ×3" in out
    with Image.open(tmp_path / "b.png") as result:
        assert result.size == (36, 27)


def test_formats_and_quality(run, tmp_path):
    source = picture(tmp_path / "a.png", size=(64, 64))
    sizes = []
    for quality in (10, 95):
        target = tmp_path / f"{quality}.jpg"
        assert run(source, "-o", target, "--quality", quality)[0] == 0
        sizes.append(target.stat().st_size)
    assert sizes[0] < sizes[1]
    assert run(source, "-o", tmp_path / "out", "--format", "webp", "--lossless")[0] == 0
    with Image.open(tmp_path / "out" / "a.webp") as webp:
        assert webp.size == (256, 256)


def test_what_was_done_to_a_picture_is_noted(run, tmp_path):
    source = picture(tmp_path / "a.png", mode="RGBA")
    _, out, _ = run(source, "-o", tmp_path / "b.jpg")
    assert "b.jpg (JPEG has no transparency: white shines through)" in out


@pytest.mark.parametrize("tiling", [["--tiling", "exact"], ["--tiling", "overlap", "--tile", "16"]])
def test_tiles(run, tmp_path, tiling):
    source = picture(tmp_path / "a.png", size=(40, 33))
    assert run(source, "-o", tmp_path / "b.png", *tiling)[0] == 0
    with Image.open(tmp_path / "b.png") as result:
        assert result.size == (160, 132)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["https://example.org/a.png", "-o", "b.png"], "is a URL; give a file"),
        (["nowhere.png", "-o", "b.png"], "no such file or folder: nowhere.png"),
        (["*.nothing", "-o", "out"], "nothing matches"),
        (["a.png", "-o", "a.png"], "is read and would be replaced by an enlargement"),
        (["a.png", "-o", "b.png", "--scale", "5"], "this network enlarges ×4"),
        (["a.png", "-o", "b.png", "--quality", "101"], "--quality must be 1 to 100"),
        (["a.png", "-o", "b.png", "--batch", "0"], "--batch must be 1 or more"),
        (["a.png", "-o", "b.png", "--device", "tpu9"], "device=tpu9 is not available"),
        (["a.png", "-o", "b.png", "--memory", "-1"], "memory must be a positive number"),
        (["empty", "-o", "out"], "no pictures in empty"),
        (["a.png", "-o", "b.png", "--quality", "50"], "--quality is of JPEG and WebP"),
        (["a.png", "-o", "b.jpg", "--lossless"], "--lossless is of WebP"),
        (["a.png", "-o", "b.webp", "--lossless", "--quality", "5"], "contradict each other"),
        (["a.png", "-o", "b.png", "--tiling", "whole", "--tile", "16"], "has no tiles"),
        (["a.png", "-o", "b.png", "--tiling", "exact", "--overlap", "8"], "leave overlap out"),
        (["a.png", "-o", "b.png", "--max-megapixels", "-1"], "--max-megapixels must be more than"),
    ],
)
def test_what_cannot_be_done_at_all_is_one_line(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    status, out, err = run(*arguments)
    assert status == 1
    assert out == ""
    assert err.startswith("esc-sr: error: ")
    assert err.count("\n") == 1
    assert message in err


def test_keys_with_values_are_options_too(run, tmp_path):
    source = picture(tmp_path / "a.png")
    status, out, err = run(
        source, f"output={tmp_path / 'b.png'}", "scale=3", "self_ensemble=false", "dry_run=true"
    )
    assert (status, err) == (0, "")
    assert "1 to enlarge; nothing was written" in out
    assert "(36×27)" in out


def test_a_picture_may_be_named_like_a_key(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "size=3.png")
    assert run("size=3.png", "-o", "scale=4.png")[0] == 0
    assert (tmp_path / "scale=4.png").is_file()


@pytest.mark.parametrize(
    ("argument", "message", "expected"),
    [
        ("scalee=3", "unknown key 'scalee'; did you mean 'scale'?", 1),
        ("qwxyz=3", "unknown key 'qwxyz'; esc-sr upscale --help lists every option", 1),
        ("overwrite=maybe", "overwrite is true or false, got maybe", 1),
        ("precision=fp8", "argument --precision: invalid choice: 'fp8'", 2),
        ("--scalee=3", "unrecognized arguments: --scalee=3; see esc-sr upscale --help", 2),
    ],
)
def test_options_that_are_not_known_are_one_line(run, tmp_path, argument, message, expected):
    status, _, err = run("a.png", "-o", tmp_path / "b.png", argument)
    assert status == expected
    assert err.startswith("esc-sr: error: ")
    assert err.count("\n") == 1
    assert message in err


def test_nothing_but_a_picture_is_needed(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "a.jpg")
    status, out, _ = run("a.jpg", weights=None)
    assert (status, out.splitlines()[0]) == (0, "a_x4.jpg")
    with Image.open("a_x4.jpg") as result:
        assert (result.size, result.format) == ((48, 36), "JPEG")
    status, out, _ = run("a.jpg", "--scale", "2.5", "--format", "png", weights=None)
    assert status == 0
    with Image.open("a_x2.5.png") as result:
        assert result.size == (30, 23)


def test_packaged_weights_have_names(run, tmp_path):
    source = picture(tmp_path / "a.png")
    assert run(source, "-o", tmp_path / "b.png", weights="esc_tiny_x4")[0] == 0
    assert run(source, "-o", tmp_path / "c.png", weights=None)[0] == 0
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()
    status, _, err = run(source, "-o", tmp_path / "d.png", weights="esc_tinny_x4")
    assert status == 1
    assert "checkpoint not found: esc_tinny_x4; packaged are: esc_tiny_x2, esc_tiny_x3" in err
    status, _, err = run(source, "--scale", "8", weights=None)
    assert status == 1
    assert "no weights for scale=8 come with this package (there are: ×2, ×3, ×4)" in err


def test_a_file_that_is_no_checkpoint_is_refused(run, tmp_path):
    source = picture(tmp_path / "a.png")
    status, _, err = run(source, "-o", tmp_path / "b.png", weights=source)
    assert status == 1
    assert str(source) in err
    assert err.count("\n") == 1


def test_a_picture_that_the_format_cannot_hold_fails_before_any_work(run, tmp_path):
    source = picture(tmp_path / "a.png", size=(5000, 4))
    status, out, _ = run(source, "-o", tmp_path / "b.webp")
    assert status == 1
    assert "20000×16 is too large, WebP holds at most 16383" in out


def test_too_many_pixels_are_refused_by_the_header(run, tmp_path):
    source = picture(tmp_path / "a.png", size=(1100, 1000))
    status, out, _ = run(source, "-o", tmp_path / "b.png", "--max-megapixels", "1")
    assert status == 1
    assert "1100×1000 are 1.1 megapixels, more than the limit of 1" in out


def test_an_error_within_is_told_with_the_picture(run, tmp_path, monkeypatch):
    for name in ("a.png", "b.png"):
        picture(tmp_path / "in" / name)
    original = upscale.read_picture

    def fail(path, **options):
        if path.name == "a.png":
            raise MemoryError
        return original(path, **options)

    monkeypatch.setattr(upscale, "read_picture", fail)
    status, out, _ = run(tmp_path / "in", "-o", tmp_path / "out")
    assert status == 1
    assert "a.png: not enough memory" in out
    assert "1 enlarged" in out


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_within_pyvips_is_obeyed_behind_it(number):
    """What is raised in a callback of libvips is printed and lost."""

    class Ended(Exception):
        pass

    def end(*_):
        raise Ended

    before = signal.signal(number, end)
    source, names = (
        "ring(number); came_back = True",
        {"ring": signal.raise_signal, "number": number},
    )
    try:
        with pytest.raises(Ended), upscale._interrupts():
            exec(compile(source, "/somewhere/else.py", "exec"), names)
        assert "came_back" not in names
        with pytest.raises(Ended), upscale._interrupts():
            exec(compile(source, "/somewhere/pyvips/__init__.py", "exec"), names)
        assert names["came_back"]
    finally:
        signal.signal(number, before)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with upscale._interrupts() as check_interrupt:
            signal.raise_signal(signal.SIGINT)
            check_interrupt()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_an_interrupt_leaves_no_half_file(checkpoint, tmp_path):
    for i in range(400):
        picture(tmp_path / "in" / f"{i:03}.png", size=(48, 48))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "esc_sr", "upscale", tmp_path / "in", "-o", out]
    process = subprocess.Popen(
        [*command, "--checkpoint", checkpoint],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    waited = time.monotonic()
    while len(list(out.glob("[!.]*.png"))) < 3 and time.monotonic() - waited < 60:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "esc-sr: interrupted; what is finished is complete, run again to go on\n"
    written = sorted(out.iterdir())
    assert 3 <= len(written) < 400
    for path in written:
        assert not path.name.startswith(".")
        with Image.open(path) as result:
            result.load()
            assert result.size == (192, 192)
