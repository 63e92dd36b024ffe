"""What an exported file says of itself: texts by name, the same in every format."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import nn

from esc_sr import __version__
from esc_sr.files import file_digest
from esc_sr.inference.planning import bytes_per_pixel
from esc_sr.models.esc import ESCBase
from esc_sr.models.for_inference import DTYPES


def metadata_of(
    network: nn.Module,
    *,
    scale: int,
    precision: str,
    source: Path | None,
    license: str | None,
    lq_size: tuple[int, int] | None = None,
) -> dict[str, str]:
    """Describe an exported network.

    Args:
        network: What `export.program.deployable` returns.
        scale: Its super-resolution factor.
        precision: Type of its weights.
        source: The checkpoint that it comes from.
        license: Of the weights, if known.
        lq_size: (height, width) of the only image that it takes; None: any.

    Returns:
        Texts by name. `config` is the JSON of `ESCBase.config`, by which `load_model` builds it;
        `bytes_per_pixel` is the working memory for each LQ pixel of a program that writes scores
        out, as an estimate.
    """
    told = {
        "architecture": type(network).__name__,
        "title": getattr(network, "title", type(network).__name__),
        "scale": str(scale),
        "layout": "NCHW",
        "channels": "RGB",
        "value_range": "[0, 1]",
        "color_space": "sRGB",
        "lq_size": "any" if lq_size is None else json.dumps(list(lq_size)),
        "precision": precision,
        "bytes_per_pixel": str(
            round(bytes_per_pixel(network, scale=scale, itemsize=DTYPES["fp32"].itemsize))
        ),
        "esc_sr_version": __version__,
    }
    window = getattr(network, "window_size", None)
    if window is not None:
        told["window_size"] = json.dumps(list(window))
    if isinstance(network, ESCBase):
        told["config"] = json.dumps(network.config)
    if license is not None:
        told["license"] = license
    if source is not None:
        told["source"] = source.name
        told["source_digest"] = file_digest(source)
    return told


def license_in(path: Path) -> str | None:
    """Return the licence that a checkpoint records, as a `.safetensors` of ours can.

    Args:
        path: The checkpoint.
    """
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("license")
    except (SafetensorError, OSError):
        return None
