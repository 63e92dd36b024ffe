"""The geometric self-ensemble of super-resolution (EDSR's "+")."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from esc_sr.functional.geometry import NUM_DIHEDRAL, dihedral, dihedral_inverse


def self_ensemble(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Average over the eight flips and rotations of the input, each undone.

    The image is transformed first and then goes through everything that `forward` does, padding
    to whole windows included, as in EDSR (Lim et al., CVPRW 2017, section 3.4).

    Args:
        forward: Maps `(B, C, H, W)` to `(B, C, s·H, s·W)`.

    Returns:
        A function of the same kind; it holds two results at a time.

    Example:
        >>> import torch
        >>> same = self_ensemble(lambda lq: lq)
        >>> x = torch.rand(1, 3, 4, 6)
        >>> torch.allclose(same(x), x)
        True
    """

    def averaged(lq: Tensor) -> Tensor:
        total = forward(lq).clone()
        for index in range(1, NUM_DIHEDRAL):
            total += dihedral_inverse(forward(dihedral(lq, index)), index)
        return total / NUM_DIHEDRAL

    return averaged
