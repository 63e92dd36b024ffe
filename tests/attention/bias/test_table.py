import pytest
import torch

from esc_sr.attention.bias import TableBias, deduce_bias

WINDOWS = [(1, 1), (4, 4), (3, 5), (5, 2)]


@pytest.mark.parametrize("window", WINDOWS)
def test_the_dense_bias_reads_the_table_as_its_layout_says(
    window, random_parameters, loop_over_pairs
):
    height, width = window
    parameters = random_parameters(TableBias(), 3, window)
    table = parameters["relative_position_bias"]
    expected = loop_over_pairs(
        lambda dy, dx: table[:, (dy + height - 1) * (2 * width - 1) + dx + width - 1], 3, window
    )
    assert torch.equal(TableBias().bind(parameters, window).dense(), expected)


def test_fresh_parameters_have_the_published_shape():
    initial = TableBias().initial(4, (32, 32))
    assert initial["relative_position_bias"].shape == (4, 63 * 63)


def test_a_table_tells_the_side_of_a_square_window_only():
    found = deduce_bias(TableBias().initial(3, (6, 6)))
    assert found is not None
    assert (found.bias, found.num_heads, found.window_size) == (TableBias(), 3, (6, 6))
    rectangular = deduce_bias(TableBias().initial(3, (4, 7)))
    assert rectangular is not None
    assert rectangular.window_size is None
