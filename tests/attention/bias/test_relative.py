"""What is true of every bias."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from esc_sr.attention.bias import (
    AxialBias,
    FourierBias,
    bias_of_record,
    deduce_bias,
    record_of_bias,
)
from esc_sr.attention.interface import FactoredBias

FACTORED = [AxialBias(), FourierBias(rank=6), FourierBias(rank=10, learned_frequencies=False)]


@given(
    bias=st.sampled_from(FACTORED),
    heads=st.integers(1, 4),
    window=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 9),
)
def test_the_features_multiply_to_the_dense_bias(bias, heads, window, seed, random_parameters):
    bound = bias.bind(random_parameters(bias, heads, window, seed=seed), window)
    assert isinstance(bound, FactoredBias)
    of_query, of_key = bound.features()
    torch.testing.assert_close(
        of_query @ of_key.transpose(-2, -1), bound.dense(), rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("window", [(8, 8), (32, 32), (48, 48), (48, 9)])
@pytest.mark.parametrize("bias", [AxialBias(), FourierBias(rank=48)], ids=lambda bias: bias.kind)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_the_features_are_exact_for_large_windows(
    bias, window, dtype, tolerance, random_parameters
):
    bound = bias.bind(random_parameters(bias, 1, window, dtype), window)
    of_query, of_key = bound.features()
    assert of_query.dtype == of_key.dtype == dtype
    product = of_query @ of_key.transpose(-2, -1)
    torch.testing.assert_close(product, bound.dense(), rtol=0, atol=tolerance)


def test_score_mod_adds_the_dense_bias(bias, random_parameters):
    bound = bias.bind(random_parameters(bias, 2, (3, 4)), (3, 4))
    score_mod, dense = bound.score_mod(), bound.dense()
    zero = torch.zeros((), dtype=torch.float64)
    for head in range(2):
        for q in range(12):
            for k in range(12):
                index = [torch.tensor(i) for i in (0, head, q, k)]
                assert score_mod(zero, *index) == dense[head, q, k]


def test_the_values_are_the_dense_bias_by_offset(bias, random_parameters, loop_over_pairs):
    bound = bias.bind(random_parameters(bias, 2, (3, 4)), (3, 4))
    values = bound.values().unflatten(1, (5, 7))
    expected = loop_over_pairs(lambda dy, dx: values[:, dy + 2, dx + 3], 2, (3, 4))
    assert torch.equal(bound.dense(), expected)


def test_it_asks_for_a_gradient_where_a_parameter_does(bias, random_parameters):
    parameters = random_parameters(bias, 2, (3, 4))
    assert not bias.bind(parameters, (3, 4)).requires_grad
    for name, value in parameters.items():
        bound = bias.bind({**parameters, name: value.clone().requires_grad_()}, (3, 4))
        assert bound.requires_grad
        assert bound.dense().requires_grad


def test_a_record_gives_the_same_bias(bias):
    assert bias_of_record(record_of_bias(bias)) == bias


def test_it_is_deduced_from_its_parameters_among_others(bias):
    parameters = {**bias.initial(2, (5, 5)), "to_qkv.weight": torch.zeros(3)}
    found = deduce_bias(parameters)
    assert found is not None
    assert found.bias == bias
    assert found.num_heads == 2
    assert deduce_bias({"to_qkv.weight": torch.zeros(3)}) is None


def test_settings_are_values(bias):
    assert deepcopy(bias) == bias
    assert hash(bias) == hash(deepcopy(bias))
