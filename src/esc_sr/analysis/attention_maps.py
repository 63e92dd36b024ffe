"""Where attention looks: the maps of every layer, and how alike those of two layers are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from esc_sr.errors import InputError


class AttentionMaps(Protocol):
    """A module that tells where its tokens look.

    One that has `attention_map_chunks(x)` too, which yields the same in parts, is asked for that:
    a map of a 32×32 window has a million entries a head.
    """

    def attention_map(self, x: Tensor) -> Tensor:
        """Return `(windows, heads, N, N)`, query before key, of what `forward` gets."""
        ...


def layers_with_maps(network: nn.Module) -> list[str]:
    """Return the names of the layers that can tell where their tokens look."""
    return [
        name
        for name, module in network.named_modules()
        if name and callable(getattr(module, "attention_map", None))
    ]


def window_maps(module: nn.Module, x: Tensor) -> Iterator[Tensor]:
    """Yield the maps of a layer window by window, averaged over its heads.

    Args:
        module: One that `AttentionMaps` describes.
        x: What its `forward` gets.

    Yields:
        `(N, N)`, query before key; rows sum to 1.
    """
    chunks = getattr(module, "attention_map_chunks", None)
    if callable(chunks):
        parts = cast("Iterable[Tensor]", chunks(x))
    else:
        parts = [cast("AttentionMaps", module).attention_map(x)]
    for part in parts:
        yield from part.mean(1)


class AttentionSimilarity:
    """Cosine of the attention maps of every two layers, averaged over windows and images.

    Maps have no negative entries, so that cosines are positive: two layers that look everywhere
    alike are at 1, two that never look at the same place at 0. One window of every layer is held at
    a time.
    """

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._windows = 0

    def update(
        self,
        maps_a: Mapping[str, Iterable[Tensor]],
        maps_b: Mapping[str, Iterable[Tensor]] | None = None,
    ) -> None:
        """Add a batch.

        Args:
            maps_a: For each layer of the first network `(N, N)` for each window, as `window_maps`
                yields them; read once.
            maps_b: The same of the second network; None: the first with itself.

        Raises:
            InputError: Layers differ in their number of windows or tokens.
        """
        names = [*maps_a, *(maps_b or {})]
        for maps in zip_longest(*maps_a.values(), *(maps_b or {}).values()):
            sizes = [None if one is None else len(one) for one in maps]
            for name, size in zip(names, sizes, strict=True):
                if size != sizes[0]:
                    raise InputError(
                        f"layers: the attention maps of '{names[0]}' and '{name}' do not compare: "
                        f"{_describe(sizes[0])} against {_describe(size)}; choose layers with the "
                        "same windows"
                    )
            rows = F.normalize(torch.stack([one.flatten().float() for one in maps]), dim=1)
            of_a = rows[: len(maps_a)]
            cosines = of_a @ (of_a if maps_b is None else rows[len(maps_a) :]).T
            added = cosines.cpu().double()
            self._sum = added if self._sum is None else self._sum + added
            self._windows += 1

    def compute(self) -> Tensor:
        """Return the mean cosines.

        Returns:
            `(layers of A, layers of B)` in [0, 1], float64.

        Raises:
            ValueError: Nothing was added.
        """
        if self._sum is None:
            raise ValueError("no window was added")
        return self._sum / self._windows


def _describe(tokens: int | None) -> str:
    return "fewer windows" if tokens is None else f"windows of {tokens} tokens"
