"""The networks that a configuration or a command line means."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from torch import nn

from esc_sr.config import instantiate
from esc_sr.errors import InputError
from esc_sr.models.checkpoints import load_model


def positional_checkpoints(arguments: Sequence[str]) -> list[str]:
    """Turn paths on a command line into Hydra's `checkpoint=...`.

    Args:
        arguments: What stands behind the command's name.

    Returns:
        The same; what is neither `key=value` nor an option nor an option's value has become the
        value of `checkpoint`, a list if there are several.

    Example:
        >>> positional_checkpoints(["a.pth", "scale=2"])
        ["checkpoint='a.pth'", 'scale=2']
    """
    paths, rest = [], []
    option = ""
    for argument in arguments:
        is_path = not argument.startswith(("-", "~", "+")) and "=" not in argument
        if is_path and option not in _OPTIONS_WITH_VALUE:
            paths.append("'" + argument.replace("'", r"\'") + "'")
        else:
            rest.append(argument)
        option = argument
    if not paths:
        return rest
    return [f"checkpoint={paths[0] if len(paths) == 1 else '[' + ','.join(paths) + ']'}", *rest]


_OPTIONS_WITH_VALUE = {"--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn"}
_OPTIONS_WITH_VALUE |= {"--cfg", "-c", "--package", "-p", "--info", "-i"}


def check_attention(model: DictConfig) -> None:
    """Refuse an attention for a network that has none to choose.

    Args:
        model: The network's node, with its `_target_`.

    Raises:
        InputError: The constructor takes no `attention`.
    """
    target = get_object(model._target_)
    if "attention" in model and "attention" not in inspect.signature(target).parameters:
        raise InputError(
            f"{model._target_} has no attention to choose: add ~attention, or choose model=esc"
        )


def open_networks(cfg: DictConfig) -> list[tuple[str, int, nn.Module | None]]:
    """Load the checkpoints, or build the model for every scale; or there are images already.

    Args:
        cfg: With `checkpoint`, `model`, `sr_dir` and `scale` as in `conf/evaluate.yaml`.

    Returns:
        A name, a scale, and the network, None for `sr_dir`; one or more of them.

    Raises:
        InputError: Not exactly one of the three is given, the scale is missing or another than a
            checkpoint's, or an attention is chosen for what has none.
    """
    # The attention group writes into the model's node, so that may hold nothing else.
    chosen = cfg.get("model") or OmegaConf.create({})
    given = [cfg.checkpoint is not None, "_target_" in chosen, cfg.sr_dir is not None]
    if sum(given) != 1:
        raise InputError(
            "give one thing to evaluate: checkpoint=PATH, model=bicubic or sr_dir=FOLDER"
        )
    scales = list(cfg.scale) if OmegaConf.is_list(cfg.scale) else [cfg.scale]
    if cfg.checkpoint is not None:
        return _load_all(cfg, [scale for scale in scales if scale is not None])
    if scales == [None]:
        raise InputError("scale is needed here: add scale=4, or several: scale=[2,3,4]")
    if cfg.sr_dir is not None:
        if "attention" in chosen:
            raise InputError("sr_dir holds finished images: leave attention out")
        return [(Path(cfg.sr_dir).resolve().name, scale, None) for scale in scales]
    check_attention(chosen)
    networks = [instantiate(at_scale(cfg, scale).model) for scale in scales]
    return [
        (type(network).__name__.lower(), scale, network)
        for scale, network in zip(scales, networks, strict=True)
    ]


def at_scale(cfg: DictConfig, scale: int) -> DictConfig:
    """Return the configuration with a single scale, which others of its values refer to."""
    copied = cfg.copy()
    OmegaConf.set_readonly(copied, False)
    copied.scale = scale
    return copied


def _load_all(cfg: DictConfig, scales: Sequence[int]) -> list[tuple[str, int, nn.Module | None]]:
    paths = list(cfg.checkpoint) if OmegaConf.is_list(cfg.checkpoint) else [cfg.checkpoint]
    names = [Path(path).name for path in paths]
    attention = None
    if "attention" in (cfg.get("model") or {}):
        attention = instantiate(cfg.model.attention) or "conv_attn"
    loaded: list[tuple[str, int, nn.Module | None]] = []
    for path, name in zip(paths, names, strict=True):
        network = load_model(path, attention=attention)
        if scales and network.scale not in scales:
            asked = ",".join(map(str, scales))
            raise InputError(
                f"{path} enlarges ×{network.scale}, scale={asked} was asked for; "
                f"set scale={network.scale} or leave it out"
            )
        loaded.append((name if names.count(name) == 1 else str(path), network.scale, network))
    return loaded
