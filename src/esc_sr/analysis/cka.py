"""Linear centred kernel alignment (CKA): how alike two layers arrange the same examples.

Sources: Kornblith et al., ICML 2019 (CKA); Song et al., JMLR 2012 (the unbiased HSIC₁); Nguyen,
Raghu and Kornblith, ICLR 2021 (the mean over minibatches, which makes any data set fit).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from esc_sr.analysis.precision import double
from esc_sr.errors import InputError

Estimator = Literal["unbiased", "plain"]
# Fewest examples in a batch.
FEWEST: dict[str, int] = {"unbiased": 4, "plain": 2}
# Columns that vary less than this share of their size are constant: what is left is rounding.
_CONSTANT = 1e-12


class Examples:
    """What one layer makes of a batch, centred, in float64.

    Args:
        features: `(n, p)`: n examples of p features.

    Attributes:
        num: n.
        squares: Squared length of each example, the diagonal of the Gram matrix, `(n,)`.
        centred: `(n, p)`; None where the Gram matrix is smaller, which then is all that is kept.

    Raises:
        ValueError: Not a matrix.
    """

    def __init__(self, features: Tensor) -> None:
        if features.ndim != 2:
            raise ValueError(f"features must be (examples, features), got {tuple(features.shape)}")
        features = double(features.detach())
        centred = features - features.mean(0)
        if centred.norm() <= _CONSTANT * features.norm():
            centred = torch.zeros_like(features)
        self.num = len(centred)
        self.squares = centred.square().sum(1)
        self.centred = centred if centred.shape[1] < self.num else None
        self._gram = None if centred.shape[1] < self.num else centred @ centred.T

    @property
    def gram(self) -> Tensor:
        """Similarities of the examples, `(n, n)`; kept once it is made."""
        if self._gram is None:
            assert self.centred is not None
            self._gram = self.centred @ self.centred.T
        return self._gram


def hsic(a: Examples, b: Examples, estimator: Estimator) -> Tensor:
    """Estimate the Hilbert–Schmidt independence criterion of two layers on one batch.

    Both estimators stand on ⟨K, L⟩, the inner product of the Gram matrices. It equals ‖XᵀY‖², which
    is computed where layers have fewer features than there are examples. Since X and Y are centred,
    rows of K and L sum to zero and the other terms of HSIC₁ need their diagonals alone: it does not
    change when an additive term of rows and columns is taken off.

    Args:
        a: One layer, n examples.
        b: The other, the same examples.
        estimator: "plain" is the biased HSIC₀ = tr(KHLH) / (n − 1)²; "unbiased" is HSIC₁.

    Returns:
        A scalar in float64; HSIC₁ of independent layers is zero on average, and may be negative.
    """
    num = a.num
    if a.centred is not None and b.centred is not None:
        inner = (a.centred.T @ b.centred).square().sum()
    else:
        inner = (a.gram * b.gram).sum()
    if estimator == "plain":
        return inner / (num - 1) ** 2
    # K̃, without its diagonal d, has rows that sum to −d.
    diagonals = (a.squares * b.squares).sum()
    sums = a.squares.sum() * b.squares.sum()
    total = inner - diagonals + sums / ((num - 1) * (num - 2)) - 2 * diagonals / (num - 2)
    return total / (num * (num - 3))


class LinearCKA:
    """CKA of every layer of one network with every layer of it, or of another, batch by batch.

    Sums of HSIC are all that is kept: memory does not grow with the data.

    Args:
        estimator: "unbiased" hardly depends on the size of the batches; "plain" is near 1 for any
            layers where they have more features than there are examples.

    Raises:
        InputError: Another estimator.

    Example:
        >>> import torch
        >>> x = torch.randn(64, 8)
        >>> cka = LinearCKA()
        >>> cka.update([x, 3 * x.flip(1)])
        >>> cka.compute().round(decimals=6)
        tensor([[1., 1.],
                [1., 1.]], dtype=torch.float64)
    """

    def __init__(self, estimator: Estimator = "unbiased") -> None:
        if estimator not in FEWEST:
            raise InputError(f"unknown estimator '{estimator}'; choose one of: {', '.join(FEWEST)}")
        self.estimator: Estimator = estimator
        self._cross: Tensor | None = None
        self._of_a: Tensor | None = None
        self._of_b: Tensor | None = None

    def update(
        self, features_a: Sequence[Tensor], features_b: Sequence[Tensor] | None = None
    ) -> None:
        """Add a batch.

        Args:
            features_a: `(n, p)` for each layer of the first network, p as the layer has it.
            features_b: The same examples in the second network; None: the first with itself.

        Raises:
            InputError: Too few examples for the estimator.
            ValueError: Layers differ in their number of examples, or batches in that of layers.
        """
        of_a = [Examples(features) for features in features_a]
        of_b = of_a if features_b is None else [Examples(features) for features in features_b]
        numbers = {layer.num for layer in (*of_a, *of_b)}
        if len(numbers) != 1:
            raise ValueError(f"layers must hold the same examples, got {sorted(numbers)} of them")
        if min(numbers) < FEWEST[self.estimator]:
            raise InputError(
                f"estimator={self.estimator} needs at least {FEWEST[self.estimator]} examples in a "
                f"batch, got {min(numbers)}; raise batch_size or num_pixels"
            )
        own_a = torch.stack([hsic(layer, layer, self.estimator) for layer in of_a])
        if features_b is None:
            own_b = own_a
            cross = own_a.diag()
            for i, j in zip(*torch.triu_indices(len(of_a), len(of_a), 1).tolist(), strict=True):
                cross[i, j] = cross[j, i] = hsic(of_a[i], of_a[j], self.estimator)
        else:
            own_b = torch.stack([hsic(layer, layer, self.estimator) for layer in of_b])
            cross = torch.stack(
                [torch.stack([hsic(a, b, self.estimator) for b in of_b]) for a in of_a]
            )
        if self._cross is None or self._of_a is None or self._of_b is None:
            self._cross, self._of_a, self._of_b = cross.cpu(), own_a.cpu(), own_b.cpu()
            return
        if self._cross.shape != cross.shape:
            raise ValueError(f"got {tuple(cross.shape)} layers after {tuple(self._cross.shape)}")
        self._cross = self._cross + cross.cpu()
        self._of_a = self._of_a + own_a.cpu()
        self._of_b = self._of_b + own_b.cpu()

    def compute(self) -> Tensor:
        """Return Σ HSIC(a, b) / √(Σ HSIC(a, a) · Σ HSIC(b, b)).

        Returns:
            `(layers of A, layers of B)` in float64: 1 for layers that are equal but for a rotation
            and a factor, about 0 for unrelated ones; NaN where a layer does not vary.

        Raises:
            ValueError: Nothing was added.
        """
        if self._cross is None or self._of_a is None or self._of_b is None:
            raise ValueError("no batch was added")
        norms = (self._of_a.clamp_min(0)[:, None] * self._of_b.clamp_min(0)[None]).sqrt()
        return torch.where(norms > 0, self._cross / norms, torch.nan)
