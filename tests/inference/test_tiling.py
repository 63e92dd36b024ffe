import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from esc_sr.inference.tiling import enlarge_in_tiles, kept_part, spans


def nearest(lq, scale=2):
    return F.interpolate(lq, scale_factor=scale, mode="nearest")


@given(
    length=st.integers(1, 300),
    tile=st.integers(1, 80),
    overlap=st.integers(0, 40),
    feather=st.integers(0, 40),
)
def test_cores_cover_the_axis_once_and_lie_in_what_is_kept_and_read(length, tile, overlap, feather):
    feather = min(feather, overlap, tile // 2)
    cut = spans(length, tile, overlap=overlap, feather=feather)
    covered = [pixel for span in cut for pixel in range(span.start, span.stop)]
    assert covered == list(range(length))
    for span in cut:
        assert 0 <= span.read.start <= span.kept.start <= span.start
        assert span.stop <= span.kept.stop <= span.read.stop <= length
        inside = kept_part(span, 3)
        assert inside.stop - inside.start == 3 * (span.kept.stop - span.kept.start)


@pytest.mark.parametrize(
    ("length", "tile", "overlap", "feather"),
    [(0, 4, 0, 0), (4, 0, 0, 0), (9, 4, 1, 2), (9, 4, 4, 3)],
)
def test_sizes_that_do_not_fit_are_refused(length, tile, overlap, feather):
    with pytest.raises(ValueError, match="cannot cut"):
        spans(length, tile, overlap=overlap, feather=feather)


@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    tile=st.tuples(st.integers(4, 30), st.integers(4, 30)),
    overlap=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    feather=st.integers(0, 2),
    scale=st.integers(1, 4),
)
def test_what_sees_nothing_around_is_put_together_without_a_trace(
    height, width, tile, overlap, feather, scale
):
    lq = torch.rand(1, 3, height, width)
    rows = list(
        enlarge_in_tiles(
            lambda t: nearest(t, scale),
            lq,
            scale=scale,
            tile=tile,
            overlap=overlap,
            feather=feather,
        )
    )
    assert torch.allclose(torch.cat(rows, -2), nearest(lq, scale), atol=1e-6)


@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    radius=st.integers(0, 5),
    seed=st.integers(0, 9),
)
def test_what_sees_no_further_than_the_margin_leaves_no_seam(height, width, radius, seed):
    kernel = torch.rand(3, 1, 2 * radius + 1, 2 * radius + 1, generator=torch.manual_seed(seed))

    def blurred(lq):
        return nearest(F.conv2d(lq, kernel / kernel.sum(), padding=radius, groups=3))

    lq = torch.rand(1, 3, height, width)
    rows = enlarge_in_tiles(
        blurred, lq, scale=2, tile=(16, 12), overlap=(radius + 3, radius + 4), feather=3
    )
    assert torch.allclose(torch.cat(list(rows), -2), blurred(lq), atol=1e-5)


def test_tiles_that_disagree_fade_into_each_other():
    levels = iter([0.0, 1.0])
    lq = torch.rand(1, 3, 4, 32)
    (strip,) = enlarge_in_tiles(
        lambda t: torch.full_like(t, next(levels)),
        lq,
        scale=1,
        tile=(16, 16),
        overlap=(8, 8),
        feather=4,
    )
    row = strip[0, 0, 0]
    assert torch.equal(row[:12], torch.zeros(12))
    assert torch.equal(row[20:], torch.ones(12))
    assert torch.allclose(row[12:20], (torch.arange(8) + 0.5) / 8)


def test_only_a_row_of_tiles_is_held():
    lq = torch.rand(1, 3, 64, 8)
    rows = list(enlarge_in_tiles(nearest, lq, scale=2, tile=(16, 8), overlap=(8, 8), feather=4))
    assert [strip.shape[-2] for strip in rows] == [24, 32, 32, 40]
