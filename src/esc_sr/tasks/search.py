"""`esc-sr search`: train many networks, each proposed from what came of those before."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from esc_sr.config import compose_config, hydra_main, instantiate, target_of
from esc_sr.errors import InputError, check_integers, require_extra
from esc_sr.files import make_folder, replacing, write_atomically
from esc_sr.runs.record import PRUNED, RunRecord, number
from esc_sr.runs.redaction import redacted_override
from esc_sr.search.space import (
    RESERVED,
    Parameter,
    grid_size,
    overrides_of,
    read_space,
)
from esc_sr.search.study import (
    Search,
    Work,
    check_folder,
    default_storage,
    open_storage,
    seed_of,
)
from esc_sr.tasks.search_tables import comma_separated, pareto_pictures, print_best, short_values
from esc_sr.tasks.trial import Pruning, train_trial

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

DIRECTIONS = ("maximize", "minimize")
_COSTS = ("params_k", "macs_g")
_NO_PRUNER = "NopPruner"


@dataclass(frozen=True)
class Plan:
    """A search as it is configured, checked.

    Attributes:
        folder: Of the search.
        space: What is varied.
        objectives: By name of a value, "maximize" or "minimize".
        train: Overrides that all trials have.
        options: Of the command line that all trials have: where else configurations are.
        trials: How many in all.
        storage: Address of the study's storage.
        study: Its name.
        pruner: Node of the pruner, plain values; None: no trial is stopped.
    """

    folder: Path
    space: Sequence[Parameter]
    objectives: Mapping[str, str]
    train: Sequence[str]
    options: Sequence[str]
    trials: int
    storage: str
    study: str
    pruner: dict[str, Any] | None


def run(cfg: DictConfig, behind: Sequence[str] = ()) -> Search:
    """Search as `conf/search.yaml` describes.

    Args:
        cfg: The composed configuration.
        behind: What stands behind `--`: overrides of `esc-sr train`.

    Returns:
        The search, with its study.

    Raises:
        InputError: Something in the configuration is wrong, the folder or the study is about
            something else, or no trial has come to its end.
    """
    plan = make_plan(cfg, behind)
    check_folder(plan.folder)
    make_folder(plan.folder)
    search = Search(
        plan.folder,
        name=plan.study,
        storage=open_storage(plan.storage),
        space=plan.space,
        objectives=plan.objectives,
        about={
            "params": _plain(cfg.params, "params", dict),
            "objectives": dict(plan.objectives),
            "train": [redacted_override(override) for override in plan.train],
        },
        make_sampler=lambda number: _sampler(cfg, plan.space, number),
    )
    console = Console()
    _work(search, plan, console)
    _write_trials(search)
    if not search.best():
        errors = [error for t in search.trials() if (error := t.user_attrs.get("error"))]
        reason = f"; the first: {errors[0]}" if errors else ""
        raise InputError(f"none of {len(search.trials())} trials has come to its end{reason}")
    print_best(console, search)
    for name, content in pareto_pictures(search).items():
        with replacing(search.folder / name) as temporary:
            temporary.write_bytes(content)
    return search


def make_plan(cfg: DictConfig, behind: Sequence[str] = ()) -> Plan:
    """Check everything that can be checked before the first trial.

    Args:
        cfg: The composed configuration.
        behind: Overrides of `esc-sr train`.

    Returns:
        The plan.

    Raises:
        InputError: A value is wrong, or `esc-sr train` would not take what trials are to have.
    """
    require_extra("optuna", "sweep")
    check_integers(1, trials=cfg.trials)
    check_integers(0, seed=cfg.seed)
    space = read_space(_plain(cfg.params, "params", dict))
    objectives = _objectives(_plain(cfg.objectives, "objectives", dict))
    train = [str(one) for one in _plain(cfg.train, "train", list)] + list(behind)
    pruner = _plain(cfg.pruner, "pruner", dict)
    pruning = not str(pruner.get("_target_")).endswith(f".{_NO_PRUNER}")
    _check_pruning(pruner, objectives, pruning=pruning)
    options = _config_dir()
    trials = cfg.trials
    if _is_grid(cfg):
        trials = min(trials, grid_size(space))
    monitor = next(iter(objectives))
    _check_trials(space, train, monitor if pruning else None)
    instantiate(cfg.pruner)
    folder = _folder(cfg).expanduser().absolute()
    return Plan(
        folder=folder,
        space=space,
        objectives=objectives,
        train=train,
        options=options,
        trials=trials,
        storage=str(cfg.storage) if cfg.storage is not None else default_storage(folder),
        study=str(cfg.study) if cfg.study is not None else folder.name,
        pruner=pruner if pruning else None,
    )


def _work(search: Search, plan: Plan, console: Console) -> None:
    """Train trial after trial until there is nothing to begin."""

    def tell(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    done = [trial for trial in search.trials() if trial.state.is_finished()]
    if done:
        tell(f"{plan.folder} holds {len(done)} of {plan.trials} trials")
    while (work := search.next(plan.trials)) is not None:
        name = f"trial {work.number} ({short_values(work.values)})"
        tell(f"{name}: {'goes on' if work.left else 'begins'}")
        begin = time.perf_counter()
        try:
            record = train_trial(
                [*plan.options, *plan.train, *overrides_of(work.values)],
                work.folder,
                _pruning(plan, work),
            )
            told = _note(search, work, record, plan.objectives)
        except InputError as error:
            search.fail(work, str(error))
            told = f"failed: {error}"
        except BaseException:
            search.release(work)
            tell(f"{name}: stopped; called again, the search goes on with its last checkpoint")
            raise
        tell(f"{name}: {told} ({time.perf_counter() - begin:.0f} s)")
        _write_trials(search)


def _note(search: Search, work: Work, record: RunRecord, objectives: Mapping[str, str]) -> str:
    """Tell the study what came of a trial, and return it as a text.

    Raises:
        InputError: The run has not recorded what is to be best.
    """
    if record.state == PRUNED:
        search.prune(work)
        return f"pruned: {record.error}"
    values = {name: objective_value(record, name) for name in objectives}
    for name, value in values.items():
        if value is None or not math.isfinite(value):
            known = ", ".join([*_COSTS, *record.measured])
            raise InputError(f"the run has no finite {name}; it has {known}")
    search.complete(work, [value for value in values.values() if value is not None], record.wall_s)
    return ", ".join(f"{name} {value:.5g}" for name, value in values.items())


def objective_value(record: RunRecord, name: str) -> float | None:
    """Return what a run has reached.

    Args:
        record: Of a finished run.
        name: `params_k`, `macs_g`, or a key of the log. What is the run's `monitor` counts at its
            best, everything else as logged last.
    """
    if name in _COSTS:
        return getattr(record, name)
    if name == record.config.get("monitor") and record.best_score is not None:
        return number(record.best_score)
    return number(record.measured.get(name))


def _write_trials(search: Search) -> None:
    write_atomically(search.folder / "trials.csv", comma_separated(search))


def _pruning(plan: Plan, work: Work) -> Pruning | None:
    if plan.pruner is None:
        return None
    monitor = next(iter(plan.objectives))
    return Pruning(plan.storage, plan.study, work.id, plan.pruner, monitor)


def _sampler(cfg: DictConfig, space: Sequence[Parameter], number: int) -> BaseSampler:
    """Make the sampler that proposes a trial."""
    takes = inspect.signature(target_of(cfg.sampler)).parameters
    given: dict[str, Any] = {}
    if "search_space" in takes:
        given["search_space"] = {parameter.key: parameter.grid() for parameter in space}
    elif "seed" in takes:
        given["seed"] = seed_of(cfg.seed, number)
    return instantiate(cfg.sampler)(**given)


def _is_grid(cfg: DictConfig) -> bool:
    return str(cfg.sampler.get("_target_")).endswith("GridSampler")


def _folder(cfg: DictConfig) -> Path:
    if cfg.search_dir is not None:
        return Path(cfg.search_dir)
    choice = HydraConfig.get().runtime.choices.get("space") if HydraConfig.initialized() else None
    return Path(cfg.paths.runs_dir) / "search" / (choice or "own")


def _config_dir() -> list[str]:
    """Return the folder given with `--config-dir`, for the trials to be given it too."""
    if not HydraConfig.initialized():
        return []
    sources = HydraConfig.get().runtime.config_sources
    folders = [str(source.path) for source in sources if source.provider == "command-line"]
    return ["--config-dir", folders[0]] if folders else []


def _objectives(given: Mapping[str, Any]) -> dict[str, str]:
    if not 1 <= len(given) <= 2:
        raise InputError(f"objectives must be one or two, got {', '.join(given) or 'none'}")
    for name, direction in given.items():
        if name not in _COSTS and not str(name).startswith(("val/", "perf/")):
            raise InputError(
                f"objectives: '{name}' is nothing that a run records; give val/METRIC, perf/COST, "
                f"{' or '.join(_COSTS)}"
            )
        if direction not in DIRECTIONS:
            raise InputError(f"objectives: {name} is {' or '.join(DIRECTIONS)}, got {direction}")
    return {str(name): str(direction) for name, direction in given.items()}


def _check_pruning(
    pruner: Mapping[str, Any], objectives: Mapping[str, str], *, pruning: bool
) -> None:
    """Refuse to stop trials by what is not known of them before their end."""
    if not pruning:
        return
    name = str(pruner.get("_target_")).rpartition(".")[2]
    if len(objectives) > 1:
        raise InputError(
            f"{name} judges one value, and there are two objectives: choose pruner=none"
        )
    monitor = next(iter(objectives))
    if not monitor.startswith("val/"):
        raise InputError(f"{name} judges by validations, and {monitor} is none: choose pruner=none")


def _check_trials(space: Sequence[Parameter], train: Sequence[str], monitor: str | None) -> None:
    """Compose what trials will be, so that a wrong key or choice is told before the first."""
    varied = {parameter.key for parameter in space}
    for override in train:
        key = override.lstrip("+~").partition("=")[0]
        if override.startswith("-"):
            raise InputError(f"trials take overrides, key=value or group=choice, got {override}")
        if key in RESERVED:
            raise InputError(f"{key} cannot be given for trials: the search itself sets it")
        if key in varied:
            raise InputError(f"{key} is varied by params and given for all trials: which one?")
    first = {parameter.key: parameter.ends()[0] for parameter in space}
    places = ["paths.output_dir=trial", "run_dir=trial"]
    for parameter in space:
        for value in parameter.ends():
            values = first | {parameter.key: value}
            cfg = compose_config("train", [*train, *overrides_of(values), *places])
            if cfg.trainer.devices not in (1, "1") or cfg.trainer.get("num_nodes", 1) != 1:
                raise InputError(
                    f"a trial trains in one process, got trainer.devices={cfg.trainer.devices}; "
                    "call the search once for each GPU, with one search_dir: they share the trials"
                )
            if monitor is not None and cfg.trainer.max_steps < cfg.trainer.val_check_interval:
                raise InputError(
                    f"no trial validates before its end: trainer.val_check_interval="
                    f"{cfg.trainer.val_check_interval} is above trainer.max_steps="
                    f"{cfg.trainer.max_steps}; lower it, or choose pruner=none"
                )


def _plain(node: Any, name: str, kind: type) -> Any:
    plain = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    if not isinstance(plain, kind):
        what = "a list such as [seed=1]" if kind is list else "a mapping such as {key: value}"
        raise InputError(f"{name} must be {what}, got {plain}")
    return plain


def main(arguments: Sequence[str]) -> None:
    """Run `esc-sr search` with what stands behind it."""
    own, behind = split(arguments)
    hydra_main("search", lambda cfg: run(cfg, behind) and None, own)


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what stands before and behind `--`.

    Args:
        arguments: What stands behind the command's name.
    """
    given = list(arguments)
    at = given.index("--") if "--" in given else len(given)
    return given[:at], given[at + 1 :]
