import csv
import io
import re

import pytest
from rich.console import Console

from esc_sr.reporting.documents import comma_separated, latex, markdown, print_layouts
from esc_sr.reporting.layout import difference_table, main_table, notes
from esc_sr.reporting.reading import read_runs
from esc_sr.reporting.table import tabulate

EVIL = r"=cmd|'/c calc'!A0 & <script>alert(1)</script> $x_y$ \input{/etc/passwd} *b* |"


@pytest.fixture
def table(four_runs):
    runs, _ = read_runs([str(four_runs)])
    return tabulate(runs, group="seed", baseline={"attention": "sdpa"})


@pytest.fixture
def evil(tmp_path, make_run):
    for i in range(2):
        make_run(tmp_path / f"evil_{i}", attention=f"{EVIL}{i}", set_name="a_b*c")
    return tabulate(read_runs([str(tmp_path)])[0])


def layouts(table):
    return [one for one in (main_table(table), difference_table(table)) if one is not None]


def test_csv_holds_every_number_unrounded_with_spread_and_interval(table):
    lines = list(csv.DictReader(io.StringIO(comma_separated(table))))
    assert [line["attention"] for line in lines] == ["eager", "sdpa"]
    line = lines[0]
    assert float(line["Set5/psnr_y"]) == pytest.approx((31.5 + 32 - 1 / 6) / 2 + 1 / 12, abs=0.2)
    assert float(line["Set5/psnr_y_std"]) == pytest.approx(2**-0.5 / 3)
    assert float(line["Set5/psnr_y_diff"]) == pytest.approx(0)
    assert line["Set5/psnr_y_images"] == "3"
    assert lines[1]["Set5/psnr_y_diff"] == ""
    assert line["seed"] == "0, 1"
    assert line["wall_s"] == "75.0"
    assert line["commit"] == "012345678+"


def test_a_text_is_no_formula_for_a_spreadsheet(evil):
    lines = list(csv.DictReader(io.StringIO(comma_separated(evil))))
    assert lines[0]["attention"].startswith("'=cmd")


def test_headings_of_formulas_stay_formulas_and_different(tmp_path, make_run):
    names = ["=cmd|x", "cmd|x", "'=cmd|x", "-1"]
    results = {name: {"images": ["a"], "psnr_y": [30.0]} for name in names}
    make_run(tmp_path, results=results)
    heading = comma_separated(tabulate(read_runs([str(tmp_path)])[0])).partition("\n")[0]
    cells = next(csv.reader([heading]))
    told = [cell for cell in cells if cell.endswith("/psnr_y") and not cell.startswith("Set5")]
    assert told == ["'=cmd|x/psnr_y", "cmd|x/psnr_y", "''=cmd|x/psnr_y", "'-1/psnr_y"]
    assert not any(cell.startswith(("=", "-")) for cell in cells)


def test_markdown_has_a_row_for_each_and_its_signs_escaped(table, evil):
    text = markdown(layouts(table), notes(table), title="My runs", pictures=["pareto_latency.svg"])
    assert text.startswith("# My runs\n")
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len(tables) == 2 * (2 + 2)
    assert text.endswith("![pareto_latency.svg](pareto_latency.svg)\n")
    text = markdown(layouts(evil), notes(evil), title="x")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    bars = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
    assert len(bars) == 1
    assert not re.search(r"(?<!\\)<", text)


def test_latex_has_a_row_for_each_and_its_signs_escaped(table, evil):
    text = latex(layouts(table), notes(table), title="Runs")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    assert r"31.667 $\pm$ 0.236" in text
    text = latex(layouts(evil), notes(evil), title="100 %")
    assert r"\input{/etc" not in text
    assert r"\textbackslash{}input\{/etc/passwd\}" in text
    columns = len(layouts(evil)[0].headings)
    for line in text.splitlines():
        if line.endswith(r"\\"):
            assert len(re.findall(r"(?<!\\)&", line)) == columns - 1
        assert not re.search(r"(?<!\\)[_#%]", line) or line.startswith("%") or line.endswith("{%")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_number_is_cut_in_a_terminal(table, evil, width):
    for one in (table, evil):
        console = Console(width=width, file=io.StringIO(), color_system=None)
        print_layouts(console, layouts(one), notes(one))
        printed = console.file.getvalue()
        assert "31.667" in printed or "31.000" in printed
        assert "…" not in printed
