import pytest
import torch

from esc_sr.errors import InputError
from esc_sr.export.check import compare, sizes_to_check
from esc_sr.models.bicubic import Bicubic


def test_sizes_lie_around_the_window_and_batches_differ():
    sizes = sizes_to_check((32, 16))
    assert len({size[1:] for size in sizes}) == len(sizes) >= 6
    assert {size[0] for size in sizes} == {1, 2, 3}
    assert (1, 1, 1) in sizes
    assert {(31, 15), (32, 16), (33, 17)} < {size[1:] for size in sizes}


def test_the_only_size_is_the_only_one():
    assert set(sizes_to_check((32, 32), lq_size=(5, 7), batch_size=2)) == {(2, 5, 7)}


def test_the_largest_error_is_told():
    network = Bicubic(scale=2)
    offsets = iter([1e-6, 3e-6, 2e-6])
    check = compare(
        network,
        lambda lq: network(lq) + next(offsets),
        [(1, 3, 4), (2, 5, 6), (3, 7, 8)],
        tolerance=1e-5,
    )
    assert [str(case) for case in check.cases] == ["1×3×3×4", "2×3×5×6", "3×3×7×8"]
    assert check.max_error == check.cases[1].max_error == pytest.approx(3e-6, rel=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda sr: sr + 0.01, "differs by 0.01 at 1×3×3×4, more than tolerance=0.0001"),
        (lambda sr: sr * torch.nan, "differs by nan"),
        (lambda sr: sr[..., 1:], r"makes \(1, 3, 6, 7\), not \(1, 3, 6, 8\)"),
    ],
)
def test_what_differs_is_refused(change, message):
    network = Bicubic(scale=2)
    with pytest.raises(InputError, match=message):
        compare(network, lambda lq: change(network(lq)), [(1, 3, 4)], tolerance=1e-4)
