"""The networks that a configuration or a command line means."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import nn

from esc_sr.attention import SelfAttention
from esc_sr.config import instantiate, target_of
from esc_sr.errors import InputError
from esc_sr.models.checkpoints import load_model, load_weights, read_checkpoint
from esc_sr.models.esc import ESCBase
from esc_sr.models.packaged import default_weights, find_weights


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
    return positional_paths(arguments, "checkpoint")


def positional_paths(
    arguments: Sequence[str], key: str, *, always_a_list: bool = False
) -> list[str]:
    """Turn paths on a command line into one `key=...` of Hydra's.

    Args:
        arguments: What stands behind the command's name.
        key: Whose value they are.
        always_a_list: One path gives a list too; and folders that exist may have "=" in their
            names, as those of a multirun can.

    Returns:
        The same, with the paths as one argument in front.
    """
    paths, rest = [], []
    option = ""
    for argument in arguments:
        is_path = not argument.startswith(("-", "~", "+")) and "=" not in argument
        is_path = is_path or (always_a_list and os.path.isdir(argument))
        if is_path and option not in OPTIONS_WITH_VALUE:
            paths.append("'" + argument.replace("'", r"\'") + "'")
        else:
            rest.append(argument)
        option = argument
    if not paths:
        return rest
    one = len(paths) == 1 and not always_a_list
    return [f"{key}={paths[0] if one else '[' + ','.join(paths) + ']'}", *rest]


def with_output(arguments: Sequence[str]) -> list[str]:
    """Turn `-o FILE`, as `esc-sr upscale` takes it, into Hydra's `output='FILE'`.

    Args:
        arguments: What stands behind the command's name.

    Returns:
        The arguments for Hydra.

    Example:
        >>> with_output(["a.pth", "-o", "b.pth"])
        ['a.pth', "output='b.pth'"]
    """
    turned: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        option, equals, value = argument.partition("=")
        if option not in ("-o", "--output"):
            turned.append(argument)
            continue
        if not equals:
            value = next(rest, "")
        turned.append("output='" + value.replace("'", r"\'") + "'")
    return turned


def check_output(output: Path, *beside: Path, checkpoint: Path, overwrite: bool) -> None:
    """See before any work that a file made of a checkpoint may be written.

    Args:
        output: The file.
        beside: What is written with it, into the same folder.
        checkpoint: What it is made of.
        overwrite: Files that exist may be replaced; the checkpoint never.

    Raises:
        InputError: It may not.
    """
    if output.exists() and checkpoint.exists() and output.samefile(checkpoint):
        raise InputError(f"{output} is the checkpoint itself: give another name with -o")
    folder = next(parent for parent in output.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"cannot write {output}: {folder} is no folder that may be written to")
    for path in (output, *beside):
        if path.exists() and not overwrite:
            raise InputError(f"{path} exists already: give another name with -o, or overwrite=true")


def listed_choices(arguments: Sequence[str], *groups: str) -> list[str]:
    """Turn lists of choices, which Hydra's groups do not take, into keys of their own.

    Args:
        arguments: What stands behind the command's name.
        groups: Of which a list may be given.

    Returns:
        The arguments for Hydra.

    Example:
        >>> listed_choices(["model=[esc,rdn]", "attention=eager"], "model", "attention")
        ['models=[esc,rdn]', 'attention=eager']
    """
    beginning = re.compile(rf"^({'|'.join(groups)})=\[")
    return [beginning.sub(r"\1s=[", argument) for argument in arguments]


OPTIONS_WITH_VALUE = {"--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn"}
OPTIONS_WITH_VALUE |= {"--cfg", "-c", "--package", "-p", "--info", "-i"}


def check_attention(model: DictConfig) -> None:
    """Refuse an attention for a network that has none to choose.

    Args:
        model: The network's node, with its `_target_`.

    Raises:
        InputError: The constructor takes no `attention`.
    """
    if "attention" in model and not takes_attention(model):
        raise InputError(
            f"{model._target_} has no attention to choose: add ~attention, or choose model=esc"
        )


def refuse_empty_lists(cfg: DictConfig, *keys: str) -> None:
    """Refuse an empty list, of which nothing would come.

    Args:
        cfg: The composed configuration.
        keys: What may be a list; `models` and `attentions` are what `model=[...]` and
            `attention=[...]` become.

    Raises:
        InputError: One of them is empty.
    """
    for key in keys:
        if OmegaConf.is_list(cfg[key]) and not cfg[key]:
            name = {"models": "model", "attentions": "attention"}.get(key, key)
            raise InputError(f"{name}=[] is an empty list: name one, or leave {name} out")


def takes_attention(model: DictConfig) -> bool:
    """Return whether the constructor that a network's node names takes an `attention`."""
    return "attention" in inspect.signature(target_of(model)).parameters


