import random
from collections import Counter

import pytest
import torch

from esc_sr.data.crops import (
    augment_pair,
    crop,
    crop_pair,
    crop_to_multiple,
    random_dihedral,
    random_position,
)


def pair(scale, height=7, width=9):
    """A pair in which every GT pixel tells the LQ pixel that it belongs to."""
    lq = torch.arange(height * width).reshape(1, height, width)
    return lq, lq.repeat_interleave(scale, -1).repeat_interleave(scale, -2)


def test_crop_to_multiple_cuts_right_and_bottom():
    image = torch.arange(7 * 8).reshape(1, 7, 8)
    assert torch.equal(crop_to_multiple(image, 3), image[:, :6, :6])
    assert crop_to_multiple(image, 1).shape == (1, 7, 8)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_pairs_stay_pairs_under_crops_and_flips(scale):
    lq, gt = pair(scale)
    lq, gt = crop_pair(lq, gt, 2, 3, 5, scale)
    assert lq.shape == (1, 5, 5)
    for index in range(8):
        flipped_lq, flipped_gt = augment_pair(lq, gt, index)
        assert torch.equal(flipped_gt[..., ::scale, ::scale], flipped_lq)
    assert len({tuple(augment_pair(lq, gt, i)[0].flatten().tolist()) for i in range(8)}) == 8


@pytest.mark.parametrize("place", [(-1, 0), (0, -1), (3, 0), (0, 5)])
def test_crops_outside_are_refused(place):
    with pytest.raises(ValueError, match="leaves the 7×9 image"):
        crop(torch.zeros(1, 7, 9), *place, 5, 5)


def test_every_position_and_flip_is_drawn():
    rng = random.Random(0)
    positions = Counter(random_position(4, 5, 3, rng) for _ in range(2000))
    assert set(positions) == {(top, left) for top in range(2) for left in range(3)}
    assert min(positions.values()) > 2000 / 6 * 0.7
    assert {random_dihedral(rng) for _ in range(200)} == set(range(8))
