"""What a network of the family is: variant, cost, how far it sees, who computes its attention."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from omegaconf import OmegaConf

from esc_sr.api import list_models
from esc_sr.attention import attention_by_name, attention_names
from esc_sr.config import conf_dir
from esc_sr.layers.window_attention import WindowAttention
from esc_sr.models.checkpoints import ARCHITECTURES
from esc_sr.models.esc import ESCBase
from esc_sr.profiling.macs import count_macs, count_parameters

_SR_SIZE = (720, 1280)  # what the papers count multiply-adds for
# What a configuration holds beside the settings by which variants differ.
_NOT_SETTINGS = {"architecture", "scale", "self_attention", "bias"}


def facts_of(network: ESCBase, *, leave_out: Collection[str] = ()) -> dict[str, Any]:
    """Return what a network is, whatever its weights.

    Args:
        network: On any device, the meta device too.
        leave_out: As of `variant_of`.

    Returns:
        Plain values by name, None where there is no such thing.
    """
    config, scale = network.config, network.scale
    lq_size = (math.ceil(_SR_SIZE[0] / scale), math.ceil(_SR_SIZE[1] / scale))
    return {
        "network": network.title,
        "variant": variant_of(config, leave_out=leave_out),
        "scale": scale,
        "parameters": count_parameters(network),
        "multiply_adds_g": round(count_macs(network, lq_size) / 1e9, 1),
        **_looks_at(network),
        "settings": {key: value for key, value in config.items() if key not in _NOT_SETTINGS},
    }


def variant_of(config: Mapping[str, Any], *, leave_out: Collection[str] = ()) -> str:
    """Name the file of `conf/model` whose network has these settings, or the nearest one.

    Args:
        config: As `ESCBase.config`.
        leave_out: Settings that shall not count.

    Returns:
        Its name; behind "but" the settings that differ.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in list_models():
        settings = _settings_of(name)
        if settings.pop("_target_").rpartition(".")[2] == config["architecture"]:
            variant = ARCHITECTURES[config["architecture"]](**settings | {"scale": config["scale"]})
            found[name] = {
                key: value
                for key, value in config.items()
                if key not in _NOT_SETTINGS
                and key not in leave_out
                and variant.config.get(key) != value
            }
    name = min(found, key=lambda name: len(found[name]))
    return name + (f" but {text_of(found[name])}" if found[name] else "")


def _settings_of(name: str) -> dict[str, Any]:
    """Read a file of `conf/model` with those that it is based on, without composing all of conf."""
    node: Any = OmegaConf.to_container(OmegaConf.load(conf_dir() / "model" / f"{name}.yaml"))
    settings: dict[str, Any] = {}
    for base in node.pop("defaults", []):
        if base != "_self_":
            settings |= _settings_of(base)
    return settings | node


def _looks_at(network: ESCBase) -> dict[str, Any]:
    """Say how far the network sees, and who can compute its self-attention."""
    layers = [module for module in network.modules() if isinstance(module, WindowAttention)]
    sees = []
    if layers:
        height, width = network.window_size
        sees.append(f"windows of {height}×{width} by self-attention")
    size = network.config.get("large_kernel_size")
    if size is not None:
        sees.append(f"{size}×{size} by each ConvAttn")
        if network.config["dynamic_kernel"]:
            sees.append("the whole image by the means its dynamic kernels are made from")
    facts: dict[str, Any] = {"sees": "; ".join(sees), "attention": None, "kernels": None}
    if layers:
        kind = layers[0].attention.bias.kind
        facts["attention"] = f"{len(layers)} × self-attention, {kind} bias"
        named = {name: attention_by_name(name) for name in attention_names()}
        facts["kernels"] = [
            name for name, one in named.items() if one is not None and kind in one.kernel.biases
        ]
    else:
        facts["attention"] = "none: each one is a ConvAttn"
    return facts


def text_of(value: Any) -> str:
    """Return a fact as people read it.

    Args:
        value: Plain, or a list or a mapping of such.
    """
    if isinstance(value, dict):
        return ", ".join(f"{key}={text_of(one)}" for key, one in value.items())
    if isinstance(value, list):
        numbers = all(isinstance(one, int) for one in value)
        return ("×" if numbers else ", ").join(str(one) for one in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
