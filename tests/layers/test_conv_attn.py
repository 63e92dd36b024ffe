import pytest
import torch
import torch.nn.functional as F

from esc_sr.layers.conv_attn import ConvAttn, LargeKernelConv, SeparableLargeKernelConv

KERNELS = {
    LargeKernelConv: (torch.randn(8, 8, 5, 5),),
    SeparableLargeKernelConv: (torch.randn(8, 8, 1, 1), torch.randn(8, 1, 5, 5)),
}


@pytest.mark.parametrize("cls", KERNELS)
def test_channels_behind_the_first_ones_are_only_mixed_at_their_pixel(cls):
    module = ConvAttn(12, cls(8))
    with torch.no_grad():
        module.aggr.weight.copy_(torch.eye(12)[..., None, None])
        module.aggr.bias.zero_()
    x = torch.randn(2, 12, 6, 7)
    y = module(x, KERNELS[cls])
    assert torch.equal(y[:, 8:], x[:, 8:])
    assert not torch.allclose(y[:, :8], x[:, :8])


@pytest.mark.parametrize("cls", KERNELS)
def test_with_a_fresh_generator_only_the_shared_kernel_acts(cls):
    module, x = cls(8), torch.randn(2, 8, 6, 7)
    if cls is LargeKernelConv:
        expected = F.conv2d(x, KERNELS[cls][0], padding=2)
    else:
        channel, spatial = KERNELS[cls]
        expected = F.conv2d(F.conv2d(x, channel), spatial, padding=2, groups=8)
    torch.testing.assert_close(module(x, KERNELS[cls]), expected)


def test_the_dynamic_kernel_can_be_added_onto_the_diagonal_of_the_shared_one():
    """One convolution instead of two, exactly: what makes ConvAttn a convolution."""
    module, x = LargeKernelConv(8), torch.randn(1, 8, 9, 9)
    torch.nn.init.normal_(module.dwc_proj[3].weight)
    (kernel,) = KERNELS[LargeKernelConv]
    dynamic = module.dwc_proj(x).reshape(8, 3, 3)
    fused = kernel.clone()
    for channel in range(8):
        fused[channel, channel, 1:4, 1:4] += dynamic[channel]
    torch.testing.assert_close(
        module(x, (kernel,)), F.conv2d(x, fused, padding=2), rtol=1e-4, atol=1e-4
    )
