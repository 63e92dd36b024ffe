import os
from pathlib import Path
from unittest import mock

import pytest

from esc_sr.errors import InputError
from esc_sr.pictures.jobs import find_jobs


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, which is the working folder and the home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")


def jobs(inputs, output, **options):
    """Return sources and targets as one would write them."""
    inputs = [inputs] if isinstance(inputs, str) else inputs
    return [(str(job.source), str(job.target)) for job in find_jobs(inputs, output, **options)]


def refusal(inputs, output, **options):
    with pytest.raises(InputError) as caught:
        jobs(inputs, output, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "output", "options", "target"),
    [
        ("a.png", "out.png", {}, "out.png"),
        ("a.png", "new/out.JPG", {}, "new/out.JPG"),
        ("a.png", "out.tiff", {"extension": "tif"}, "out.tiff"),
        ("a.png", "out.jpeg", {"extension": "jpg"}, "out.jpeg"),
        ("a.png", "out", {}, "out/a.png"),
        ("a.png", "out.v2", {}, "out.v2/a.png"),
        ("a.png", "out", {"extension": ".WebP"}, "out/a.webp"),
        ("sub/deep/a.png", "out", {}, "out/a.png"),
        ("A.JPG", "out", {}, "out/A.JPG"),
        ("a.gif", "out", {}, "out/a.png"),
        ("a.GIF", "out.png", {}, "out.png"),
        ("a.b.png", "out", {"extension": "jpg"}, "out/a.b.jpg"),
        ("scan.001", "out", {}, "out/scan.001.png"),
        ("scan.001", "out", {"extension": "tif"}, "out/scan.001.tif"),
        ("no extension", "out", {}, "out/no extension.png"),
        (".hidden.png", "out", {}, "out/.hidden.png"),
        ("a[1].png", "out", {}, "out/a[1].png"),
        ("what?*.png", "out", {}, "out/what?*.png"),
        ("-o.png", "out", {}, "out/-o.png"),
    ],
)
def test_one_picture_becomes_the_file_named_or_one_in_the_folder(
    name, output, options, target, here
):
    touch(name)
    assert jobs(name, output, **options) == [(name, target)]


def test_a_name_of_a_picture_that_is_a_folder_is_a_folder(here):
    touch("a.png", "b.png")
    Path("out.png").mkdir()
    Path("out.gif").mkdir()
    assert jobs("a.png", "out.png") == [("a.png", "out.png/a.png")]
    assert jobs(["a.png", "b.png"], "out.gif")[1] == ("b.png", "out.gif/b.png")


def test_tilde_is_the_home_folder_in_inputs_globs_and_output(here):
    touch("photos/a.png")
    for text in ("~/photos/a.png", "~/photos", "~/photos/*.png"):
        assert jobs(text, "~/out") == [(f"{here}/photos/a.png", f"{here}/out/a.png")]
    assert "no such file" in refusal("~nobody-here/a.png", "out")


def test_pictures_of_a_folder_keep_their_places(here):
    touch("in/b.png", "in/a.JPEG", "in/sub/a.png", "in/sub/deep/c.GIF", "in/x.png/d.bmp")
    touch("in/notes.txt", "in/.hidden.png", "in/.cache/e.png", "in/noext")
    assert jobs("in", "out") == [
        ("in/a.JPEG", "out/a.JPEG"),
        ("in/b.png", "out/b.png"),
        ("in/sub/a.png", "out/sub/a.png"),
        ("in/sub/deep/c.GIF", "out/sub/deep/c.png"),
        ("in/x.png/d.bmp", "out/x.png/d.bmp"),
    ]
    assert jobs("in/", "out/") == jobs("in", "out")
    assert jobs("in", "out", extension="webp")[2] == ("in/sub/a.png", "out/sub/a.webp")


def test_pictures_of_a_glob_keep_their_places_below_its_fixed_part(here):
    """Pictures of one name in two folders would all have become one."""
    touch("in/a.png", "in/b.jpg", "in/sub/a.png", "in/sub/deep/a.png", "in/.hidden/a.png", "a.png")
    touch("in/.a.png", "in/sub/a.txt")
    assert jobs("in/**/*.png", "out") == [
        ("in/a.png", "out/a.png"),
        ("in/sub/a.png", "out/sub/a.png"),
        ("in/sub/deep/a.png", "out/sub/deep/a.png"),
    ]
    assert jobs("in/*", "out") == [("in/a.png", "out/a.png"), ("in/b.jpg", "out/b.jpg")]
    assert jobs("in/s*/a.png", "out") == [("in/sub/a.png", "out/sub/a.png")]
    assert jobs("*.png", "out.jpg") == [("a.png", "out.jpg")]
    assert jobs("./*.png", "out") == [("a.png", "out/a.png")]
    assert jobs(f"{here}/in/[b].*", "out") == [(f"{here}/in/b.jpg", "out/b.jpg")]
    assert jobs("in/sub/../*.jpg", "out") == [("in/sub/../b.jpg", "out/b.jpg")]


