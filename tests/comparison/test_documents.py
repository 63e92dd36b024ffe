import csv
import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from esc_sr.comparison.documents import comma_separated, latex, markdown, print_tables
from esc_sr.comparison.measured import borrow_quality
from esc_sr.comparison.rows import ComparisonRow, published_comparison
from esc_sr.comparison.sections import check_sets, notes, tabulate
from esc_sr.errors import InputError
from esc_sr.published.table import SETS


def ranks(section, heading):
    """Networks of a column by rank: {1: {...}, 2: {...}}."""
    column = [name for name, _ in section.headings].index(heading) - 1
    found = {}
    for network, cells in section.rows:
        for number in cells[column][:1]:
            found.setdefault(number.rank, set()).add(network)
    return found


def texts(section, heading):
    column = [name for name, _ in section.headings].index(heading) - 1
    return {
        network: " / ".join(one.text + one.mark for one in cells[column])
        for network, cells in section.rows
    }


@pytest.fixture
def mixed(measured, record):
    """Published and measured rows that would beat each other."""
    records = [
        record(latency_ms=1.0, peak_memory_mib=1.0),
        record(network="esc", attention="eager", latency_ms=9e4, peak_memory_mib=9e4),
    ]
    return published_comparison(4) + measured(records, {"esc": {"Urban100": 20.0}})


def test_best_and_second_are_those_printed():
    (section,) = tabulate(published_comparison(4), SETS)
    assert ranks(section, "latency")[1] == {"ESC-lt"}
    assert ranks(section, "latency")[2] == {"ELAN-lt"}
    assert ranks(section, "memory")[1] == {"ESC-FP"}
    assert ranks(section, "Urban100")[1] == {"ESC"}
    assert ranks(section, "Urban100")[2] == {"ATD-lt"}
    assert ranks(section, "Set14")[2] == {"ATD-lt", "ASID-D8"}  # what reads the same
    assert section.headings[:3] == (("network", ""), ("latency", "ms"), ("memory", "MB"))


def test_what_is_not_available_is_a_dash():
    (section,) = tabulate(published_comparison(4), SETS)
    assert texts(section, "Manga109")["ASID-D8"] == "–"
    assert texts(section, "latency")["bicubic"] == "–"
    assert texts(section, "Set5")["bicubic"] == "28.42 / 0.8104"


def test_a_misprint_is_marked_and_does_not_compete():
    rows = published_comparison(4, ["esc", "esc_fp"])
    (section,) = tabulate(rows, ["Set5"])
    assert texts(section, "Set5")["ESC-FP"] == "32.56 / 0.8897‡"
    ssim_y = [cells[-1][1] for _, cells in section.rows]
    assert [number.rank for number in ssim_y] == [0, 0]  # nothing left to compare with
    assert any(note.startswith("‡") for note in notes(rows, ["Set5"]))
    assert not any(note.startswith("‡") for note in notes(rows, ["Set14"]))


def test_published_and_measured_are_never_ranked_against_each_other(mixed):
    alone = published_comparison(4)
    published, measured = tabulate(mixed, SETS)
    assert (published.origin, measured.origin) == ("published", "measured")
    assert published == tabulate(alone, SETS)[0]
    for heading in ("latency", "memory"):
        assert ranks(measured, heading) == {1: {"esc_lt (sdpa)"}, 2: {"esc (eager)"}}
    assert measured.headings[2] == ("memory", "MiB")
    # a single measured quality has nothing to compare with
    assert ranks(measured, "Urban100") == {0: {"esc_lt (sdpa)", "esc (eager)"}}


