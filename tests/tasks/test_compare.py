import csv
import json
import re
import sys
from pathlib import Path

import pytest

from esc_sr.config import compose_config
from esc_sr.errors import InputError
from esc_sr.evaluation import Evaluation, SetResult
from esc_sr.metrics.protocol import Protocol
from esc_sr.tasks import compare
from esc_sr.tasks.results import write_results

ALL_FILES = {f"comparison.{suffix}" for suffix in ("md", "tex", "csv", "png", "svg", "pdf")}


@pytest.fixture
def bench(tmp_path, record):
    def write(*changes, name="bench.json"):
        records = [record(**{"device_name": "Some CPU (fast)", **change}) for change in changes]
        (tmp_path / name).write_text(json.dumps(records))
        return f"bench={tmp_path / name}"

    return write


@pytest.fixture
def results(tmp_path):
    """Results of two networks, written by the code that `esc-sr evaluate` writes them with."""
    paper = Protocol("paper", channel="y", crop_border=4, suffix="y")
    evaluations = [
        Evaluation(
            network,
            4,
            (paper,),
            {"Urban100": SetResult(["a"], {"psnr_y": [psnr_y], "ssim_y": [0.8]}, 1.0)},
        )
        for network, psnr_y in {"esc_lt_x4.pth": 26.5, "bicubic": 23.1}.items()
    ]
    write_results(evaluations, tmp_path)
    return f"results={tmp_path / 'results.json'}"


def run(*overrides):
    return compare.run(compose_config("compare", list(map(str, overrides))))


def by_network(folder):
    with (folder / "comparison.csv").open(newline="") as lines:
        return {line["network"]: line for line in csv.DictReader(lines)}


def test_the_published_table_is_printed_and_nothing_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = run("scale=3")
    assert len(rows) == 15
    assert {row.scale for row in rows} == {3}
    out = capsys.readouterr().out
    assert "Networks at ×3" in out
    assert "HiT-SRF" in out
    assert "0.8706‡" in out
    assert not list(tmp_path.iterdir())


def test_every_file_is_written_and_complete(tmp_path, bench, results, capsys):
    out = tmp_path / "deep" / "out"
    run(bench({}, {"attention": "eager", "latency_ms": 6000.0}), results, f"output_dir={out}")
    assert {path.name for path in out.iterdir()} == ALL_FILES
    markdown = (out / "comparison.md").read_text()
    assert "![Networks at ×4](comparison.png)" in markdown
    assert "paper: PSNR and SSIM on Y, 4 pixels cropped" in markdown
    assert "Not in the picture: bicubic, an interpolation" in markdown
    assert r"\begin{table*}" in (out / "comparison.tex").read_text()
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "comparison.pdf").read_bytes().startswith(b"%PDF")
    svg = (out / "comparison.svg").read_text()
    assert ">As published, on the authors&#x27; GPU<" in svg or "authors' GPU" in svg
    assert "esc_lt (eager)" in svg
    lines = by_network(out)
    assert len(lines) == 15 + 2  # both bicubics have the one name
    assert lines["esc_lt (sdpa)"]["Urban100/psnr_y"] == "26.5"
    assert lines["esc_lt (sdpa)"]["quality_origin"] == "measured"
    assert f"written: {out / 'comparison.md'}" in capsys.readouterr().out


def test_the_kinds_never_mix(tmp_path, bench):
    """A measured row that would win every column changes nothing among the published ones."""
    record = {"latency_ms": 0.1, "peak_memory_mib": 0.1, "macs_g": 0.1, "params_k": 620.0}
    for name, options in {
        "alone": [],
        "both": [bench(record), "quality_from_published=true"],
    }.items():
        run(*options, f"output_dir={tmp_path / name}", "formats=[svg]")
    alone, both = ((tmp_path / name / "comparison.md").read_text() for name in ("alone", "both"))
    table = alone[alone.index("| network") : alone.index("\n\n", alone.index("| network"))]
    assert table in both
    measured = both[both.index("Measured: ") :]
    assert "**" not in measured.partition("\n- ")[0]
    assert "26.76† / 0.8058†" in measured
    assert "† Costs measured here beside the published quality" in measured
    svg = (tmp_path / "both" / "comparison.svg").read_text()
    assert len(re.findall(">latency \\(ms\\)<", svg)) == 2
    assert (
        len(re.findall(">latency \\(ms\\)<", (tmp_path / "alone" / "comparison.svg").read_text()))
        == 1
    )


def test_the_documentation_shows_what_the_command_writes(tmp_path):
    run(f"output_dir={tmp_path}", "formats=[svg]")
    documented = (Path(__file__).parents[2] / "docs" / "comparison.md").read_text()
    written = (tmp_path / "comparison.md").read_text().splitlines()
    table = [line for line in written if line.startswith("| ")]
    assert len(table) == 17
    assert "\n".join(table) in documented


def test_published_rows_are_chosen(tmp_path, bench):
    assert [row.network for row in run("published=[esc_lt,ATD-lt]")] == ["ATD-lt", "ESC-lt"]
    assert [row.network for row in run("published=esc")] == ["ESC"]
    assert [row.origin for row in run("published=none", bench({}))] == ["measured"]


