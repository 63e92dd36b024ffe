"""How checkpoints come to the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from esc_sr.files import replacing


class ReplacingCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint under a temporary name in its own folder, then rename it.

    Lightning's own writes it to the folder for temporary files and moves it from there. Where that
    is another disk, to move is to copy over the earlier checkpoint, and a kill or a full disk in
    between leaves half of one and none before it. Nothing waits until the disk holds it, either.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint, all or nothing.

        Args:
            checkpoint: What Lightning gathered.
            path: Its file; the folder is made.
            storage_options: None; there are none.

        Raises:
            TypeError: There are some.
            OSError: It cannot be written; the earlier one is as it was.
        """
        if storage_options is not None:
            raise TypeError(f"{type(self).__name__} knows no storage_options")
        # Into a file that is open: the system's errors come through.
        with replacing(Path(path)) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)
