"""Trained weights that come with the package, each with its model card beside it."""

from __future__ import annotations

import os
from pathlib import Path

from esc_sr.errors import InputError

_FOLDER = Path(__file__).parent
# Which of them a command takes where it is given none, by scale.
_DEFAULTS = {2: "esc_tiny_x2", 3: "esc_tiny_x3", 4: "esc_tiny_x4"}
_DEFAULT_SCALE = 4


def packaged_weights() -> dict[str, Path]:
    """Return the files of weights that come with the package, by the name they load by.

    Example:
        >>> "esc_tiny_x4" in packaged_weights()
        True
    """
    return {path.stem: path for path in sorted(_FOLDER.glob("*.safetensors"))}


def find_weights(path: str | Path) -> Path:
    """Return the path of weights that may be packaged ones.

    Args:
        path: Of a file, or a name of `packaged_weights()`; a file of that name comes first.

    Returns:
        Where the file is, or would be.

    Raises:
        InputError: It is no path.

    Example:
        >>> find_weights("esc_tiny_x4").name, find_weights("best.ckpt").name
        ('esc_tiny_x4.safetensors', 'best.ckpt')
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(
            "weights are the path of a file or the name of packaged ones "
            f"({', '.join(packaged_weights())}), got {path!r}"
        )
    path = Path(path).expanduser()
    return path if path.exists() else packaged_weights().get(str(path), path)


def default_weights(scale: float | None = None, *, exactly: bool = False) -> Path:
    """Find the packaged weights that commands use unless they are given others.

    Args:
        scale: Enlargement wanted; None: ×4.
        exactly: No other will do; else the next larger one, whose results can be shrunk.

    Returns:
        The file.

    Raises:
        InputError: There are none for this scale.

    Example:
        >>> default_weights().name, default_weights(scale=2.5).name
        ('esc_tiny_x4.safetensors', 'esc_tiny_x3.safetensors')
    """
    wanted = _DEFAULT_SCALE if scale is None else scale
    large_enough = [s for s in _DEFAULTS if s == wanted or (s > wanted and not exactly)]
    if not large_enough:
        raise InputError(
            f"no weights for scale={wanted:g} come with this package (there are: "
            f"{', '.join(f'×{known}' for known in sorted(_DEFAULTS))}); give your own"
        )
    return _FOLDER / f"{_DEFAULTS[min(large_enough)]}.safetensors"
