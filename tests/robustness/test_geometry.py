"""Geometry over all sizes, sides from 1 and scales from 1 to 8: what must hold for every one.

Round trips of windows, padding, tiles along an axis and rows of a resize are tested beside them
(`tests/functional`, `tests/inference`); here is what goes across them.
"""

import random

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from esc_sr import create_model
from esc_sr.data.crops import augment_pair, crop_pair, crop_to_multiple, random_position
from esc_sr.data.degradations import BicubicDegradation, degrade_crop
from esc_sr.data.subimages import CutRecipe, window_positions
from esc_sr.functional.resize import matlab_imresize
from esc_sr.functional.windows import reflect_pad
from esc_sr.inference.enlarge import enlarge_rows
from esc_sr.inference.planning import Plan, plan_tiles
from esc_sr.inference.upscaler import Upscaler
from esc_sr.models.bicubic import Bicubic


def _repeated(image, scale):
    return image.repeat_interleave(scale, -2).repeat_interleave(scale, -1)


SCALES = st.integers(1, 8)
SIDES = st.integers(1, 40)
RATIOS = st.one_of(SCALES.map(float), SCALES.map(lambda scale: 1 / scale), st.floats(0.05, 4))


@given(height=SIDES, width=SIDES, margin=st.integers(0, 60))
def test_a_margin_lies_around_the_image_and_mirrors_it(height, width, margin):
    x = torch.randn(1, 2, height, width)
    padded = reflect_pad(x, margin)
    assert padded.shape[-2:] == (height + 2 * margin, width + 2 * margin)
    middle = padded[..., margin : margin + height, margin : margin + width]
    assert torch.equal(middle, x)
    if margin < min(height, width):
        assert torch.equal(padded, F.pad(x, (margin,) * 4, mode="reflect"))
    # Whatever lies beyond is mirrored: turning the image turns it all.
    assert torch.equal(reflect_pad(x.flip(-1), margin), padded.flip(-1))
    assert torch.equal(reflect_pad(x.mT, margin), padded.mT)


@given(height=SIDES, width=SIDES, ratio=RATIOS, level=st.integers(0, 255))
def test_resizing_keeps_what_is_constant_whatever_the_size(height, width, ratio, level):
    image = torch.full((1, height, width), level, dtype=torch.uint8)
    assert torch.all(matlab_imresize(image, ratio) == level)
    resized = matlab_imresize(image.double(), ratio)
    torch.testing.assert_close(resized, torch.full_like(resized, level))


@given(height=SIDES, width=SIDES, scale=SCALES, shrink=st.booleans())
def test_resizing_turns_with_the_image(height, width, scale, shrink):
    """Where sample positions lie evenly: whole factors of sizes that they divide."""
    ratio = 1 / scale if shrink else scale
    factor = scale if shrink else 1
    image = torch.rand(1, height * factor, width * factor, dtype=torch.float64)
    resized = matlab_imresize(image, ratio)
    torch.testing.assert_close(matlab_imresize(image.flip(-1), ratio), resized.flip(-1))
    torch.testing.assert_close(matlab_imresize(image.mT, ratio), resized.mT)


@given(height=SIDES, width=SIDES, ratio=RATIOS)
def test_the_gradient_of_a_resize_is_its_adjoint(height, width, ratio):
    """⟨R x, y⟩ = ⟨x, Rᵀ y⟩ for the linear map that a resize of real numbers is."""
    x = torch.randn(1, height, width, dtype=torch.float64, requires_grad=True)
    resized = matlab_imresize(x, ratio)
    y = torch.randn_like(resized)
    (adjoint,) = torch.autograd.grad(resized, x, y)
    torch.testing.assert_close((resized * y).sum(), (x * adjoint).sum())


