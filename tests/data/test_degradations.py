import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from esc_sr.data.crops import crop
from esc_sr.data.degradations import BicubicDegradation, degrade_crop
from esc_sr.functional.resize import matlab_imresize


def image(height, width, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    size = (3, height * scale, width * scale)
    # Black and white: where rounding and clipping bite hardest.
    return torch.randint(0, 2, size, generator=generator).to(torch.uint8) * 255


@settings(max_examples=150)
@given(st.data())
def test_the_lq_of_a_crop_is_the_crop_of_the_lq(data):
    scale = data.draw(st.integers(2, 4))
    height, width = data.draw(st.integers(1, 16)), data.draw(st.integers(1, 16))
    size = data.draw(st.integers(1, min(height, width)))
    gt = image(height, width, scale, data.draw(st.integers(0, 2**31)))
    degradation = BicubicDegradation()
    whole = degradation(gt, scale)
    assert whole.shape == (3, height, width)
    for top in range(height - size + 1):
        for left in range(width - size + 1):
            part = degrade_crop(degradation, gt, top, left, size, scale)
            assert torch.equal(part, crop(whole, top, left, size, size))


def test_a_smaller_margin_would_not_do():
    degradation = BicubicDegradation()
    gt = image(12, 12, 4, 0)
    whole = crop(degradation(gt, 4), 4, 4, 4, 4)
    assert torch.equal(degrade_crop(degradation, gt, 4, 4, 4, 4), whole)
    degradation.margin = 1
    assert not torch.equal(degrade_crop(degradation, gt, 4, 4, 4, 4), whole)


def test_only_what_is_needed_is_degraded():
    seen = []

    class Recorder(BicubicDegradation):
        def __call__(self, gt, scale):
            seen.append(tuple(gt.shape))
            return matlab_imresize(gt, 1 / scale)

    degrade_crop(Recorder(), image(50, 50, 3, 0), 20, 0, 10, 3)
    assert seen == [(3, 14 * 3, 12 * 3)]
