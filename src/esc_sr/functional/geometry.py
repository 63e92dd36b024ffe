"""The eight flips and quarter turns of a square (the dihedral group D4)."""

from __future__ import annotations

import torch
from torch import Tensor

NUM_DIHEDRAL = 8


def dihedral(x: Tensor, index: int) -> Tensor:
    """Apply one of the eight flips and rotations to the last two dimensions.

    Args:
        x: `(..., H, W)`, any dtype.
        index: 0 to 7. `index % 4` quarter turns counter-clockwise, after a left-right flip if
            `index >= 4`. 0 is the identity.

    Returns:
        `(..., H, W)`, or `(..., W, H)` for an odd number of quarter turns; values are copied
        exactly.

    Raises:
        ValueError: `index` is not in 0..7.

    Example:
        >>> import torch
        >>> dihedral(torch.tensor([[1, 2], [3, 4]]), 1)
        tensor([[2, 4],
                [1, 3]])
    """
    if not 0 <= index < NUM_DIHEDRAL:
        raise ValueError(f"dihedral index must be 0 to 7, got {index}")
    if index >= 4:
        x = x.flip(-1)
    return torch.rot90(x, index % 4, (-2, -1)) if index % 4 else x


def dihedral_inverse(x: Tensor, index: int) -> Tensor:
    """Undo `dihedral(x, index)`.

    Example:
        >>> import torch
        >>> x = torch.arange(6).reshape(2, 3)
        >>> all(torch.equal(dihedral_inverse(dihedral(x, i), i), x) for i in range(8))
        True
    """
    if not 0 <= index < NUM_DIHEDRAL:
        raise ValueError(f"dihedral index must be 0 to 7, got {index}")
    if index % 4:
        x = torch.rot90(x, -(index % 4), (-2, -1))
    return x.flip(-1) if index >= 4 else x


def dihedral_mean(kernel: Tensor) -> Tensor:
    """Average a square kernel over its eight flips and rotations.

    The result is unchanged by any flip or rotation, and averaging it again changes nothing
    but rounding: the operation is a projection.

    Args:
        kernel: `(..., K, K)`.

    Returns:
        `(..., K, K)`.

    Raises:
        ValueError: The last two dimensions differ.

    Source: Lee et al., ICCV 2025, the geometric ensemble of the shared large kernel.

    Example:
        >>> import torch
        >>> dihedral_mean(torch.tensor([[4.0, 0.0], [0.0, 0.0]]))
        tensor([[1., 1.],
                [1., 1.]])
    """
    if kernel.shape[-1] != kernel.shape[-2]:
        raise ValueError(f"the kernel must be square, got {tuple(kernel.shape[-2:])}")
    return torch.stack([dihedral(kernel, i) for i in range(NUM_DIHEDRAL)]).mean(0)
