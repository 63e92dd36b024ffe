import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from esc_sr.functional.large_conv import (
    fuse_kernels,
    fused_conv,
    separate_convs,
    transformed_conv,
)


def inputs(batch, channels, height, width, size, *, depthwise=False, dtype=torch.float64):
    x = torch.randn(batch, channels, height, width, dtype=dtype)
    kernel = torch.randn(channels, 1 if depthwise else channels, size, size, dtype=dtype) / size
    return x, kernel, torch.randn(batch, channels, 3, 3, dtype=dtype)


@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 4),
    height=st.integers(1, 40),
    width=st.integers(1, 20),
    size=st.sampled_from([1, 3, 5, 13]),
    depthwise=st.booleans(),
)
def test_one_convolution_is_the_sum_of_two(batch, channels, height, width, size, depthwise):
    args = inputs(batch, channels, height, width, size, depthwise=depthwise)
    torch.testing.assert_close(fused_conv(*args), separate_convs(*args))


@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 4),
    height=st.integers(1, 70),
    width=st.integers(1, 20),
    size=st.sampled_from([3, 5, 13]),
    rows=st.integers(1, 33),
    depthwise=st.booleans(),
)
def test_the_transform_gives_the_direct_convolution(
    batch, channels, height, width, size, rows, depthwise
):
    args = inputs(batch, channels, height, width, size, depthwise=depthwise)
    found = transformed_conv(size, rows)(*args)
    torch.testing.assert_close(found, separate_convs(*args), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("depthwise", [True, False])
@pytest.mark.parametrize("conv", [separate_convs, fused_conv, transformed_conv(5, rows=4)])
def test_without_small_kernels_it_is_the_large_convolution(conv, depthwise):
    x, kernel, dynamic = inputs(2, 3, 9, 7, 5, depthwise=depthwise)
    expected = separate_convs(x, kernel, torch.zeros_like(dynamic))
    torch.testing.assert_close(conv(x, kernel, None), expected)


def test_the_transform_is_as_close_in_float32_as_the_direct_convolution():
    args = inputs(1, 16, 96, 64, 13)
    exact = separate_convs(*args)
    single = [tensor.float() for tensor in args]
    direct, transformed = (
        (conv(*single).double() - exact).abs().max() / exact.abs().max()
        for conv in (separate_convs, transformed_conv(13))
    )
    assert transformed < max(2 * direct, 1e-6)


def test_the_transform_takes_slices_and_both_layouts():
    x, kernel, dynamic = inputs(2, 4, 40, 9, 13)
    wide = torch.cat([x, torch.randn(2, 3, 40, 9).double()], 1)
    expected = separate_convs(x, kernel, dynamic)
    for layout in (torch.contiguous_format, torch.channels_last):
        part = wide.contiguous(memory_format=layout)[:, :4]
        torch.testing.assert_close(transformed_conv(13)(part, kernel, dynamic), expected)


def test_the_transform_is_differentiable():
    args = [tensor.requires_grad_() for tensor in inputs(2, 2, 7, 4, 3)]
    assert torch.autograd.gradcheck(transformed_conv(3, 4), args)


def test_another_kernel_size_is_refused():
    with pytest.raises(ValueError, match="the transform is for kernels of 13, got 5"):
        transformed_conv(13)(*inputs(1, 2, 8, 8, 5))


def test_a_small_kernel_grows_to_the_dynamic_one():
    assert fuse_kernels(torch.ones(2, 2, 1, 1), torch.zeros(2, 3, 3)).shape == (2, 2, 3, 3)
