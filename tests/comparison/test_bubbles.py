import itertools
import sys
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest

from esc_sr.comparison.bubbles import draw, drawable, left_out, panels
from esc_sr.comparison.measured import borrow_quality
from esc_sr.comparison.rows import published_comparison
from esc_sr.drawing import round_numbers, save_figure
from esc_sr.errors import InputError

URBAN = {"set_name": "Urban100", "metric": "psnr_y"}


@pytest.fixture
def mixed(measured, record):
    """All published rows of ×4, and three measured ones with borrowed quality."""
    records = [
        record(),
        record(network="esc", params_k=967.5, macs_g=149.2, latency_ms=3300.0),
        record(network="esc", params_k=967.5, macs_g=149.2, latency_ms=9400.0, attention="eager"),
    ]
    return published_comparison(4) + borrow_quality(measured(records))


def plots(figure):
    """Axes with labels; the others are strips of legends."""
    return [axes for axes in figure.axes if axes.axison]


def boxes(figure, axes):
    renderer = figure.canvas.get_renderer()
    return {text.get_text(): text.get_window_extent(renderer) for text in axes.texts}


def discs(figure, axes):
    """Centre and radius of every bubble in pixels."""
    for bubbles in axes.collections:
        (centre,) = axes.transData.transform(bubbles.get_offsets())
        yield centre, np.sqrt(bubbles.get_sizes()[0]) / 2 * figure.dpi / 72


def check_readable(figure):
    renderer = figure.canvas.get_renderer()
    for axes in plots(figure):
        frame = axes.get_window_extent(renderer)
        found = boxes(figure, axes)
        for name, box in found.items():
            assert frame.x0 <= box.x0 < box.x1 <= frame.x1, name
            assert frame.y0 <= box.y0 < box.y1 <= frame.y1, name
            for centre, radius in discs(figure, axes):
                nearest = np.clip(centre, (box.x0, box.y0), (box.x1, box.y1))
                assert np.hypot(*(centre - nearest)) > radius, name
        for (a, box), (b, other) in itertools.combinations(found.items(), 2):
            assert not box.overlaps(other), (a, b)
    # nothing sticks out of the page, and legends do not run into each other
    tight = figure.get_tightbbox(renderer)
    assert min(tight.x0, tight.y0) >= 0
    assert (tight.max <= figure.get_size_inches() + 1e-6).all()
    for strip in set(figure.axes) - set(plots(figure)):
        texts = list(boxes(figure, strip).values())
        assert not any(a.overlaps(b) for a, b in itertools.combinations(texts, 2))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_labels_lie_inside_and_hide_nothing_at_every_scale(scale):
    figure = draw(published_comparison(scale))
    (axes,) = plots(figure)
    assert len(axes.texts) == len(axes.collections) == 14
    check_readable(figure)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"width": 7.0},
        {"x": "macs_g", "size": "params_k"},
        {"x": "params_k", "size": "params_k"},
        {"x": "macs_g"},
    ],
    ids=str,
)
def test_mixed_pictures_are_readable_too(mixed, options):
    check_readable(draw(mixed, **options))


def test_published_and_measured_never_share_a_latency_axis(mixed):
    for x, size in [("latency_ms", "params_k"), ("latency_ms", "memory"), ("macs_g", "memory")]:
        parts = panels(mixed, x=x, size=size)
        assert [{row.origin for row in part} for part in parts] == [{"published"}, {"measured"}]
    published, measured = plots(draw(mixed))
    assert published.get_title() == "As published, on the authors' GPU"
    assert measured.get_title().startswith("Measured on Some CPU")
    assert len(published.texts) == 14
    assert {text.get_text() for text in measured.texts} == {
        "esc_lt (sdpa)†",
        "esc (sdpa)†",
        "esc (eager)†",
    }
    assert published.get_xlim() != measured.get_xlim()
    assert published.get_ylim() == measured.get_ylim()  # quality compares


def test_panels_stand_one_above_the_other_in_a_column_and_side_by_side_on_a_page(mixed):
    published, measured = (axes.get_position() for axes in plots(draw(mixed)))
    assert published.y0 > measured.y1
    assert published.x0 == measured.x0
    published, measured = (axes.get_position() for axes in plots(draw(mixed, width=7.0)))
    assert published.x1 < measured.x0
    assert published.y0 == measured.y0


def test_costs_that_need_no_hardware_share_a_panel_with_other_markers(mixed):
    (axes,) = plots(draw(mixed, x="macs_g", size="params_k"))
    names = [text.get_text() for text in axes.texts]
    assert {"ESC", "esc†", "ESC-lt", "esc_lt†"} <= set(names)
    assert names.count("esc†") == 1  # eager and sdpa have the same multiply-adds
    corners = {len(bubbles.get_paths()[0].vertices) for bubbles in axes.collections}
    assert len(corners) == 2  # circles and squares
    assert axes.get_title() == "Published and measured"


