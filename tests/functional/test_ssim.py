import kornia
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.image import structural_similarity_index_measure

from esc_sr.errors import InputError
from esc_sr.functional.ssim import ssim


def _pair(batch=2, channels=3, height=24, width=31, seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(batch, channels, height, width, generator=generator, dtype=torch.float64)
    noise = torch.rand(target.shape, generator=generator, dtype=torch.float64)
    return 0.8 * target + 0.2 * noise, target


def test_equals_the_inner_part_of_the_map_of_torchmetrics():
    preds, target = (255 * image for image in _pair())
    _, full = structural_similarity_index_measure(
        preds, target, data_range=255.0, return_full_image=True
    )
    expected = full[..., 5:-5, 5:-5].mean((1, 2, 3))
    torch.testing.assert_close(ssim(preds, target, data_range=255.0), expected)


def test_equals_kornia_with_valid_padding():
    preds, target = _pair()
    expected = kornia.metrics.ssim(preds, target, 11, padding="valid", eps=0.0).mean((1, 2, 3))
    torch.testing.assert_close(ssim(preds, target, data_range=1.0), expected)


@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 3),
    height=st.integers(11, 20),
    width=st.integers(11, 20),
    seed=st.integers(0, 99),
)
def test_is_symmetric_at_most_one_and_independent_of_the_batch(
    batch, channels, height, width, seed
):
    preds, target = _pair(batch, channels, height, width, seed)
    values = ssim(preds, target, data_range=1.0)
    singles = torch.cat(
        [ssim(p[None], t[None], data_range=1.0) for p, t in zip(preds, target, strict=True)]
    )
    torch.testing.assert_close(values, singles)
    torch.testing.assert_close(values, ssim(target, preds, data_range=1.0))
    assert values.shape == (batch,)
    assert (values < 1).all()


def test_float32_agrees_with_float64_to_the_fourth_decimal():
    preds, target = (255 * image for image in _pair())
    exact = ssim(preds, target, data_range=255.0)
    single = ssim(preds.float(), target.float(), data_range=255.0)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=5e-5)


def test_refuses_images_smaller_than_the_window_and_says_which_size():
    small = torch.rand(1, 1, 10, 40)
    with pytest.raises(InputError, match="10x40"):
        ssim(small, small, data_range=1.0)


def test_refuses_shapes_that_would_broadcast():
    with pytest.raises(InputError, match="one shape"):
        ssim(torch.rand(1, 3, 16, 16), torch.rand(1, 1, 16, 16), data_range=1.0)
