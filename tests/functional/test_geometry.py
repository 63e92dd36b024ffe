import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from esc_sr.functional.geometry import dihedral, dihedral_inverse, dihedral_mean


@given(index=st.integers(0, 7), height=st.integers(1, 9), width=st.integers(1, 9))
def test_inverse_undoes_every_transform(index, height, width):
    x = torch.randn(2, 3, height, width)
    assert torch.equal(dihedral_inverse(dihedral(x, index), index), x)


def test_the_eight_transforms_differ():
    x = torch.arange(9).reshape(3, 3)
    assert len({tuple(dihedral(x, i).flatten().tolist()) for i in range(8)}) == 8


@given(index=st.integers(0, 7), size=st.integers(1, 13))
def test_mean_is_invariant_and_a_projection(index, size):
    mean = dihedral_mean(torch.randn(2, 3, size, size, dtype=torch.float64))
    torch.testing.assert_close(dihedral(mean, index), mean)
    torch.testing.assert_close(dihedral_mean(mean), mean)


@pytest.mark.parametrize("call", [dihedral, dihedral_inverse])
def test_an_index_out_of_range_is_refused(call):
    with pytest.raises(ValueError, match="0 to 7, got 8"):
        call(torch.zeros(2, 2), 8)


def test_a_kernel_that_is_not_square_is_refused():
    with pytest.raises(ValueError, match="square"):
        dihedral_mean(torch.zeros(3, 5))