def open_networks(cfg: DictConfig) -> list[tuple[str, int, nn.Module | None]]:
    """Load the checkpoints, or build the model for every scale; or there are images already.

    Args:
        cfg: With `checkpoint`, `model`, `sr_dir` and `scale` as in `conf/evaluate.yaml`. A
            checkpoint alone is one of ESC; with a model it holds the weights of that.

    Returns:
        A name, a scale, and the network, None for `sr_dir`; one or more of them.

    Raises:
        InputError: Nothing or too much is given, the scale is missing or another than a
            checkpoint's, its weights do not fit, or an attention is chosen for what has none.
    """
    # The attention group writes into the model's node, so that may hold nothing else.
    chosen = cfg.get("model") or OmegaConf.create({})
    of_model = names_a_network(chosen)
    given = [cfg.checkpoint is not None or of_model, cfg.sr_dir is not None]
    if sum(given) != 1:
        raise InputError(
            "give one thing to evaluate: checkpoint=PATH, model=bicubic or sr_dir=FOLDER"
        )
    scales = list(dict.fromkeys(cfg.scale if OmegaConf.is_list(cfg.scale) else [cfg.scale]))
    if cfg.checkpoint is not None and not of_model:
        return _load_all(cfg, [scale for scale in scales if scale is not None])
    if scales == [None]:
        raise InputError("scale is needed here: add scale=4, or several: scale=[2,3,4]")
    if cfg.sr_dir is not None:
        if "attention" in chosen:
            raise InputError("sr_dir holds finished images: leave attention out")
        return [(Path(cfg.sr_dir).resolve().name, scale, None) for scale in scales]
    check_attention(chosen)
    if cfg.checkpoint is not None:
        return [
            (name, scale, build_network(at_scale(cfg, scale).model, path))
            for scale in scales
            for name, path in checkpoint_names(cfg.checkpoint).items()
        ]
    networks = [instantiate(at_scale(cfg, scale).model) for scale in scales]
    if str(chosen._target_).startswith("esc_sr.") and chosen.get("path") is None:
        _refuse_fresh(networks[0], model_name(chosen))
    return [
        (model_name(chosen), scale, network)
        for scale, network in zip(scales, networks, strict=True)
    ]


def _refuse_fresh(network: nn.Module, name: str) -> None:
    """Refuse weights that nobody has trained; a network of one's own may load its own."""
    if any(True for _ in network.parameters()):
        raise InputError(
            f"model={name} has no trained weights by itself: give them with checkpoint=PATH"
        )


def build_network(model: Any, checkpoint: str | None = None) -> nn.Module:
    """Build what a node describes, in eval mode.

    Args:
        model: The network's node, or plain values of it.
        checkpoint: Weights of exactly this network, in any file that `read_checkpoint` reads;
            None: fresh ones, or those it brings along.

    Raises:
        InputError: It cannot be built, or the weights do not fit.
    """
    network: nn.Module = instantiate(model)
    if checkpoint is not None:
        load_weights(network, read_checkpoint(checkpoint).state_dict, source=checkpoint)
    return network.eval()


