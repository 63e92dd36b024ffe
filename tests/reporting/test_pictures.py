import math
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from esc_sr.drawing import rendered
from esc_sr.reporting.crops import comparisons
from esc_sr.reporting.curves import curve_keys, draw_curves
from esc_sr.reporting.pareto import draw_pareto, front
from esc_sr.reporting.reading import read_runs
from esc_sr.reporting.styles import style_of
from esc_sr.reporting.table import tabulate


def rows(folder, **options):
    return tabulate(read_runs([str(folder)])[0], **options).rows


def texts(figure):
    root = ElementTree.fromstring(rendered(figure, "svg"))
    return [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]


def test_the_front_is_those_that_nobody_beats_in_both():
    points = [(1, 1), (2, 3), (3, 2), (2, 3), (4, 4), (4, 3.5), (0.5, 0.5), (1, 0.9)]
    assert front(points) == [6, 0, 1, 4]
    assert front([(1, 1)]) == [0]
    assert front([]) == []


def test_a_front_equals_its_definition():
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = [tuple(map(float, point)) for point in rng.integers(0, 8, (12, 2))]
        unbeaten = {
            a for a in points if not any(b[0] <= a[0] and b[1] >= a[1] and b != a for b in points)
        }
        assert {points[i] for i in front(points)} == unbeaten


def test_pareto_has_a_panel_for_each_condition_and_a_label_for_each_row(tmp_path, make_run):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", attention="eager", psnr=(20.0, 21.0))
    make_run(tmp_path / "c", attention="flex", config={"scale": 4})
    make_run(tmp_path / "d", attention="none", results={}, measured={})
    figure, absent = draw_pareto(rows(tmp_path), "latency", set_name="Set5", metric="psnr_y")
    assert len(figure.axes) == 2
    assert absent == ["attention=none, scale=2"] or absent[0].startswith("attention=none")
    told = texts(figure)
    assert "×2, LQ 48×64, Some CPU, 2 threads" in told
    assert sum("attention=" in (text or "") for text in told) == 3


def test_of_many_rows_those_on_the_front_are_named(tmp_path, make_run):
    for i in range(18):
        cost = {"perf/latency_ms": 10.0 + i}
        make_run(tmp_path / str(i), attention=f"k{i}", psnr=(30.0 + (i == 5), 31.0), measured=cost)
    figure, _ = draw_pareto(rows(tmp_path), "latency", set_name="Set5", metric="psnr_y")
    named = [text for text in texts(figure) if "attention=" in (text or "")]
    assert named == ["attention=k0", "attention=k5"]
    assert len(figure.axes[0].collections) == 18


def test_no_numbers_no_picture(tmp_path, make_run):
    make_run(tmp_path / "a", measured={}, psnr=(math.nan, 1.0))
    figure, absent = draw_pareto(rows(tmp_path), "memory", set_name="Set5", metric="psnr_y")
    assert figure is None
    assert absent == ["a"]
    assert draw_curves(rows(tmp_path), "no/such") is None


def test_names_are_drawn_as_they_are(tmp_path, make_run):
    """A dollar begins mathematics for matplotlib, and fonts lack most of the world's signs."""
    for i in range(2):
        make_run(tmp_path / str(i), attention=f"$\\frac{{$ 超解像 {i}", set_name="$a_{")
    told = rows(tmp_path)
    figure, _ = draw_pareto(told, "latency", set_name="$a_{", metric="psnr_y")
    assert any("$\\frac{$" in (text or "") for text in texts(figure))
    assert rendered(draw_curves(told, "val/$a_{/psnr_y"), "svg")


def test_curves_of_all_rows_in_one_picture(tmp_path, make_run):
    for seed in range(3):
        make_run(tmp_path / str(seed), seed=seed)
    make_run(tmp_path / "other", attention="eager")
    told = rows(tmp_path, group="seed")
    keys = curve_keys(told)
    assert keys == ["train/loss", "val/Set5/psnr_y", "val/Set5/ssim_y", "lr-AdamW"]
    (axes,) = draw_curves(told, "train/loss").axes
    assert [line.get_color() for line in axes.lines] == [style_of(0).colour] * 3 + [
        style_of(1).colour
    ]
    assert list(axes.lines[0].get_xdata()) == [10, 20, 30, 40]


def test_a_long_curve_is_averaged_and_what_is_not_finite_left_out(tmp_path, make_run):
    make_run(tmp_path)
    lines = "".join(f"{i},{1 + i % 2}\n" for i in range(4000))
    log = tmp_path / "csv" / "version_0" / "metrics.csv"
    log.write_text(f"step,train/loss\n{lines}4000,nan\n4001,inf\n")
    (axes,) = draw_curves(rows(tmp_path), "train/loss").axes
    (line,) = axes.lines
    assert len(line.get_xdata()) == 400
    assert np.allclose(line.get_ydata(), 1.5)


def test_numbers_at_the_ends_of_floats_are_left_out(tmp_path, make_run):
    """They make matplotlib warn, and a warning fails a test."""
    make_run(tmp_path / "good")
    make_run(tmp_path / "large", attention="eager", psnr=(1e308,))
    make_run(tmp_path / "small", attention="flex", psnr=(-1e308,), macs_g=1e-320)
    log = tmp_path / "good" / "csv" / "version_0" / "metrics.csv"
    log.write_text("step,train/loss\n9,1e308\n19,-1e308\n29,0.5\n39,0.25\n")
    told = rows(tmp_path)
    figure, absent = draw_pareto(told, "macs", set_name="Set5", metric="psnr_y")
    assert rendered(figure, "svg")
    assert absent == ["attention=eager", "attention=flex"]
    figure = draw_curves(told, "train/loss")
    assert list(figure.axes[0].lines[0].get_xdata()) == [30, 40]
    assert rendered(figure, "svg")


def test_styles_are_different_for_28_rows():
    styles = {(style_of(i).colour, style_of(i).dashes) for i in range(28)}
    assert len(styles) == 28
    assert style_of(28) == style_of(0)


def test_crops_show_the_data_once_and_every_row_at_its_best_step(tmp_path, make_run):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", attention="eager", seed=9)
    (one,) = comparisons(rows(tmp_path), images=3)
    assert one.title == "bird, Set5 ×2"
    assert [crop.label for crop in one.crops[:3]] == ["lq", "bicubic", "gt"]
    assert [crop.row for crop in one.crops] == [None, None, None, 0, 1]
    assert one.crops[3].label.endswith("step 20")  # 31 dB there, 29 dB at the last
    assert comparisons(rows(tmp_path), images=0) == []


def test_scales_do_not_share_a_comparison(tmp_path, make_run):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", config={"scale": 4})
    titles = [one.title for one in comparisons(rows(tmp_path), images=3)]
    assert titles == ["bird, Set5 ×2", "bird, Set5 ×4"]


@pytest.mark.parametrize("damage", ["torn", "no grid", "jpeg", "outside", "huge"])
def test_pictures_that_are_none_of_ours_are_left_out(tmp_path, make_run, damage):
    make_run(tmp_path / "a")
    for path in (tmp_path / "a" / "images" / "Set5").iterdir():
        if damage == "torn":
            path.write_bytes(path.read_bytes()[:60])
        elif damage == "no grid":
            Image.new("RGB", (13, 50)).save(path)
        elif damage == "jpeg":
            Image.new("RGB", (70, 30)).save(path, format="JPEG")
        elif damage == "huge":
            Image.new("L", (30_006, 1000)).save(path)
        else:
            target = tmp_path / path.name
            path.rename(target)
            path.symlink_to(target)
    assert comparisons(rows(tmp_path), images=3) == []
