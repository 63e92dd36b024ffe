import pytest
import torch

from esc_sr.errors import InputError
from esc_sr.models.peers.rdn import RDN


def full_size(scale):
    with torch.device("meta"):
        return RDN(scale=scale)


def test_parameters_have_the_names_of_checkpoints_in_circulation():
    names = full_size(4).state_dict().keys()
    assert len(names) == 2 * (2 + 16 * (8 + 1) + 2 + 2 + 1)
    assert {
        "sfe1.weight",
        "sfe2.bias",
        "rdbs.15.layers.7.conv.weight",
        "rdbs.0.lff.bias",
        "gff.0.weight",
        "gff.1.weight",
        "upscale.0.weight",
        "upscale.2.weight",
        "output.bias",
    } <= names


def test_a_block_equals_the_papers_formulas():
    """F_d,c = relu(conv [F_d−1, F_d,1, …, F_d,c−1]); F_d = F_d−1 + lff [F_d−1, …, F_d,C]."""
    block = RDN(scale=2, dim=6, growth=4, num_blocks=1, num_layers=3).rdbs[0]
    x = torch.randn(2, 6, 7, 5)
    known = [x]
    for layer in block.layers:
        known.append(layer.conv(torch.cat(known, dim=1)).clamp(min=0))
    assert [part.shape[1] for part in known] == [6, 4, 4, 4]
    torch.testing.assert_close(block(x), x + block.lff(torch.cat(known, dim=1)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": 5}, "scale must be 3 or a power of two, got 5"),
        ({"scale": 6}, "scale must be 3 or a power of two, got 6"),
        ({"scale": 0}, "scale must be an integer of at least 1, got 0"),
        ({"scale": 2.0}, "scale must be an integer of at least 1, got 2.0"),
        ({"growth": 0}, "growth must be an integer of at least 1"),
        ({"num_layers": None}, "num_layers must be an integer of at least 1"),
    ],
)
def test_impossible_values_are_named(changes, message):
    with pytest.raises(InputError, match=message) as caught, torch.device("meta"):
        RDN(**{"scale": 2, **changes})
    assert "\n" not in str(caught.value)
