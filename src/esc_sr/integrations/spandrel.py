"""Make ESC's family known to spandrel, and so to the programs that load networks by it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from esc_sr.attention.interface import SelfAttention
from esc_sr.errors import InputError, require_extra
from esc_sr.models.checkpoints import ARCHITECTURES, Checkpoint, deduce_config, network_of
from esc_sr.models.esc import title_of
from esc_sr.models.others import in_our_names

_NAMES = {"ESCFP": "ESC-FP", "ESCReal": "ESC-Real", "ESCRealM": "ESC-Real-M"}


def install(*, attention: SelfAttention | str = "sdpa") -> list[str]:
    """Register ESC, ESC-FP, ESC-Real and ESC-Real-M with spandrel's main registry.

    Call it once, before files are loaded; again, or where spandrel knows one by the same name
    already, it changes nothing. From then on every `spandrel.ModelLoader` loads the authors'
    weights and ours.

    Args:
        attention: Who computes the self-attention; "sdpa" runs everywhere.

    Returns:
        What was added, by spandrel's ids.

    Raises:
        MissingExtraError: spandrel is not installed.

    Example:
        >>> from esc_sr.integrations import spandrel
        >>> spandrel.install()  # doctest: +SKIP
        ['ESC', 'ESCFP', 'ESCReal', 'ESCRealM']
    """
    spandrel: Any = require_extra("spandrel", "spandrel")

    class Architecture(spandrel.Architecture):  # its base is there only once spandrel is imported
        def __init__(self, architecture: str) -> None:
            name = _NAMES.get(architecture, architecture)
            super().__init__(
                id=architecture, name=name, detect=lambda weights: is_of(weights, architecture)
            )

        def load(self, state_dict: Mapping[str, Tensor]) -> Any:
            weights = dict(in_our_names(state_dict))
            has_attention = deduce_config(weights)["self_attention"]
            checkpoint = Checkpoint(Path("the file"), weights, None)
            network = network_of(checkpoint, attention if has_attention else None)
            return spandrel.ImageModelDescriptor(
                network,
                weights,
                architecture=self,
                purpose="SR" if network.scale > 1 else "Restoration",
                tags=tags_of(network.config),
                supports_half=True,
                supports_bfloat16=True,
                scale=network.scale,
                input_channels=3,
                output_channels=3,
            )

    supports = [
        spandrel.ArchSupport.from_architecture(Architecture(name)) for name in ARCHITECTURES
    ]
    added = spandrel.MAIN_REGISTRY.add(*supports, ignore_duplicates=True)
    return [str(support.architecture.id) for support in added]


def is_of(state_dict: Mapping[str, Any], architecture: str) -> bool:
    """Tell whether weights are those of a network of the family.

    Args:
        state_dict: Weights of any network, by name.
        architecture: A key of `models.checkpoints.ARCHITECTURES`.
    """
    try:
        return deduce_config(state_dict)["architecture"] == architecture
    except (InputError, AttributeError, IndexError, ValueError):  # whatever others' tensors are
        return False


def tags_of(config: Mapping[str, Any]) -> list[str]:
    """Return what spandrel's users are shown beside the name.

    Args:
        config: As `ESCBase.config`.

    Example:
        >>> from esc_sr import create_model
        >>> tags_of(create_model("esc_lt").config)
        ['64dim', '3x5', '32win']
    """
    window = "×".join(str(side) for side in dict.fromkeys(config["window_size"]))
    tags = [f"{config['dim']}dim", f"{config['num_blocks']}x{config['num_conv_attn']}"]
    tags += [f"{window}win"] if config["self_attention"] else []
    title = title_of(config)
    return tags + (title.partition("(")[2].rstrip(")").split(", ") if "(" in title else [])
