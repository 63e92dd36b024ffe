"""How alike layers are, over many images: of one network, or of two."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from esc_sr.analysis.attention_maps import AttentionSimilarity, window_maps
from esc_sr.analysis.cka import Estimator, LinearCKA
from esc_sr.analysis.features import capture
from esc_sr.analysis.layout import choose_positions, image_examples, pixel_examples
from esc_sr.errors import InputError


@dataclass(frozen=True)
class Similarity:
    """Similarities of the layers of one network, or of those of two.

    Attributes:
        layers_a: Names of the rows, in order of execution.
        layers_b: Names of the columns.
        matrix: `(layers of A, layers of B)`, float64; NaN where a layer does not vary.
        within: Whether both are the same layers of one network.
    """

    layers_a: list[str]
    layers_b: list[str]
    matrix: Tensor
    within: bool

    def mean(self) -> float:
        """Return the mean of what is defined, without a layer's similarity to itself."""
        kept = torch.ones_like(self.matrix, dtype=torch.bool)
        if self.within:
            kept.fill_diagonal_(False)
        return float(self.matrix[kept].nanmean())

    def neighbours(self) -> float | None:
        """Return the mean of layers that follow each other; None between networks."""
        return float(self.matrix.diagonal(1).nanmean()) if self.within else None


# A network and the names of its layers; or two of them.
Networks = Sequence[tuple[nn.Module, Sequence[str]]]


def feature_similarity(
    networks: Networks,
    batches: Iterable[Tensor],
    *,
    estimator: Estimator = "unbiased",
    examples: Literal["pixels", "images"] = "pixels",
    num_pixels: int = 1024,
    seed: int = 0,
    on_batch: Callable[[], None] | None = None,
) -> list[Similarity]:
    """Compare what layers compute by linear CKA.

    Args:
        networks: A network and names of its layers; or two of them.
        batches: LQ images, `(B, 3, H, W)` in [0, 1].
        estimator: "unbiased" or "plain", see `cka`.
        examples: "pixels": what is compared is how the layers tell places apart, at `num_pixels`
            places of each batch. "images": how they tell images apart.
        num_pixels: Places in a batch.
        seed: Of the places.
        on_batch: Called after each batch.

    Returns:
        CKA within the network; of two, within each and, last, of the first's with the second's.

    Raises:
        InputError: A layer is no map over the image, or there are too few examples.
    """
    cka = LinearCKA(estimator)
    generator = torch.Generator().manual_seed(seed)
    names: list[list[str]] = []
    for lq in batches:
        size = (lq.shape[-2], lq.shape[-1])
        positions = choose_positions(len(lq), size, num_pixels, generator)
        rows: list[Tensor] = []
        names = []
        for network, layers in networks:
            features = capture(network, layers, lq)
            names.append(list(features))
            for name, feature in features.items():
                if examples == "images":
                    rows.append(image_examples(feature))
                else:
                    rows.append(pixel_examples(feature, positions, size, layer=name))
        cka.update(rows)
        if on_batch is not None:
            on_batch()
    matrix, of_a = cka.compute(), len(names[0])
    found = [Similarity(names[0], names[0], matrix[:of_a, :of_a], within=True)]
    if len(names) == 2:
        found.append(Similarity(names[1], names[1], matrix[of_a:, of_a:], within=True))
        found.append(Similarity(names[0], names[1], matrix[:of_a, of_a:], within=False))
    return found


def map_similarity(
    networks: Networks,
    batches: Iterable[Tensor],
    *,
    on_batch: Callable[[], None] | None = None,
) -> list[Similarity]:
    """Compare where layers look by the cosine of their attention maps, averaged over heads.

    Args:
        networks: A network and names of its layers, each with `attention_map`; or two of them.
        batches: LQ images, `(B, 3, H, W)` in [0, 1].
        on_batch: Called after each batch.

    Returns:
        Mean cosines within the network; of two, within each and, last, of the first's with the
        second's, unless their windows have different sizes.

    Raises:
        InputError: A layer has no attention maps, or those of a network differ in size.
    """
    for network, layers in networks:
        for name in layers:
            if not callable(getattr(network.get_submodule(name), "attention_map", None)):
                raise InputError(
                    f"layers: '{name}' is a {type(network.get_submodule(name)).__name__}, which "
                    "has no attention maps; leave layers out, or choose measure=cka"
                )
    within, across = [AttentionSimilarity() for _ in networks], AttentionSimilarity()
    names: list[list[str]] = []
    comparable = False
    for lq in batches:
        inputs = [capture(network, layers, lq, inputs=True) for network, layers in networks]
        names = [list(of_network) for of_network in inputs]

        # Made again for each comparison: kept, all windows of a layer would have to be.
        def maps(
            index: int, inputs: list[dict[str, Tensor]] = inputs
        ) -> dict[str, Iterator[Tensor]]:
            network = networks[index][0]
            return {n: window_maps(network.get_submodule(n), x) for n, x in inputs[index].items()}

        with torch.no_grad():
            for index, similarity in enumerate(within):
                similarity.update(maps(index))
            if len(networks) == 2:
                tokens = {len(next(next(iter(maps(index).values())))) for index in (0, 1)}
                comparable = len(tokens) == 1
            if comparable:
                across.update(maps(0), maps(1))
        if on_batch is not None:
            on_batch()
    found = [
        Similarity(layers, layers, similarity.compute(), within=True)
        for layers, similarity in zip(names, within, strict=True)
    ]
    if comparable:
        found.append(Similarity(names[0], names[1], across.compute(), within=False))
    return found
