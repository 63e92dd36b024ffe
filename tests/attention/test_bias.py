import pytest
import torch

from esc_sr.attention.bias import TableBias


def brute_force(table: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Read the table entry by entry, as the state dict's layout says."""
    tokens = [(y, x) for y in range(height) for x in range(width)]
    dense = torch.empty(table.shape[0], len(tokens), len(tokens), dtype=table.dtype)
    for i, (qy, qx) in enumerate(tokens):
        for j, (ky, kx) in enumerate(tokens):
            offset = (ky - qy + height - 1) * (2 * width - 1) + (kx - qx + width - 1)
            dense[:, i, j] = table[:, offset]
    return dense


@pytest.mark.parametrize("window", [(1, 1), (4, 4), (3, 5), (5, 2)])
def test_dense_bias_equals_the_brute_force_loop(window):
    bias = TableBias()
    parameters = bias.initial(3, window)
    parameters["relative_position_bias"].normal_()
    dense = bias.bind(parameters, window).dense()
    assert torch.equal(dense, brute_force(parameters["relative_position_bias"], *window))


def test_score_mod_adds_the_same_bias():
    window, bias = (3, 4), TableBias()
    bound = bias.bind({"relative_position_bias": torch.randn(2, 5 * 7)}, window)
    score_mod, dense = bound.score_mod(), bound.dense()
    zero = torch.zeros(())
    for head in range(2):
        for q in range(12):
            for k in range(12):
                index = [torch.tensor(i) for i in (0, head, q, k)]
                assert score_mod(zero, *index) == dense[head, q, k]


def test_fresh_parameters_have_the_published_shape():
    initial = TableBias().initial(4, (32, 32))
    assert initial["relative_position_bias"].shape == (4, 63 * 63)
