"""esc_sr: train, ablate, measure and ship efficient image super-resolution.

Importing this package loads nothing heavy; names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from esc_sr.api import create_model, list_models
    from esc_sr.errors import InputError
    from esc_sr.inference.upscaler import Upscaler
    from esc_sr.models.checkpoints import load_model, save_model
    from esc_sr.models.esc import ESC
    from esc_sr.models.esc_fp import ESCFP
    from esc_sr.models.for_inference import for_inference

__version__ = "0.1.0"

__all__ = [
    "ESC",
    "ESCFP",
    "InputError",
    "Upscaler",
    "__version__",
    "create_model",
    "for_inference",
    "list_models",
    "load_model",
    "save_model",
]

_HOMES = {
    "ESC": "esc_sr.models.esc",
    "ESCFP": "esc_sr.models.esc_fp",
    "InputError": "esc_sr.errors",
    "Upscaler": "esc_sr.inference.upscaler",
    "create_model": "esc_sr.api",
    "for_inference": "esc_sr.models.for_inference",
    "list_models": "esc_sr.api",
    "load_model": "esc_sr.models.checkpoints",
    "save_model": "esc_sr.models.checkpoints",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'esc_sr' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
