import pytest
import torch

from esc_sr.attention.bias import AxialBias, deduce_bias


@pytest.mark.parametrize("window", [(1, 1), (4, 4), (3, 5), (5, 2)])
def test_the_dense_bias_is_a_sum_along_both_axes(window, random_parameters, loop_over_pairs):
    height, width = window
    parameters = random_parameters(AxialBias(), 3, window)
    along_y, along_x = parameters["axial_bias_y"], parameters["axial_bias_x"]
    expected = loop_over_pairs(
        lambda dy, dx: along_y[:, dy + height - 1] + along_x[:, dx + width - 1], 3, window
    )
    assert torch.equal(AxialBias().bind(parameters, window).dense(), expected)


def test_the_features_take_one_channel_for_each_row_and_column(random_parameters):
    bound = AxialBias().bind(random_parameters(AxialBias(), 2, (3, 7)), (3, 7))
    of_query, of_key = bound.features()
    assert of_query.shape == of_key.shape == (2, 21, 3 + 7)
    assert set(of_key.unique().tolist()) == {0.0, 1.0}
    assert (of_key.sum(-1) == 2).all()


def test_fresh_parameters_tell_the_window():
    found = deduce_bias(AxialBias().initial(3, (4, 7)))
    assert found is not None
    assert (found.bias, found.num_heads, found.window_size) == (AxialBias(), 3, (4, 7))


def test_it_has_two_vectors_a_head():
    initial = AxialBias().initial(4, (32, 32))
    assert sum(value.numel() for value in initial.values()) == 4 * 2 * 63
