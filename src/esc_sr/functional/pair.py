"""What two image batches must share to be compared."""

from __future__ import annotations

from torch import Tensor

from esc_sr.errors import InputError


def check_pair(name: str, preds: Tensor, target: Tensor) -> None:
    """Refuse batches that cannot be compared.

    Args:
        name: The measure, for the message.
        preds: `(B, C, H, W)`, floating point.
        target: `(B, C, H, W)`, floating point.

    Raises:
        InputError: The shapes differ, or an image is not floating point.
    """
    if preds.shape != target.shape or preds.ndim != 4:
        raise InputError(
            f"{name} compares two (B, C, H, W) batches of one shape, got {tuple(preds.shape)} and "
            f"{tuple(target.shape)}; crop the target to a multiple of the scale"
        )
    if not (preds.is_floating_point() and target.is_floating_point()):
        raise InputError(
            f"{name} needs floating point images, got {preds.dtype} and {target.dtype}; "
            "convert them with .double()"
        )
