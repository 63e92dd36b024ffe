"""Pictures that are cut, damaged, hostile or odd, through every command that reads pictures."""

import logging
import re

import pytest
from PIL import Image

from broken import pictures
from esc_sr.data.images import image_size, read_image
from esc_sr.data.pairs import PairedImages
from esc_sr.errors import InputError

GOOD = ("a good one.png", "z good one.jpg")
BAD = pictures.cut() | pictures.refused()


def put(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def with_good(folder, files):
    return put(folder, files | {name: pictures.sound(name[-3:]) for name in GOOD})


def check_reading(read, path):
    """Read a file as training does, or see that it is refused in a line that names it."""
    told = path.name
    try:
        read(path, max_megapixels=0.1)
    except InputError as error:
        told = str(error)
    assert path.name in told
    assert told.isprintable()


def result_of(name):
    return name.removesuffix(".gif") + ".png" if name.endswith(".gif") else name


def enlarge(attack, tmp_path, weights, files, *more):
    """Enlarge a folder; return why pictures failed, by name, with what was written."""
    with_good(tmp_path / "in", files)
    done = attack("upscale", "in", "-o", "out", "--checkpoint", weights, *more,
                  many=True, leaves=r"out/[^.].*\.(png|jpg|webp|tif|bmp)")  # fmt: skip
    reasons = {}
    for line in done.lines:
        (name,) = (name for name in files if f"in/{name}" in line)
        assert name not in reasons, f"two lines: {line}"
        reasons[name] = line
    written = {name.removeprefix("out/") for name in done.new}
    assert written == {result_of(name) for name in {*files, *GOOD} - reasons.keys()}
    for name in written:  # whole
        with Image.open(tmp_path / "out" / name) as image:
            image.load()
    unclear = [line for line in reasons.values() if not re.match("failed: cannot read in/", line)]
    assert not unclear  # an error that nobody has foreseen is told by its class
    return reasons


def test_every_bad_picture_is_named_and_the_good_ones_are_done(attack, tmp_path, weights):
    reasons = enlarge(attack, tmp_path, weights, BAD)
    assert reasons.keys() == BAD.keys()


@pytest.mark.parametrize("extension", pictures.EXTENSIONS)
def test_damage_anywhere_gives_a_picture_or_a_line(attack, tmp_path, weights, extension):
    files = pictures.flipped(12, extensions=[extension])
    enlarge(attack, tmp_path, weights, files, "--max-megapixels", "0.05")


def test_an_earlier_picture_is_not_blamed(attack, tmp_path, weights):
    """libvips kept what it had said of one file, and said it of the next one too."""
    files = pictures.flipped(55, extensions=["tif"], seed=1)
    files = {name: files[name] for name in ("tif flipped 53.tif", "tif flipped 54.tif")}
    reasons = enlarge(attack, tmp_path, weights, files)  # which looks for one name in each line
    assert reasons.keys() == files.keys()


def test_odd_pictures_are_read_or_refused(attack, tmp_path, weights):
    files = {k: v for k, v in pictures.odd().items() if not k.startswith("65535")}
    reasons = enlarge(attack, tmp_path, weights, files)
    # Values that are no levels or of a space that is not converted, and files that end too early
    # or whose parts do not agree; all others are pictures.
    refused = {"lab.tif", "float.tif", "integers.tif", "float and NaN.tif", "big-endian.tif"}
    refused |= {"no end.jpg", "wrong checksum.png", "offset outside.bmp"}
    assert reasons.keys() <= refused


def test_readers_of_training_and_evaluation_refuse_the_same_files(tmp_path, caplog):
    """By Pillow, where `upscale` reads with libvips; one call goes through all of them."""
    with_good(tmp_path, BAD)
    unlike = {"palette without one.png"}  # Pillow makes one up
    for name in BAD.keys() - unlike:
        with pytest.raises(InputError) as told:
            read_image(tmp_path / name)
        assert name in str(told.value)
        assert str(told.value).isprintable(), name
    images = PairedImages(gt_dir=tmp_path, scale=2, on_corrupt="skip", cache=True)
    with caplog.at_level(logging.WARNING):
        images.fill_cache()
    assert {images[index]["name"] for index in range(len(images))} == {
        name[:-4] for name in (*GOOD, *unlike)
    }
    unread = [record for record in caplog.records if "skipped: " in record.getMessage()]
    assert len(unread) == len([name for name in BAD if not name.endswith(".gif")]) - len(unlike)


def test_damage_is_read_or_refused_by_readers_of_training_too(tmp_path):
    for name, content in (pictures.flipped(15) | pictures.odd()).items():
        (tmp_path / name).write_bytes(content)
        for read in (image_size, read_image):
            check_reading(read, tmp_path / name)


KINDS = ["png cut in half of the data.png", "huge square.png", "pickle.png"]
MORE_KINDS = ["jpg cut in half of the data.jpg", "text.png", "empty.png", "noise behind magic.tif"]
KINDS += [pytest.param(name, marks=pytest.mark.slow) for name in MORE_KINDS]


@pytest.mark.parametrize("name", KINDS)
def test_evaluate_names_a_bad_image(attack, tmp_path, weights, name):
    """The second of a set: the first one's header is looked at before any work."""
    folder = with_good(tmp_path / "Mine" / "HR", {f"m {name}": BAD[name]})
    command = ["evaluate", weights, "sets=[Mine]", "benchmark_dir=.", "output_dir=out"]
    attack(*command, named=str(folder.relative_to(tmp_path) / f"m {name}"))


@pytest.mark.parametrize("name", KINDS[:1] + KINDS[3:])
def test_evaluate_names_a_bad_first_image_and_bad_results(attack, tmp_path, weights, name):
    put(tmp_path / "First" / "HR", {name: BAD[name]})
    attack("evaluate", weights, "sets=[First]", "benchmark_dir=.", named=name)
    with_good(tmp_path / "Mine" / "HR", {})
    with_good(tmp_path / "sr", {})
    for place in ("sr", "Mine/HR"):
        sound = (tmp_path / place / GOOD[0]).read_bytes()
        (tmp_path / place / GOOD[0]).write_bytes(BAD[name])
        attack("evaluate", "sr_dir=sr", "sets=[Mine]", "benchmark_dir=.", "scale=2", "output_dir=o",
               named=f"{place}/{GOOD[0]}")  # fmt: skip
        (tmp_path / place / GOOD[0]).write_bytes(sound)


PREPARE = ["prepare", "gt_dir=in", "lq_dir=null", "gt_out=gt", "lq_out=lq", "scales=[2]"]
PREPARE += ["window_size=8", "step=8", "num_workers=0"]


@pytest.mark.parametrize("name", KINDS)
def test_prepare_names_a_bad_image_and_leaves_whole_files(attack, tmp_path, name):
    with_good(tmp_path / "in", {f"m {name}": BAD[name]})
    done = attack(*PREPARE, named=f"in/m {name}",
                  leaves=r"(gt|lq/X2)/(subimages\.json|a good one_s\d+\.png)")  # fmt: skip
    for path in done.new:
        if path.endswith(".png"):
            read_image(tmp_path / path)


@pytest.mark.parametrize("command", ["evaluate", "prepare", "analyze", "train", "upscale"])
def test_the_limit_of_pixels_names_its_key_and_can_be_moved(attack, tmp_path, weights, command):
    with_good(tmp_path / "in", {})
    calls = {
        "evaluate": ["evaluate", weights, "sets=[in]", "benchmark_dir=."],
        "prepare": PREPARE,
        "analyze": ["analyze", "kind=similarity", f"checkpoint={weights}", "images=in", "crop=4"],
        "train": ["train", "data=folder", "data.train.gt_dir=in", "data.val.valid.gt_dir=in",
                  "scale=2", "data.train.crop_size=4", "run_dir=r", "trainer=cpu"],
        "upscale": ["upscale", "in", "-o", "out", "--checkpoint", weights],
    }  # fmt: skip
    if command == "upscale":
        done = attack(*calls[command], "--max-megapixels", "1e-4", many=True)
        assert len(done.lines) == 2
        assert all("--max-megapixels" in line for line in done.lines)
        return
    leaves = r"(gt|lq/X2)/subimages\.json|r/.*"
    told = attack(*calls[command], "max_megapixels=1e-4", leaves=leaves, named="max_megapixels=")
    assert "20×28" in told.lines[0]
    if command != "train":
        for wrong in ("0", "a"):
            attack(
                *calls[command], f"max_megapixels={wrong}", leaves=leaves, named="max_megapixels"
            )


@pytest.mark.slow
@pytest.mark.parametrize("extension", pictures.EXTENSIONS)
def test_much_damage_gives_pictures_or_lines(attack, tmp_path, weights, extension):
    files = pictures.flipped(400, extensions=[extension], seed=1)
    enlarge(attack, tmp_path, weights, files, "--max-megapixels", "0.05")
    for name in files:
        for read in (image_size, read_image):
            check_reading(read, tmp_path / "in" / name)
