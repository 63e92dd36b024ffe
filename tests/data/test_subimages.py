import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from esc_sr.data.images import list_images, read_image, write_image
from esc_sr.data.pairs import PairedImages
from esc_sr.data.sampler import SampleKey
from esc_sr.data.subimages import _UNNOTED_BEFORE, CutRecipe, cut_subimages, window_positions
from esc_sr.errors import InputError
from esc_sr.functional.resize import matlab_imresize

RECIPE = CutRecipe(scales=(2, 4), window_size=32, step=16)


def snapshot(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def cut(tmp_path, out="out", recipe=RECIPE, **options):
    return cut_subimages(
        gt_dir=tmp_path / "gt",
        gt_out=tmp_path / out / "HR",
        lq_out=tmp_path / out / "LR",
        recipe=recipe,
        **options,
    )


def test_the_published_recipe():
    """A DIV2K photograph of 2040×1356 gives 8 columns and 5 rows."""
    assert window_positions(2040, 480, 240, 0) == [*range(0, 1441, 240), 1560]
    assert window_positions(1356, 480, 240, 0) == [0, 240, 480, 720, 876]
    assert window_positions(1356, 480, 240, 156) == [0, 240, 480, 720]
    assert window_positions(480, 480, 240, 0) == [0]
    assert window_positions(300, 480, 240, 0) == [0]


@given(st.integers(1, 300), st.integers(1, 60), st.integers(1, 60))
def test_windows_reach_the_border_and_stay_inside(length, window, step):
    positions = window_positions(length, window, step, 0)
    assert positions == sorted(set(positions))
    assert positions[0] == 0
    if length >= window:
        assert positions[-1] + window == length
        assert all(b - a <= step for a, b in pairwise(positions))


@pytest.mark.parametrize("with_lq", [False, True])
def test_sub_images_are_exact_cuts_of_both_images(tmp_path, make_images, with_lq):
    make_images(tmp_path / "gt", names="ab", size=(53, 70), scale=4, lq_dir=tmp_path / "lr" / "X4")
    make_images(tmp_path / "gt", names="ab", size=(53, 70), scale=2, lq_dir=tmp_path / "lr" / "X2")
    result = cut(tmp_path, lq_dir=tmp_path / "lr" if with_lq else None)
    assert (result.images, result.subimages, result.written) == (2, 24, 72)
    assert result.megabytes > 0
    for scale in (2, 4):
        whole = PairedImages(gt_dir=tmp_path / "gt", scale=scale)
        pairs = PairedImages(
            gt_dir=tmp_path / "out" / "HR",
            lq_dir=tmp_path / "out" / "LR" / f"X{scale}",
            scale=scale,
        )
        assert len(pairs) == 24
        place = 0
        for top in (0, 16, 20):
            for left in (0, 16, 32, 36):
                place += 1
                pair = pairs[place - 1]
                assert pair["name"] == f"a_s{place:03d}"
                gt = whole[0]["gt"][:, top : top + 32, left : left + 32]
                assert torch.equal(pair["gt"], gt)
                y, x, n = top // scale, left // scale, 32 // scale
                assert torch.equal(pair["lq"], whole[0]["lq"][:, y : y + n, x : x + n])


def test_a_second_run_writes_nothing_and_damage_is_repaired(tmp_path, make_images):
    make_images(tmp_path / "gt", size=(64, 64))
    first = cut(tmp_path)
    before = snapshot(tmp_path / "out")
    assert len(list_images(tmp_path / "out" / "HR")) == first.subimages == 27
    again = cut(tmp_path)
    assert (again.written, again.megabytes, again.subimages) == (0, 0, 27)
    (tmp_path / "out" / "HR" / "b_s004.png").unlink()
    (tmp_path / "out" / "LR" / "X4" / "c_s001.png").unlink()
    (tmp_path / "out" / "HR" / ".b_s004.unfinished-0123abcd.png").write_bytes(b"half")
    assert cut(tmp_path).written == 2
    assert snapshot(tmp_path / "out") == before


def test_processes_change_nothing_and_progress_is_told(tmp_path, make_images):
    make_images(tmp_path / "gt", size=(64, 64))
    cut(tmp_path)
    told = []
    cut(tmp_path, out="two", num_workers=1, on_progress=lambda *counts: told.append(counts))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert snapshot(tmp_path / "two") == snapshot(tmp_path / "out")


@pytest.mark.parametrize("lmdb", [False, True])
def test_a_killed_run_is_completed_by_the_next(tmp_path, make_images, lmdb):
    if lmdb:
        pytest.importorskip("lmdb")
    make_images(tmp_path / "gt", names=[f"{i:02d}" for i in range(16)], size=(160, 160))
    cut(tmp_path, out="whole", lmdb=lmdb)
    script = (
        "from esc_sr.data.subimages import *; from pathlib import Path; import sys\n"
        "root = Path(sys.argv[1])\n"
        "recipe = CutRecipe(scales=(2, 4), window_size=32, step=16)\n"
        "cut_subimages(gt_dir=root / 'gt', gt_out=root / 'out' / 'HR',\n"
        f"  lq_out=root / 'out' / 'LR', recipe=recipe, lmdb={lmdb},\n"
        "  on_progress=lambda n, _: print(n, flush=True))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        while process.stdout.readline().strip() != "3":
            assert process.poll() is None
        time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    result = cut(tmp_path, lmdb=lmdb)
    assert result.subimages == 16 * 81
    assert 0 < result.written < 3 * result.subimages
    assert read_all(tmp_path / "out", lmdb) == read_all(tmp_path / "whole", lmdb)


def read_all(folder, lmdb):
    if not lmdb:
        return snapshot(folder)
    import lmdb as package

    contents = {}
    for path in (folder / "HR.lmdb", folder / "LR" / "X2.lmdb", folder / "LR" / "X4.lmdb"):
        with (
            package.open(str(path), readonly=True, lock=False) as environment,
            environment.begin() as transaction,
        ):
            contents[path.name] = dict(transaction.cursor())
        contents[path.name]["index"] = (path / "meta_info.txt").read_text()
    return contents


def test_lmdb_holds_the_same_pairs(tmp_path, make_images):
    pytest.importorskip("lmdb")
    make_images(tmp_path / "gt", size=(64, 64))
    cut(tmp_path)
    result = cut(tmp_path, lmdb=True)
    assert result.written == 81
    assert cut(tmp_path, lmdb=True).written == 0
    out = tmp_path / "out"
    options = {"scale": 4, "crop_size": 5, "augment": True}
    files = PairedImages(gt_dir=out / "HR", lq_dir=out / "LR" / "X4", **options)
    store = PairedImages(gt_dir=out / "HR.lmdb", lq_dir=out / "LR" / "X4.lmdb", **options)
    assert len(store) == len(files) == 27
    for index in range(27):
        a, b = files[SampleKey(index, index)], store[SampleKey(index, index)]
        assert a["name"] == b["name"]
        assert torch.equal(a["lq"], b["lq"])
        assert torch.equal(a["gt"], b["gt"])
    (out / "HR.lmdb" / "meta_info.txt").unlink()
    with pytest.raises(InputError, match=r"no meta_info\.txt in .*not a complete LMDB"):
        PairedImages(gt_dir=out / "HR.lmdb", scale=4)


def test_one_lmdb_serves_several_sets_and_their_workers(tmp_path, make_images):
    pytest.importorskip("lmdb")
    make_images(tmp_path / "gt", size=(64, 64))
    cut(tmp_path, lmdb=True)
    first, second = (
        PairedImages(gt_dir=tmp_path / "out" / "HR.lmdb", scale=4, crop_size=5) for _ in range(2)
    )
    expected = torch.stack([first[index]["gt"] for index in range(27)])
    assert torch.equal(second[3]["gt"], expected[3])
    # Forked after the parent has read from it.
    loader = DataLoader(second, batch_size=9, num_workers=2, multiprocessing_context="fork")
    assert torch.equal(torch.cat([batch["gt"] for batch in loader]), expected)


def test_an_lmdb_that_is_cut_short_is_refused_and_kills_nothing(tmp_path, make_images):
    """Both in a process of their own, which SIGBUS would end."""
    pytest.importorskip("lmdb")
    make_images(tmp_path / "gt", names=["a", "b"], size=(64, 64))
    cut(tmp_path, lmdb=True)
    folder = tmp_path / "out" / "HR.lmdb"
    os.truncate(folder / "data.mdb", 9000)
    script = (
        "from pathlib import Path\n"
        "from esc_sr.data.sources import LmdbImages\n"
        "from esc_sr.data.subimages import _LmdbStore\n"
        "from esc_sr.errors import InputError\n"
        f"folder = Path({str(folder)!r})\n"
        "images = LmdbImages(folder)\n"
        "for read in (lambda: images.read(images.names[0]), lambda: _LmdbStore(folder)):\n"
        "    try:\n"
        "        read()\n"
        "    except InputError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    line = f"{folder / 'data.mdb'} is cut short; delete the folder and run `esc-sr prepare` again"
    assert (done.returncode, done.stdout.splitlines()) == (0, [line, line]), done.stderr


def test_without_the_package_lmdb_names_the_extra(tmp_path, make_images, monkeypatch):
    make_images(tmp_path / "gt", size=(64, 64))
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(InputError, match=r"pip install 'esc-sr\[lmdb\]'"):
        cut(tmp_path, lmdb=True)


def test_small_images_are_kept_whole(tmp_path, make_images):
    make_images(tmp_path / "gt", names="a", size=(22, 50))
    assert cut(tmp_path).subimages == 2
    assert read_image(tmp_path / "out" / "HR" / "a_s002.png").shape == (3, 20, 32)


def test_another_recipe_does_not_mix_with_what_is_there(tmp_path, make_images):
    make_images(tmp_path / "gt", size=(64, 64))
    cut(tmp_path)
    with pytest.raises(InputError, match="holds sub-images of another recipe"):
        cut(tmp_path, recipe=CutRecipe(scales=(2, 4), window_size=16, step=16))
    (tmp_path / "out" / "HR" / "subimages.json").unlink()
    with pytest.raises(InputError, match="holds files that this command did not make"):
        cut(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scales": (2,), "shrink": ()}, "different factors"),
        ({"scales": (2,), "shrink": (2, 2)}, "different factors"),
        ({"scales": (2,), "shrink": (0.5,)}, "each of shrink must be an integer"),
        ({"scales": (2,), "min_error": -1}, "between 0 and 255"),
        ({"scales": (), "min_error": 1}, "needs a scale"),
        ({"scales": (3,), "window_size": 32}, "must be multiples of 3"),
        ({"scales": (1,)}, "each of scales must be an integer of at least 2"),
        ({"scales": (2,), "step": 0}, "at least 1"),
    ],
)
def test_recipes_that_cannot_be_cut_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        CutRecipe(**arguments)


def test_bad_inputs_are_told(tmp_path, make_images):
    with pytest.raises(InputError, match=r"no such folder of GT images: .*; unpack it"):
        cut(tmp_path, hint="unpack it")
    make_images(tmp_path / "gt", size=(64, 64))
    with pytest.raises(InputError, match="lq_out is needed"):
        cut_subimages(gt_dir=tmp_path / "gt", gt_out=tmp_path / "o", recipe=RECIPE)
    with pytest.raises(InputError, match="no such folder of LQ ×2 images"):
        cut(tmp_path, lq_dir=tmp_path / "lr")
    for scale in (2, 4):
        for name in "abc":
            small = torch.zeros(3, 9, 9, dtype=torch.uint8)
            write_image(tmp_path / "lr" / f"X{scale}" / f"{name}.png", small)
    with pytest.raises(InputError, match=r"a\.png is 9×9, but .*at scale 2 needs 32×32"):
        cut(tmp_path, lq_dir=tmp_path / "lr")
    (tmp_path / "gt" / "b.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot read image .*b\.png"):
        cut(tmp_path)
    write_image(tmp_path / "gt" / "a.bmp", torch.zeros(3, 64, 64, dtype=torch.uint8))
    with pytest.raises(InputError, match="two images are called 'a'"):
        cut(tmp_path)


def test_the_recipe_is_noted_beside_the_images(tmp_path, make_images):
    make_images(tmp_path / "gt", names="a", size=(64, 64))
    cut(tmp_path)
    note = json.loads((tmp_path / "out" / "LR" / "X2" / "subimages.json").read_text())
    assert note == {"window_size": 32, "step": 16, "threshold": 0, "multiple": 4} | _UNNOTED_BEFORE


def test_shrunk_images_are_cut_too(tmp_path, make_images):
    make_images(tmp_path / "gt", names="a", size=(67, 70))
    recipe = CutRecipe(scales=(2,), window_size=16, step=16, shrink=(1, 2))
    result = cut(tmp_path, recipe=recipe)
    assert (result.images, result.subimages) == (1, 5 * 5 + 2 * 3)
    whole = read_image(tmp_path / "gt" / "a.png")
    half = matlab_imresize(whole[:, :66], 1 / 2)
    quarter = matlab_imresize(half[:, :32, :34], 1 / 2)
    place = read_image(tmp_path / "out" / "HR" / "a_d2_s005.png")
    assert torch.equal(place, half[:, 16:32, 16:32])
    place = read_image(tmp_path / "out" / "LR" / "X2" / "a_d2_s005.png")
    assert torch.equal(place, quarter[:, 8:16, 8:16])


@pytest.mark.parametrize("lmdb", [False, True])
def test_what_bicubic_gets_right_is_left_out(tmp_path, make_images, lmdb):
    make_images(tmp_path / "gt", names="a", size=(64, 64))
    image = read_image(tmp_path / "gt" / "a.png")
    image[:, :, :40] = 90  # more than half of it is flat
    write_image(tmp_path / "gt" / "a.png", image)
    recipe = CutRecipe(scales=(2, 4), window_size=16, step=16, min_error=1.0)
    result = cut(tmp_path, recipe=recipe, lmdb=lmdb)
    assert (result.subimages, result.left_out, result.written) == (8, 8, 24)
    if lmdb:
        left = [
            key.decode() for key in read_all(tmp_path / "out", lmdb)["HR.lmdb"] if key != "index"
        ]
    else:
        left = [path.stem for path in (tmp_path / "out" / "HR").glob("*.png")]
    assert sorted(left) == [f"a_s{row * 4 + column:03d}" for row in range(4) for column in (3, 4)]
    again = cut(tmp_path, recipe=recipe, lmdb=lmdb)
    assert (again.subimages, again.left_out, again.written) == (8, 8, 0)


def test_folders_of_earlier_versions_are_still_known(tmp_path, make_images):
    make_images(tmp_path / "gt", names="a", size=(64, 64))
    cut(tmp_path)
    for note in (tmp_path / "out").rglob("subimages.json"):
        old = json.loads(note.read_text())
        note.write_text(json.dumps({key: old[key] for key in old if key not in _UNNOTED_BEFORE}))
    assert cut(tmp_path).written == 0
    with pytest.raises(InputError, match="another recipe"):
        cut(tmp_path, recipe=replace(RECIPE, shrink=(1, 2)))