def test_borrowed_quality_is_marked_in_every_document_and_not_ranked(measured, record):
    records = [record(), record(network="esc", params_k=967.5), record(network="mine")]
    rows = borrow_quality(measured(records, {"mine": {"Urban100": 20.0}}))
    sets = ["Urban100"]
    sections = tabulate(rows, sets)
    assert texts(sections[0], "Urban100") == {
        "esc_lt": "26.76† / 0.8058†",
        "esc": "27.07† / 0.8144†",
        "mine": "20.00 / 0.8000",
    }
    assert set(ranks(sections[0], "Urban100")) == {0}
    told = notes(rows, sets)
    assert any(note.startswith("† Costs measured here beside the published") for note in told)
    assert "26.76† / 0.8058†" in markdown(sections, told, title="T")
    assert r"26.76$^\dagger$/0.8058$^\dagger$" in latex(sections, told, title="T")
    line = next(csv.DictReader(io.StringIO(comma_separated(rows, sets))))
    assert (line["origin"], line["quality_origin"]) == ("measured", "published")


def test_interpolation_takes_no_part(measured, record):
    records = [record(network="bicubic", attention=None, latency_ms=1.0), record()]
    (section,) = tabulate(measured(records), SETS)
    assert ranks(section, "latency") == {0: {"bicubic", "esc_lt"}}


def test_an_error_is_said_in_words(measured, record):
    failed = record(attention="eager", latency_ms=None, error="out of memory: 9 GiB\nmore | $words")
    rows = measured([record(), failed, failed | {"error": "a very long reason that has no colon"}])
    (section,) = tabulate(rows, SETS)
    assert list(texts(section, "latency").values()) == ["2000.0", "out of memory", "failed"]
    told = notes(rows, SETS)
    assert "esc_lt (eager): out of memory: 9 GiB more | $words." in told
    assert r"more \| $words" in markdown([section], told, title="T")
    assert r"more \textbar{} \$words" in latex([section], told, title="T")


def test_infinite_quality_is_written(measured):
    (section,) = tabulate(measured(networks={"a": {"Set5": "inf"}, "b": {"Set5": 30.0}}), ["Set5"])
    assert texts(section, "Set5")["a"] == "∞ / 0.8000"
    assert r"\textbf{$\infty$}" in latex([section], [], title="T")


def test_sets_are_chosen_or_those_that_are_there(measured):
    rows = published_comparison(4, ["asid_d8"])
    assert check_sets(rows, None) == ["Set5", "Set14", "B100", "Urban100"]
    assert check_sets(rows, ["Manga109"]) == ["Manga109"]
    own = measured(networks={"a": {"sample": 30.0, "Set5": 31.0}})
    assert check_sets(own, None) == ["Set5", "sample"]
    with pytest.raises(InputError, match="no row has numbers of 'Set6'; sets are Set5"):
        check_sets(own, ["Set6"])


def test_markdown_is_one_table_for_each_kind(mixed):
    sections = tabulate(mixed, SETS)
    text = markdown(sections, ["a note"], title="Networks at ×4", picture="comparison.svg")
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == 2
    for table, count in zip(tables, (15, 2), strict=True):
        lines = table.splitlines()
        assert len(lines) == count + 2
        assert {line.count(" | ") for line in lines} == {9}
    assert "| <ins>18.0</ins> |" in tables[0]
    assert "**27.07** / **0.8144**" in tables[0]
    assert "Published: " in text.partition(tables[0])[0]
    assert "Measured: Some CPU" in text.partition(tables[0])[2]
    assert text.endswith("- a note\n\n![Networks at ×4](comparison.svg)\n")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a|b", r"a\|b"), ("esc_lt", "esc_lt"), ("_x_*y*", r"\_x\_\*y\*"), ("<b>", r"\<b>")],
)
def test_markdown_reads_names_as_they_are(name, expected):
    row = replace(published_comparison(4, ["esc"])[0], network=name)
    assert f"| {expected} | 21.9 |" in markdown(tabulate([row], SETS), [], title="T")


