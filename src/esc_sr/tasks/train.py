"""`esc-sr train`: fit a network, keep its best weights, compare them with bicubic."""

from __future__ import annotations

import logging
import re
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.callbacks import (
    Callback,
    ModelCheckpoint,
    ProgressBar,
    WeightAveraging,
)
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.strategies import FSDPStrategy, Strategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from esc_sr.config import hydra_main, instantiate
from esc_sr.errors import InputError, check_flags, check_integers
from esc_sr.evaluation import Evaluation, evaluate_network
from esc_sr.files import remove_unfinished
from esc_sr.locking import locked
from esc_sr.metrics.protocol import Protocol, check_distinct
from esc_sr.models.bicubic import Bicubic
from esc_sr.models.checkpoints import load_weights, read_checkpoint, save_model, warm_start
from esc_sr.models.esc import ESCBase
from esc_sr.models.packaged import find_weights
from esc_sr.profiling.macs import count_parameters
from esc_sr.runs.finding import find_finished
from esc_sr.runs.record import number
from esc_sr.tasks.dashboards import conclusion, dashboards_of, introduction
from esc_sr.tasks.networks import check_attention
from esc_sr.tasks.recording import RunRecorder
from esc_sr.tasks.repeating import repeated
from esc_sr.tasks.results import write_results
from esc_sr.tasks.tables import print_quality
from esc_sr.training.callbacks.checkpoint import LastCheckpoint
from esc_sr.training.callbacks.latency import LatencyMonitor
from esc_sr.training.callbacks.memory import MemoryMonitor
from esc_sr.training.callbacks.non_finite import NonFiniteGuard
from esc_sr.training.module import SRLightningModule

log = logging.getLogger(__name__)

LastWritten = tuple[int, int] | None


@dataclass(frozen=True)
class TrainResult:
    """What a training run left behind.

    Attributes:
        output_dir: The folder of the run; of the one that had finished before, if this was skipped.
        best_score: Best value of `monitor`, or None if there was no validation.
        checkpoint: The best checkpoint, else the last one, else None.
        table: Results on the validation sets, of bicubic too; empty without `final_table`.
    """

    output_dir: Path
    best_score: float | None
    checkpoint: Path | None
    table: list[Evaluation]


