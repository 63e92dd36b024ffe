import pytest
import torch
import torch.nn.functional as F
from torch import nn

from esc_sr.analysis.attribution import (
    Window,
    check_window,
    diffusion_index,
    gaussian_blur,
    gini,
    gradient_magnitude,
    local_attribution,
    middle_window,
)
from esc_sr.errors import InputError
from esc_sr.models.esc import ESC
from esc_sr.models.peers.swinir import SwinIRLight


def esc():
    network = ESC(
        scale=2, dim=8, partial_dim=4, num_blocks=1, num_conv_attn=1, window_size=8, num_heads=2
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return network


class Nearest(nn.Module):
    """Depends on nothing but the pixel itself."""

    def forward(self, lq):
        return F.interpolate(lq, scale_factor=2, mode="nearest")


def test_attributions_are_complete():
    """They sum to the change of the objective along the path, better with more steps."""
    lq = torch.rand(1, 3, 20, 24)
    coarse, fine = (local_attribution(esc(), lq, steps=steps) for steps in (5, 50))
    assert fine.completeness_error < 0.01
    assert fine.completeness_error <= coarse.completeness_error + 1e-4
    assert float(fine.attributions.sum()) == pytest.approx(fine.end - fine.start, rel=0.01)
    assert fine.attributions.shape == (3, 20, 24)
    assert torch.equal(fine.pixels, fine.attributions.sum(0).abs())
    assert 0 < fine.diffusion_index < 100


def test_the_objective_is_that_of_the_window_in_the_result():
    network, lq = esc().eval(), torch.rand(1, 3, 10, 12)
    found = local_attribution(network, lq, window=Window(2, 3, 4), steps=1)
    with torch.no_grad():
        edges = gradient_magnitude(network(lq))
    assert found.end == pytest.approx(float(edges[..., 4:12, 6:14].sum()))


def test_a_local_network_uses_the_window_alone():
    found = local_attribution(Nearest(), torch.rand(1, 3, 16, 16), window=Window(4, 6, 5))
    used = found.pixels > 1e-9
    assert used[4:9, 6:11].all()
    used[4:10, 6:12] = False  # differences look at the next pixel
    assert not used.any()
    wide = local_attribution(esc(), torch.rand(1, 3, 16, 16), window=Window(4, 6, 5))
    assert wide.diffusion_index > found.diffusion_index


@pytest.mark.parametrize("size", [(5, 9), (1, 4)])
def test_any_network_of_any_size(size):
    network = SwinIRLight(scale=2, dim=8, num_groups=1, num_blocks=2, num_heads=2, window_size=4)
    network.train()
    lq = torch.rand(1, 3, *size)
    before = lq.clone()
    found = local_attribution(network, lq, steps=3)
    assert found.window.side == min(size)
    assert found.attributions.isfinite().all()
    assert torch.equal(lq, before)
    assert network.training
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


def test_blurs_are_averages_that_leave_flat_images_alone():
    x = torch.rand(2, 3, 9, 7)
    assert torch.equal(gaussian_blur(x, 0, 5), x)
    flat = torch.full((1, 3, 4, 4), 0.3)
    torch.testing.assert_close(gaussian_blur(flat, 1.2, 5), flat)
    dot = torch.zeros(1, 1, 21, 21)
    dot[..., 10, 10] = 1
    found = gaussian_blur(dot, 1.2, 5)[0, 0]
    torch.testing.assert_close(found, found.T)
    offsets = torch.arange(21.0) - 10
    assert float((found * offsets**2).sum()) == pytest.approx(1.2**2, rel=1e-3)


def test_gradients_are_differences_of_neighbours():
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    found = gradient_magnitude(3 * ramp + 4 * ramp.mT)
    torch.testing.assert_close(found[..., :3, :3], torch.full((1, 1, 3, 3), 5.0))
    assert found[0, 0, 3, 3] < 1e-5


def test_gini_and_diffusion_index():
    assert gini(torch.ones(10)) == pytest.approx(0)
    assert gini(torch.tensor([0.0, 0, 0, 1])) == pytest.approx(0.75)
    assert gini(torch.tensor([1.0, 3])) == pytest.approx(0.25)
    assert diffusion_index(torch.ones(4, 4)) == pytest.approx(100)
    with pytest.raises(InputError, match="it holds no edge"):
        gini(torch.zeros(3))


def test_windows_lie_in_the_image():
    assert middle_window((64, 100)) == Window(24, 42, 16)
    assert middle_window((9, 12)) == Window(0, 1, 9)
    check_window(Window(0, 0, 9), (9, 12))
    for wrong in (Window(-1, 0, 2), Window(0, 0, 0), Window(8, 0, 2), Window(0, 11, 2)):
        with pytest.raises(InputError, match=r"does not lie in an image of 9×12"):
            check_window(wrong, (9, 12))
    lq = torch.rand(1, 3, 4, 4)
    with pytest.raises(InputError, match="steps must be"):
        local_attribution(Nearest(), lq, steps=0)
    with pytest.raises(InputError, match="sigma must be"):
        local_attribution(Nearest(), lq, sigma=0)
    with pytest.raises(ValueError, match="one image"):
        local_attribution(Nearest(), torch.rand(2, 3, 4, 4))
