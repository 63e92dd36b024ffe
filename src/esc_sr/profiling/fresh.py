"""Measure a network in a process of its own.

Peak memory of the CPU is a number of the whole process, and what earlier work has allocated and
freed would hide in it. A fresh process also keeps apart thread pools, caches and compiled code of
networks that are compared, and dies alone where the memory does not suffice.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn

from esc_sr.errors import InputError, check_integers
from esc_sr.models.for_inference import AUTOCAST_DTYPES, Precision, for_inference
from esc_sr.offspring import end_with_parent
from esc_sr.profiling.latency import time_forwards
from esc_sr.profiling.lq_size import check_lq_size
from esc_sr.profiling.memory import Memory, PeakMemory

_OOM_SCORE = Path("/proc/self/oom_score_adj")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a network is measured.

    Args:
        lq_size: Height and width of the low-resolution image.
        batch_size: Images at a time.
        device: Name of the device, such as "cpu" or "cuda".
        precision: "fp32", or the type of autocast: "bf16" or "fp16".
        compile: Whether the network is compiled for this size.
        fast: Whether it is what `models.for_inference` makes of it, with weights of this precision
            instead of autocast.
        threads: Threads that PyTorch may use on a CPU; None: its own choice.

    Raises:
        InputError: A value is out of range.
    """

    lq_size: tuple[int, int]
    batch_size: int = 1
    device: str = "cpu"
    precision: Precision = "fp32"
    compile: bool = False
    fast: bool = False
    threads: int | None = None

    def __post_init__(self) -> None:
        check_lq_size(self.lq_size)
        check_integers(1, batch_size=self.batch_size)
        if self.threads is not None:
            check_integers(1, threads=self.threads)
        if self.precision not in get_args(Precision):
            raise InputError(
                f"unknown precision '{self.precision}'; "
                f"choose one of: {', '.join(get_args(Precision))}"
            )


class MeasurementError(Exception):
    """A network could not be measured.

    Attributes:
        kind: "out of memory"; "refused": an input error of the network; "failed": all else.
    """

    def __init__(self, kind: Literal["out of memory", "refused", "failed"], reason: str) -> None:
        super().__init__(kind, reason)  # what it is made from again when it is unpickled
        self.kind = kind

    def __str__(self) -> str:
        return ": ".join(self.args)


