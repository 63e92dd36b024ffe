import torch
import torch.nn.functional as F

from esc_sr.functional.dynamic_conv import dynamic_depthwise_conv, unfolded_depthwise_conv


def test_every_image_gets_its_own_kernel():
    x, kernel = torch.randn(3, 4, 7, 9), torch.randn(3, 4, 3, 3)
    expected = torch.cat(
        [F.conv2d(x[i : i + 1], kernel[i].unsqueeze(1), padding=1, groups=4) for i in range(3)]
    )
    torch.testing.assert_close(dynamic_depthwise_conv(x, kernel), expected)


def test_gradients_reach_image_and_kernel():
    x = torch.randn(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    kernel = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(dynamic_depthwise_conv, (x, kernel))


def test_the_unfolded_form_is_the_same_in_values_and_gradients():
    x = torch.randn(3, 4, 6, 1, dtype=torch.float64, requires_grad=True)
    kernel = torch.randn(3, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    grouped, unfolded = (
        conv(x, kernel) for conv in (dynamic_depthwise_conv, unfolded_depthwise_conv)
    )
    torch.testing.assert_close(unfolded, grouped)
    for expected, found in zip(
        *(torch.autograd.grad(out.square().sum(), (x, kernel)) for out in (grouped, unfolded)),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)
