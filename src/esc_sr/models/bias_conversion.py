"""Give a trained network another kind of bias, fitted to the one that it has."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch

from esc_sr.attention.bias import record_of_bias
from esc_sr.attention.bias.fitting import BiasFit, fit_bias
from esc_sr.attention.interface import Bias
from esc_sr.errors import InputError
from esc_sr.layers.window_attention import WindowAttention
from esc_sr.models.esc import ESCBase


def convert_bias(
    network: ESCBase,
    bias: Bias,
    *,
    refine: bool = True,
    on_layer: Callable[[str], None] | None = None,
) -> tuple[ESCBase, dict[str, BiasFit]]:
    """Fit another bias to that of every self-attention of a network.

    A table is exact for any bias. The other kinds are approximations, and how much of the network's
    output they keep is not told by the fit: compare outputs.

    Args:
        network: A trained network; stays as it is.
        bias: The kind wanted, and its settings.
        refine: As for `attention.bias.fitting.fit_bias`.
        on_layer: Called with the name of each self-attention before it is fitted.

    Returns:
        A copy of the network with the other bias, the same kernel and the same weights elsewhere;
        and the fits by the names of the layers.

    Raises:
        InputError: There is no self-attention, its bias is this one already, the kernel cannot
            carry it, or the values are not finite.

    Example:
        >>> from esc_sr.attention.bias import FourierBias
        >>> from esc_sr.models.esc import ESC
        >>> network = ESC(scale=2, dim=16, partial_dim=8, num_blocks=1, num_conv_attn=1,
        ...               window_size=8, num_heads=2)
        >>> converted, fits = convert_bias(network, FourierBias(rank=16))
        >>> converted.config["bias"]["kind"], list(fits)
        ('fourier', ['blocks.0.attn'])
    """
    converted = deepcopy(network)
    layers = {
        name: module
        for name, module in converted.named_modules()
        if isinstance(module, WindowAttention)
    }
    if not layers:
        raise InputError(
            "this network has no self-attention (it was made with attention=conv_attn), so there "
            "is no bias to convert"
        )
    if all(layer.attention.bias == bias for layer in layers.values()):
        settings = ", ".join(f"{name}={value}" for name, value in record_of_bias(bias).items())
        raise InputError(f"this network has that bias already ({settings}): nothing to convert")
    fits = {}
    for name, layer in layers.items():
        if on_layer is not None:
            on_layer(name)
        values = layer.bound_bias().values()
        if not torch.isfinite(values).all():
            raise InputError(f"the bias of {name} is not finite: the weights are broken")
        fits[name] = fit_bias(bias, values, layer.window_size, refine=refine)
        layer.replace_bias(bias, fits[name].parameters)
    converted.config["bias"] = record_of_bias(bias)
    return converted, fits
