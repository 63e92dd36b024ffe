"""Lightning's loggers that need an optional package, told what a run is and what came of it."""

from __future__ import annotations

import csv
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import loggers
from lightning.pytorch.loggers import csv_logs

from esc_sr.errors import InputError, check_flags, require_extra
from esc_sr.files import replacing, write_atomically
from esc_sr.runs.labels import RunLabels

Scalar = float | str


@dataclass(frozen=True, kw_only=True)
class Introduction:
    """What a run is, known before its first step.

    Attributes:
        labels: Its name, group and tags.
        about: Flat facts under `run/…`: what was chosen, commit, versions, device.
        hyperparameters: Flat scalars by which runs are compared.
        metrics: Keys that `Conclusion.summary` will have, as far as that is known.
        diff: File with what is not committed, if there is such.
        resumed: Whether it goes on with what an earlier session has begun in the same folder.
    """

    labels: RunLabels
    about: Mapping[str, Any]
    hyperparameters: Mapping[str, Scalar]
    metrics: Sequence[str]
    diff: Path | None = None
    resumed: bool = False


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """What came of a run.

    Attributes:
        step: Optimizer steps taken.
        summary: Numbers by key: `best/…`, `bicubic/…`, `perf/…`, `model/…`.
        columns: Of the table of images.
        rows: One for each image of the validation sets; empty without the final table.
        checkpoint: The best one, or else the last.
        metadata: What the checkpoint is.
    """

    step: int
    summary: Mapping[str, float]
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Scalar]] = ()
    checkpoint: Path | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Dashboard(ABC):
    """A logger that is told what a run is before training, and what came of it afterwards.

    One that has been introduced stays open when the trainer is done with it, until `close`.
    """

    introduced = False

    @abstractmethod
    def introduce(self, run: Introduction) -> None:
        """Take what is known before the first step."""

    @abstractmethod
    def conclude(self, run: Conclusion) -> None:
        """Take what came of it."""

    @abstractmethod
    def close(self, *, finished: bool) -> None:
        """End it, so that the next run in this process gets its own.

        Args:
            finished: Whether the run reached its end.
        """


class _WholeFile(csv_logs.ExperimentWriter):
    """Lightning's writer of `metrics.csv`, without the moments at which lines can be lost."""

    def save(self) -> None:
        """Append what was recorded, or leave the file as it was.

        Raises:
            OSError: It cannot be written.
        """
        path, known = Path(self.metrics_file_path), list(self.metrics_keys)
        if not self.metrics:
            return
        try:
            if self._record_new_keys() and path.is_file():
                self._rewrite_with_new_header(self.metrics_keys)
            self._append(path)
        except OSError:
            self.metrics_keys = known  # so that a later call writes their names first
            raise
        self.metrics = []

    def _append(self, path: Path) -> None:
        size = path.stat().st_size if path.is_file() else 0
        try:
            with path.open("a", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=self.metrics_keys)
                if size == 0:
                    writer.writeheader()
                writer.writerows(self.metrics)
        except OSError as error:
            if path.is_file():
                os.truncate(path, size)
            raise OSError(error.errno, error.strerror, str(path)) from error

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        with replacing(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=fieldnames)
            writer.writeheader()
            writer.writerows(rows)


class CSVLogger(loggers.CSVLogger):
    """Lightning's CSV logger. What was written stays, whatever happens to what comes after it."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Who writes the file."""
        if self._experiment is None:
            self._fs.makedirs(self.root_dir, exist_ok=True)
            self._experiment = _WholeFile(log_dir=self.log_dir)
        return self._experiment

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the rest; where the run has failed already, its own error is the one to tell.

        Args:
            status: How training ended.
        """
        with suppress(OSError) if status == "failed" else nullcontext():
            super().finalize(status)


class TensorBoardLogger(loggers.TensorBoardLogger, Dashboard):
    """Lightning's TensorBoard logger, writing straight into one folder.

    The tab HPARAMS compares runs by flat scalars; the whole configuration is in `hparams.yaml`.

    Args:
        save_dir: Folder of the event files.
        log_graph: Also log the graph of the network; needs `example_input_array` in the module.

    Raises:
        MissingExtraError: tensorboard is not installed.
    """

    def __init__(self, *, save_dir: str, log_graph: bool = False) -> None:
        require_extra("tensorboard", "tensorboard")
        super().__init__(
            save_dir, name="", version="", log_graph=log_graph, default_hp_metric=False
        )

    @rank_zero_only
    def introduce(self, run: Introduction) -> None:
        """Write the row of the tab HPARAMS; its metrics fill as they are logged."""
        from torch.utils.tensorboard.summary import hparams

        self.introduced = True
        writer = self.experiment._get_file_writer()
        for summary in hparams(dict(run.hyperparameters), dict.fromkeys(run.metrics)):
            writer.add_summary(summary)

    @rank_zero_only
    def conclude(self, run: Conclusion) -> None:
        """Log the summary as scalars of the last step."""
        self.log_metrics(dict(run.summary), run.step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is there; close the file, unless there is more to come."""
        if not self.introduced:
            super().finalize(status)
            return
        self.experiment.flush()
        if status == "success":
            self.save()

    @rank_zero_only
    def close(self, *, finished: bool) -> None:
        """Close the event file."""
        if self._experiment is not None:
            self.experiment.close()