class FreshProcess:
    """A network in a process of its own, which is told when to run.

    Several can be held at a time and run in turn, so that what disturbs the machine disturbs all of
    them alike.

    Args:
        build: Makes the network; it is pickled, so it must be importable (a `functools.partial` of
            a module's function, say).
        setting: How it is measured.

    Attributes:
        build_s: Seconds that making the network took, known inside the context.
        threads: Threads that PyTorch uses there.

    Example:
        >>> from functools import partial
        >>> from esc_sr.models.bicubic import Bicubic
        >>> with FreshProcess(partial(Bicubic, scale=2), Setting(lq_size=(8, 8))) as process:
        ...     times = process.time(warmup=1, repeats=2)
        >>> len(times)
        2
    """

    build_s: float
    threads: int

    def __init__(self, build: Callable[[], nn.Module], setting: Setting) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, build, setting), daemon=True)
        self._theirs = theirs

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()  # so that the end of the process is the end of what is received
        try:
            self.build_s, self.threads = self._receive()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def time(self, *, warmup: int = 0, repeats: int = 1) -> list[float]:
        """Run the network.

        Args:
            warmup: Runs that are not timed.
            repeats: Runs that are.

        Returns:
            Their milliseconds.

        Raises:
            MeasurementError: The network failed, or the process was killed.
        """
        return self._ask(("time", warmup, repeats))

    def warm_up(self, runs: int) -> None:
        """Run the network without timing it.

        Raises:
            MeasurementError: The network failed, or the process was killed.
        """
        if runs:
            self.time(warmup=runs - 1)

    def memory(self) -> Memory:
        """Return the peak memory of all runs so far, in the process and above its start.

        The start is the process with the network loaded, before its first run.

        Raises:
            MeasurementError: The process was killed.
        """
        return self._ask(("memory",))

    def _ask(self, request: tuple[Any, ...]) -> Any:
        try:
            self._connection.send(request)
        except OSError:
            raise self._ended() from None
        return self._receive()

    def _receive(self) -> Any:
        try:
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise self._ended() from None
        if isinstance(answer, MeasurementError):
            raise answer
        return answer

    def _ended(self) -> MeasurementError:
        self._process.join()
        status = self._process.exitcode or 0
        if status == -signal.SIGKILL:
            return MeasurementError(
                "out of memory", "the system killed the process, as it does without memory"
            )
        if status < 0:
            return MeasurementError("failed", f"the process got {signal.Signals(-status).name}")
        return MeasurementError("failed", f"the process ended with status {status}")

    def _stop(self) -> None:
        self._connection.close()
        self._process.join(timeout=0.2)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def time_in_turn(
    processes: Sequence[FreshProcess],
    *,
    warmup: int = 1,
    rounds: int,
    on_run: Callable[[int], None] = lambda index: None,
) -> list[list[float]]:
    """Run networks in turn, A B A B …, so that what disturbs the machine disturbs all alike.

    Args:
        processes: The networks, entered.
        warmup: Runs of each before the first round.
        rounds: Timed runs of each.
        on_run: Called before a run with the number of the network.

    Returns:
        For each network the milliseconds of each round.

    Raises:
        MeasurementError: A network failed, or its process was killed.
    """
    times: list[list[float]] = [[] for _ in processes]
    for i, process in enumerate(processes):
        on_run(i)
        process.warm_up(warmup)
    for _ in range(rounds):
        for i, process in enumerate(processes):
            on_run(i)
            times[i] += process.time()
    return times


def _serve(connection: Connection, build: Callable[[], nn.Module], setting: Setting) -> None:
    """Be the other process: build the network, then do what is asked until nobody asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that asks decides when to end
    end_with_parent()
    try:
        _serve_requests(connection, build, setting)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # nobody asks any more
    except InputError as error:
        connection.send(MeasurementError("refused", str(error)))
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        if _is_out_of_memory(error):
            connection.send(MeasurementError("out of memory", reason))
        else:
            traceback.print_exc()
            connection.send(MeasurementError("failed", f"{type(error).__name__}: {reason}"))


def _serve_requests(
    connection: Connection, build: Callable[[], nn.Module], setting: Setting
) -> None:
    be_first_to_go()
    if setting.threads is not None:
        torch.set_num_threads(setting.threads)
    torch.backends.cudnn.benchmark = True
    device = torch.device(setting.device)
    start = time.perf_counter()
    network = build().to(device).eval()
    build_s = time.perf_counter() - start
    if setting.fast:
        network, _ = for_inference(
            network, precision=setting.precision, compile="fixed" if setting.compile else None
        )
    elif setting.compile:
        network.compile(dynamic=False)
    example = _example(setting, device)
    connection.send((build_s, torch.get_num_threads()))
    dtype = None if setting.fast else AUTOCAST_DTYPES[setting.precision]

    def context() -> AbstractContextManager[object]:
        return torch.autocast(device.type, dtype, enabled=dtype is not None)

    peak = PeakMemory(device)
    while True:
        request = connection.recv()
        if request[0] == "memory":
            connection.send(peak.read())
        else:
            _, warmup, repeats = request
            connection.send(
                time_forwards(network, example, warmup=warmup, repeats=repeats, context=context)
            )


def _example(setting: Setting, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(setting.batch_size, 3, *setting.lq_size, generator=generator).to(device)


def be_first_to_go() -> None:
    """Ask the system to end this process before any other where memory runs out."""
    try:
        _OOM_SCORE.write_text("1000")
    except OSError:
        return  # not Linux, or not allowed: it will choose by itself


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
