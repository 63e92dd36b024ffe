"""`esc-sr bench`: latency, memory, multiply-adds and parameters of networks."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import Progress

from esc_sr.comparison.reading import read_measurements
from esc_sr.config import compose_config, hydra_main
from esc_sr.errors import InputError, check_flags, check_integers
from esc_sr.files import file_digest, make_folder
from esc_sr.inference.device import pick_device
from esc_sr.profiling.conditions import device_name, versions
from esc_sr.profiling.fresh import FreshProcess, MeasurementError, Setting, time_in_turn
from esc_sr.profiling.latency import spread_of
from esc_sr.profiling.lq_size import check_lq_size
from esc_sr.profiling.macs import count_activations, count_macs, count_parameters
from esc_sr.profiling.memory import Memory
from esc_sr.profiling.records import BenchRecord
from esc_sr.tasks.bench_files import write_ratio, write_records
from esc_sr.tasks.bench_tables import Ratio, bench_table, ratio_line
from esc_sr.tasks.candidates import Candidate, candidates
from esc_sr.tasks.networks import listed_choices, refuse_empty_lists
from esc_sr.tasks.tables import print_whole

# (height, width)
OUTPUT_SIZES = {"HD": (720, 1280), "FHD": (1080, 1920), "4K": (2160, 3840)}
_DEFAULT_SIZE = "HD"
# The authors' protocol on a GPU; a CPU has no clock to wake up, and takes its time.
_REPETITIONS = {"gpu": (100, 100), "cpu": (1, 5)}


@dataclass(frozen=True)
class Job:
    """A network in a setting; `record` holds what is known without running it."""

    candidate: Candidate
    setting: Setting
    record: BenchRecord


def run(cfg: DictConfig) -> list[BenchRecord]:
    """Measure as `conf/bench.yaml` describes.

    Args:
        cfg: The composed configuration.

    Returns:
        A record for each combination, in order.

    Raises:
        InputError: Something in the configuration or a checkpoint is wrong, or no network could
            be measured because all refused.
    """
    jobs = plan(cfg)
    _make_folder(cfg)
    console = Console()
    records = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(jobs))
        for job in jobs:
            progress.update(task, description=describe(job))
            records.append(measure(job))
            progress.advance(task)
    print_whole(console, bench_table(records))
    if cfg.output_dir is not None:
        write_records(_with_earlier(cfg, records), Path(cfg.output_dir))
    _raise_if_nothing(records)
    return records


def compare(cfg: DictConfig, common: Sequence[str], subjects: Sequence[str]) -> Ratio:
    """Run two networks in turn, A B A B …, and relate the times of each round.

    Args:
        cfg: The composed configuration of what both share.
        common: The overrides that it was composed from.
        subjects: Further overrides that make A and B, such as "attention=eager".

    Returns:
        How B relates to A.

    Raises:
        InputError: As `run`; or a subject means several networks, or one cannot be measured.
    """
    jobs = [_only_job(common, subject) for subject in subjects]
    repetitions = {(job.record.warmup, job.record.repeats) for job in jobs}
    if len(repetitions) > 1:
        raise InputError("--compare runs both alike: give warmup and repeats before --compare")
    _make_folder(cfg)
    console = Console()
    rounds = jobs[0].record.repeats
    with (
        ExitStack() as stack,
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("", total=(rounds + 1) * len(jobs))
        try:
            processes = [
                stack.enter_context(FreshProcess(job.candidate.build, job.setting)) for job in jobs
            ]
            times = time_in_turn(
                processes,
                warmup=jobs[0].record.warmup,
                rounds=rounds,
                on_run=lambda i: progress.update(task, advance=1, description=subjects[i]),
            )
            memories = [process.memory() for process in processes]
        except MeasurementError as error:
            raise InputError(f"nothing to compare: {error}") from error
        records = [
            _measured(job.record, process, found, memory)
            for job, process, found, memory in zip(jobs, processes, times, memories, strict=True)
        ]
    a, b = records
    assert a.peak_memory_mib is not None
    assert b.peak_memory_mib is not None
    ratio = Ratio(
        baseline=subjects[0],
        subject=subjects[1],
        latency=spread_of([of_b / of_a for of_a, of_b in zip(*times, strict=True)]),
        memory=b.peak_memory_mib / a.peak_memory_mib if a.peak_memory_mib else None,
        rounds=rounds,
    )
    print_whole(console, bench_table(records, labels="AB"))
    console.print(ratio_line(ratio), soft_wrap=True, highlight=False)
    if cfg.output_dir is not None:
        write_records(records, Path(cfg.output_dir))
        write_ratio(ratio, Path(cfg.output_dir))
    return ratio


def plan(cfg: DictConfig, *, chosen_model: str | None = None) -> list[Job]:
    """Return every combination that a configuration means, made and counted but not yet run.

    Args:
        cfg: The composed configuration.
        chosen_model: As for `candidates`.

    Raises:
        InputError: Something in the configuration or a checkpoint is wrong.
    """
    device = pick_device(cfg.device)
    warmup, repeats = _REPETITIONS["cpu" if device.type == "cpu" else "gpu"]
    warmup = warmup if cfg.warmup is None else cfg.warmup
    repeats = repeats if cfg.repeats is None else cfg.repeats
    check_integers(0, warmup=warmup)
    check_integers(1, repeats=repeats, batch_size=cfg.batch_size)
    refuse_empty_lists(cfg, "precision", "compile", "fast", "lq_size", "output_size")
    for compiled in _listed(cfg.compile):
        check_flags(compile=compiled)
    for fast in _listed(cfg.fast):
        check_flags(fast=fast)
    found = candidates(cfg, chosen_model=chosen_model)
    options = list(product(_listed(cfg.precision), _listed(cfg.compile), _listed(cfg.fast)))
    jobs = []
    for candidate in found:
        weights = candidate.checkpoint and file_digest(candidate.checkpoint)
        for lq_size, output_size in sizes(cfg, candidate.scale):
            macs, activations = _counts(candidate, lq_size)
            for precision, compiled, fast in options:
                setting = Setting(
                    lq_size=lq_size,
                    batch_size=cfg.batch_size,
                    device=str(device),
                    precision=precision,
                    compile=compiled,
                    fast=fast,
                    threads=cfg.threads,
                )
                record = BenchRecord(
                    network=candidate.name,
                    title=candidate.title,
                    checkpoint=candidate.checkpoint,
                    weights=weights,
                    attention=candidate.attention,
                    scale=candidate.scale,
                    lq_size=lq_size,
                    output_size=output_size,
                    batch_size=cfg.batch_size,
                    precision=precision,
                    compile=compiled,
                    fast=fast,
                    device=device_name(device) if device.type == "cuda" else device.type,
                    device_name=device_name(device),
                    threads=cfg.threads,
                    warmup=warmup,
                    repeats=repeats,
                    macs_g=None if macs is None else macs / 1e9,
                    params_k=count_parameters(candidate.network) / 1e3,
                    activations_m=None if activations is None else activations / 1e6,
                    versions=versions(),
                )
                jobs.append(Job(candidate, setting, record))
    return jobs


def measure(job: Job) -> BenchRecord:
    """Measure a network in a process of its own; what cannot be measured is said in the record."""
    record = job.record
    try:
        with FreshProcess(job.candidate.build, job.setting) as process:
            times = process.time(warmup=record.warmup, repeats=record.repeats)
            return _measured(record, process, times, process.memory())
    except MeasurementError as error:
        return replace(record, error=str(error))


def describe(job: Job) -> str:
    """Say in a few words what is measured."""
    record = job.record
    height, width = record.lq_size
    parts = [record.network, record.attention, f"×{record.scale}", f"{width}×{height}"]
    parts += [record.precision, "fast" if record.fast else None]
    parts += ["compiled" if record.compile else None]
    return " ".join(part for part in parts if part)


def sizes(cfg: DictConfig, scale: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield pairs of low-resolution and output size, both (height, width).

    Args:
        cfg: With `lq_size` and `output_size` as in `conf/bench.yaml`.
        scale: Super-resolution factor; an output that is no multiple of it is covered.

    Raises:
        InputError: Both are given, or one is no size.
    """
    if cfg.lq_size is not None and cfg.output_size is not None:
        raise InputError("lq_size and output_size contradict each other: leave one out")
    if cfg.lq_size is not None:
        for height, width in map(_size, _listed_sizes(cfg.lq_size)):
            yield (height, width), (height * scale, width * scale)
        return
    for wanted in _listed_sizes(cfg.output_size or _DEFAULT_SIZE):
        height, width = _size(wanted)
        yield (math.ceil(height / scale), math.ceil(width / scale)), (height, width)