def run(cfg: DictConfig, *, more_callbacks: Sequence[Callback] = ()) -> TrainResult:
    """Train as `conf/train.yaml` describes.

    Args:
        cfg: The composed configuration.
        more_callbacks: Beside those of the configuration; the record of the run does not tell.

    Returns:
        Where everything lies and what was reached.

    Raises:
        InputError: Something in the configuration or the data is wrong.
        SystemExit: A signal asked to stop; its status is 128 and the number of the signal.
    """
    check_counts(cfg)
    check_run_dir()
    check_accelerator(cfg.trainer.accelerator)
    if cfg.paths.output_dir is None:
        raise InputError("paths.output_dir must be a folder, got null; run_dir=FOLDER sets it")
    output_dir = Path(cfg.paths.output_dir)
    recorder = RunRecorder(output_dir, _resolved(cfg))
    config = recorder.record.config  # without secrets: checkpoints and logs are given to others
    if cfg.skip_finished and (earlier := _finished_before(cfg, recorder)) is not None:
        return earlier
    found = last_written(output_dir)
    resume_from = find_resume_checkpoint(cfg.ckpt_path, output_dir)
    L.seed_everything(cfg.seed, workers=True, verbose=False)

    check_attention(cfg.model)
    network = instantiate(cfg.model)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise InputError(f"{cfg.model._target_} has nothing to train; choose e.g. model=esc")
    if cfg.channels_last:
        network.to(memory_format=torch.channels_last)
    load_start(network, cfg.init_from, resume_from)
    datamodule = instantiate(cfg.data)
    protocols: tuple[Protocol, ...] = tuple(instantiate(cfg.protocol).values())
    check_distinct(protocols)
    metrics = {key: metric for p in protocols for key, metric in p.metrics().items()}
    metrics |= instantiate(cfg.get("metrics")) or {}
    check_monitor(cfg.monitor, datamodule.val_names, list(metrics))
    module = SRLightningModule(
        network=network,
        loss=instantiate(cfg.loss),
        optimizer=instantiate(cfg.optimizer),
        scheduler=instantiate(cfg.scheduler),
        metrics=metrics,
        compile=cfg.compile,
        config=config,
    )
    callbacks = [*(instantiate(cfg.get("callbacks")) or {}).values(), *more_callbacks]
    loggers = list((instantiate(cfg.get("logger")) or {}).values())
    trainer: L.Trainer = instantiate(cfg.trainer)(
        callbacks=callbacks,
        # Not False: callbacks such as LearningRateMonitor refuse to run without any.
        logger=loggers or DummyLogger(),
        # Lightning would add its own where none was chosen.
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        enable_progress_bar=any(isinstance(c, ProgressBar) for c in callbacks),
    )

    check_sharding(trainer.strategy, callbacks, cfg.trainer.get("gradient_clip_val"))
    if trainer.strategy.root_device.type == "cpu":
        try_gradient(network)

    resumed = resume_from is not None
    with (
        _alone_in(output_dir, found) if trainer.is_global_zero else nullcontext(),
        dashboards_of(trainer) as dashboards,
        recorder.watching(trainer, network, _title(network), resumed=resumed),
        _telling_how_to_go_on(trainer, output_dir),
    ):
        _announce(network, output_dir, resume_from, trainer)
        about = introduction(recorder.record, output_dir, datamodule.val_names, list(metrics))
        for dashboard in dashboards:
            dashboard.introduce(about)
        for logger in trainer.loggers:
            logger.log_hyperparams(config)
        # Lightning would unpickle anything by default.
        trainer.fit(module, datamodule=datamodule, ckpt_path=resume_from, weights_only=True)
        if _asked_to_stop(trainer) is not None:  # during the last step
            raise SIGTERMException

        best, best_score = best_checkpoint(trainer)
        if isinstance(trainer.strategy, FSDPStrategy):
            network = instantiate(cfg.model)  # what was trained lies in shards
        if best is not None:
            load_weights(network, read_checkpoint(best).state_dict, source=str(best))
        table: list[Evaluation] = []
        weights = None
        if trainer.is_global_zero:
            if isinstance(network, ESCBase):
                weights = save_model(network, output_dir / "model.safetensors")
            if cfg.final_table:
                table = _compare_with_bicubic(cfg.scale, network, protocols, datamodule, trainer)
                write_results(table, output_dir)
            recorder.reached(trainer, best_score, table)
            outcome = conclusion(recorder.record, trainer, best)
            for dashboard in dashboards:
                dashboard.conclude(outcome)
    if trainer.is_global_zero:
        if table:
            print_quality(Console(), table)
        _tell_where(output_dir, weights, best, trainer)
    return TrainResult(output_dir, best_score, best, table)


def check_counts(cfg: DictConfig) -> None:
    """Check the numbers that Lightning would trip over later.

    Validation in the middle of an accumulated step is refused: it could not be resumed exactly.

    Raises:
        InputError: One is not a whole number, or too small, or the intervals do not fit.
    """
    trainer = cfg.trainer
    every, accumulate = trainer.val_check_interval, trainer.accumulate_grad_batches
    check_integers(0, seed=cfg.seed)
    flags = ("skip_finished", "channels_last", "compile", "final_table")
    check_flags(**{key: cfg[key] for key in flags})
    check_integers(1, scale=cfg.scale)
    check_integers(-1, **{"trainer.max_steps": trainer.max_steps})
    check_integers(
        1,
        **{
            "trainer.val_check_interval": every,
            "trainer.accumulate_grad_batches": accumulate,
            "trainer.log_every_n_steps": trainer.log_every_n_steps,
        },
    )
    if every % accumulate:
        raise InputError(
            f"trainer.val_check_interval={every} must be a multiple of "
            f"trainer.accumulate_grad_batches={accumulate}"
        )


def check_run_dir() -> None:
    """Refuse a folder for each run of a multirun, where they have one together.

    Raises:
        InputError: A multirun's command line has `run_dir`.
    """
    if _sweep_dir() is not None:
        given = [one for one in HydraConfig.get().overrides.task if one.startswith("run_dir=")]
        if given:
            raise InputError(
                f"{given[0]}: the runs of a multirun are numbered below one folder, "
                f"hydra.sweep.dir={given[0].partition('=')[2]}"
            )


