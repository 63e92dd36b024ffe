import numpy as np
import pytest
import torch

from esc_sr.errors import InputError
from esc_sr.losses.frequency import FFTLoss


@pytest.mark.parametrize("norm", ["backward", "ortho"])
def test_value_is_the_mean_over_real_and_imaginary_parts(norm):
    sr, gt = torch.rand(2, 2, 3, 6, 5, dtype=torch.float64)
    # numpy's transforms of the two images, apart
    difference = np.fft.rfft2(sr.numpy(), norm=norm) - np.fft.rfft2(gt.numpy(), norm=norm)
    expected = (np.abs(difference.real).mean() + np.abs(difference.imag).mean()) / 2
    assert FFTLoss(norm=norm)(sr, gt).item() == pytest.approx(expected, rel=1e-12)


def test_gradient():
    sr, gt = torch.rand(2, 1, 2, 4, 5, dtype=torch.float64)
    loss = FFTLoss()
    # The imaginary part of some coefficients of a real image is 0 whatever the image, where |x|
    # has a kink but no slope along any image: finite differences agree there too.
    assert torch.autograd.gradcheck(lambda x: loss(x, gt), sr.requires_grad_())


def test_ortho_does_not_depend_on_the_patch_size_and_backward_grows_with_its_side():
    generator = torch.Generator().manual_seed(0)

    def values(side):
        noise = torch.rand(16, 3, side, side, generator=generator) - 0.5
        return [FFTLoss(norm=norm)(noise, 0 * noise).item() for norm in ("ortho", "backward")]

    ortho_16, backward_16 = values(16)
    ortho_64, backward_64 = values(64)
    assert ortho_64 == pytest.approx(ortho_16, rel=0.05)
    assert backward_64 == pytest.approx(4 * backward_16, rel=0.05)


def test_autocast_does_not_change_the_value():
    # Sums of 4096 pixels reach 2000: bfloat16 would be off by whole units there.
    sr, gt = torch.rand(2, 1, 3, 64, 64)
    expected = FFTLoss()(sr, gt)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = FFTLoss()(sr, gt)
        half_input = FFTLoss()(sr.bfloat16(), gt)
    assert value.dtype == half_input.dtype == torch.float32
    assert torch.equal(value, expected)
    assert torch.equal(half_input, FFTLoss()(sr.bfloat16().float(), gt))


def test_refuses_an_unknown_norm():
    with pytest.raises(InputError, match="'forward'"):
        FFTLoss(norm="forward")  # pyright: ignore[reportArgumentType]
