import pytest
import torch

from esc_sr.errors import InputError
from esc_sr.models.peers.rcan import RCAN


def full_size(scale):
    with torch.device("meta"):
        return RCAN(scale=scale)


def test_parameters_have_basicsrs_names():
    names = full_size(3).state_dict().keys()
    assert len(names) == 2 * (1 + 10 * (20 * 4 + 1) + 1 + 1 + 1)
    assert {
        "conv_first.weight",
        "body.9.residual_group.19.rcab.0.weight",
        "body.0.residual_group.0.rcab.2.bias",
        "body.0.residual_group.0.rcab.3.attention.1.weight",
        "body.0.residual_group.0.rcab.3.attention.3.weight",
        "body.0.conv.weight",
        "conv_after_body.weight",
        "upsample.0.weight",
        "conv_last.bias",
    } <= names


def test_a_block_equals_the_papers_formulas():
    """F_b = F_b−1 + s · X with X = W2 relu(W1 F_b−1), s = sigmoid(Wu relu(Wd mean(X)))."""
    network = RCAN(scale=2, dim=8, num_groups=1, num_blocks=1, reduction=4)
    block = network.body[0].residual_group[0]
    first, _, second, channel_attention = block.rcab
    narrow, widen = channel_attention.attention[1], channel_attention.attention[3]
    x = torch.randn(2, 8, 7, 5)
    residual = second(first(x).clamp(min=0))
    means = residual.mean((2, 3))
    hidden = (means @ narrow.weight.flatten(1).T + narrow.bias).clamp(min=0)
    weights = torch.sigmoid(hidden @ widen.weight.flatten(1).T + widen.bias)
    torch.testing.assert_close(block(x), x + residual * weights[:, :, None, None])


def test_without_weights_the_mean_color_of_div2k_remains():
    network = RCAN(scale=2, dim=8, num_groups=1, num_blocks=1, reduction=4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    color = network(torch.rand(1, 3, 4, 4)).mean((0, 2, 3))
    torch.testing.assert_close(color, torch.tensor([0.4488, 0.4371, 0.4040]))


def test_the_convolutions_see_8_bit_values():
    """With its biases, weights trained on values up to 255 mean something else on [0, 1]."""
    network = RCAN(scale=2, dim=8, num_groups=1, num_blocks=1, reduction=4)
    seen = []
    network.conv_first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    lq = torch.rand(1, 3, 4, 4)
    network(lq)
    mean = torch.tensor([0.4488, 0.4371, 0.4040]).reshape(1, 3, 1, 1)
    torch.testing.assert_close(seen[0], 255 * lq - 255 * mean)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": 5}, "scale must be 3 or a power of two, got 5"),
        ({"scale": 0}, "scale must be an integer of at least 1, got 0"),
        ({"num_groups": 0}, "num_groups must be an integer of at least 1"),
        ({"reduction": 65}, "reduction=65 must not exceed model.dim=64"),
    ],
)
def test_impossible_values_are_named(changes, message):
    with pytest.raises(InputError, match=message) as caught, torch.device("meta"):
        RCAN(**{"scale": 2, **changes})
    assert "\n" not in str(caught.value)