# What W&B gathers by itself and nobody has asked for: what was printed, the repository's address
# and differences, the program, the machine with its name, the packages.
_QUIET = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "host": "",
    "save_code": False,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_save_requirements": False,
}
# By argument, the variable with which it can be given to W&B too.
_LABELS = {"name": "WANDB_NAME", "group": "WANDB_RUN_GROUP", "tags": "WANDB_TAGS"}
_MODES = ("online", "offline", "disabled")
_ID_FILE = "wandb_run_id"


class WandbLogger(loggers.WandbLogger, Dashboard):
    """Lightning's W&B logger. The run is created at its first use.

    W&B gathers nothing by itself but what is asked for here. A run that is resumed in the same
    folder goes on with the same W&B run, whose id is kept in `<save_dir>/wandb_run_id`.

    Args:
        save_dir: Folder of the run; W&B writes to `wandb/` below it.
        project: Project on the server.
        entity: User or team that owns it; None: as W&B is set up.
        name: Name of the run; None: as it is introduced, else W&B makes one up.
        group: Group of runs to show together; None: as it is introduced.
        tags: Words by which to find the run again; None: as it is introduced.
        mode: "online" sends, "offline" writes only locally and `wandb sync` sends it later,
            "disabled" does neither; None: as W&B is set up, by `WANDB_MODE` or `wandb offline`,
            else online.
        log_model: The best checkpoint as artifact, when the run has ended.
        log_diff: The differences to the commit as a file, without what looks like a secret.
        log_system: Use of the processor, the GPU, memory, disk and network, every 15 seconds.

    Raises:
        MissingExtraError: wandb is not installed.
        InputError: An unknown mode, or no list of tags.
    """

    def __init__(
        self,
        *,
        save_dir: str,
        project: str,
        entity: str | None = None,
        name: str | None = None,
        group: str | None = None,
        tags: Sequence[str] | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
        log_model: bool = False,
        log_diff: bool = False,
        log_system: bool = False,
    ) -> None:
        if mode is not None and mode not in _MODES:
            raise InputError(f"unknown mode '{mode}'; choose one of: {', '.join(_MODES)}, or null")
        if isinstance(tags, str):
            raise InputError(f"tags must be a list such as [a,b], got {tags}")
        check_flags(log_model=log_model, log_diff=log_diff, log_system=log_system)
        # Reports to W&B's makers of how their program fared; decided when it is imported.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        require_extra("wandb", "wandb")
        super().__init__(
            save_dir=save_dir,
            project=project,
            name=name,
            entity=entity,
            group=group,
            tags=None if tags is None else [str(tag) for tag in tags],
            mode=mode,
            settings=_QUIET | {"x_disable_stats": not log_system},
        )
        del self._wandb_init["anonymous"]  # W&B warns of it, whatever its value
        self.artifact = log_model  # not Lightning's, which cannot be had offline
        self.log_diff = log_diff

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run.

        Raises:
            InputError: W&B does not begin it: no key, no connection, an unknown project.
        """
        if self._experiment is None:
            Path(self._save_dir or ".").mkdir(parents=True, exist_ok=True)  # or W&B goes elsewhere
            try:
                run = super().experiment
            except require_extra("wandb.errors", "wandb").Error as error:
                raise InputError(
                    f"W&B: {' '.join(str(error).split()).rstrip('.')}; logger.wandb.mode=offline "
                    "writes locally, and `wandb sync` sends it later"
                ) from None
            if not run.disabled:
                write_atomically(self._id_file, f"{run.id}\n")
        return super().experiment

    @rank_zero_only
    def introduce(self, run: Introduction) -> None:
        """Begin the W&B run under its name, or go on with it, and log the facts."""
        self.introduced = True
        for key, variable in _LABELS.items():
            if self._wandb_init.get(key) is None and variable not in os.environ:
                self._wandb_init[key] = getattr(run.labels, key)
        # An agent of a sweep gives the id itself.
        if run.resumed and self._id_file.is_file() and "WANDB_RUN_ID" not in os.environ:
            self._wandb_init["id"] = self._id_file.read_text(encoding="utf-8").strip()
        self.experiment.config.update(dict(run.about), allow_val_change=True)
        if self.log_diff and run.diff is not None and not self.experiment.disabled:
            self.experiment.save(str(run.diff), base_path=str(run.diff.parent), policy="now")

    @rank_zero_only
    def conclude(self, run: Conclusion) -> None:
        """Log the summary, the table of images and, if asked, the checkpoint."""
        wandb: Any = require_extra("wandb", "wandb")
        if run.rows:
            table = wandb.Table(columns=list(run.columns), data=[list(row) for row in run.rows])
            self.log_metrics({"final/images": table}, run.step)  # pyright: ignore[reportArgumentType]
        self.experiment.summary.update(dict(run.summary))
        if self.artifact and run.checkpoint is not None and not self.experiment.disabled:
            artifact = wandb.Artifact(
                f"model-{self.experiment.id}", type="model", metadata=dict(run.metadata)
            )
            artifact.add_file(str(run.checkpoint), name=run.checkpoint.name)
            self.experiment.log_artifact(artifact, aliases=["best"])

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run, unless there is more to come.

        Args:
            status: How training ended.
        """
        super().finalize(status)
        if not self.introduced:
            self.close(finished=status == "success")

    @rank_zero_only
    def close(self, *, finished: bool) -> None:
        """End the W&B run."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if finished else 1)
            self._experiment = None

    @property
    def _id_file(self) -> Path:
        return Path(self._save_dir or ".") / _ID_FILE
