import pytest
import torch

from esc_sr.attention import attention_by_name
from esc_sr.attention.bias import TableBias
from esc_sr.attention.eager import EagerKernel
from esc_sr.attention.interface import SelfAttention
from esc_sr.errors import InputError
from esc_sr.layers.window_attention import WindowAttention


def attention_layer(window_size=(4, 4)):
    layer = WindowAttention(
        8, num_heads=2, window_size=window_size, attention=attention_by_name("eager")
    )
    torch.nn.init.normal_(layer.relative_position_bias)
    return layer


def test_windows_do_not_see_each_other():
    layer, x = attention_layer(), torch.randn(1, 8, 8, 12)
    changed = x.clone()
    changed[..., :4, 4:8] += 1
    difference = (layer(changed) - layer(x)).abs().amax((0, 1))
    assert difference[:4, 4:8].min() > 0
    difference[:4, 4:8] = 0
    assert difference.max() == 0


def test_a_map_equals_its_windows_one_by_one():
    layer, x = attention_layer((2, 4)), torch.randn(2, 8, 4, 8)
    whole = layer(x)
    for top in (0, 2):
        for left in (0, 4):
            part = x[..., top : top + 2, left : left + 4]
            torch.testing.assert_close(layer(part), whole[..., top : top + 2, left : left + 4])


def test_the_bias_moves_the_output():
    layer, x = attention_layer(), torch.randn(1, 8, 4, 4)
    before = layer(x)
    with torch.no_grad():
        layer.relative_position_bias.zero_()
    assert not torch.allclose(layer(x), before)


def test_another_kind_of_bias_is_refused():
    class OtherBias(TableBias):
        pass

    layer = attention_layer()
    with pytest.raises(InputError, match="the bias is part of the network"):
        layer.set_attention(SelfAttention(bias=OtherBias(), kernel=EagerKernel()))