def _size(wanted: Any) -> tuple[int, int]:
    if isinstance(wanted, str):
        if wanted.upper() not in OUTPUT_SIZES:
            raise InputError(
                f"unknown size '{wanted}'; choose one of {', '.join(OUTPUT_SIZES)} or give "
                "[height,width]"
            )
        return OUTPUT_SIZES[wanted.upper()]
    if not isinstance(wanted, list) or not all(type(side) is int for side in wanted):
        raise InputError(f"a size is [height,width] in pixels, got {wanted}")
    return check_lq_size(wanted)


def _listed_sizes(value: Any) -> list[Any]:
    """Take a size, or a list of sizes, as a list."""
    plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    if isinstance(plain, list) and not any(isinstance(side, list | str) for side in plain):
        return [plain]
    return plain if isinstance(plain, list) and plain else [plain]


def _listed(value: Any) -> list[Any]:
    return list(value) if OmegaConf.is_list(value) else [value]


def _counts(candidate: Candidate, lq_size: tuple[int, int]) -> tuple[int | None, int | None]:
    """Count multiply-adds and activations; some networks of others cannot run on `meta`."""
    try:
        return (
            count_macs(candidate.network, lq_size),
            count_activations(candidate.network, lq_size),
        )
    except Exception as error:  # whatever a network of others raises
        reason = str(error).partition("\n")[0] or type(error).__name__
        sys.stderr.write(f"esc-sr: no multiply-adds of {candidate.name}: {reason}\n")
        return None, None


