"""The page: sound HTML, nothing from elsewhere, whatever stands in the run folders."""

import base64
import io
import shutil
import subprocess
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from PIL import Image

from esc_sr.config import compose_config
from esc_sr.tasks import report

EVIL = "<script>document.title='evil'</script>\"'><img src=http://example.org/x onerror=a> &amp;"
VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """Reads a page strictly: every element is closed, in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.found, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else None, data))

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def make_page(folder, *overrides):
    cfg = compose_config("report", [f"runs=['{folder}']", f"output_dir='{folder}/out'", *overrides])
    report.run(cfg)
    return folder / "out" / "report.html"


@pytest.fixture
def sweep(four_runs, make_run):
    make_run(four_runs / "failed", state="failed", error=f"because {EVIL}")
    return four_runs


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(sweep):
    path = make_page(sweep, "group=seed", "baseline={attention: sdpa}", "title='a <b> & c'")
    page = Page(path.read_text())
    assert ("title", "a <b> & c") in page.texts
    assert not {"script", "iframe", "object", "embed", "base", "form"} & {t for t, _ in page.found}
    ids = {attributes["id"] for _, attributes in page.found if "id" in attributes}
    assert ids == {"runs", "differences", "pareto", "curves", "images", "details", "left-out"}
    for tag, attributes in page.found:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "data", "action", "srcset", "poster"):
            if name in attributes:
                value = attributes[name]
                assert value.startswith("data:") or value.removeprefix("#") in ids, (tag, value)
    assert "url(" not in path.read_text()
    (policy,) = [a["content"] for a in page.all("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none'; img-src data:")
    rows = [tag for tag, _ in page.found if tag == "tr"]
    assert len(rows) == 2 * (1 + 2)
    assert len(page.all("details")) == 4


def test_every_picture_decodes_and_says_what_it_is(sweep):
    page = Page(make_page(sweep).read_text())
    kinds = {"image/png": 0, "image/svg+xml": 0}
    for image in page.all("img"):
        head, _, content = image["src"].partition(",")
        kind = head.removeprefix("data:").removesuffix(";base64")
        kinds[kind] += 1
        assert image["alt"]
        data = base64.b64decode(content, validate=True)
        if kind == "image/png":
            Image.open(io.BytesIO(data)).verify()
        else:
            assert ElementTree.fromstring(data).tag.endswith("svg")
    assert kinds == {"image/png": 3 + 4, "image/svg+xml": 3 + 4}


def test_texts_of_run_folders_stay_texts(tmp_path, make_run):
    for i in range(2):
        make_run(
            tmp_path / f"<b>{i}",
            attention=f"{EVIL}{i}",
            set_name="<i>",
            network=EVIL,
            error=EVIL,
            overrides=[EVIL],
            choices={EVIL: EVIL},
        )
    page = Page(make_page(tmp_path, f"title='{EVIL.replace(chr(39), '')}'").read_text())
    tags = {tag for tag, _ in page.found}
    assert not {"script", "i"} & tags
    assert all(image["src"].startswith("data:") for image in page.all("img"))
    assert any(EVIL in text for _, text in page.texts)


def test_a_page_without_logs_pictures_and_results(tmp_path, make_run):
    folder = make_run(tmp_path / "a", measured={}, results={})
    shutil.rmtree(folder / "csv")
    shutil.rmtree(folder / "images")
    page = Page(make_page(tmp_path).read_text())
    assert page.all("img") == []
    assert any("no CSV log" in text for _, text in page.texts)


BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in BROWSERS if (path := shutil.which(name))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium, whose headless mode opens the page")
def test_a_browser_shows_the_page_from_a_file(sweep, tmp_path_factory):
    path = make_page(sweep, "group=seed", f"title='page {EVIL.replace(chr(39), '')}'")
    home = tmp_path_factory.mktemp("browser")

    def browse(*arguments):
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        options += [f"--user-data-dir={home}", "--window-size=1200,2000"]
        call = [CHROMIUM, *options, *arguments, path.as_uri()]
        return subprocess.run(call, capture_output=True, timeout=120, check=True, cwd=home)

    seen = Page(browse("--dump-dom").stdout.decode())
    written = Page(path.read_text())
    # The browser has mended nothing, and nothing has run.
    assert [tag for tag, _ in seen.found] == [tag for tag, _ in written.found]
    assert any(where == "title" and text.startswith("page <script>") for where, text in seen.texts)
    browse("--screenshot=shot.png")
    with Image.open(home / "shot.png") as shot:
        assert shot.size == (1200, 2000)
        colours = {colour for _, colour in shot.convert("RGB").getcolors(2**24)}
    # Lines of both rows are drawn: their colours by `style_of`.
    assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)} <= colours
