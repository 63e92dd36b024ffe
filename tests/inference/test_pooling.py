import torch

from esc_sr import create_model
from esc_sr.inference.pooling import pooled_over

SMALL = {"dim": 16, "partial_dim": 8, "num_blocks": 1, "num_conv_attn": 2, "window_size": 8}


def network_with_dynamic_kernels():
    network = create_model("esc", scale=2, num_heads=2, **SMALL)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


def test_an_image_pooled_over_itself_is_unchanged():
    network, lq = network_with_dynamic_kernels(), torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        alone = network(lq)
        with pooled_over(network, lq):
            assert torch.allclose(network(lq), alone, atol=1e-6)


def test_parts_get_the_averages_of_the_sample_and_then_their_own_again():
    network = network_with_dynamic_kernels()
    sample, lq = torch.rand(3, 3, 16, 16), torch.rand(2, 3, 8, 8) * 0.1
    with torch.inference_mode():
        alone = network(lq)
        with pooled_over(network, sample):
            shared = network(lq)
        assert not torch.allclose(shared, alone, atol=1e-3)
        assert torch.equal(network(lq), alone)


def test_the_mean_is_that_over_the_whole_sample():
    pool = torch.nn.AdaptiveAvgPool2d(1)
    sample = torch.rand(4, 3, 8, 8)
    with pooled_over(pool, sample):
        pooled = pool(torch.zeros(2, 3, 5, 5))
    assert torch.allclose(pooled, sample.mean((0, 2, 3))[None, :, None, None].expand(2, 3, 1, 1))


def test_other_poolings_are_left_alone():
    pool, x = torch.nn.AdaptiveAvgPool2d(2), torch.rand(1, 1, 4, 4)
    with pooled_over(pool, torch.rand(1, 1, 4, 4)):
        inside = pool(x)
    assert torch.equal(inside, pool(x))