def check_accelerator(accelerator: str) -> None:
    """Refuse a GPU where there is none.

    Raises:
        InputError: There is none; the message says what there is instead.
    """
    if accelerator in ("gpu", "cuda") and not (
        torch.cuda.is_available() or torch.backends.mps.is_available()
    ):
        raise InputError(
            f"trainer.accelerator={accelerator}: PyTorch finds no GPU here; take trainer=cpu, or, "
            "to try several processes, trainer=ddp trainer.accelerator=cpu trainer.devices=2 "
            "trainer.precision=32-true"
        )


def _sweep_dir() -> Path | None:
    """Return the folder of the multirun that this run is a job of, if it is one."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return Path(HydraConfig.get().sweep.dir)


def check_monitor(monitor: str, val_names: Sequence[str], metric_names: Sequence[str]) -> None:
    """Refuse to watch a value that validation will not log.

    Raises:
        InputError: `monitor` is none of the logged values.
    """
    logged = [f"val/{metric}" for metric in metric_names]
    logged += [f"val/{name}/{metric}" for name in val_names for metric in metric_names]
    if monitor not in logged:
        raise InputError(f"monitor={monitor} is not logged; choose one of: {', '.join(logged)}")


def check_sharding(
    strategy: Strategy, callbacks: Sequence[Callback], gradient_clip_val: float | None
) -> None:
    """Refuse what does not work where every process holds a part of the weights.

    Args:
        strategy: How processes share the work.
        callbacks: All of the run.
        gradient_clip_val: Largest norm of the gradient, if any.

    Raises:
        InputError: FSDP, and something needs all weights or the whole gradient.
    """
    if not isinstance(strategy, FSDPStrategy):
        return
    whole = (WeightAveraging, LatencyMonitor, MemoryMonitor)
    refused = [
        type(one).__name__
        for one in callbacks
        if isinstance(one, whole) or (isinstance(one, NonFiniteGuard) and one.policy == "restore")
    ]
    if refused or not any(isinstance(one, ModelCheckpoint) for one in callbacks):
        reason = f"cannot work with {', '.join(refused)}" if refused else "needs checkpoints"
        raise InputError(
            f"FSDP shards the weights and {reason}: choose "
            "callbacks=[checkpoint,throughput,lr_monitor,images,progress]"
        )
    if gradient_clip_val is not None:
        raise InputError(
            "FSDP shards the gradient, and Lightning does not clip its norm then: "
            "trainer.gradient_clip_val=null"
        )


def _last_of(output_dir: Path) -> Path:
    return output_dir / "checkpoints" / "last.ckpt"


def last_written(output_dir: Path) -> LastWritten:
    """Return what tells one last checkpoint of a run's folder from the next; None without one."""
    try:
        status = _last_of(output_dir).stat()
    except OSError:  # the one who writes there tells what is wrong
        return None
    return status.st_ino, status.st_mtime_ns


def find_resume_checkpoint(ckpt_path: str | None, output_dir: Path) -> Path | None:
    """Find what to resume from.

    Args:
        ckpt_path: A path, "last" for the last checkpoint of the run's folder, or None.
        output_dir: The run's folder.

    Returns:
        The checkpoint, or None: start afresh.

    Raises:
        InputError: The path given does not exist, or a run would be overwritten.
    """
    last = _last_of(output_dir)
    if ckpt_path is None:
        if last.is_file():
            raise InputError(
                f"{output_dir} holds a run already: go on with ckpt_path=last, "
                "or choose another run_dir"
            )
        return None
    if ckpt_path == "last":
        return last if last.is_file() else None
    path = Path(ckpt_path).expanduser()
    if not path.is_file():
        raise InputError(f"ckpt_path: there is no checkpoint {path}")
    return path


