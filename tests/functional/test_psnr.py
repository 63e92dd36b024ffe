import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio

from esc_sr.errors import InputError
from esc_sr.functional.psnr import psnr


def test_each_image_equals_torchmetrics_on_that_image():
    preds, target = torch.rand(2, 3, 3, 9, 7, dtype=torch.float64)
    target[1] = 0.9 * target[1]
    expected = torch.stack(
        [
            peak_signal_noise_ratio(p[None], t[None], data_range=1.0)
            for p, t in zip(preds, target, strict=True)
        ]
    )
    torch.testing.assert_close(psnr(preds, target, data_range=1.0), expected)


def test_identical_images_are_infinitely_good_and_do_not_touch_their_neighbours():
    target = torch.rand(2, 3, 8, 8)
    preds = target.clone()
    preds[1] += 0.1
    values = psnr(preds, target, data_range=1.0)
    assert values[0] == float("inf")
    assert values[1].item() == pytest.approx(20.0, abs=1e-4)


def test_data_range_is_the_unit_of_the_images():
    preds, target = torch.rand(2, 1, 1, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(
        psnr(preds * 255, target * 255, data_range=255.0), psnr(preds, target, data_range=1.0)
    )


def test_refuses_shapes_that_would_broadcast():
    with pytest.raises(InputError, match="one shape"):
        psnr(torch.rand(1, 3, 8, 8), torch.rand(1, 1, 8, 8), data_range=1.0)


def test_refuses_integers():
    image = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(InputError, match="floating point"):
        psnr(image, image, data_range=255.0)
