"""A loss on Fourier coefficients, which weighs fine texture like coarse structure."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from esc_sr.errors import InputError


class FFTLoss(nn.Module):
    """L1 distance of the two-dimensional Fourier coefficients of `sr` and `gt`.

    The mean of |Re| and |Im| of `rfft2(sr - gt)` over images, channels and the half plane of
    frequencies that a real image needs. Computed in at least float32, also under autocast: the
    coefficients span too many orders of magnitude for 16 bits.

    Args:
        norm: Scaling of the transform. `"backward"`, none, as in the papers: the loss of noise
            grows with the square root of the number of pixels, so a weight (0.05 to 0.1) belongs
            to a patch size. `"ortho"`, divided by sqrt(H·W): the loss of noise does not depend
            on the patch size.

    Raises:
        InputError: `norm` is unknown.

    Source: Cho et al., "Rethinking coarse-to-fine approach in single image deblurring", ICCV
        2021 (weight 0.1); Sun et al., "Spatially-adaptive feature modulation for efficient image
        super-resolution", ICCV 2023 (weight 0.05, full plane instead of the half).
    """

    def __init__(self, *, norm: Literal["backward", "ortho"] = "backward") -> None:
        super().__init__()
        if norm not in ("backward", "ortho"):
            raise InputError(f"norm of the FFT loss must be 'backward' or 'ortho', got {norm!r}")
        self.norm = norm

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        """Return the scalar loss of `sr` against `gt`, both `(B, C, H, W)` in [0, 1]."""
        dtype = torch.promote_types(torch.promote_types(sr.dtype, gt.dtype), torch.float32)
        with torch.autocast(sr.device.type, enabled=False):
            # The transform is linear: one of the difference instead of two.
            difference = torch.fft.rfft2(sr.to(dtype) - gt.to(dtype), norm=self.norm)
            return torch.view_as_real(difference).abs().mean()