def load_start(network: torch.nn.Module, init_from: str | None, resume_from: Path | None) -> None:
    """Load the weights that training starts from, if any.

    Args:
        network: The network, changed in place.
        init_from: Weights of any scale for a new run, a path or the name of packaged ones, or None.
        resume_from: Checkpoint of the run to go on with, or None. Lightning loads it again, but
            its own words for a file that does not fit fill a screen.

    Raises:
        InputError: The file is missing, damaged, or holds another network or no run.
    """
    if resume_from is not None:
        try:
            checkpoint = read_checkpoint(resume_from)
        except InputError as error:
            best = resume_from.with_name("best.ckpt")
            if resume_from.name != "last.ckpt" or not best.is_file():
                raise
            raise InputError(f"{error}; go on from the best one: ckpt_path={best}") from error
        if not checkpoint.is_training_state:
            raise InputError(
                f"ckpt_path={resume_from} holds weights only, there is no run to resume; "
                f"init_from={resume_from} starts a new run from them"
            )
        load_weights(network, checkpoint.state_dict, source=str(resume_from))
    elif init_from is not None:
        if not find_weights(init_from).is_file():
            raise InputError(
                f"init_from: there is no checkpoint {init_from}; train that network first, "
                "name another file, or set init_from=null for fresh weights"
            )
        if not isinstance(network, ESCBase):
            raise InputError(f"init_from knows the family of ESC, not {type(network).__name__}")
        warm_start(network, init_from)


def try_gradient(network: torch.nn.Module) -> None:
    """Run one tiny step, so that a kernel that cannot train here refuses before any data is read.

    Raises:
        InputError: The attention kernel refuses.
    """
    network(torch.zeros(1, 3, 8, 8)).sum().backward()
    network.zero_grad(set_to_none=True)


@contextmanager
def _alone_in(output_dir: Path, found: LastWritten) -> Iterator[None]:
    """Let no other run into the folder, and clear away what a killed one has left half written.

    Raises:
        InputError: Another run is there, or has written since it was looked at.
    """
    remedy = "wait until it has ended, or choose another run_dir"
    with locked(output_dir, remedy):
        if last_written(output_dir) != found:
            raise InputError(
                f"another run has written {output_dir} just now: go on with ckpt_path=last, or "
                "choose another run_dir"
            )
        for folder in (output_dir, output_dir / "checkpoints", *output_dir.glob("images/*/")):
            remove_unfinished(folder)
        yield


@contextmanager
def _telling_how_to_go_on(trainer: L.Trainer, output_dir: Path) -> Iterator[None]:
    """Say in one line how a run goes on that was stopped, or that lost a process.

    Raises:
        InputError: A worker of the data loader is gone.
        SystemExit: The run was stopped.
    """
    sweep = _sweep_dir()
    again = (
        f"run_dir={_shown(output_dir)}"
        if sweep is None
        else f"hydra.sweep.dir={_shown(sweep)} skip_finished=true"
    ) + " ckpt_path=last"
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        if not trainer.is_global_zero:
            # Lightning ends a run with violence where one of its processes has failed.
            raise SystemExit(0) from None
        step, saved = trainer.global_step, _last_saved(trainer)
        log.info(
            "interrupted at step %d%s; go on with the same command and %s",
            step,
            "" if saved == step else f", the last saved is {saved}" if saved else ", none is saved",
            again,
        )
        if isinstance(stop, SIGTERMException):
            raise SystemExit(128 + (_asked_to_stop(trainer) or signal.SIGTERM)) from None
        interrupt = isinstance(stop, KeyboardInterrupt)
        if interrupt or isinstance(stop.__context__, KeyboardInterrupt):  # as Lightning leaves
            raise SystemExit(128 + signal.SIGINT) from None
        raise SystemExit(stop.code) from None
    except RuntimeError as error:
        found = re.match(
            r"DataLoader worker .*?(killed by signal: \w+|exited unexpectedly)", str(error)
        )
        if found is None:
            raise
        last = _last_of(output_dir)
        kept = f"go on from {_shown(last)} with {again}" if last.is_file() else "nothing is saved"
        raise InputError(
            f"a process that reads training images was {found.group(1)}, as the system does where "
            "memory runs out: lower data.num_workers or data.batch_size, or set "
            f"data.train.cache=false; {kept}"
        ) from error


def _asked_to_stop(trainer: L.Trainer) -> int | None:
    """Return the signal that asked the run to end, if one has and somebody listened."""
    return next((one.request.received for one in _last_checkpoints(trainer)), None)


def _last_saved(trainer: L.Trainer) -> int:
    return next((one.last_step for one in _last_checkpoints(trainer)), 0)


def _last_checkpoints(trainer: L.Trainer) -> list[LastCheckpoint]:
    return [one for one in trainer.checkpoint_callbacks if isinstance(one, LastCheckpoint)]


