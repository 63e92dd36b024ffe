"""What the layers of a network compute: choose them by name, capture what goes in or comes out."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from esc_sr.analysis.frozen import frozen
from esc_sr.errors import InputError

_SHOWN = 6  # names in a message


def choose_layers(network: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Return the names of the layers that one pattern or more match.

    Args:
        network: Any network.
        patterns: Of `fnmatch` over the names of `named_modules()`, where `*` crosses dots too, such
            as "blocks.*.attn" or "blocks.?".

    Returns:
        Names in the order in which the network holds them, each once.

    Raises:
        InputError: A pattern matches nothing.
    """
    names = [name for name, _ in network.named_modules() if name]
    for pattern in patterns:
        if not matches(network, pattern):
            close = difflib.get_close_matches(pattern, names, n=_SHOWN, cutoff=0.5)
            raise InputError(
                f"layers: no layer of this {type(network).__name__} matches '{pattern}'; "
                f"it has {len(names)}, such as {', '.join(close or names[:_SHOWN]) or 'none'}"
            )
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def matches(network: nn.Module, pattern: str) -> bool:
    """Return whether a network has a layer of such a name."""
    return any(fnmatchcase(name, pattern) for name, _ in network.named_modules() if name)


def stages(network: nn.Module) -> list[str]:
    """Return what a network is made of at the top: its children, and the items of those in lists.

    Args:
        network: Any network.

    Returns:
        Names; for ESC `proj`, `blocks.0` …, `last`, `to_img`.
    """
    found = []
    for name, child in network.named_children():
        listed = isinstance(child, nn.ModuleList | nn.Sequential) and len(child) > 0
        found += [f"{name}.{inner}" for inner, _ in child.named_children()] if listed else [name]
    return found


@contextmanager
def captured(
    network: nn.Module, layers: Sequence[str], *, inputs: bool = False
) -> Iterator[dict[str, Tensor]]:
    """Capture what layers give, or get, in every call of the network inside the context.

    Args:
        network: Any network.
        layers: Names of `named_modules()`.
        inputs: Capture what they get instead of what they give.

    Yields:
        Tensors by layer, filled in by each call: in the order in which layers finish (with
        `inputs`: start). Copies, so that what works in place behind a layer does not change them.
        A layer that is called several times keeps the last; of a tuple the first tensor is meant;
        a layer without one does not appear.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str, value: Any) -> None:
        if isinstance(value, tuple | list):
            value = next((part for part in value if isinstance(part, Tensor)), None)
        if isinstance(value, Tensor):
            found[name] = value.clone()

    def on_output(name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        keep(name, output)

    def on_input(name: str, _module: nn.Module, inputs: Any) -> None:
        keep(name, inputs)

    with ExitStack() as hooks:
        for name in layers:
            module = network.get_submodule(name)
            if inputs:
                hooks.enter_context(module.register_forward_pre_hook(partial(on_input, name)))
            else:
                hooks.enter_context(module.register_forward_hook(partial(on_output, name)))
        yield found


def capture(
    network: nn.Module, layers: Sequence[str], lq: Tensor, *, inputs: bool = False
) -> dict[str, Tensor]:
    """Run a network once, in eval mode without gradients, and return what layers gave or got.

    Args:
        network: Any network; left as it is.
        layers: Names of `named_modules()`.
        lq: `(B, 3, H, W)` in [0, 1].
        inputs: Return what they got instead of what they gave.

    Returns:
        Tensors by layer, in order of execution; see `captured`.

    Raises:
        InputError: None of the layers is called with, or returns, a tensor; or there are none; or
            what they give is not finite.
    """
    if not layers:
        raise InputError(f"layers: {type(network).__name__} has no layers to look into")
    with frozen(network), torch.no_grad(), captured(network, layers, inputs=inputs) as found:
        network(lq)
    if not found:
        raise InputError(
            f"layers: the network calls none of {', '.join(layers[:_SHOWN])} "
            "as a module, or they return no tensor; choose others"
        )
    for name, tensor in found.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InputError(
                f"layer '{name}' gives values that are not finite: the weights are broken"
            )
    return found