def test_latex_is_complete_and_escaped(mixed):
    odd = "a_b & 50% #1 {x} ~ ^ \\ $5 <q> CPU® ™"
    rows = [*mixed, replace(mixed[-1], network=odd, where=odd)]
    text = latex(tabulate(rows, SETS), notes(rows, SETS), title="Networks at ×4")
    assert r"\usepackage{booktabs}" in text
    escaped = (
        r"a\_b \& 50\% \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \$5 "
        r"\textless{}q\textgreater{} CPU\textregistered{} \texttrademark{}"
    )
    assert f"    {escaped} & " in text
    plain = re.sub(r"\\[{}]", "", text)
    assert plain.count("{") == plain.count("}")
    assert re.findall(r"\\(begin|end)\{([a-z*]+)\}", text) == [
        ("begin", "table*"),
        ("begin", "tabular"),
        ("end", "tabular"),
        ("end", "table*"),
    ]
    for rule in ("toprule", "midrule", "bottomrule"):
        assert rf"\{rule}" in text
    body = text.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 15 + 3 + 2 * 3
    columns = {len(re.findall(r"(?<!\\)&", line)) for line in lines if "multicolumn" not in line}
    assert columns == {9}
    assert text.isascii()
    assert text.index(r"\emph{published}") < text.index(r"\emph{measured}")


def test_csv_holds_every_number_unrounded_and_says_whose_it_is(mixed, record):
    table = list(csv.DictReader(io.StringIO(comma_separated(mixed, SETS))))
    assert len(table) == len(mixed)
    by_network = {line["network"]: line for line in table}
    esc = by_network["ESC"]
    assert (esc["origin"], esc["memory"], esc["memory_unit"]) == ("published", "215.0", "MB")
    assert esc["Urban100/psnr_y"] == "27.07"
    assert by_network["bicubic"]["latency_ms"] == ""
    assert by_network["ESC-FP"]["doubtful"] == "Set5/ssim_y"
    own = by_network["esc_lt (sdpa)"]
    assert (own["origin"], own["quality_origin"], own["params_k"]) == ("measured", "", "624.372")
    assert own["Set5/psnr_y"] == ""
    assert "Some CPU" in own["where"]


def test_csv_holds_other_metrics_of_every_set():
    row = published_comparison(4, ["esc"])[0]
    sets = {"Set5": {"psnr_y": 1.0, "lpips": 0.5}, "Set14": {"psnr_y": 2.0, "lpips": 0.25}}
    (line,) = csv.DictReader(io.StringIO(comma_separated([replace(row, sets=sets)], list(sets))))
    assert (line["Set5/lpips"], line["Set14/lpips"]) == ("0.5", "0.25")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_number_is_cut_in_the_terminal(mixed, width):
    console = Console(width=width, file=io.StringIO())
    print_tables(console, tabulate(mixed, SETS), notes(mixed, SETS), title="T")
    text = console.file.getvalue()
    assert "…" not in text
    words = set(text.split())
    for row in mixed:
        for means in row.sets.values():
            assert f"{means['psnr_y']:.2f}" in words
    assert max(map(len, text.splitlines())) <= max(width, 80)


def test_a_row_knows_where_its_quality_comes_from():
    row = ComparisonRow(
        network="a",
        name="a",
        kind="other",
        scale=4,
        origin="measured",
        where="",
        hardware="",
        memory_unit="MiB",
    )
    assert not row.borrowed
    assert not replace(row, quality_origin="measured").borrowed
    assert replace(row, quality_origin="published").borrowed


def test_names_of_sets_are_texts_in_every_document(measured):
    name = "A |\n\n## B <img src=x> [/red]\x1b[31m\u202e"
    rows = measured(networks={"esc": {name: 30.0}})
    sections, told = tabulate(rows, [name]), notes(rows, [name])
    page = markdown(sections, told, title="T")
    table = [line for line in page.split("\n") if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {7}
    assert "<img" not in page.replace("\\<", "")
    assert "\n## " not in page
    for text in (page, latex(sections, told, title="T"), comma_separated(rows, [name])):
        assert all(line.isprintable() for line in text.split("\n"))
        assert "u202e" in text
    console = Console(file=io.StringIO(), width=300)
    print_tables(console, sections, told, title="T")
    assert "[/red]" in console.file.getvalue()
