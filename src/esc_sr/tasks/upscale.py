"""`esc-sr upscale`: enlarge pictures."""

from __future__ import annotations

import argparse
import difflib
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import NoReturn, get_args

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn

from esc_sr.attention.flash import KERNELS
from esc_sr.errors import InputError, printable
from esc_sr.inference.onnx_network import OnnxNetwork
from esc_sr.inference.planning import Tiling
from esc_sr.inference.upscaler import Upscaler
from esc_sr.models.checkpoints import load_model
from esc_sr.models.for_inference import DTYPES
from esc_sr.models.packaged import default_weights
from esc_sr.pictures.formats import FORMAT_OF
from esc_sr.pictures.jobs import Job, find_jobs
from esc_sr.pictures.reading import (
    DEFAULT_MAX_PIXELS,
    Picture,
    PictureHeader,
    picture_header,
    read_picture,
)
from esc_sr.pictures.writing import check_writable, write_picture

MEGA = 1_000_000

DESCRIPTION = """\
Enlarge pictures: PNG, JPEG, WebP, BMP, TIFF; grey, palette, RGB, with or without
transparency, 8 or 16 bit. Colour profiles and metadata are kept. Large pictures are cut so that
the memory stays bounded.
"""

EXAMPLES = """\
examples:
  esc-sr upscale photo.jpg                              writes photo_x4.jpg
  esc-sr upscale photos -o enlarged --checkpoint esc_x4.safetensors --precision bf16
  esc-sr upscale photos -o enlarged --checkpoint esc_x4.onnx
  esc-sr upscale 'scans/**/*.tif' -o enlarged --checkpoint esc_x4.safetensors --dry-run

exit status: 0 all done or skipped, 1 some failed or a value was refused, 2 unknown or missing
option, 130 interrupted
"""


@dataclass(frozen=True)
class _Task:
    """A picture to be enlarged, as its header tells."""

    job: Job
    header: PictureHeader


