import pytest
import torch

from esc_sr import create_model
from esc_sr.functional.windows import pad_to_multiple
from esc_sr.inference.enlarge import enlarge, enlarge_rows
from esc_sr.inference.planning import Plan

TINY = {"dim": 16, "partial_dim": 8, "num_blocks": 1, "num_conv_attn": 1, "window_size": 8}


def test_images_are_padded_before_the_network_and_cropped_after_it():
    network, lq = create_model("esc", scale=2, **TINY), torch.rand(1, 3, 11, 13)
    with torch.no_grad():
        expected = network(pad_to_multiple(lq, (8, 8)))[..., :22, :26]
        assert torch.equal(enlarge(network, lq), expected)
        # padding every feature map, as the network does by itself, is close but not the same
        alone = network(lq)
    assert alone.shape == expected.shape
    assert not torch.equal(alone, expected)


def test_a_network_without_windows_is_called_as_it_is():
    seen = []

    class Doubling(torch.nn.Module):
        def forward(self, lq):
            seen.append(lq.shape)
            return lq.repeat_interleave(2, -1).repeat_interleave(2, -2)

    assert enlarge(Doubling(), torch.rand(1, 3, 5, 7)).shape == (1, 3, 10, 14)
    assert seen == [(1, 3, 5, 7)]


@pytest.mark.parametrize(
    ("plan", "tolerance"),
    [(Plan("exact", (8, 16)), 1e-5), (Plan("overlap", (8, 16), (16, 16), 4), 1e-2)],
)
def test_a_network_without_dynamic_kernels_is_cut_as_any_other(plan, tolerance):
    network, lq = create_model("esc_attn", scale=2, **TINY), torch.rand(1, 3, 45, 50)
    with torch.inference_mode():
        whole = enlarge(network, lq)
        rows = torch.cat(list(enlarge_rows(network, lq, plan, scale=2)), -2)
    assert rows.shape == whole.shape
    assert not torch.equal(rows, whole)
    assert (rows - whole).abs().max() <= tolerance * whole.abs().max()
