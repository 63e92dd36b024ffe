"""The networks that `esc-sr bench` measures, and how another process makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from torch import nn

from esc_sr.config import compose_config, instantiate
from esc_sr.errors import InputError
from esc_sr.layers.window_attention import WindowAttention
from esc_sr.models.checkpoints import load_model
from esc_sr.models.esc import ESCBase
from esc_sr.tasks.networks import (
    at_scale,
    build_network,
    check_attention,
    checkpoint_names,
    load_at_scale,
    model_name,
    names_a_network,
    refuse_empty_lists,
    takes_attention,
    with_default_weights,
)

_DEFAULT_SCALE = 4


@dataclass(frozen=True)
class Candidate:
    """A network to be measured.

    Attributes:
        name: Name in `conf/model`, or of the checkpoint's file.
        checkpoint: Path of its weights; None: fresh ones.
        scale: Super-resolution factor.
        build: Makes it; can be pickled.
        network: Made already, for what can be counted without running it.
    """

    name: str
    checkpoint: str | None
    scale: int
    build: Callable[[], nn.Module]
    network: nn.Module

    @property
    def title(self) -> str:
        """What tables call it."""
        return getattr(self.network, "title", type(self.network).__name__)

    @property
    def attention(self) -> str | None:
        """Kernel and bias of its self-attention; "conv_attn" for an ESC that has none."""
        for module in self.network.modules():
            if isinstance(module, WindowAttention):
                return module.attention.title
        return "conv_attn" if isinstance(self.network, ESCBase) else None


def candidates(cfg: DictConfig, *, chosen_model: str | None = None) -> list[Candidate]:
    """Make every network that a configuration means.

    Args:
        cfg: With `model`, `models`, `attentions`, `checkpoint` and `scale` as in
            `conf/bench.yaml`. A checkpoint alone is one of ESC; with a model it holds the weights
            of that. Nothing means the packaged weights.
        chosen_model: The file of `conf/model` that `cfg.model` is from; None: as Hydra knows it.

    Returns:
        One for each network, attention and scale; what has no attention to choose comes once.

    Raises:
        InputError: Too much is given, or a network cannot be made.
    """
    cfg = with_default_weights(cfg)
    chosen = cfg.get("model") or OmegaConf.create({})
    of_model = names_a_network(chosen)
    given = [cfg.checkpoint is not None or of_model, cfg.models is not None]
    if sum(given) != 1:
        raise InputError("give one thing to measure: model=esc, model=[esc,rdn] or checkpoint=PATH")
    refuse_empty_lists(cfg, "models", "attentions", "checkpoint", "scale")
    asked = list(cfg.scale) if OmegaConf.is_list(cfg.scale) else [cfg.scale]
    scales = [scale for scale in asked if scale is not None]
    if cfg.checkpoint is not None and not of_model:
        return list(_from_checkpoints(cfg, scales))
    # What is loaded from a file has a scale of its own.
    scales = scales or [None if chosen.get("path") else _DEFAULT_SCALE]
    if cfg.models is None:
        name = model_name(chosen, chosen_model)
        if cfg.attentions is None:
            check_attention(chosen)
        weights = {name: None} if cfg.checkpoint is None else checkpoint_names(cfg.checkpoint)
        return [
            found
            for scale in scales
            for name, path in weights.items()
            for found in _of_model(name, at_scale(cfg, scale).model, cfg, checkpoint=path)
        ]
    found: list[Candidate] = []
    for name in cfg.models:
        for scale in scales:
            node = compose_config("bench", [f"model={name}", f"scale={scale}"]).model
            found += _of_model(str(name), node, cfg)
    return found


def _of_model(
    name: str, node: DictConfig, cfg: DictConfig, *, checkpoint: str | None = None
) -> Iterator[Candidate]:
    plain = _plain(node)
    variants: list[dict[str, Any]] = [{}]
    if takes_attention(node):
        variants = [{"attention": attention} for attention in _attentions(cfg)] or [{}]
    for changes in variants:
        build = partial(build_network, {**plain, **changes}, checkpoint)
        network = build()
        scale = getattr(network, "scale", plain.get("scale", _DEFAULT_SCALE))
        yield Candidate(name, checkpoint, int(scale), build, network)


def _from_checkpoints(cfg: DictConfig, scales: list[int]) -> Iterator[Candidate]:
    for name, path in checkpoint_names(cfg.checkpoint).items():
        for node in _attentions(cfg) or ["default"]:
            attention = None if node == "default" else _attention(node)
            network = load_at_scale(path, scales, attention=attention)
            build = partial(load_model, path, attention=attention)
            yield Candidate(name, path, network.scale, build, network)


def _attentions(cfg: DictConfig) -> list[Any]:
    """What `model.attention` shall be, as plain values; nothing: what the network chooses."""
    if cfg.attentions is None:
        chosen = cfg.get("model") or OmegaConf.create({})
        models = [chosen] if "attention" in chosen else []
    else:
        models = [compose_config("bench", [f"attention={name}"]).model for name in cfg.attentions]
    return [_plain(model)["attention"] for model in models]


def _plain(node: DictConfig) -> dict[str, Any]:
    return cast("dict[str, Any]", OmegaConf.to_container(node, resolve=True, throw_on_missing=True))


def _attention(node: Any) -> Any:
    return "conv_attn" if node is None else instantiate(OmegaConf.create(node))
