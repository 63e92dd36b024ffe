"""Give all tiles of an image the same global averages, so that they agree where they meet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def pooled_over(network: nn.Module, sample: Tensor, *, margin: int = 0) -> Iterator[None]:
    """Let every global average pooling of a network give its mean over `sample`.

    The dynamic kernels of ConvAttn, like channel attention elsewhere, are made from averages over
    the whole input. Of an image that is cut into tiles each tile would get kernels of its own, and
    flat areas would change their tone from tile to tile.

    Args:
        network: Any network; its `nn.AdaptiveAvgPool2d(1)` modules are the ones meant.
        sample: `(B, 3, h, w)`, parts of the image that stand for the whole.
        margin: Pixels at every side of a part that are not averaged, because the network pads
            what it does not see there; in feature maps of the size of the sample.

    Yields:
        Nothing; the network is as before when the context closes.
    """
    if not any(_pools(module) for module in network.modules()):
        yield
        return
    means: dict[nn.Module, Tensor] = {}
    height, width = sample.shape[-2:]
    inner = (..., slice(margin, height - margin), slice(margin, width - margin))

    def record(module: nn.Module, inputs: tuple[Tensor], pooled: Tensor) -> Tensor:
        averaged = inputs[0][inner] if inputs[0].shape[-2:] == sample.shape[-2:] else inputs[0]
        means[module] = averaged.mean((0, -2, -1), keepdim=True)
        return means[module].expand_as(pooled)

    def replay(module: nn.Module, _: Any, pooled: Tensor) -> Tensor:
        return means[module].expand_as(pooled)

    with _on_pooling(network, record):
        network(sample)
    with _on_pooling(network, replay):
        yield


@contextmanager
def _on_pooling(network: nn.Module, hook: Callable[..., Tensor]) -> Iterator[None]:
    with ExitStack() as stack:
        for module in network.modules():
            if _pools(module):
                stack.enter_context(module.register_forward_hook(hook))
        yield


def _pools(module: nn.Module) -> bool:
    """Return whether a module averages over the whole input."""
    return isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1))
