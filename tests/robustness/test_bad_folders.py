"""Folders of data that do not fit together, cannot be read, or lead nowhere."""

import os

import pytest
from PIL import Image

from broken import RUN, pictures
from tiny import MODEL

PREPARE = ["prepare", "gt_dir=in", "gt_out=gt", "lq_out=lq", "scales=[2]", "window_size=8"]
PREPARE += ["step=8", "num_workers=0"]
CUT = r"(gt|lq/X2)/(subimages\.json|\w+_s\d+\.png)"


def images(folder, *names, size=(16, 16)):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", size, (9, 99, 199)).save(folder / name)
    return folder


def pairs(root, *, gt=("a.png", "b.png"), lq=("ax2.png", "bx2.png"), size=(8, 8)):
    images(root / "in", *gt)
    images(root / "lr" / "X2", *lq, size=size)


BROKEN = {
    "no folder": (lambda root: None, "in"),
    "empty folder": (lambda root: (root / "in").mkdir(), "in"),
    "a file": (lambda root: (root / "in").write_bytes(b""), "in"),
    "a link that leads nowhere": (lambda root: (root / "in").symlink_to("nothing"), "in"),
    "a link to itself": (lambda root: (root / "in").symlink_to("in"), "in"),
    "only folders": (lambda root: (root / "in" / "a.png").mkdir(parents=True), "in"),
    "only links that lead nowhere": (
        lambda root: images(root / "in").joinpath("a.png").symlink_to("nothing"), "in"
    ),
    "no pictures": (lambda root: (images(root / "in") / "a.txt").write_text("a"), "in"),
    "hidden pictures": (lambda root: images(root / "in", ".a.png"), "in"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_places_that_hold_nothing(attack, tmp_path, weights, name):
    make, named = BROKEN[name]
    make(tmp_path)
    attack(*PREPARE, "lq_dir=null", named=named)
    # What may be a picture is a picture that fails.
    many = name in ("a file", "only links that lead nowhere")
    told = attack("upscale", "in", "-o", "out", "--checkpoint", weights, named=named, many=many)
    assert len(told.lines) == 1


PAIRS = {
    "one is missing": ({"lq": ("ax2.png",)}, "b.png"),
    "of another scale": ({"lq": ("ax3.png", "bx3.png")}, "×3"),
    "of another size": ({"size": (7, 8)}, "X2/ax2.png is 8×7"),
    "of the size of GT": ({"size": (16, 16)}, "X2/ax2.png is 16×16"),
    "one name twice": ({"gt": ("a.png", "a.bmp")}, "two images are called 'a'"),
    "all of other names": ({"lq": ("x.png", "y.png")}, "a.png, b.png"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_that_do_not_fit(attack, tmp_path, name):
    arguments, named = PAIRS[name]
    pairs(tmp_path, **arguments)
    attack(*PREPARE, "lq_dir=lr", named=named, leaves=CUT)


NAMES = ["with\nnewline.png", "tab\t.png", "\U0001f600.png", "-o.png", "--help.png", " .png",
         "a'b.png", 'a"b.png', "[1].png", "${seed}.png", "a=b.png", "$(touch executed).png",
         "\x1b[31m.png", "e\u0301.png", "x" * 200 + ".png"]  # fmt: skip


def test_names_of_any_kind_are_done_or_told_in_a_line(attack, esc_sr, tmp_path, weights):
    images(tmp_path / "in", *NAMES)
    done = esc_sr("upscale", "in", "-o", "out", "--checkpoint", weights, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(NAMES)
    assert len(done.stdout.splitlines()) == len(NAMES) + 1
    for name in NAMES:
        (tmp_path / "in" / name).write_bytes(b"\x89PNG")
    told = attack("upscale", "in", "-o", "new", "--checkpoint", weights, many=True)
    assert len(told.lines) == len(NAMES)


def test_names_that_are_no_text(attack, tmp_path, weights):
    images(tmp_path / "in", "good.png")
    os.rename(tmp_path / "in" / "good.png", os.fsencode(tmp_path / "in") + b"/\xff\xfe.png")
    told = attack("upscale", "in", "-o", "out", "--checkpoint", weights, many=True)
    assert len(told.lines) == 1
    attack(*PREPARE, "lq_dir=null", leaves=r"(gt|lq/X2)/(subimages\.json|.*_s\d+\.png)", many=True)


def test_links_in_a_circle_end(attack, esc_sr, tmp_path, weights):
    images(tmp_path / "in", "good.png")
    (tmp_path / "in" / "again").symlink_to("..", target_is_directory=True)
    (tmp_path / "in" / "self.png").symlink_to("self.png")
    (tmp_path / "in" / "nowhere.png").symlink_to("nowhere at all")
    (tmp_path / "in" / "folder.png").mkdir()
    os.mkfifo(tmp_path / "in" / "pipe.png")  # to read it would wait for ever
    told = attack(
        "upscale", "in", "-o", "out", "--checkpoint", weights, many=True, leaves="out/good.png"
    )
    assert sorted(line.split("in/")[1].split(":")[0] for line in told.lines) == [
        "nowhere.png", "pipe.png", "self.png",
    ]  # fmt: skip
    assert told.new == ["out/good.png"]


@pytest.mark.parametrize("damage", ["no index", "index of nothing", "index of noise", "no data"])
def test_a_damaged_lmdb(attack, esc_sr, tmp_path, weights, damage):
    pytest.importorskip("lmdb")
    images(tmp_path / "in", "a.png", "b.png")
    assert esc_sr(*PREPARE, "lq_dir=null", "lmdb=true", cwd=tmp_path).returncode == 0
    index, data = (tmp_path / "gt.lmdb" / name for name in ("meta_info.txt", "data.mdb"))
    if damage == "no index":
        index.unlink()
    elif damage == "index of nothing":
        index.write_text("")
    elif damage == "index of noise":
        index.write_bytes(bytes(range(256)))
    else:
        data.write_bytes(bytes(range(256)) * 64)
    train = [
        "train",
        *MODEL,
        "data=folder",
        "data.train.gt_dir=gt.lmdb",
        "data.val.valid.gt_dir=in",
    ]
    train += ["data.train.crop_size=4", "data.num_workers=0", "scale=2", "trainer=cpu", "run_dir=r"]
    train += ["trainer.max_steps=1", "data.batch_size=1", "callbacks=none", "logger=none"]
    if damage == "no data":
        attack(*PREPARE, "lq_dir=null", "lmdb=true", named="gt.lmdb")
    # Training has begun by then, and has loaded what it needs.
    attack(*train, named="gt.lmdb", leaves=RUN, most_mib=512)


def test_a_picture_that_vanishes_is_a_picture_that_fails(attack, tmp_path, weights, monkeypatch):
    """Between the look at the header and the work."""
    import esc_sr.tasks.upscale as task

    images(tmp_path / "in", "a.png", "b.png")
    (tmp_path / "in" / "c.png").write_bytes(pictures.sound("png")[:-200])
    header = task.picture_header

    def looking(path, **options):
        found = header(path, **options)
        if path.name == "b.png":
            monkeypatch.setattr(task, "read_picture", vanishing)
        return found

    read = task.read_picture

    def vanishing(path, **options):
        if path.name == "a.png":
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return read(path, **options)

    monkeypatch.setattr(task, "picture_header", looking)
    told = attack(
        "upscale", "in", "-o", "out", "--checkpoint", weights, many=True, leaves="out/b.png"
    )
    assert len(told.lines) == 2
