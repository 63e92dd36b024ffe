"""Where to compute."""

from __future__ import annotations

import torch

from esc_sr.errors import InputError


def pick_device(name: str) -> torch.device:
    """Return a device by its name.

    Args:
        name: "cpu", "cuda", "cuda:1", "mps", …; "auto" is the accelerator there is, else the CPU.

    Returns:
        The device.

    Raises:
        InputError: There is no such device here.
    """
    if name == "auto":
        available = torch.accelerator.is_available()
        accelerator = torch.accelerator.current_accelerator() if available else None
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device={name} is not available here; use device=cpu") from error
    return device