def _measured(
    record: BenchRecord, process: FreshProcess, times: Sequence[float], memory: Memory
) -> BenchRecord:
    latency = spread_of(times)
    on_gpu = memory.source == "cuda_allocated"
    return replace(
        record,
        latency_ms=latency.median,
        latency_p10_ms=latency.p10,
        latency_p90_ms=latency.p90,
        peak_memory_mib=memory.peak_mib if on_gpu else memory.increase_mib,
        memory_source="cuda_allocated" if on_gpu else "resident_increase",
        build_s=process.build_s,
        threads=process.threads,
    )


def _only_job(common: Sequence[str], subject: str) -> Job:
    overrides = translated([*common, *_overrides(subject)])
    models = [word.removeprefix("model=") for word in overrides if word.startswith("model=")]
    jobs = plan(compose_config("bench", overrides), chosen_model=models[-1] if models else None)
    if len(jobs) != 1:
        raise InputError(
            f"--compare relates single measurements; '{subject}' means {len(jobs)} of them"
        )
    return jobs[0]


def _overrides(subject: str) -> list[str]:
    """Split a subject; a file is a checkpoint, a name without a sign is a model."""
    words = subject.split()
    return [
        word
        if "=" in word or word.startswith("~")
        else f"checkpoint='{word}'"
        if Path(word).is_file()
        else f"model={word}"
        for word in words
    ]


def _make_folder(cfg: DictConfig) -> None:
    if cfg.output_dir is not None:
        make_folder(cfg.output_dir)


def _with_earlier(cfg: DictConfig, records: list[BenchRecord]) -> list[BenchRecord]:
    """Put the records of earlier runs of the same multirun before these."""
    if not HydraConfig.initialized():
        return records
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN or hydra.job.num == 0:
        return records
    path = Path(cfg.output_dir) / "bench.json"
    # Each job may have a folder of its own.
    return [*read_measurements(path), *records] if path.is_file() else records


def _raise_if_nothing(records: Sequence[BenchRecord]) -> None:
    """Fail if nothing was measured, unless it was the memory that did not suffice."""
    errors = [record.error for record in records if record.error is not None]
    wrong = [error for error in errors if not error.startswith("out of memory")]
    if wrong and len(errors) == len(records):
        raise InputError(f"nothing was measured: {wrong[0]}")


def translated(arguments: Sequence[str]) -> list[str]:
    """Turn lists of choices, which Hydra's groups do not take, into keys of their own.

    Args:
        arguments: What stands behind the command's name.

    Returns:
        The same with `models=[…]` for `model=[…]` and `attentions=[…]` for `attention=[…]`.

    Example:
        >>> translated(["model=[esc,rdn]", "attention=eager"])
        ['models=[esc,rdn]', 'attention=eager']
    """
    return listed_choices(arguments, "model", "attention")


def main(arguments: Sequence[str]) -> None:
    """Run `esc-sr bench` with what stands behind it."""
    arguments = list(arguments)
    if "--compare" not in arguments:
        hydra_main("bench", run, translated(arguments))
        return
    at = arguments.index("--compare")
    subjects = arguments[at + 1 : at + 3]
    common = arguments[:at] + arguments[at + 3 :]
    if len(subjects) < 2 or any(subject.startswith("-") for subject in subjects):
        sys.stderr.write("esc-sr: error: --compare needs two: --compare model=esc model=rdn\n")
        sys.exit(2)
    hydra_main("bench", lambda cfg: compare(cfg, common, subjects), translated(common))
