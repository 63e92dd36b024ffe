"""Where to compute, and with how much memory."""

from __future__ import annotations

import psutil
import torch

from esc_sr.errors import InputError

GIB = 2**30
# More working memory than this makes nothing faster on a CPU.
_MOST_ON_CPU = 2 * GIB
_SHARE_OF_FREE_CPU = 0.5
_SHARE_OF_FREE_GPU = 0.7


def pick_device(name: str) -> torch.device:
    """Return a device by its name.

    Args:
        name: "cpu", "cuda", "cuda:1", "mps", …; "auto" is the accelerator there is, else the CPU.

    Returns:
        The device.

    Raises:
        InputError: There is no such device here.
    """
    if not isinstance(name, str):
        raise InputError(f"device must be cpu, cuda, mps or auto, got {name}")
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


def memory_budget(device: torch.device) -> float:
    """Return how many bytes of working memory a computation may take, by what is free now.

    Args:
        device: Where to compute.

    Returns:
        Half of what is free on a CPU but at most 2 GiB; 0.7 of what is free on a CUDA device.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] * _SHARE_OF_FREE_GPU
    return min(psutil.virtual_memory().available * _SHARE_OF_FREE_CPU, _MOST_ON_CPU)
