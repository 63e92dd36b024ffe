import math

import pytest
import torch

from esc_sr.attention.bias import FourierBias, deduce_bias
from esc_sr.attention.bias.fourier import frequency_grid


@pytest.mark.parametrize("window", [(1, 1), (4, 4), (3, 5), (5, 2)])
def test_the_dense_bias_is_the_formula(window, random_parameters, loop_over_pairs):
    bias = FourierBias(rank=6)
    parameters = random_parameters(bias, 3, window)
    cos, sin, frequencies = (
        parameters[f"fourier_{name}"] for name in ("cos", "sin", "frequencies")
    )

    def value_of(dy, dx):
        phase = frequencies[..., 0] * dy + frequencies[..., 1] * dx
        return (cos * phase.cos() + sin * phase.sin()).sum(-1)

    expected = loop_over_pairs(value_of, 3, window)
    dense = bias.bind(parameters, window).dense()
    torch.testing.assert_close(dense, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("rank", [2, 16, 48])
def test_the_features_take_two_channels_for_each_frequency(rank, learned, random_parameters):
    bias = FourierBias(rank=rank, learned_frequencies=learned)
    of_query, of_key = bias.bind(random_parameters(bias, 2, (3, 7)), (3, 7)).features()
    assert of_query.shape == of_key.shape == (2, 21, rank)
    assert of_key.abs().max() <= 1


def test_fixed_frequencies_are_those_that_learning_starts_from():
    learned, fixed = FourierBias(rank=10), FourierBias(rank=10, learned_frequencies=False)
    parameters = {name: value.double() for name, value in learned.initial(2, (5, 6)).items()}
    # Stored in float32, made anew in the dtype of the amplitudes.
    values, expected = (bias.bind(parameters, (5, 6)).values() for bias in (fixed, learned))
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-7)
    assert "fourier_frequencies" not in fixed.initial(2, (5, 6))


def test_large_windows_lose_nothing_in_float32(random_parameters):
    """Phases reach 3·47 radians, of which float32 would keep five digits."""
    bias, window = FourierBias(rank=48), (48, 48)
    parameters = random_parameters(bias, 2, window, torch.float32)
    in_double = {name: value.double() for name, value in parameters.items()}
    expected = bias.bind(in_double, window).values()
    torch.testing.assert_close(
        bias.bind(parameters, window).values().double(), expected, rtol=0, atol=5e-7
    )


@pytest.mark.parametrize("count", [1, 4, 8, 24])
@pytest.mark.parametrize("window", [(8, 8), (4, 16), (1, 9)])
def test_the_grid_holds_the_lowest_frequencies_without_their_opposites(count, window):
    grid = frequency_grid(count, window)
    whole = grid / math.pi * torch.tensor(window)
    torch.testing.assert_close(whole, whole.round())
    pairs = [tuple(pair) for pair in whole.round().int().tolist()]
    assert len(set(pairs)) == count
    assert (0, 0) not in pairs
    assert not {(-y, -x) for y, x in pairs} & set(pairs)
    lengths = grid.norm(dim=-1)
    assert (lengths.diff() >= -1e-12).all()


@pytest.mark.parametrize("learned", [True, False])
def test_the_parameters_tell_rank_and_heads_but_no_window(learned):
    bias = FourierBias(rank=12, learned_frequencies=learned)
    found = deduce_bias(bias.initial(3, (4, 7)))
    assert found is not None
    assert (found.bias, found.num_heads, found.window_size) == (bias, 3, None)


@pytest.mark.parametrize("rank", [0, 7, 2.0, True, 514])
def test_an_impossible_rank_is_refused(rank):
    with pytest.raises(ValueError, match="rank must be"):
        FourierBias(rank=rank)


@pytest.mark.parametrize("window", [(1, 6), (6, 1)])
def test_a_wave_along_an_axis_of_one_pixel_is_none(window):
    grid = frequency_grid(4, window)
    assert torch.all(grid[:, window.index(1)] == 0)
    assert torch.all(grid[:, 1 - window.index(1)] > 0)


@pytest.mark.parametrize("shape", [(2, 0), (2, 300)])
def test_amplitudes_that_are_none_are_not_recognised(shape):
    assert FourierBias.deduce({"fourier_cos": torch.zeros(shape)}) is None
    other = {"fourier_cos": torch.zeros(2, 4), "fourier_frequencies": torch.zeros(2, 5, 2)}
    assert FourierBias.deduce(other) is None