@given(
    height=SIDES, width=SIDES, rest=st.tuples(*[st.integers(0, 7)] * 2), scale=SCALES,
    size=st.integers(1, 40), seed=st.integers(0, 2**32), turn=st.integers(0, 7),
)  # fmt: skip
def test_crops_of_a_pair_stay_a_pair(height, width, rest, scale, size, seed, turn):
    """The LQ of a crop is the crop of the LQ, at every place, and they turn together."""
    gt = torch.randint(
        0, 256, (3, height * scale + rest[0] % scale, width * scale + rest[1] % scale)
    )
    gt = crop_to_multiple(gt.to(torch.uint8), scale)
    assert gt.shape[-2:] == (height * scale, width * scale)
    size = min(size, height, width)
    top, left = random_position(height, width, size, random.Random(seed))
    assert 0 <= top <= height - size
    assert 0 <= left <= width - size
    lq, cut = crop_pair(BicubicDegradation()(gt, scale), gt, top, left, size, scale)
    assert torch.equal(degrade_crop(BicubicDegradation(), gt, top, left, size, scale), lq)
    turned_lq, turned = augment_pair(lq, cut, turn)
    assert turned.shape[-2:] == (size * scale, size * scale)
    # Were every pixel of LQ repeated to make GT, it would be so after the turn too.
    pixels = torch.arange(size * size).reshape(1, size, size)
    small, large = augment_pair(pixels, _repeated(pixels, scale), turn)
    assert torch.equal(_repeated(small, scale), large)
    assert turned_lq.shape[-2:] == (size, size)


@given(
    length=st.integers(1, 400), scales=st.sets(st.integers(2, 8), max_size=3),
    windows=st.integers(1, 6), steps=st.integers(1, 6),
)  # fmt: skip
def test_sub_images_cover_every_pixel_and_divide_at_every_scale(length, scales, windows, steps):
    multiple = CutRecipe(scales=tuple(scales), window_size=840, step=840).multiple
    window, step = windows * multiple, min(steps, windows) * multiple
    length -= length % multiple
    if not length:
        return
    positions = window_positions(length, window, step, 0)
    covered = np.zeros(length, bool)
    for position in positions:
        covered[position : position + window] = True
        assert position + min(window, length) <= length
        assert all(position % scale == 0 for scale in scales)
    assert covered.all()
    assert positions == sorted(set(positions))


@given(
    height=st.integers(1, 30), width=st.integers(1, 30), scale=SCALES,
    tile=st.integers(1, 12), overlap=st.integers(6, 14), count=st.integers(1, 2),
)  # fmt: skip
def test_tiles_that_overlap_enough_give_the_whole_result(
    height, width, scale, tile, overlap, count
):
    """Of a network that sees no further than the overlap; the border is the same in both."""
    network = Bicubic(scale=scale)
    lq = torch.rand(count, 3, height, width)
    plan = plan_tiles(
        network, (height, width), scale=scale, budget=2**30, tiling="overlap", tile=tile,
        overlap=overlap,
    )  # fmt: skip
    assert plan.method == "overlap"
    whole, tiled = (
        torch.cat(list(enlarge_rows(network, lq, one, scale=scale)), dim=-2)
        for one in (Plan("whole"), plan)
    )
    assert whole.shape == (count, 3, height * scale, width * scale)
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)


TINY = {"dim": 4, "partial_dim": 2, "num_blocks": 1, "num_conv_attn": 1, "window_size": 4}
TINY |= {"num_heads": 1, "large_kernel_size": 3}


@settings(max_examples=6)
@given(height=st.integers(1, 30), width=st.integers(1, 30), scale=st.integers(2, 4))
def test_a_network_layer_by_layer_gives_the_whole_result(height, width, scale):
    network = create_model("esc", scale=scale, **TINY).eval()
    lq = torch.rand(1, 3, height, width)
    exact = plan_tiles(network, (height, width), scale=scale, budget=2**30, tiling="exact", tile=8)
    with torch.no_grad():
        whole, tiled = (
            torch.cat(list(enlarge_rows(network, lq, one, scale=scale)), dim=-2)
            for one in (Plan("whole"), exact)
        )
    torch.testing.assert_close(tiled, whole, atol=2e-5, rtol=0)


@given(
    height=st.integers(1, 20), width=st.integers(1, 20), channels=st.integers(1, 4),
    scale=SCALES, wanted=st.floats(1, 8), wide=st.booleans(),
)  # fmt: skip
def test_a_picture_of_any_size_and_kind_becomes_one_of_the_size_promised(
    height, width, channels, scale, wanted, wide
):
    upscaler = Upscaler(Bicubic(scale=scale), scale=min(wanted, scale), device="cpu")
    pixels = np.full((height, width, channels), 77, np.uint16 if wide else np.uint8)
    enlarged = upscaler(pixels)
    assert enlarged.shape == (*upscaler.output_size(height, width), channels)
    assert enlarged.dtype == pixels.dtype
    assert height <= enlarged.shape[0] <= height * scale
    assert np.all(enlarged == 77)