def test_a_name_with_wildcards_that_exists_is_that_file_only(here):
    touch("a[1].png", "a1.png", "in[2]/b.png", "in2/c.png")
    assert jobs("a[1].png", "out") == [("a[1].png", "out/a[1].png")]
    assert jobs("in[2]", "out") == [("in[2]/b.png", "out/b.png")]
    Path("a[1].png").unlink()
    assert jobs("a[1].png", "out") == [("a1.png", "out/a1.png")]


@pytest.mark.parametrize("text", ["in", "in/**/*.png", "in/**", "./in", "in/../in/*/*.png"])
def test_results_below_an_input_are_not_enlarged_again(text, here):
    touch("in/sub/a.png")
    (first,) = jobs(text, "in/out")
    touch(first[1], "in/out/more/b.png")
    assert jobs(text, "in/out") == [first]
    assert jobs(text, here / "in" / "out")[0][0] == first[0]
    Path("link").symlink_to("in/out")
    assert jobs(text, "link")[0][0] == first[0]


def test_what_lies_in_the_output_folder_is_found_if_it_is_asked_for(here):
    touch("out/sub/a.png", "out/b.png")
    assert "give another output" in refusal("out/*.png", "out")
    assert "give another output" in refusal("out", "out")
    assert jobs("out/sub/a.png", "out") == [("out/sub/a.png", "out/a.png")]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.png",
        "https://example.org/a.png?x=1",
        "HTTPS://EXAMPLE.ORG/*.png",
        "s3://bucket/a.png",
        "gs://bucket",
        "file:///home/a.png",
        "ftp://example.org/a.png",
    ],
)
def test_urls_are_refused_at_either_end(url, here):
    touch("a.png")
    assert refusal(url, "out") == f"{url} is a URL; give a file or folder of this machine"
    assert (
        refusal(["a.png", url], "out") == f"{url} is a URL; give a file or folder of this machine"
    )
    assert refusal("a.png", url) == f"{url} is a URL; give a file or folder of this machine"
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ("missing.png", "no such file or folder: missing.png"),
        ("missing/a.png", "no such file or folder: missing/a.png"),
        ("text.txt/a.png", "no such file or folder: text.txt/a.png"),
        ("n" * 300, "no such file or folder: nnn"),
        (["a.png", "missing.png"], "no such file or folder: missing.png"),
        ("dangling.png", "no such file or folder: dangling.png"),
        ("*.jpg", "nothing matches *.jpg"),
        ("*.txt", "nothing matches *.txt"),
        ("**/*.tif", "nothing matches **/*.tif"),
        ("a[1].png", "nothing matches a[1].png"),
        ("empty", "no pictures in empty"),
        ("texts", "no pictures in texts"),
        ("hidden", "no pictures in hidden"),
        ("", "empty path"),
    ],
)
def test_inputs_without_a_picture_are_refused(inputs, expected, here):
    touch("a.png", "text.txt", "texts/a.txt", "texts/b.md", "hidden/.a.png", "hidden/.b/c.png")
    Path("empty").mkdir()
    Path("dangling.png").symlink_to("nowhere.png")
    assert expected in refusal(inputs, "out")


@pytest.mark.parametrize(
    ("inputs", "output", "options", "expected"),
    [
        (["a.png", "b.jpg"], "out.png", {}, "out.png is the name of one picture"),
        ("*.*", "out.png", {}, "out.png is the name of one picture"),
        ("in", "out.png", {}, "out.png is the name of one picture"),
        (["in", "in/c.png"], "out.png", {}, "out.png is the name of one picture"),
        ("a.png", "out.gif", {}, "cannot write out.gif"),
        ("a.png", "out.AVIF", {}, "cannot write out.AVIF"),
        ("a.png", "out.heic", {}, "cannot write out.heic"),
        ("in", "out.pdf", {}, "cannot write out.pdf"),
        ("a.png", "out.png", {"extension": "jpg"}, "contradict each other"),
        ("a.png", "out", {"extension": "gif"}, "cannot write gif"),
        ("a.png", "out", {"extension": "xyz"}, "cannot write xyz"),
        ("a.png", "text", {}, "text is a file"),
        ("a.png", "", {}, "empty path"),
        ("a.png", "a.png", {}, "give another output"),
        ("a.png", ".", {}, "give another output"),
        ("a.png", "in/../a.png", {}, "give another output"),
        ("a.png", "link.png", {}, "give another output"),
        ("link.png", "a.png", {}, "give another output"),
        ("in", "in", {}, "give another output"),
        ("in/c.png", "in", {}, "give another output"),
        ("in", "loop", {}, "give another output"),
    ],
)
def test_outputs_that_cannot_be_meant_are_refused(inputs, output, options, expected, here):
    touch("a.png", "b.jpg", "in/c.png", "in/a.jpg", "text")
    Path("link.png").symlink_to("a.png")
    Path("loop").symlink_to("in")
    assert expected in refusal(inputs, output, **options)


