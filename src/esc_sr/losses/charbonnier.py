"""The Charbonnier loss: L1 with a rounded tip."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from esc_sr.errors import InputError


class CharbonnierLoss(nn.Module):
    """Mean of sqrt((sr - gt)² + eps²) over all pixels, channels and images.

    Differentiable where sr = gt, unlike L1; its least value is `eps`, not 0. Computed in at
    least float32, also under autocast and for half-precision inputs.

    Args:
        eps: Width of the rounded tip, in the unit of the images ([0, 1]); above 0.

    Raises:
        InputError: `eps` is not positive.

    Source: Charbonnier et al., "Two deterministic half-quadratic regularization algorithms for
        computed imaging", ICIP 1994; eps = 1e-3 as in LapSRN (Lai et al., CVPR 2017).
    """

    def __init__(self, *, eps: float = 1e-3) -> None:
        super().__init__()
        if not eps > 0:
            raise InputError(f"eps of the Charbonnier loss must be above 0, got {eps}; try 1e-3")
        self.eps = eps

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        """Return the scalar loss of `sr` against `gt`, both `(B, C, H, W)` in [0, 1]."""
        dtype = torch.promote_types(torch.promote_types(sr.dtype, gt.dtype), torch.float32)
        difference = sr.to(dtype) - gt.to(dtype)
        return torch.sqrt(difference.square() + self.eps**2).mean()
