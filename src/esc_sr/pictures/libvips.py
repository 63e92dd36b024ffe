"""libvips, imported when it is first needed, and what readers and writers both ask of it."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from numpy.typing import NDArray

Pixels = NDArray[Any]


def vips() -> ModuleType:
    """Import libvips when it is first needed, and keep its warnings out of the user's terminal."""
    logging.getLogger("pyvips").setLevel(logging.CRITICAL)
    import pyvips

    return pyvips


def reason(error: Exception, path: Path) -> str:
    """Say in one line what libvips says in several, the first of which repeats the question."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()][1:]
    telling = [line for line in lines if line.startswith("system error") and "Unknown" not in line]
    return next(iter([*telling, *lines]), "no reason given").removeprefix(f"{path}: ")


def expanded(path: str | Path) -> Path:
    """Expand `~`; unlike `Path.expanduser` this leaves `~nobody` as it is."""
    return Path(os.path.expanduser(path))
