import pytest
import torch

from esc_sr.errors import InputError
from esc_sr.losses.charbonnier import CharbonnierLoss


def test_value_and_gradient():
    sr, gt = torch.rand(2, 2, 3, 4, 5, dtype=torch.float64)
    loss = CharbonnierLoss(eps=0.1)
    expected = ((sr - gt) ** 2 + 0.01).sqrt().mean()
    torch.testing.assert_close(loss(sr, gt), expected)
    assert torch.autograd.gradcheck(lambda x: loss(x, gt), sr.requires_grad_())


def test_least_value_is_eps_and_has_no_slope():
    image = torch.rand(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    value = CharbonnierLoss(eps=1e-3)(image, image.detach())
    value.backward()
    assert value.item() == pytest.approx(1e-3)
    assert image.grad is not None
    assert not image.grad.any()


def test_bf16_input_is_computed_in_float32():
    sr, gt = torch.rand(2, 1, 3, 32, 32).bfloat16()
    value = CharbonnierLoss()(sr, gt)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, CharbonnierLoss()(sr.float(), gt.float()))


def test_refuses_an_eps_without_a_gradient_at_zero():
    with pytest.raises(InputError, match="above 0"):
        CharbonnierLoss(eps=0.0)
