import pytest
import torch
from torch import nn

from esc_sr.layers.conv_ffn import ConvFFN
from esc_sr.layers.conv_gelu import conv_gelu, has_onednn_conv_gelu, onednn_conv_gelu

needs_operator = pytest.mark.skipif(
    not has_onednn_conv_gelu(torch.float32), reason="this PyTorch has no such operator"
)


@needs_operator
@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_one_pass_gives_what_two_give(groups, layout):
    conv = nn.Conv2d(8, 16, 3, padding=1, groups=groups)
    x = torch.randn(2, 8, 9, 7).to(memory_format=layout)
    with torch.no_grad():
        torch.testing.assert_close(onednn_conv_gelu(conv, x), conv_gelu(conv, x))


@needs_operator
@pytest.mark.parametrize("name", ["proj.bias", "dwc.weight", "dwc.bias"])
def test_one_parameter_alone_can_be_trained(name):
    conv_ffn = ConvFFN(8, 2.0).requires_grad_(False)
    conv_ffn.conv_gelu = onednn_conv_gelu
    parameter = conv_ffn.get_parameter(name).requires_grad_(True)
    conv_ffn(torch.randn(1, 8, 9, 7)).sum().backward()
    assert parameter.grad is not None
    assert parameter.grad.abs().max() > 0


@needs_operator
def test_forward_derivatives_are_those_of_the_plain_one():
    conv_ffn = ConvFFN(8, 2.0).requires_grad_(False)
    x, direction = torch.randn(2, 1, 8, 9, 7)
    expected = torch.func.jvp(conv_ffn, (x,), (direction,))
    conv_ffn.conv_gelu = onednn_conv_gelu
    torch.testing.assert_close(torch.func.jvp(conv_ffn, (x,), (direction,)), expected)


@needs_operator
def test_other_types_and_tracers_are_left_to_the_plain_one():
    conv = nn.Conv2d(8, 16, 1).requires_grad_(False)
    x = torch.randn(1, 8, 9, 7)
    with torch.no_grad():
        traced = torch.jit.trace(lambda x: onednn_conv_gelu(conv, x), x)
        torch.testing.assert_close(traced(x), conv_gelu(conv, x))
        conv, x = conv.double(), x.double()
        assert torch.equal(onednn_conv_gelu(conv, x), conv_gelu(conv, x))


@needs_operator
def test_gradients_and_autocast_are_left_to_the_plain_one():
    conv_ffn = ConvFFN(8, 2.0)
    x = torch.randn(1, 8, 9, 7, requires_grad=True)
    expected = torch.autograd.grad(conv_ffn(x).sum(), x)
    conv_ffn.conv_gelu = onednn_conv_gelu
    torch.testing.assert_close(torch.autograd.grad(conv_ffn(x).sum(), x), expected)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert onednn_conv_gelu(conv_ffn.proj, x).dtype == torch.bfloat16
