"""The input and the precision with which callbacks measure the network."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from esc_sr.errors import InputError


def network_of(pl_module: L.LightningModule) -> nn.Module:
    """Return the network that a Lightning module trains, without its loss and metrics.

    Raises:
        InputError: The module has no attribute `network`.
    """
    network = getattr(pl_module, "network", None)
    if not isinstance(network, nn.Module):
        raise InputError(
            f"{type(pl_module).__name__} has no 'network' to measure; "
            "remove the latency and memory callbacks or name the network 'network'"
        )
    return network


def example_lq(
    trainer: L.Trainer, pl_module: L.LightningModule, lq_size: tuple[int, int]
) -> Tensor:
    """Return a random `(1, 3, H, W)` image in [0, 1], on the module's device, in its input type.

    From a generator of its own: the global ones must not notice.
    """
    generator = torch.Generator().manual_seed(0)
    example: Any = torch.rand(1, 3, *lq_size, generator=generator).to(pl_module.device)
    return trainer.precision_plugin.convert_input(example)
