"""Lightning's loggers that need an optional package, with an error that names our extra."""

from __future__ import annotations

from pathlib import Path

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import loggers

from esc_sr.errors import require_extra


class TensorBoardLogger(loggers.TensorBoardLogger):
    """Lightning's TensorBoard logger, writing straight into one folder.

    Args:
        save_dir: Folder of the event files.
        log_graph: Also log the graph of the network; needs `example_input_array` in the module.

    Raises:
        MissingExtraError: tensorboard is not installed.
    """

    def __init__(self, *, save_dir: str, log_graph: bool = False) -> None:
        require_extra("tensorboard", "tensorboard")
        super().__init__(save_dir, name="", version="", log_graph=log_graph)


class WandbLogger(loggers.WandbLogger):
    """Lightning's W&B logger. The run is created at its first use.

    Args:
        save_dir: Folder of the run; W&B writes to `wandb/` below it.
        project: Project on the server.
        name: Name of the run; None lets W&B make one up.
        group: Group of runs to show together, such as the runs of a sweep.
        tags: Words by which to find the run again.
        offline: Write only locally; `wandb sync` sends it later.
        log_model: Upload the checkpoints too; not possible offline.

    Raises:
        MissingExtraError: wandb is not installed.
    """

    def __init__(
        self,
        *,
        save_dir: str,
        project: str,
        name: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
        offline: bool = False,
        log_model: bool = False,
    ) -> None:
        require_extra("wandb", "wandb")
        Path(save_dir).mkdir(parents=True, exist_ok=True)  # else W&B falls back to /tmp
        super().__init__(
            save_dir=save_dir,
            project=project,
            name=name,
            group=group,
            tags=tags,
            offline=offline,
            log_model=log_model,
        )

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run, so that the next one of a multirun in this process gets its own.

        Args:
            status: How training ended.
        """
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)
            self._experiment = None
