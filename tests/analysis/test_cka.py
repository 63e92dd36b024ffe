"""CKA against its definition, written out in numpy with the Gram matrices as the papers have it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from esc_sr.analysis.cka import LinearCKA
from esc_sr.errors import InputError


def reference_hsic(x, y, estimator):
    """Kornblith et al. 2019, eq. 3, and Song et al. 2012, eq. 5."""
    n = len(x)
    k, l = x @ x.T, y @ y.T  # noqa: E741
    if estimator == "plain":
        h = np.eye(n) - np.ones((n, n)) / n
        return np.trace(k @ h @ l @ h) / (n - 1) ** 2
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l, 0)
    one = np.ones(n)
    total = np.trace(k @ l) + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return (total - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3))


def reference_cka(batches, estimator):
    """The ratio of sums over batches, for lists of (x, y)."""

    def mean(i, j):
        return np.mean([reference_hsic(pair[i], pair[j], estimator) for pair in batches])

    return mean(0, 1) / np.sqrt(mean(0, 0) * mean(1, 1))


def cka(*features, estimator="unbiased"):
    measure = LinearCKA(estimator)
    measure.update(features)
    return measure.compute()


every_estimator = pytest.mark.parametrize("estimator", ["unbiased", "plain"])
# Fewer and more features than examples: computed in feature space, by Gram matrices, or mixed.
SIZES = [(5, 7), (40, 50), (5, 50)]


@every_estimator
@pytest.mark.parametrize(("p", "q"), SIZES)
def test_it_equals_the_definition_over_batches(estimator, p, q):
    rng = np.random.default_rng(0)
    batches = []
    for n in (12, 12, 20):
        x = rng.normal(size=(n, p)) + 3
        y = np.tanh(x @ rng.normal(size=(p, q))) + rng.normal(size=(n, q)) - 2
        batches.append((x, y))
    within, between = LinearCKA(estimator), LinearCKA(estimator)
    for x, y in batches:
        x, y = torch.from_numpy(x), torch.from_numpy(y)
        within.update([x, y])
        between.update([x], [y, x])
    expected = reference_cka(batches, estimator)
    np.testing.assert_allclose(within.compute(), [[1, expected], [expected, 1]], rtol=1e-10)
    np.testing.assert_allclose(between.compute(), [[expected, 1]], rtol=1e-10)


@every_estimator
@given(seed=st.integers(0, 1000), n=st.integers(4, 30), p=st.integers(1, 12))
def test_features_and_gram_matrices_give_the_same(estimator, seed, n, p):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, p, generator=generator, dtype=torch.float64)
    y = x.square() + torch.randn(n, p, generator=generator, dtype=torch.float64)
    # Features that are always zero change nothing but the way of computing.
    padded = torch.cat([x, torch.zeros(n, 40, dtype=torch.float64)], 1)
    torch.testing.assert_close(
        cka(x, y, estimator=estimator), cka(padded, y, estimator=estimator), equal_nan=True
    )


@every_estimator
@pytest.mark.parametrize(("p", "q"), SIZES)
def test_rotations_factors_and_shifts_do_not_matter(estimator, p, q):
    x = torch.randn(16, p, dtype=torch.float64)
    y = torch.randn(16, q, dtype=torch.float64) + x[:, :1]
    rotation = torch.linalg.qr(torch.randn(p, p, dtype=torch.float64)).Q
    changed = -2.5 * x @ rotation + torch.randn(p, dtype=torch.float64)
    matrix = cka(x, changed, y, estimator=estimator)
    assert matrix[0, 1] == pytest.approx(1, abs=1e-10)
    assert matrix[0, 2] == pytest.approx(float(matrix[1, 2]), abs=1e-10)


def test_unrelated_layers_are_near_zero_only_without_bias():
    measures = {estimator: LinearCKA(estimator) for estimator in ("unbiased", "plain")}
    for _ in range(100):
        features = [torch.randn(16, 64), torch.randn(16, 64)]
        for measure in measures.values():
            measure.update(features)
    assert abs(float(measures["unbiased"].compute()[0, 1])) < 0.02
    assert float(measures["plain"].compute()[0, 1]) > 0.6


def test_a_layer_that_does_not_vary_has_no_similarity():
    constant = torch.full((8, 3), 0.1)
    matrix = cka(torch.randn(8, 3), constant)
    assert matrix[0, 0] == pytest.approx(1)
    assert matrix[0, 1].isnan()
    assert matrix[1, 1].isnan()


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="unknown estimator 'other'; choose one of: unbiased"):
        LinearCKA("other")
    with pytest.raises(InputError, match="estimator=unbiased needs at least 4 examples"):
        cka(torch.randn(3, 2))
    assert cka(torch.randn(3, 2), estimator="plain")[0, 0] == pytest.approx(1)
    with pytest.raises(ValueError, match="same examples"):
        cka(torch.randn(8, 2), torch.randn(7, 2))
    with pytest.raises(ValueError, match="no batch"):
        LinearCKA().compute()
    measure = LinearCKA()
    measure.update([torch.randn(8, 2)])
    with pytest.raises(ValueError, match="layers after"):
        measure.update([torch.randn(8, 2), torch.randn(8, 2)])
    with pytest.raises(ValueError, match="must be"):
        cka(torch.randn(8, 2, 1))
