import pytest
import torch
from torch import nn

from esc_sr.analysis.features import capture, captured, choose_layers, stages
from esc_sr.analysis.frozen import frozen
from esc_sr.errors import InputError
from esc_sr.models.esc import ESC


def tiny():
    return ESC(
        scale=2, dim=8, partial_dim=4, num_blocks=2, num_conv_attn=2, window_size=4, num_heads=2
    )


def test_patterns_cross_dots_and_name_each_layer_once():
    assert choose_layers(tiny(), ["blocks.*.attn", "blocks.?", "*.attn"]) == [
        "blocks.0",
        "blocks.0.attn",
        "blocks.1",
        "blocks.1.attn",
    ]


def test_a_pattern_that_matches_nothing_is_named_with_what_there_is():
    with pytest.raises(InputError, match=r"'blocks\.0\.atn'.*blocks\.0\.attn"):
        choose_layers(tiny(), ["proj", "blocks.0.atn"])
    with pytest.raises(InputError, match="of this Identity matches 'a'; it has 0, such as none"):
        choose_layers(nn.Identity(), ["a"])


def test_stages_are_children_and_items_of_lists():
    assert stages(tiny()) == ["proj", "blocks.0", "blocks.1", "last", "to_img"]


def test_order_is_that_of_execution_and_values_are_the_layers():
    network, lq = tiny(), torch.rand(1, 3, 8, 8)
    found = capture(network, ["to_img", "blocks.1", "blocks.0", "proj"], lq)
    assert list(found) == ["proj", "blocks.0", "blocks.1", "to_img"]
    with torch.no_grad():
        torch.testing.assert_close(found["proj"], network.proj(lq))
    got = capture(network, ["blocks.0"], lq, inputs=True)
    torch.testing.assert_close(got["blocks.0"], found["proj"])


class Odd(nn.Module):
    """Layers that return a tuple, nothing, work in place, and are called twice."""

    def __init__(self):
        super().__init__()
        self.pair, self.nothing, self.inplace, self.unused = (
            Pair(),
            Nothing(),
            nn.ReLU(True),
            Pair(),
        )
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        self.nothing(x)
        first, _ = self.pair(self.conv(self.conv(x)))
        return self.inplace(first)


class Pair(nn.Module):
    def forward(self, x):
        return x - 1, "other"


class Nothing(nn.Module):
    def forward(self, x):
        return None


def test_any_module_can_be_looked_into():
    network, x = Odd(), torch.rand(2, 3, 4, 4)
    layers = ["pair", "nothing", "inplace", "unused", "conv"]
    found = capture(network, layers, x)
    assert list(found) == ["conv", "pair", "inplace"]
    with torch.no_grad():
        expected = network.conv(network.conv(x))
    torch.testing.assert_close(found["conv"], expected)
    torch.testing.assert_close(found["pair"], expected - 1)  # though ReLU has overwritten it
    assert found["pair"].min() < 0


def test_layers_that_are_never_called_are_told():
    with pytest.raises(InputError, match="calls none of unused"):
        capture(Odd(), ["unused"], torch.rand(1, 3, 4, 4))


def test_hooks_are_removed_even_after_an_error():
    network = Odd()

    def hooks():
        modules = list(network.modules())
        return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules]

    for inputs in (False, True):

        def fail(inputs=inputs):
            with captured(network, ["conv"], inputs=inputs):
                assert sum(hooks()) == 1
                network(torch.rand(1, 5, 4, 4))

        with pytest.raises(RuntimeError):
            fail()
    assert sum(hooks()) == 0


def test_a_frozen_network_is_as_it_was_afterwards():
    network = tiny().train()
    network.blocks[0].eval()
    network.proj.weight.requires_grad_(False)

    def state():
        modes = [module.training for module in network.modules()]
        return modes, [parameter.requires_grad for parameter in network.parameters()]

    def fail():
        with frozen(network):
            assert not any(map(any, state()))
            raise ZeroDivisionError

    before = state()
    with pytest.raises(ZeroDivisionError):
        fail()
    assert state() == before


def test_values_that_are_not_finite_are_told_by_layer():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1))
    nn.init.constant_(network[1].weight, torch.nan)
    assert capture(network, ["0"], torch.zeros(1, 3, 4, 4)).keys() == {"0"}
    with pytest.raises(InputError, match="layer '1' gives values that are not finite"):
        capture(network, ["0", "1"], torch.zeros(1, 3, 4, 4))
