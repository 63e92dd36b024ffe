"""A few photographs inside the package: training and validation without a download."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Literal

from esc_sr.errors import InputError


def sample_dir(split: Literal["train", "valid"]) -> Path:
    """Return the folder of the packaged crops of CC0 photographs (see CREDITS.md there).

    Args:
        split: "train" or "valid"; no photograph is in both.

    Returns:
        A folder of images.

    Raises:
        InputError: Another split, or the package was installed without its data.
    """
    if split not in ("train", "valid"):
        raise InputError(f"the packaged sample has 'train' and 'valid', not '{split}'")
    folder = Path(str(resources.files(__name__) / split))
    if not folder.is_dir():
        raise InputError(f"the packaged photographs are missing: {folder}; reinstall esc-sr")
    return folder
