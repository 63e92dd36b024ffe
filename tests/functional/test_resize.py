import importlib.util
import math
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from esc_sr.data.crops import crop_to_multiple
from esc_sr.data.images import list_images, read_image
from esc_sr.functional.resize import matlab_imresize

RATIOS = [Fraction(2), Fraction(3), Fraction(4), Fraction(1, 2), Fraction(1, 3), Fraction(1, 4)]
REFERENCE = Path(__file__).parents[1] / "references" / "matlab_imresize.py"


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("matlab_imresize_reference", REFERENCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("name", "count"), [("Set5", 5), ("Set14", 14)])
def test_published_low_resolution_images_are_reproduced_bit_for_bit(shared_dir, name, count, scale):
    images = list_images(shared_dir / "benchmarks" / name / "HR")
    assert len(images) == count
    for path in images:
        gt = crop_to_multiple(read_image(path), scale)
        folder = shared_dir / "benchmarks" / name / "LR_bicubic" / f"X{scale}"
        published = read_image(folder / f"{path.stem}x{scale}.png")
        assert torch.equal(matlab_imresize(gt, 1 / scale), published), path.name


@settings(max_examples=100)
@given(
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    ratio=st.sampled_from(RATIOS),
    contrast=st.sampled_from([2, 256]),
    seed=st.integers(0, 2**31),
)
def test_uint8_equals_the_exact_reference(reference, height, width, ratio, contrast, seed):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, contrast, (height, width), generator=generator)
    image = (image * (255 // (contrast - 1))).to(torch.uint8)
    expected = torch.from_numpy(reference.imresize(image.numpy(), ratio))
    actual = matlab_imresize(image[None], float(ratio))[0]
    assert torch.equal(actual, expected)


def test_exact_halves_go_up(reference):
    """The first result is 125.5 exactly; float64 sums to a little less."""
    image = torch.tensor([[128, 164, 53, 133]], dtype=torch.uint8)
    expected = torch.from_numpy(reference.imresize(image.numpy(), Fraction(3, 2)))
    assert expected[0, 0] == 126
    assert torch.equal(matlab_imresize(image[None], 1.5)[0], expected)


def test_odd_ratios_and_one_pixel_images_keep_constants():
    for ratio in (0.3, 0.37, 1.5, 2.5):
        image = torch.full((3, 1, 7), 77, dtype=torch.uint8)
        out = matlab_imresize(image, ratio)
        assert out.shape == (3, math.ceil(ratio), math.ceil(7 * Fraction(str(ratio))))
        assert (out == 77).all()


def test_scale_one_changes_nothing():
    image = torch.randint(0, 256, (2, 3, 9, 5), dtype=torch.uint8)
    assert torch.equal(matlab_imresize(image, 1), image)


@pytest.mark.parametrize("ratio", [2, 1 / 3, 1 / 4])
def test_a_batch_is_its_images(ratio):
    batch = torch.randint(0, 256, (4, 3, 12, 19), dtype=torch.uint8)
    expected = torch.stack([matlab_imresize(image, ratio) for image in batch])
    assert torch.equal(matlab_imresize(batch, ratio), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floats_keep_their_dtype_and_are_not_clamped(dtype):
    step = torch.zeros(1, 8, 8, dtype=dtype)
    step[..., 4:] = 1
    out = matlab_imresize(step, 2)
    assert out.dtype == dtype
    assert out.min() < 0
    assert out.max() > 1


def test_float_is_uint8_without_rounding():
    image = torch.randint(0, 256, (3, 24, 36), dtype=torch.uint8)
    rounded_twice = matlab_imresize(image, 1 / 4).double()
    exact = matlab_imresize(image.double(), 1 / 4).clamp(0, 255)
    # Rounding after heights enters widths with weights of absolute sum below 1.3.
    assert (rounded_twice - exact).abs().max() <= 0.5 + 0.5 * 1.3


@pytest.mark.parametrize("ratio", [2, 1 / 3])
def test_gradients_are_right(ratio):
    image = torch.rand(1, 6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: matlab_imresize(x, ratio), (image,))


def test_size_overrides_the_rounded_up_size():
    image = torch.randint(0, 256, (3, 10, 7), dtype=torch.uint8)
    assert matlab_imresize(image, 1 / 3).shape == (3, 4, 3)
    # ceil(scale * length) in floats, as MATLAB has it: the products are a little above 55 and 110.
    assert matlab_imresize(torch.zeros(1, 100, 100), 0.55).shape == (1, 56, 56)
    assert matlab_imresize(torch.zeros(1, 100, 100), 1.1).shape == (1, 111, 111)
    cut = matlab_imresize(image, 1 / 3, size=(3, 2))
    assert torch.equal(cut, matlab_imresize(image, 1 / 3)[:, :3, :2])


@pytest.mark.parametrize(
    ("image", "scale", "message"),
    [
        (torch.zeros(4, 4), 2, "image must be"),
        ([[1, 2]], 2, "image must be a tensor, got a list"),
        (torch.zeros(1, 4, 4, dtype=torch.int64), 2, "uint8 or floating point"),
        (torch.zeros(1, 0, 4), 2, "empty"),
        (torch.zeros(1, 4, 4), 0, "positive number"),
        (torch.zeros(1, 4, 4), float("nan"), "positive number"),
        (torch.zeros(1, 4, 4), 1e-6, "at least"),
    ],
)
def test_wrong_arguments_are_told(image, scale, message):
    with pytest.raises(ValueError, match=message):
        matlab_imresize(image, scale)


def test_what_was_computed_in_inference_mode_first_has_a_gradient_later():
    with torch.inference_mode():
        matlab_imresize(torch.rand(1, 17, 23), 0.5)
    image = torch.rand(1, 17, 23, requires_grad=True)
    matlab_imresize(image, 0.5).sum().backward()
    assert image.grad is not None
