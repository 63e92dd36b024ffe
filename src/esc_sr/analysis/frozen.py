"""Look into a network without changing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Put a network in eval mode and ask for no gradient of its parameters; restore both.

    Gradients of the input flow as before, and cost no memory for those of the weights.

    Args:
        network: Any network.

    Yields:
        Nothing.
    """
    modes = [(module, module.training) for module in network.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    try:
        network.eval().requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, requires_grad in flags:
            parameter.requires_grad_(requires_grad)
