import torch

from esc_sr.layers.norm import LayerNorm2d


def test_every_pixel_has_mean_zero_and_variance_one_over_channels():
    y = LayerNorm2d(7)(torch.randn(2, 7, 5, 3) * 4 + 2)
    torch.testing.assert_close(y.mean(1), torch.zeros(2, 5, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(1, correction=0), torch.ones(2, 5, 3), atol=1e-4, rtol=0)


def test_weight_and_bias_act_on_channels():
    norm = LayerNorm2d(2)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, 3.0]))
        norm.bias.copy_(torch.tensor([10.0, 20.0]))
    y = norm(torch.tensor([1.0, -1.0]).view(1, 2, 1, 1))
    torch.testing.assert_close(y.flatten(), torch.tensor([12.0, 17.0]), atol=1e-4, rtol=0)
