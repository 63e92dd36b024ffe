from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from esc_sr.functional.resize import matlab_imresize
from esc_sr.inference.rescale import shrink_rows


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 20),
    ratio=st.sampled_from(
        [Fraction(*pair) for pair in [(3, 4), (1, 2), (2, 3), (5, 8), (27, 40), (1, 1)]]
    ),
    cuts=st.lists(st.integers(1, 89), max_size=6, unique=True),
)
def test_rows_give_what_the_whole_image_gives(height, width, ratio, cuts):
    image = torch.rand(1, 2, height, width, dtype=torch.float64)
    edges = [0, *sorted(cut for cut in cuts if cut < height), height]
    parts = [image[..., a:b, :] for a, b in pairwise(edges)]
    rows = list(shrink_rows(iter(parts), height=height, ratio=ratio))
    whole = matlab_imresize(image, float(ratio))
    assert torch.allclose(torch.cat(rows, -2), whole, rtol=0, atol=1e-12)


def test_rows_are_handed_on_before_the_last_has_come():
    parts = iter([torch.rand(1, 3, 64, 8), torch.rand(1, 3, 64, 8)])
    rows = shrink_rows(parts, height=128, ratio=Fraction(3, 4))
    assert 40 <= next(rows).shape[-2] <= 48
    assert next(parts, None) is not None


@pytest.mark.parametrize("ratio", [Fraction(4, 3), Fraction(0)])
def test_only_shrinking_is_meant(ratio):
    with pytest.raises(ValueError, match="ratio"):
        list(shrink_rows(iter([torch.rand(1, 3, 4, 4)]), height=4, ratio=ratio))
