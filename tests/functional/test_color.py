import kornia
import numpy as np
import pytest
import torch

from esc_sr.errors import InputError
from esc_sr.functional.color import rgb_to_y


def test_corners_of_the_cube_have_the_values_of_bt601():
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]]).double()
    y = rgb_to_y(corners.view(5, 3, 1, 1)).flatten() * 255
    expected = torch.tensor([16, 81.481, 144.553, 40.966, 235], dtype=torch.float64)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-9)


def test_matches_full_range_luma_scaled_to_studio_range():
    image = torch.rand(2, 3, 5, 7, dtype=torch.float64)
    full_range = kornia.color.rgb_to_ycbcr(image)[:, :1]
    # kornia's weights have three decimals, MATLAB's six
    torch.testing.assert_close(rgb_to_y(image) * 255, 16 + 219 * full_range, rtol=0, atol=0.02)


def test_nothing_is_rounded():
    y = rgb_to_y(torch.full((1, 3, 1, 1), 100.4 / 255, dtype=torch.float64)).item() * 255
    assert np.isclose(y, 16 + 219 * 100.4 / 255, atol=1e-9)


def test_values_are_those_of_the_definition_in_the_dtype_of_the_input():
    for dtype in (torch.float32, torch.float64):
        image = torch.rand(1, 3, 4, 4, dtype=dtype)
        r, g, b = image.double().unbind(1)
        expected = (16 + 65.481 * r + 128.553 * g + 24.966 * b) / 255
        y = rgb_to_y(image)
        assert y.dtype == dtype
        torch.testing.assert_close(y[:, 0].double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 4, 4), (3, 4, 4)])
def test_refuses_what_is_not_a_batch_of_rgb(shape):
    with pytest.raises(InputError, match=r"\(B, 3, H, W\)"):
        rgb_to_y(torch.rand(shape))


def test_refuses_uint8():
    with pytest.raises(InputError, match=r"uint8"):
        rgb_to_y(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