def best_checkpoint(trainer: L.Trainer) -> tuple[Path | None, float | None]:
    """Return the best checkpoint and its score; without one, the last checkpoint."""
    callbacks: Sequence[Any] = trainer.checkpoint_callbacks
    watching = [c for c in callbacks if isinstance(c, ModelCheckpoint)]
    for callback in watching:
        if callback.monitor and callback.best_model_path and callback.best_model_score is not None:
            return Path(callback.best_model_path), float(callback.best_model_score)
    for callback in watching:
        if callback.best_model_path:
            return Path(callback.best_model_path), None
    return None, None


def _title(network: torch.nn.Module) -> str:
    return getattr(network, "title", type(network).__name__)


def _finished_before(cfg: DictConfig, recorder: RunRecorder) -> TrainResult | None:
    """Return what a finished run of the same configuration left behind, if there is one."""
    roots = [recorder.output_dir, Path(cfg.paths.runs_dir)]
    if (sweep := _sweep_dir()) is not None:
        roots.insert(1, sweep)
    found = find_finished(recorder.record.config_hash, roots)
    if found is None:
        return None
    folder, record = found
    log.info("skipped: the same configuration has finished in %s", _shown(folder))
    if folder.resolve() != recorder.output_dir.resolve():
        recorder.skipped(folder)
    kept = (folder / "checkpoints" / name for name in ("best.ckpt", "last.ckpt"))
    checkpoint = next((path for path in kept if path.is_file()), None)
    return TrainResult(folder, number(record.best_score), checkpoint, [])


def _resolved(cfg: DictConfig) -> dict[str, Any]:
    resolved = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _announce(
    network: torch.nn.Module, output_dir: Path, resume_from: Path | None, trainer: L.Trainer
) -> None:
    if not trainer.is_global_zero:
        return
    log.info("%s, %s parameters", _title(network), f"{count_parameters(network):,}")
    if resume_from is not None:
        log.info("resuming from %s", _shown(resume_from))
    log.info("writing to %s", _shown(output_dir))


def _compare_with_bicubic(
    scale: int,
    network: torch.nn.Module,
    protocols: tuple[Protocol, ...],
    datamodule: Any,
    trainer: L.Trainer,
) -> list[Evaluation]:
    loaders = dict(zip(datamodule.val_names, datamodule.val_dataloader(), strict=True))
    options: dict[str, Any] = {"scale": scale, "device": trainer.strategy.root_device}
    bicubic = evaluate_network(Bicubic(scale=scale), loaders, protocols, **options)
    options["autocast"] = trainer.precision_plugin.forward_context
    measured = evaluate_network(network, loaders, protocols, **options)
    return [
        Evaluation("bicubic", scale, protocols, bicubic),
        Evaluation(_title(network), scale, protocols, measured),
    ]


def _tell_where(
    output_dir: Path, weights: Path | None, checkpoint: Path | None, trainer: L.Trainer
) -> None:
    if weights is not None:
        log.info("weights:     %s", _shown(weights))
    if checkpoint is not None:
        log.info("checkpoint:  %s", _shown(checkpoint))
    if (output_dir / "images").is_dir():
        log.info("pictures:    %s", _shown(output_dir / "images"))
    for logger in trainer.loggers:
        where = logger.log_dir or logger.save_dir or "."
        log.info("log:         %s (%s)", _shown(Path(where)), type(logger).__name__)


def _shown(path: Path) -> Path:
    """Shorten paths below the working directory."""
    path, here = path.resolve(), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def main(arguments: Sequence[str], *, more_callbacks: Sequence[Callback] = ()) -> None:
    """Run `esc-sr train`; a sweeper is given the best value of `monitor`.

    Args:
        arguments: What stands behind it.
        more_callbacks: As for `run`.

    Raises:
        InputError: `--from` names no run that can be repeated.
    """

    def job(cfg: DictConfig) -> float | None:
        _ignore_warnings()  # in each process that a launcher starts
        return run(cfg, more_callbacks=more_callbacks).best_score

    hydra_main("train", job, repeated(arguments))


def _ignore_warnings() -> None:
    # Lightning 2.6 calls what torch 2.13 deprecates; nobody who trains can mend that.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    # Resuming in the same folder is what ckpt_path=last is for; DDP copies some small gradients.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