def test_a_source_is_never_replaced_by_the_result_of_another(here):
    touch("a.gif", "out/a.png", "out/sub/b.jpg")
    expected = "a.png is read and would be replaced"
    assert expected in refusal(["a.gif", "out/a.png"], "out")
    assert expected in refusal(["a.gif", "out/a.png"], here / "out" / "sub" / "..")


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        (["a.png", "a.jpg"], {"extension": "png"}),
        (["a.png", "a.gif"], {}),
        (["a.png", "in/a.png"], {}),
        (["in", "more"], {}),
        ("same", {"extension": "webp"}),
        ("*.*", {"extension": "tif"}),
        (["scan.001", "scan.001.png"], {}),
    ],
)
def test_two_pictures_never_become_one_file(inputs, options, here):
    touch("a.png", "a.jpg", "a.gif", "in/a.png", "more/a.png", "same/b.bmp", "same/b.tif")
    touch("scan.001", "scan.001.png")
    assert "would both become out/" in refusal(inputs, "out", **options)


def test_pictures_that_only_differ_in_their_extension_are_kept_apart_without_a_common_one(here):
    touch("a.png", "a.jpg", "a.PNG")
    assert jobs("*", "out") == [
        ("a.PNG", "out/a.PNG"),
        ("a.jpg", "out/a.jpg"),
        ("a.png", "out/a.png"),
    ]


def test_a_picture_given_twice_is_enlarged_once(here):
    touch("a.png", "in/b.png")
    assert jobs(["a.png", "a.png"], "out") == [("a.png", "out/a.png")]
    assert jobs(["a.png", "./a.png", f"{here}/a.png", "in/../a.png"], "out") == [
        ("a.png", "out/a.png")
    ]
    assert jobs(["a.png", "*.png"], "out.jpg") == [("a.png", "out.jpg")]
    assert jobs(["in", "in/b.png", "in/*.png", "in/"], "out") == [("in/b.png", "out/b.png")]


def test_links_to_pictures_are_pictures_of_their_own(here):
    touch("in/a.png")
    Path("in/b.png").symlink_to("a.png")
    assert [target for _, target in jobs("in", "out")] == ["out/a.png", "out/b.png"]
    assert [target for _, target in jobs(["in/a.png", "in/b.png"], "out")] == [
        "out/a.png",
        "out/b.png",
    ]


def test_links_to_folders_are_followed_if_given_and_not_if_found(here):
    touch("in/sub/a.png", "other/b.png")
    Path("in/sub/up").symlink_to(here / "in")
    Path("in/other").symlink_to(here / "other")
    Path("link").symlink_to("in")
    assert jobs("in", "out") == [("in/sub/a.png", "out/sub/a.png")]
    assert jobs("link", "out") == [("link/sub/a.png", "out/sub/a.png")]


def test_a_folder_that_cannot_be_read_is_told(here):
    """It was passed over, or said to hold no pictures."""
    touch("in/a.png", "in/sub/b.png")
    scandir = os.scandir

    def denied(path):
        if os.fspath(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    with mock.patch("os.scandir", denied):
        picture, folder = find_jobs(["in"], "out")
    assert (picture.source, picture.problem) == (Path("in/a.png"), None)
    assert folder.problem == "cannot read the folder in/sub: Permission denied"
    Path("in/a.png").unlink()
    with mock.patch("os.scandir", denied):
        assert refusal("in", "out") == folder.problem


def test_nothing_is_made_by_looking(here):
    touch("in/a.png")
    jobs("in", "new/out")
    assert sorted(path.name for path in here.iterdir()) == ["in"]


def test_without_an_output_results_lie_beside_their_pictures(here):
    touch("a.png", "sub/b.JPG", "c.gif", "d[1].png")
    found = jobs(["a.png", "~/sub/b.JPG", "c.gif", "a.png", "d[1].png"], None, suffix="_x4")
    assert found == [
        ("a.png", "a_x4.png"),
        (str(here / "sub/b.JPG"), str(here / "sub/b_x4.JPG")),
        ("c.gif", "c_x4.png"),
        ("d[1].png", "d[1]_x4.png"),
    ]
    assert jobs("a.png", None, suffix="_x2.5", extension="webp") == [("a.png", "a_x2.5.webp")]
    for many in ("sub", "*.png"):
        assert "may be many pictures: give a folder for the results with -o" in refusal(many, None)
    assert "no such file" in refusal("nothing.png", None)
    assert "is a URL" in refusal("http://a/b.png", None)
    assert "empty path" in refusal("", None)
    touch("a_x4.png")
    assert jobs(["a.png", "a_x4.png"], None, suffix="_x4") == [("a.png", "a_x4.png")]
    assert jobs("a_x4.png", None, suffix="_x4") == [("a_x4.png", "a_x4_x4.png")]
