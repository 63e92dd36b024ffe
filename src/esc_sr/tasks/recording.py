"""Keep the record of a training run, from its first step to its end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from torch import nn

import esc_sr
from esc_sr.errors import InputError, printable
from esc_sr.evaluation import Evaluation
from esc_sr.files import file_digest, replacing
from esc_sr.models.packaged import find_weights
from esc_sr.profiling.conditions import device_name, versions
from esc_sr.profiling.macs import count_macs, count_parameters
from esc_sr.runs.fingerprint import fingerprint
from esc_sr.runs.record import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    PRUNED,
    RUNNING,
    SKIPPED,
    RunRecord,
    read_record,
    write_record,
)
from esc_sr.runs.redaction import hidden, redacted, redacted_override
from esc_sr.runs.repository import RepositoryState, repository_state
from esc_sr.training.callbacks.pruning import TrialPruned

_STANDARD_OUTPUT = (720, 1280)
_LONGEST_ERROR = 500
# Beside those that every measurement names.
_PACKAGES = ("lightning", "torchmetrics", "kornia", "numpy", "hydra-core", "omegaconf", "pillow")


class RunRecorder:
    """Writes `run.json`, and `dirty.diff` where the code is not as committed.

    Args:
        output_dir: The folder of the run.
        config: Its resolved configuration.
    """

    def __init__(self, output_dir: Path, config: Mapping[str, Any]) -> None:
        self._begin = time.perf_counter()
        self._started = _now()
        self.output_dir = output_dir
        files = start_files(config, output_dir)
        self.record = RunRecord(
            state=RUNNING,
            config=redacted(dict(config), overrides=_asked_for()),
            config_hash=fingerprint(config, files),
            files=files,
            **_asked(),
        )

    def skipped(self, in_favour_of: Path) -> None:
        """Write that another run has done it already.

        Args:
            in_favour_of: Its folder.
        """
        self.record.state = SKIPPED
        self.record.error = f"finished already in {printable(str(in_favour_of))}"
        write_record(self.record, self.output_dir)

    @contextmanager
    def watching(
        self, trainer: L.Trainer, network: nn.Module, title: str, *, resumed: bool
    ) -> Iterator[None]:
        """Write the record before training, and again when it ends, however that is.

        Args:
            trainer: Who trains.
            network: What is trained.
            title: Its name in tables.
            resumed: Whether this goes on with what an earlier session has begun.
        """
        if not trainer.is_global_zero:
            yield
            return
        if resumed:
            # Without a record, it was begun when there were none.
            with suppress(InputError):
                self.record.sessions = read_record(self.output_dir).sessions
        self._open(trainer, network, title)
        state, error = FINISHED, None
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            state = INTERRUPTED
            raise
        except BaseException as raised:
            state = PRUNED if isinstance(raised, TrialPruned) else FAILED
            told = hidden(str(raised), _asked_for())
            error = printable(told or type(raised).__name__)[:_LONGEST_ERROR]
            raise
        finally:
            try:
                self._close(trainer, state, error)
            except OSError:
                if state != FAILED:
                    raise
                # As where the disk is full: the first error is the one to tell.

    def reached(
        self, trainer: L.Trainer, best_score: float | None, table: Sequence[Evaluation]
    ) -> None:
        """Note what came of it; written when `watching` ends.

        Args:
            trainer: Who has trained.
            best_score: Of `monitor`.
            table: Of bicubic and of the network on the validation sets; may be empty.
        """
        self.record.best_score = best_score
        for evaluation, name in zip(table, ("bicubic", "results"), strict=False):
            per_image = {
                set_name: {"images": list(result.images), **result.values}
                for set_name, result in evaluation.sets.items()
            }
            setattr(self.record, name, per_image)

    def _open(self, trainer: L.Trainer, network: nn.Module, title: str) -> None:
        scale = self.record.config.get("scale")
        assert isinstance(scale, int)  # checked by `check_counts`
        record = self.record
        record.network = title
        record.params_k = count_parameters(network) / 1e3
        record.macs_lq_size = [-(-side // scale) for side in _STANDARD_OUTPUT]
        record.macs_g = _macs_g(network, record.macs_lq_size)
        device = trainer.strategy.root_device
        record.sessions.append(
            {
                "started": self._started,
                "finished": None,
                "wall_s": None,
                "step": None,
                "config_hash": record.config_hash,
                "working_dir": str(Path.cwd()),
                "versions": versions() | {name: version(name) for name in _PACKAGES},
                "device": {
                    "type": device.type,
                    "name": device_name(device),
                    "threads": torch.get_num_threads(),
                    "processes": trainer.world_size,
                },
                "git": self._repositories(),
            }
        )
        write_record(record, self.output_dir)

    def _close(self, trainer: L.Trainer, state: str, error: str | None) -> None:
        record = self.record
        record.state, record.error = state, error
        record.session["step"] = trainer.global_step
        record.session["finished"] = _now()
        record.session["wall_s"] = round(time.perf_counter() - self._begin, 3)
        record.measured = {
            key: float(value)
            for key, value in trainer.callback_metrics.items()
            if key.startswith(("val/", "perf/"))
        }
        write_record(record, self.output_dir)

    def _repositories(self) -> list[dict[str, Any]]:
        """Look at the code's repository and the working folder's, often one and the same."""
        package = Path(esc_sr.__file__).resolve()
        states = {
            "esc_sr": repository_state(package.parent, holding=package),
            "working_dir": repository_state(Path.cwd()),
        }
        roots = set()
        told = []
        for of, state in states.items():
            if state is not None and state.root not in roots:
                roots.add(state.root)
                told.append(self._told(of, state))
        return told

    def _told(self, of: str, state: RepositoryState) -> dict[str, Any]:
        name = None
        if state.diff is not None:
            session = f"_{len(self.record.sessions) + 1}" if self.record.sessions else ""
            name = f"dirty{session}.diff" if of == "esc_sr" else f"dirty_{of}{session}.diff"
            with replacing(self.output_dir / name) as temporary:
                temporary.write_bytes(state.diff.encode("utf-8", "surrogateescape"))
        return {
            "of": of,
            "commit": state.commit,
            "dirty": state.dirty,
            "diff": name,
            "untracked": list(state.untracked),
        }


def start_files(config: Mapping[str, Any], output_dir: Path) -> dict[str, str]:
    """Return digests of the files that a run begins with, by key of its configuration.

    Args:
        config: Resolved.
        output_dir: The run's folder: its own checkpoints are no beginning.
    """
    digests = {}
    for key in ("init_from", "ckpt_path"):
        value = config.get(key)
        if not isinstance(value, str) or value == "last":
            continue
        path = find_weights(value)
        if path.is_file() and not path.resolve().is_relative_to(output_dir.resolve()):
            digests[key] = file_digest(path)
    return digests


def _asked_for() -> list[str]:
    """Return the overrides of the command line, secrets included."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def _asked() -> dict[str, Any]:
    """Return what the command line said, if there was one."""
    if not HydraConfig.initialized():
        return {}
    hydra = HydraConfig.get()
    folders = [one.path for one in hydra.runtime.config_sources if one.provider == "command-line"]
    return {
        "overrides": [redacted_override(str(override)) for override in hydra.overrides.task],
        "config_dir": folders[0] if folders else None,
        "choices": {
            str(group): choice
            for group, choice in hydra.runtime.choices.items()
            if not str(group).startswith("hydra/")
        },
    }


def _macs_g(network: nn.Module, lq_size: Sequence[int]) -> float | None:
    try:
        return count_macs(network, lq_size) / 1e9
    except Exception:  # whatever a network of others raises on the meta device
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
