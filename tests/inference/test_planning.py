import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from esc_sr import create_model
from esc_sr.errors import InputError
from esc_sr.inference.enlarge import enlarge_rows
from esc_sr.inference.planning import bytes_per_pixel, plan_tiles
from esc_sr.models.bicubic import Bicubic
from esc_sr.profiling.memory import PeakMemory

GIB = 2**30
MIB = 2**20
SMALL = {"dim": 16, "partial_dim": 8, "num_blocks": 1, "num_conv_attn": 1, "window_size": 8}


@pytest.fixture(scope="module")
def esc():
    return create_model("esc", scale=4)


def test_auto_takes_the_first_method_that_fits(esc):
    methods = [
        plan_tiles(esc, (side, side), scale=4, budget=2 * GIB).method
        for side in (64, 256, 512, 1024, 2048, 8192)
    ]
    assert methods == ["whole", "whole", "whole", "exact", "overlap", "overlap"]


def test_self_attention_only_is_planned_as_what_it_is():
    network = create_model("esc_attn", scale=4)
    plans = [plan_tiles(network, (side, side), scale=4, budget=2 * GIB) for side in (64, 1024)]
    assert [plan.method for plan in plans] == ["whole", "exact"]
    assert all(side % 32 == 0 for side in plans[1].tile)
    assert bytes_per_pixel(network, scale=4) > 0
    network.set_attention("eager")
    assert plan_tiles(network, (64, 64), scale=4, budget=GIB / 8).method != "whole"


def test_half_precision_eager_scores_and_batches_are_reckoned_with(esc):
    fp32 = bytes_per_pixel(esc, scale=4)
    assert bytes_per_pixel(esc, scale=4, itemsize=2) < fp32
    assert bytes_per_pixel(create_model("esc", scale=4, attention="eager"), scale=4) > 5 * fp32
    size, budget = (512, 512), 2 * GIB
    assert plan_tiles(esc, size, scale=4, budget=budget).method == "whole"
    assert plan_tiles(esc, size, scale=4, budget=budget, batch_size=4).method != "whole"


@given(
    height=st.integers(1, 20_000),
    width=st.integers(1, 20_000),
    budget=st.floats(0.05, 8),
    window=st.sampled_from([8, 16, 32]),
)
def test_tiles_are_whole_windows_within_the_budget(height, width, budget, window):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 1))
    network.window_size = (window, window)
    plan = plan_tiles(network, (height, width), scale=4, budget=budget * GIB, tiling="overlap")
    assert all(side > 0 and side % window == 0 for side in (*plan.tile, *plan.overlap))
    assert 0 < plan.feather <= min(plan.tile) // 2
    read = math.prod(
        tile + 2 * around for tile, around in zip(plan.tile, plan.overlap, strict=True)
    )
    smallest = (window + 2 * max(plan.overlap)) ** 2
    cost = bytes_per_pixel(network, scale=4) * read
    assert (
        cost <= max(0.76 * budget * GIB, cost if read <= smallest else 0)
        or min(plan.tile) == window
    )


@pytest.mark.parametrize(("tile", "expected"), [(1, 32), (32, 32), (33, 64), (100, 128)])
def test_a_tile_asked_for_is_rounded_up_to_whole_windows(esc, tile, expected):
    for tiling in ("exact", "overlap"):
        plan = plan_tiles(esc, (300, 300), scale=4, budget=GIB, tiling=tiling, tile=tile)
        assert plan.tile == (expected, expected)
    assert plan_tiles(esc, (99, 99), scale=4, budget=GIB, tile=tile).method == "exact"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tiling": "fast"}, "unknown tiling 'fast'; choose one of: auto, whole, exact, overlap"),
        ({"tile": 0}, "tile must be an integer of at least 1"),
        ({"overlap": -1}, "overlap must be an integer of at least 0"),
    ],
)
def test_wrong_options_are_named(esc, options, message):
    with pytest.raises(InputError, match=message):
        plan_tiles(esc, (9, 9), scale=4, budget=GIB, **options)


def test_only_esc_is_taken_apart():
    with pytest.raises(InputError, match="not Bicubic; use tiling=overlap"):
        plan_tiles(Bicubic(scale=2), (9, 9), scale=2, budget=GIB, tiling="exact")
    assert (
        plan_tiles(Bicubic(scale=2), (9, 9), scale=2, budget=1, tiling="auto").method == "overlap"
    )


@pytest.mark.parametrize("tiling", ["whole", "exact", "overlap"])
def test_a_plan_says_what_it_is(esc, tiling):
    text = str(plan_tiles(esc, (99, 99), scale=4, budget=GIB, tiling=tiling))
    assert {"whole": "in one piece", "exact": "layer by layer", "overlap": "of overlap"}[
        tiling
    ] in text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["esc", "esc_attn"])
@pytest.mark.parametrize(("tiling", "side"), [("whole", 320), ("exact", 512), ("overlap", 512)])
def test_the_peak_stays_below_the_budget(name, tiling, side):
    network = create_model(name, scale=4)
    budget = {"whole": 640, "exact": 640, "overlap": 300}[tiling] * MIB
    plan = plan_tiles(network, (side, side), scale=4, budget=budget, tiling="auto")
    assert plan.method == tiling
    lq = torch.rand(1, 3, side, side)
    with torch.inference_mode():
        network(torch.rand(1, 3, 32, 32))
        with PeakMemory("cpu") as peak:
            for _ in enlarge_rows(network, lq, plan, scale=4):
                pass
        assert peak.read().increase_mib * MIB < budget