def with_default_weights(cfg: DictConfig) -> DictConfig:
    """Put the packaged weights where a configuration gives no network and no images.

    Args:
        cfg: With `model`, `checkpoint` and `scale`; `models` and `sr_dir` if it has them.

    Returns:
        The same, or a copy with `checkpoint`: a path for each scale asked for, or that of ×4.

    Raises:
        InputError: There are none for a scale.
    """
    given = [cfg.get(key) for key in ("checkpoint", "models", "sr_dir")]
    if given != [None] * 3 or names_a_network(cfg.get("model") or OmegaConf.create({})):
        return cfg
    refuse_empty_lists(cfg, "scale")
    scales = cfg.scale if OmegaConf.is_list(cfg.scale) else [cfg.scale]
    completed = cfg.copy()
    OmegaConf.set_readonly(completed, False)
    paths = [str(default_weights(scale, exactly=True)) for scale in scales]
    completed.checkpoint = list(dict.fromkeys(paths))
    return completed


def names_a_network(model: DictConfig) -> bool:
    """Return whether a model's node says what to build; it may hold an attention only.

    Raises:
        InputError: It shall say so and does not, as `conf/model/custom.yaml` by itself.
    """
    if OmegaConf.is_missing(model, "_target_"):
        raise InputError("model=custom needs a class: add model._target_=package.module.Class")
    return "_target_" in model


def model_name(model: DictConfig, chosen: str | None = None) -> str:
    """Name the network that a command was given.

    Args:
        model: The network's node, with its `_target_`.
        chosen: The file of `conf/model`, if it is known; None: as Hydra knows it.

    Returns:
        The name of its checkpoint's file, if it has a `path`; else its name in `conf/model`; else,
        and for `model=custom`, that of its class.
    """
    if model.get("path") is not None:
        return Path(model.path).name
    if chosen is None and HydraConfig.initialized():
        chosen = HydraConfig.get().runtime.choices.get("model")
    name = model._target_.rpartition(".")[2]
    return name if chosen == "custom" else chosen or name.lower()


def at_scale(cfg: DictConfig, scale: int) -> DictConfig:
    """Return the configuration with a single scale, which others of its values refer to."""
    copied = cfg.copy()
    OmegaConf.set_readonly(copied, False)
    copied.scale = scale
    return copied


def _load_all(cfg: DictConfig, scales: Sequence[int]) -> list[tuple[str, int, nn.Module | None]]:
    attention = None
    if "attention" in (cfg.get("model") or {}):
        attention = instantiate(cfg.model.attention) or "conv_attn"
    loaded: list[tuple[str, int, nn.Module | None]] = []
    for name, path in checkpoint_names(cfg.checkpoint).items():
        network = load_at_scale(path, scales, attention=attention)
        loaded.append((name, network.scale, network))
    left = set(scales) - {scale for _, scale, _ in loaded}
    if left:
        raise InputError(
            f"scale={min(left)} was asked for, and no checkpoint enlarges so: leave it out"
        )
    return loaded


def checkpoint_names(checkpoint: Any) -> dict[str, str]:
    """Name checkpoints by their files, or by their paths where files are called the same.

    Args:
        checkpoint: A path, or a list of them, as a configuration holds it.

    Returns:
        Paths by name; names of packaged weights have become their paths.
    """
    given = checkpoint if OmegaConf.is_list(checkpoint) else [checkpoint]
    paths = [str(find_weights(path)) for path in given]
    files = [Path(path).name for path in paths]
    return {
        file if files.count(file) == 1 else path: path
        for file, path in zip(files, paths, strict=True)
    }


def load_at_scale(
    path: str, scales: Sequence[int], *, attention: SelfAttention | str | None
) -> ESCBase:
    """Load a checkpoint that must be of one of some scales.

    Args:
        path: The checkpoint.
        scales: Those asked for; none: any will do.
        attention: As for `load_model`.

    Returns:
        The network.

    Raises:
        InputError: It cannot be loaded, or is of another scale.
    """
    network = load_model(path, attention=attention)
    if scales and network.scale not in scales:
        asked = ",".join(map(str, scales))
        raise InputError(
            f"{path} enlarges ×{network.scale}, scale={asked} was asked for; "
            f"set scale={network.scale} or leave it out"
        )
    return network
