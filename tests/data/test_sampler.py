from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esc_sr.data.sampler import ResumableSampler, SampleKey

SEQUENCE = [
    SampleKey(4, 15793235383387715774),
    SampleKey(6, 5836529245451711556),
    SampleKey(2, 17195319236771816063),
]


def take(count, **arguments):
    return list(islice(ResumableSampler(**arguments), count))


@given(num_images=st.integers(1, 30), start=st.integers(0, 100), seed=st.integers(0, 2**40))
def test_a_restart_continues_the_sequence(num_images, start, seed):
    whole = take(start + 20, num_images=num_images, seed=seed)
    assert take(20, num_images=num_images, seed=seed, start=start) == whole[start:]


@given(num_images=st.integers(1, 30), start=st.integers(0, 50), world_size=st.integers(1, 5))
def test_ranks_share_out_the_sequence(num_images, start, world_size):
    whole = take(10 * world_size, num_images=num_images, seed=3, start=start)
    for rank in range(world_size):
        mine = take(
            10, num_images=num_images, seed=3, start=start, rank=rank, world_size=world_size
        )
        assert mine == whole[rank::world_size]


@given(num_images=st.integers(1, 50), seed=st.integers(0, 100))
def test_every_image_appears_once_an_epoch(num_images, seed):
    keys = take(3 * num_images, num_images=num_images, seed=seed)
    for epoch in range(3):
        part = keys[epoch * num_images : (epoch + 1) * num_images]
        assert sorted(key.image_index for key in part) == list(range(num_images))


def test_epochs_and_seeds_differ():
    keys = take(200, num_images=100, seed=0)
    assert [k.image_index for k in keys[:100]] != [k.image_index for k in keys[100:]]
    assert len({key.seed for key in keys}) == 200
    assert take(100, num_images=100, seed=1) != keys[:100]


def test_the_sequence_is_the_one_checkpoints_were_made_with():
    """A change here would make resumed runs see other samples than uninterrupted ones."""
    assert take(3, num_images=10, seed=0) == SEQUENCE


def test_keys_are_plain_integers_and_there_is_no_length():
    key = take(1, num_images=3)[0]
    assert isinstance(key, SampleKey)
    assert {type(value) for value in key} == {int}
    with pytest.raises(TypeError):
        len(ResumableSampler(num_images=3))


@pytest.mark.parametrize(
    "arguments", [{"num_images": 0}, {"seed": -1}, {"start": -1}, {"rank": 2, "world_size": 2}]
)
def test_values_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match="must"):
        ResumableSampler(**{"num_images": 4, **arguments})
