"""Relative position biases: what is added to the attention scores, a function of key − query.

A bias holds settings and names its parameters; bound to their values it says what is added
(`dense`, `score_mod`), and if it can be written as a product of query and key features also those
(`features`), which any attention kernel takes without a mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor

from esc_sr.attention.bias.axial import AxialBias, BoundAxialBias
from esc_sr.attention.bias.fourier import BoundFourierBias, FourierBias
from esc_sr.attention.bias.table import BoundTableBias, TableBias
from esc_sr.attention.interface import Bias, DeducedBias

__all__ = [
    "AxialBias",
    "BoundAxialBias",
    "BoundFourierBias",
    "BoundTableBias",
    "FourierBias",
    "TableBias",
    "bias_of_record",
    "deduce_bias",
    "record_of_bias",
]

_KINDS = (TableBias, AxialBias, FourierBias)


def deduce_bias(parameters: Mapping[str, Tensor]) -> DeducedBias | None:
    """Tell from the parameters of a self-attention which bias it has.

    Args:
        parameters: By the names they have in the self-attention, other parameters among them.

    Returns:
        The bias and what else its parameters say; None: none of the biases known here.
    """
    for kind in _KINDS:
        found = kind.deduce(parameters)
        if found is not None:
            return found
    return None


def record_of_bias(bias: Bias) -> dict[str, Any]:
    """Return the kind and the settings of a bias as plain values, for a checkpoint."""
    return {"kind": bias.kind, **asdict(bias)}


def bias_of_record(record: Mapping[str, Any]) -> Bias:
    """Return the bias that `record_of_bias` has recorded."""
    settings = dict(record)
    kinds = {kind.kind: kind for kind in _KINDS}
    return kinds[settings.pop("kind")](**settings)
