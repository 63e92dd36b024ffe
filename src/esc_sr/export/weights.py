"""Write weights for other programs: `.safetensors`, and `.pth` as the authors' code loads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn


def write_safetensors(network: nn.Module, path: Path, *, metadata: Mapping[str, str]) -> None:
    """Write weights as `.safetensors`; `load_model` reads them.

    Args:
        network: What `export.program.deployable` returns.
        path: Where to.
        metadata: What the file says of itself.
    """
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(tensors, path, metadata=dict(metadata))


def write_pth(network: nn.Module, path: Path, *, metadata: Mapping[str, str]) -> None:
    """Write weights under `params` and `params_ema`, as BasicSR's training leaves them.

    Both are the same tensors, stored once. Nothing else is in it but texts and numbers in plain
    dictionaries, so that loaders that unpickle nothing else take it.

    Args:
        network: What `export.program.deployable` returns.
        path: Where to.
        metadata: What the file says of itself; its `config`, if any, becomes `network_config`.
    """
    tensors = {name: value.detach() for name, value in network.state_dict().items()}
    content: dict[str, Any] = {"params_ema": tensors, "params": dict(tensors)}
    content["metadata"] = dict(metadata)
    if "config" in metadata:
        content["network_config"] = json.loads(metadata["config"])
    with path.open("wb") as file:  # torch hides the system's errors where it opens it itself
        torch.save(content, file)