def main(arguments: Sequence[str]) -> None:
    """Run `esc-sr upscale` with what stands behind it."""
    made = parser()
    try:
        failed = run(made.parse_args(with_dashes(arguments, made)))
    except InputError as error:
        sys.stderr.write(f"esc-sr: error: {printable(str(error))}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("esc-sr: interrupted; what is finished is complete, run again to go on\n")
        sys.exit(130)
    if failed:
        sys.exit(1)


class _Parser(argparse.ArgumentParser):
    """Tells what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"esc-sr: error: {message}; see {self.prog} --help\n")


def with_dashes(arguments: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """Turn `key=value`, as the other commands take it, into `--key=value`.

    Args:
        arguments: What stands behind the command's name.
        parser: Knows the options.

    Returns:
        The same as options; a file that has such a name stays as it is.

    Raises:
        InputError: There is no option of that name, or a switch is given another value than true
            or false.
    """
    switches = {action.dest: action.nargs == 0 for action in parser._actions if action.dest}
    turned: list[str] = []
    for i, argument in enumerate(arguments):
        key, sign, value = argument.partition("=")
        follows_option = i > 0 and arguments[i - 1].startswith("-")
        if not (sign and key.isidentifier()) or follows_option or os.path.exists(argument):
            turned.append(argument)
            continue
        if key not in switches or key == "inputs":
            close = difflib.get_close_matches(key, switches, n=1)
            hint = f"did you mean '{close[0]}'? " if close else ""
            raise InputError(f"unknown key '{key}'; {hint}{parser.prog} --help lists every option")
        option = "--" + key.replace("_", "-")
        if not switches[key]:
            turned.append(f"{option}={value}")
        elif value.lower() == "true":
            turned.append(option)
        elif value.lower() != "false":
            raise InputError(f"{key} is true or false, got {value}")
    return turned


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = _Parser(
        prog="esc-sr upscale",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "inputs", nargs="+", metavar="PATH", help="pictures, folders (with theirs) or quoted globs"
    )
    made.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="a picture or a folder; default: beside each",
    )
    made.add_argument(
        "--checkpoint",
        metavar="CKPT",
        help="weights, or an .onnx; default: packaged ones",
    )
    made.add_argument(
        "--scale",
        type=float,
        metavar="S",
        help="enlargement; less than the network's is reached by shrinking its result exactly",
    )
    saving = made.add_argument_group("saving")
    saving.add_argument(
        "--format", choices=["png", "jpg", "webp", "bmp", "tif"], help="default: as the input"
    )
    saving.add_argument("--quality", type=int, metavar="1..100", help="of JPEG and WebP")
    saving.add_argument("--lossless", action="store_true", help="WebP without loss")
    saving.add_argument(
        "--overwrite", action="store_true", help="replace existing outputs; default: skip them"
    )
    saving.add_argument("--dry-run", action="store_true", help="say what would be done, do nothing")
    computing = made.add_argument_group("computing")
    computing.add_argument(
        "--backend",
        choices=["auto", "torch", "onnxruntime"],
        default="auto",
        metavar="WHO",
        help="torch, or onnxruntime of an .onnx; auto (default)",
    )
    computing.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default)")
    computing.add_argument("--precision", choices=list(DTYPES), default="fp32")
    computing.add_argument(
        "--attention",
        choices=["eager", "sdpa", "flex", "flash", *(f"flash:{kernel}" for kernel in KERNELS)],
        metavar="KERNEL",
        help="eager, sdpa (default), flex; flash, or flash:sdpa_flash, flash:sdpa ..., for weights "
        "of `esc-sr convert`",
    )
    computing.add_argument(
        "--tiling",
        choices=get_args(Tiling),
        default="auto",
        help="whole: in one piece; exact: the same layer by layer, in less memory; overlap: in "
        "least memory, with blended seams; auto (default): the first that fits",
    )
    computing.add_argument("--tile", type=int, metavar="PIXELS", help="side; default: from memory")
    computing.add_argument(
        "--overlap", type=int, metavar="PIXELS", help="read around a tile; default: 32 or a window"
    )
    computing.add_argument(
        "--memory",
        type=float,
        metavar="GIB",
        help="working memory; default on a CPU: 2, or half of what is free",
    )
    computing.add_argument(
        "--batch", type=int, default=1, metavar="N", help="pictures of one size computed at once"
    )
    computing.add_argument(
        "--self-ensemble",
        action="store_true",
        help="mean over 8 flips and rotations; 8 times slower",
    )
    computing.add_argument(
        "--max-megapixels",
        type=float,
        default=DEFAULT_MAX_PIXELS / MEGA,
        metavar="MP",
        help="refuse larger inputs (default: %(default)g)",
    )
    return made


def run(options: argparse.Namespace) -> int:
    """Enlarge what the command line asks for.

    Args:
        options: What `parser()` returns.

    Returns:
        How many pictures failed.

    Raises:
        InputError: Nothing can be done at all: no such input, no weights, options that do not fit.
    """
    if options.batch < 1:
        raise InputError(f"--batch must be 1 or more, got {options.batch}")
    if options.quality is not None and not 1 <= options.quality <= 100:
        raise InputError(f"--quality must be 1 to 100, got {options.quality}")
    if not options.max_megapixels > 0:
        raise InputError(f"--max-megapixels must be more than 0, got {options.max_megapixels:g}")
    upscaler = Upscaler(
        _load(options),
        scale=options.scale,
        device=options.device,
        precision=options.precision,
        tiling=options.tiling,
        tile=options.tile,
        overlap=options.overlap,
        memory_gib=options.memory,
        self_ensemble=options.self_ensemble,
    )
    jobs = find_jobs(
        options.inputs,
        options.output,
        extension=options.format,
        suffix=f"_x{float(upscaler.scale):g}",
    )
    _check_saving(options, {FORMAT_OF.get(job.target.suffix.lower(), "") for job in jobs})
    console = Console(highlight=False, soft_wrap=True)
    if upscaler.scale != upscaler.network_scale:
        console.print(
            f"the network enlarges ×{upscaler.network_scale}; its results are shrunk to "
            f"×{float(upscaler.scale):g} as MATLAB's bicubic does"
        )
    outcome: Counter[str] = Counter()
    start = time.perf_counter()
    tasks = list(_tasks(jobs, upscaler, options, outcome, console))
    if options.dry_run:
        _tell(tasks, upscaler, outcome, console)
        return outcome["failed"]
    total = sum(task.header.height * task.header.width for task in tasks)
    with (
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as bar,
        _interrupts() as check_interrupt,
    ):
        shown = bar.add_task("", total=total)
        done = 0
        for batch in _batches(tasks, options.batch):
            check_interrupt()
            pixels = sum(task.header.height * task.header.width for task in batch)
            name = batch[0].job.source.name if len(batch) == 1 else f"{len(batch)} pictures"
            bar.update(shown, description=name)

            def advance(fraction: float, done: int = done, pixels: int = pixels) -> None:
                bar.update(shown, completed=done + fraction * pixels)

            for line in _enlarge(batch, upscaler, options, outcome, advance):
                bar.console.print(printable(line), markup=False)
            done += pixels
    seconds = time.perf_counter() - start
    done = f"{outcome['enlarged']} enlarged ×{float(upscaler.scale):g} in {seconds:.1f} s"
    console.print(", ".join([done, *_others(outcome)]))
    return outcome["failed"]


def _others(outcome: Counter[str]) -> Iterator[str]:
    """Say how many are not enlarged, if any."""
    if outcome["skipped"]:
        yield f"{outcome['skipped']} skipped (they exist; --overwrite replaces them)"
    if outcome["failed"]:
        yield f"{outcome['failed']} failed"


def _check_saving(options: argparse.Namespace, kinds: set[str]) -> None:
    """Refuse options that no output would heed.

    Raises:
        InputError: There is one.
    """
    if options.quality is not None and options.lossless:
        raise InputError("--quality and --lossless contradict each other: leave one out")
    if options.quality is not None and not kinds & {"JPEG", "WebP"}:
        raise InputError("--quality is of JPEG and WebP, and no output is one: leave it out")
    if options.lossless and "WebP" not in kinds:
        raise InputError("--lossless is of WebP, and no output is one: leave it out")


@contextmanager
def _interrupts() -> Iterator[Callable[[], None]]:
    """End at Ctrl-C and SIGTERM, but not within pyvips: in a callback of libvips that is lost.

    Yields:
        Ends if a signal came within pyvips.
    """
    handlers: dict[int, Callable[[int, FrameType | None], object]] = {}
    seen: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        while frame is not None:
            if "pyvips" in frame.f_code.co_filename:
                return
            frame = frame.f_back
        check()

    def check() -> None:
        if seen:
            handlers[seen[0]](seen[0], None)

    if threading.current_thread() is not threading.main_thread():
        yield check  # others cannot handle signals, and get none
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        if callable(handler):  # who ignores a signal goes on doing so
            handlers[number] = handler
            signal.signal(number, remember)
    try:
        yield check
        check()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _load(options: argparse.Namespace) -> nn.Module:
    if options.checkpoint is None:
        if options.backend == "onnxruntime":
            raise InputError(
                "--backend onnxruntime needs an .onnx file: give one with --checkpoint"
            )
        return load_model(default_weights(options.scale), attention=options.attention)
    is_onnx = options.checkpoint.lower().endswith(".onnx")
    if options.backend == "onnxruntime" and not is_onnx:
        raise InputError(
            f"--backend onnxruntime needs an .onnx file, got {options.checkpoint}; make one: "
            f"esc-sr export {options.checkpoint}"
        )
    if not is_onnx:
        return load_model(options.checkpoint, attention=options.attention)
    if options.backend == "torch":
        raise InputError(
            f"--backend torch does not compute {options.checkpoint}: give the checkpoint that it "
            "was made of, or leave --backend out"
        )
    if options.attention is not None:
        raise InputError(
            f"the attention of {options.checkpoint} is written in the file: leave --attention out"
        )
    return OnnxNetwork(options.checkpoint)


def _tasks(
    jobs: Sequence[Job],
    upscaler: Upscaler,
    options: argparse.Namespace,
    outcome: Counter[str],
    console: Console,
) -> Iterator[_Task]:
    """Look at every header; tell what fails or is skipped, hand on the rest."""
    for job in jobs:
        if job.target.is_file() and not options.overwrite:
            outcome["skipped"] += 1
            continue
        try:
            if job.problem is not None:
                raise InputError(job.problem)
            header = picture_header(job.source, max_pixels=_max_pixels(options))
            height, width = upscaler.output_size(header.height, header.width)
            check_writable(job.target, height=height, width=width)
        except InputError as error:
            outcome["failed"] += 1
            console.print(printable(f"failed: {error}"), markup=False, style="red")
            continue
        yield _Task(job, header)


def _tell(
    tasks: Sequence[_Task], upscaler: Upscaler, outcome: Counter[str], console: Console
) -> None:
    """Say what would be done, as far as headers tell."""
    for task in tasks:
        header = task.header
        height, width = upscaler.output_size(header.height, header.width)
        line = (
            f"{task.job.source} ({header.width}×{header.height}, {header.channels} channels of "
            f"{header.bits} bit) -> {task.job.target} ({width}×{height}), "
            f"{upscaler.plan(header.height, header.width)}"
        )
        console.print(printable(line), markup=False)
    counts = ", ".join([f"{len(tasks)} to enlarge", *_others(outcome)])
    console.print(f"{counts}; nothing was written (--dry-run)")


def _batches(tasks: Sequence[_Task], size: int) -> Iterator[list[_Task]]:
    """Put neighbours of one size and kind together."""

    def kind(task: _Task) -> tuple[int, ...]:
        header = task.header
        return header.height, header.width, header.channels, header.bits

    for _, group in groupby(tasks, key=kind):
        alike = list(group)
        for i in range(0, len(alike), size):
            yield alike[i : i + size]


def _enlarge(
    batch: Sequence[_Task],
    upscaler: Upscaler,
    options: argparse.Namespace,
    outcome: Counter[str],
    advance: Callable[[float], None],
) -> Iterator[str]:
    """Enlarge pictures of one size together; yield a line for each, failed or not."""

    def failed(task: _Task, error: Exception) -> str:
        outcome["failed"] += 1
        return f"failed: {_reason(error, task.job.source)}"

    read: list[tuple[_Task, Picture]] = []
    for task in batch:
        try:
            read.append((task, read_picture(task.job.source, max_pixels=_max_pixels(options))))
        except Exception as error:  # one picture must not stop the others
            yield failed(task, error)
    # Headers agree, but what a palette or an odd mode becomes is known only now.
    for group in _alike(read):
        try:
            stacked = [picture.pixels for _, picture in group]
            pixels = stacked[0][None] if len(stacked) == 1 else np.stack(stacked)
            results = upscaler(pixels, on_progress=advance)
        except Exception as error:
            yield from (failed(task, error) for task, _ in group)
            continue
        for (task, picture), result in zip(group, results, strict=True):
            try:
                notes = write_picture(
                    task.job.target,
                    result,
                    metadata=picture.metadata,
                    quality=options.quality,
                    lossless=options.lossless,
                )
            except Exception as error:
                yield failed(task, error)
                continue
            outcome["enlarged"] += 1
            told = [*picture.notes, *notes]
            yield f"{task.job.target}" + (f" ({'; '.join(told)})" if told else "")


def _alike(read: Sequence[tuple[_Task, Picture]]) -> list[list[tuple[_Task, Picture]]]:
    groups: dict[tuple[object, ...], list[tuple[_Task, Picture]]] = {}
    for task, picture in read:
        key = (picture.pixels.shape, picture.pixels.dtype.str)
        groups.setdefault(key, []).append((task, picture))
    return list(groups.values())


def _reason(error: Exception, source: Path) -> str:
    if isinstance(error, InputError):
        return str(error)
    text = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate" in text:
        return f"{source}: not enough memory ({text}); use less with --memory or --tile"
    return f"{source}: {type(error).__name__}: {text}"


def _max_pixels(options: argparse.Namespace) -> int:
    return int(options.max_megapixels * MEGA)
