"""The Python API: networks by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from esc_sr.config import compose_config, conf_dir, instantiate, target_of
from esc_sr.errors import InputError

if TYPE_CHECKING:
    from esc_sr.attention import SelfAttention
    from esc_sr.models.esc import ESCBase


def list_models() -> list[str]:
    """Return the names that `create_model` knows: the files of `conf/model`.

    Example:
        >>> "esc_lt" in list_models()
        True
    """
    return sorted(path.stem for path in (conf_dir() / "model").glob("esc*.yaml"))


def create_model(
    name: str, *, scale: int = 4, attention: SelfAttention | str = "sdpa", **overrides: Any
) -> ESCBase:
    """Create a network with fresh weights, in eval mode.

    Args:
        name: A name of `list_models()`, e.g. "esc", "esc_lt", "esc_fp".
        scale: Super-resolution factor.
        attention: A name of `conf/attention`, e.g. "eager", "sdpa", "conv_attn", behind a colon
            what its kernel leaves open, e.g. "flash:sdpa_flash"; or a bias and a kernel.
        overrides: Further arguments of the network's constructor, e.g. `window_size=16`.

    Returns:
        A network mapping `(B, 3, H, W)` in [0, 1] to `(B, 3, s·H, s·W)`, not clamped.

    Raises:
        InputError: An unknown name, argument or value.

    Example:
        >>> network = create_model("esc_lt", scale=2)
        >>> sum(parameter.numel() for parameter in network.parameters())
        603600
    """
    if name not in list_models():
        raise InputError(f"unknown model '{name}'; choose one of: {', '.join(list_models())}")
    if isinstance(attention, str) and ":" in attention:
        from esc_sr.attention import attention_by_name

        attention = attention_by_name(attention) or attention
    chosen = [f"attention={attention}"] if isinstance(attention, str) else []
    composed = compose_config("train", [f"model={name}", *chosen])
    composed.scale = scale
    # What begins with "_" is Hydra's: what to build, and how.
    known = [str(key) for key in composed.model if not str(key).startswith("_")]
    unknown = overrides.keys() - known
    if unknown:
        raise InputError(
            f"model '{name}' has no argument '{min(unknown)}'; choose from: {', '.join(known)}"
        )
    composed.model.update(overrides)
    if isinstance(attention, str):
        return instantiate(composed.model).eval()
    arguments = {key: value for key, value in composed.model.items() if key != "_target_"}
    return target_of(composed.model)(**{**arguments, "attention": attention}).eval()
