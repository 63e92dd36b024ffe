import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from esc_sr.analysis.receptive_field import Area, areas, effective_receptive_field, reach
from esc_sr.errors import InputError
from esc_sr.models.esc import ESC
from esc_sr.models.peers.swinir import SwinIRLight


def boxes(number):
    """A stack of 3×3 convolutions, each summing its neighbourhood."""
    network = nn.Sequential(
        *(nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False) for _ in range(number))
    )
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    return network


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_stack_of_boxes_is_a_box_convolved_with_itself(number):
    field = effective_receptive_field(boxes(number), [torch.rand(2, 3, 15, 17)])
    line = np.ones(1)
    for _ in range(number):
        line = np.convolve(line, np.ones(3))
    expected = torch.zeros(15, 17, dtype=torch.float64)
    rows, columns = (slice(m - number, m + number + 1) for m in (7, 8))
    expected[rows, columns] = torch.from_numpy(np.outer(line, line)) * 3  # the three colours
    torch.testing.assert_close(field, expected)
    assert reach(field) == 2 * number + 1
    assert areas(field, [1.0]) == [Area(1.0, 2 * number + 1, (2 * number + 1) ** 2)]


def test_areas_hold_their_shares():
    field = effective_receptive_field(boxes(2), [torch.rand(1, 3, 11, 11)])
    line = np.array([1, 2, 3, 2, 1]) / 9
    middle = line[1:4].sum() ** 2  # of the 3×3 square
    assert middle == pytest.approx(49 / 81)
    found = areas(field, [1 / 9, 0.5, 49 / 81, 0.61, 1.0])
    assert [area.side for area in found] == [1, 3, 3, 5, 5]
    # 9 6 6 6 6 4 4 4 4 ...: 9, 15, 21, 27, 33, 37, 41 of 81
    assert found[1].pixels == 7
    off_centre = torch.zeros(4, 7)
    off_centre[0, 0] = 1
    assert areas(off_centre, [0.9]) == [Area(0.9, 7, 1)]


class Enlarge(nn.Module):
    """Each pixel depends on itself alone, at any scale."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, lq):
        return F.interpolate(lq, scale_factor=self.scale, mode="nearest")


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(6, 6), (5, 8)])
def test_the_middle_of_the_result_lies_over_the_middle_of_the_input(scale, size):
    field = effective_receptive_field(Enlarge(scale), [torch.rand(1, 3, *size)])
    assert field.nonzero().tolist() == [[size[0] // 2, size[1] // 2]]
    assert areas(field, [0.99]) == [Area(0.99, 1, 1)]


@pytest.mark.parametrize("size", [(9, 14), (4, 4)])
def test_any_network_of_any_size_is_left_as_it_was(size):
    esc = ESC(
        scale=3, dim=8, partial_dim=4, num_blocks=1, num_conv_attn=1, window_size=8, num_heads=2
    )
    swinir = SwinIRLight(scale=2, dim=8, num_groups=1, num_blocks=2, num_heads=2, window_size=4)
    for network in (esc, swinir):
        called = []
        images = torch.rand(3, 3, *size)
        field = effective_receptive_field(
            network.train(), images.split(2), on_batch=lambda called=called: called.append(1)
        )
        assert field.shape == size
        assert field.min() >= 0
        assert len(called) == 2
        singles = [effective_receptive_field(network, [image[None]]) for image in images]
        torch.testing.assert_close(field, torch.stack(singles).mean(0), rtol=1e-4, atol=1e-6)
        assert network.training
        assert all(p.requires_grad and p.grad is None for p in network.parameters())
        assert not images.requires_grad


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="at least one image"):
        effective_receptive_field(boxes(1), [])
    with pytest.raises(InputError, match="one size"):
        effective_receptive_field(boxes(1), [torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 5)])
    with pytest.raises(InputError, match="no field"):
        areas(torch.zeros(3, 3))
    with pytest.raises(InputError, match="shares must be"):
        areas(torch.ones(3, 3), [1.5])
