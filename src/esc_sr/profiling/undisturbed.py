"""Run a module for measurement and leave no trace of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def undisturbed(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Put a module in eval mode without gradients, and restore everything afterwards.

    The mode of every submodule comes back as it was, also where some were in eval mode inside a
    training parent (frozen normalisation), and so do the random generators of the CPU and of
    `device`: a measurement in the middle of training must not change its result.

    Args:
        module: Module about to be measured.
        device: Device on which it runs.

    Yields:
        None.
    """
    modes = [(submodule, submodule.training) for submodule in module.modules()]
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            module.eval()
            yield
    finally:
        for submodule, training in modes:
            submodule.training = training