def test_multiply_adds_of_another_image_have_their_own_panel(measured, record):
    small = record(lq_size=[64, 64], output_size=[256, 256])
    rows = published_comparison(4) + borrow_quality(measured([small]))
    assert len(panels(rows, x="macs_g", size="params_k")) == 2
    assert len(panels(rows, x="params_k", size="params_k")) == 1
    assert "256×256" in plots(draw(rows, x="macs_g", size="params_k"))[1].get_title()


def test_borrowed_quality_is_hollow(mixed):
    published, measured = plots(draw(mixed))
    hollow = [tuple(bubbles.get_facecolor()[0]) for bubbles in measured.collections]
    assert set(hollow) == {(1, 1, 1, 0.4)}  # what lies below is seen
    assert all(
        tuple(bubbles.get_facecolor()[0])[:3] != (1, 1, 1) for bubbles in published.collections
    )


def test_labels_are_short_and_carry_the_marks_of_the_table():
    rows = published_comparison(4, ["esc_fp", "esc"])
    long = replace(rows[1], network="a_very_long_name_of_a_checkpoint_x4.safetensors")
    (axes,) = plots(draw([rows[0], long], set_name="Set5", metric="ssim_y"))
    texts = [text.get_text() for text in axes.texts]
    assert texts[0] == "ESC-FP‡"
    assert texts[1] == "a_very_long_….safetensors"


def test_the_area_is_proportional_to_the_size():
    rows = published_comparison(4, ["esc", "hit_srf", "esc_fp"])
    (axes,) = plots(draw(rows))
    areas = sorted(bubbles.get_sizes()[0] for bubbles in axes.collections)
    memory = sorted(row.memory for row in rows)
    assert np.allclose(np.divide(areas, memory), areas[0] / memory[0])


def test_a_wide_range_is_logarithmic_with_round_ticks():
    (axes,) = plots(draw(published_comparison(4)))
    assert axes.get_xscale() == "log"
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["10", "20", "50", "100", "200"]
    (axes,) = plots(draw(published_comparison(4, ["esc", "esc_lt", "rcan"])))
    assert axes.get_xscale() == "linear"
    assert round_numbers(8, 300) == [10, 20, 50, 100, 200]


def test_what_has_no_place_is_left_out_and_told(measured, record):
    failed = record(latency_ms=None, attention="eager", error="out of memory")
    rows = published_comparison(4, ["bicubic", "asid_d8"]) + measured([record(), failed])
    axes = {"set_name": "Manga109", "metric": "psnr_y", "x": "latency_ms"}
    assert drawable(rows, **axes) == []
    (told,) = left_out(rows, **axes)
    assert told == (
        "Not in the picture: bicubic, an interpolation; ASID-D8, no PSNR-Y on Manga109; "
        "esc_lt (sdpa), no PSNR-Y on Manga109; esc_lt (eager), no PSNR-Y on Manga109."
    )
    borrowed = borrow_quality(measured([failed]))
    assert "no latency" in left_out(borrowed, **URBAN, x="latency_ms")[0]
    assert left_out(published_comparison(4, ["esc"]), **URBAN, x="macs_g") == []
    with pytest.raises(InputError, match="no row has both latency_ms and psnr_y on Manga109"):
        draw(rows, set_name="Manga109")


def test_single_rows_missing_sizes_and_infinite_quality_are_drawn_or_left_out(measured, record):
    unsized = borrow_quality(measured([record(peak_memory_mib=None)]))
    check_readable(draw(unsized))
    check_readable(draw(published_comparison(2, ["esc"])))
    perfect = measured([record()], {"esc_lt": {"Urban100": "inf"}})
    assert drawable(perfect, **URBAN, x="latency_ms") == []


def test_files_are_reproducible_and_their_text_is_text(tmp_path):
    rows = published_comparison(4)
    for name in ("a", "b"):
        figure = draw(rows)
        for suffix in ("svg", "png", "pdf"):
            save_figure(figure, tmp_path / f"{name}.{suffix}")
    for suffix in ("svg", "png", "pdf"):
        content = (tmp_path / f"a.{suffix}").read_bytes()
        assert content == (tmp_path / f"b.{suffix}").read_bytes()
    svg = (tmp_path / "a.svg").read_text()
    assert ">HiT-SRF</text>" in svg
    assert "dc:date" not in svg
    assert b"/CIDFontType2" in (tmp_path / "a.pdf").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{name}.{suffix}" for name in "ab" for suffix in ("pdf", "png", "svg")
    ]


def settings():
    # Asking for the backend would choose one.
    return {key: mpl.rcParams[key] for key in mpl.rcParams if key != "backend"}


def test_the_users_settings_neither_change_the_picture_nor_are_changed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # cannot be imported
    rows = published_comparison(4, ["esc", "rcan"])
    save_figure(draw(rows), tmp_path / "a.svg")
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "black", "svg.fonttype": "path"}):
        before = settings()
        save_figure(draw(rows), tmp_path / "b.svg")
        assert settings() == before
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