def test_several_files_of_records_are_read_and_filtered(bench):
    first = bench({}, {"precision": "bf16"}, name="1.json").partition("=")[2]
    second = bench({"network": "esc"}, name="2.json").partition("=")[2]
    rows = run("published=none", f"bench=[{first},{second}]")
    assert [row.network for row in rows] == ["esc_lt (fp32)", "esc_lt (bf16)", "esc (fp32)"]
    rows = run("published=none", f"bench=[{first},{second}]", "filter={precision: fp32}")
    assert [row.network for row in rows] == ["esc_lt", "esc"]


@pytest.mark.parametrize(
    "change",
    [
        {"device_name": "Other CPU"},
        {"output_size": [64, 64], "lq_size": [16, 16]},
        {"batch_size": 8},
    ],
)
def test_the_filter_that_a_message_proposes_works(bench, change):
    records = bench({}, change)
    with pytest.raises(InputError, match="do not compare") as caught:
        run("published=none", records)
    proposed = re.search("'(filter={.*})'", str(caught.value))
    assert proposed
    assert len(run("published=none", records, proposed[1])) == 1


def test_formats_and_sets_are_chosen(tmp_path):
    run(f"output_dir={tmp_path}", "formats=[svg]", "sets=[Set14]", "scale=2", "plot_set=Set14")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"comparison.md", "comparison.tex", "comparison.csv", "comparison.svg"}
    assert "Urban100" not in (tmp_path / "comparison.md").read_text()
    assert ">PSNR-Y on Set14 ×2 (dB)<" in (tmp_path / "comparison.svg").read_text()


def test_without_formats_nothing_is_drawn(tmp_path, bench):
    run("published=none", bench({}), f"output_dir={tmp_path / 'out'}", "formats=[]")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"comparison.md", "comparison.tex", "comparison.csv"}
    assert "![" not in (tmp_path / "out" / "comparison.md").read_text()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["scale=5"], "nothing is published at ×5"),
        (["scale=big"], "scale must be an integer of at least 1, got 'big'"),
        (["published=[esx]"], "no published network 'esx'; did you mean esc"),
        (["published=none"], "nothing to compare: give bench=FILE"),
        (["published=[]"], "nothing to compare"),
        (["bench=nowhere.json"], "nowhere.json cannot be read: No such file"),
        (["results=[a.json,b.json]"], "a.json cannot be read"),
        (["x=speed"], "unknown x 'speed'; choose one of: latency_ms, macs_g, params_k"),
        (["size=latency_ms"], "unknown size 'latency_ms'; choose one of: memory"),
        (["formats=[gif]"], "unknown formats 'gif'; choose one of: png, svg, pdf"),
        (["formats=png"], r"formats must be a list such as formats=\[a,b\]"),
        (["sets=Set5"], r"sets must be a list such as sets=\[a,b\]"),
        (["sets=[Set6]"], "no row has numbers of 'Set6'; sets are Set5"),
        (["width=0"], "width must be a number of inches from 2.5 to 20, got 0"),
        (["filter={scale: 4}"], "give bench=FILE too"),
        (["filter=fp32", "bench=a"], "filter must be like filter="),
        (["quality_from_published=1"], "must be true or false, got 1"),
        (["output_dir=out", "plot_set=Set7"], "no row has both latency_ms and psnr_y on Set7"),
        (["output_dir=out", "plot_metric=lpips"], "no row has both latency_ms and lpips"),
    ],
)
def test_bad_input_is_told_in_one_line_before_anything_is_written(
    overrides, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        run(*overrides)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_command_line_tells_errors_in_one_line(tmp_path, monkeypatch, capsys):
    path = tmp_path / "bench.json"
    path.write_text("[{}]")
    monkeypatch.setattr(sys, "argv", ["esc-sr"])
    with pytest.raises(SystemExit) as left:
        compare.main([f"bench={path}"])
    assert left.value.code == 1
    told = capsys.readouterr().err
    assert (
        told == f"esc-sr: error: {path}: record 1 has no 'network'; measure with `esc-sr bench`\n"
    )


def test_the_command_line_compares(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["esc-sr"])
    compare.main([f"output_dir={tmp_path}", "formats=[pdf]", "published=[esc,rcan]"])
    assert "written: " in capsys.readouterr().out
    assert "![" not in (tmp_path / "comparison.md").read_text()  # Markdown shows no PDF


def test_a_self_ensemble_is_a_row_of_its_own(bench, tmp_path, capsys):
    paper = Protocol("paper", channel="y", crop_border=4, suffix="y")
    for name, conditions, psnr_y in (("plain", (), 26.5), ("ensemble", ("self-ensemble",), 26.7)):
        sets = {"Urban100": SetResult(["a"], {"psnr_y": [psnr_y], "ssim_y": [0.8]}, 1.0)}
        run_of = Evaluation("esc_lt_x4.pth", 4, (paper,), sets, conditions)
        (tmp_path / name).mkdir()
        write_results([run_of], tmp_path / name)
    files = ",".join(str(tmp_path / name / "results.json") for name in ("plain", "ensemble"))
    rows = run(bench({}), f"results=[{files}]", "published=none")
    costs = {row.network: row.latency_ms for row in rows}
    assert costs == {"esc_lt": 2000.0, "esc_lt_x4.pth (self-ensemble)": None}
    assert [row.sets["Urban100"]["psnr_y"] for row in rows] == [26.5, 26.7]
