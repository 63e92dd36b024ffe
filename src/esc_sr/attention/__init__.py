"""The seam: how `softmax(q kᵀ · scale + bias) v` is computed, chosen by `attention=`.

A new kernel is one file here (a frozen dataclass of its settings with `interface.Kernel`'s call,
and `attention()`, what its name stands for) and one YAML in `conf/attention/`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable

from esc_sr.attention.interface import SelfAttention
from esc_sr.errors import InputError

__all__ = ["SelfAttention", "attention_by_name", "attention_names"]

_NOT_KERNELS = {"interface", "bias"}


def attention_names() -> list[str]:
    """Return the names that `attention_by_name` knows, one per kernel file of this package."""
    modules = {module.name for module in pkgutil.iter_modules(__path__)}
    return [*sorted(modules - _NOT_KERNELS), "conv_attn"]


def attention_by_name(name: str) -> SelfAttention | None:
    """Return what `attention=NAME` stands for.

    Args:
        name: A name of `attention_names()`; behind a colon what its kernel leaves open, as in
            "flash:sdpa_flash".

    Returns:
        The bias and kernel, or None for `conv_attn`: no self-attention at all.

    Raises:
        InputError: It is no name, there is none such, or nothing of that kind to choose.
    """
    if not isinstance(name, str):
        raise InputError(
            f"attention must be a name ({', '.join(attention_names())}) or a SelfAttention of a "
            f"bias and a kernel, got {name!r}"
        )
    known, colon, choice = name.partition(":")
    if known not in attention_names():
        raise InputError(
            f"unknown attention '{known}'; choose one of: {', '.join(attention_names())}"
        )
    make = _maker(known)
    if not colon:
        return make()
    if not inspect.signature(make).parameters:
        raise InputError(f"attention={name}: {known} leaves nothing to choose behind a colon")
    try:
        return make(choice)
    except ValueError as error:
        raise InputError(f"attention={name}: {error}") from error


def _maker(name: str) -> Callable[..., SelfAttention | None]:
    if name == "conv_attn":
        return lambda: None
    return importlib.import_module(f"esc_sr.attention.{name}").attention
