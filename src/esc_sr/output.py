"""What commands print: no sign stops the work, and what cannot be written is one line."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar, TextIO, cast

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OutputError(OSError):
    """Standard output cannot be written; told from the errors of all other files."""


class _Output(io.FileIO):
    """The file behind standard output, which remembers that it could not be written.

    Attributes:
        failure: The first error, whoever has seen it.
        abandoned: What is still to be written is dropped.
    """

    failure: OutputError | None = None
    abandoned = False

    def write(self, content: ReadableBuffer, /) -> int | None:
        """Write as ever, with an error that says that it is the output's.

        Raises:
            OutputError: The system refuses.
        """
        if self.abandoned:
            return memoryview(content).nbytes
        try:
            return super().write(content)
        except OSError as error:
            told = OutputError(error.errno, f"cannot write the output: {error.strerror}")
            self.failure = self.failure or told
            raise told from None


@contextmanager
def guarded() -> Iterator[None]:
    """Let a command print whatever there is to print, and tell at its end if that failed.

    Signs that the encoding of standard output does not have become escapes, as they are on standard
    error. Output that cannot be written ends the command with one line and status 1; where its
    reader has gone, as `head` does, without a line. A stream that is closed swallows everything.
    An output that is not the process's own, as in a notebook, stays as it is.

    Raises:
        SystemExit: The output is not complete.
    """
    if sys.stderr is None:
        sys.stderr = _nowhere()
    if sys.stdout is None:
        sys.stdout = _nowhere()
    output = _raw(sys.stdout)
    if output is None:
        yield
        return
    before = cast(io.TextIOWrapper, sys.stdout)
    sys.stdout = io.TextIOWrapper(
        cast(Any, output if before.write_through else io.BufferedWriter(output)),
        encoding=before.encoding,
        errors="backslashreplace",
        line_buffering=before.line_buffering,
        write_through=before.write_through,
    )
    left: SystemExit | None = None
    try:
        yield
    except OutputError:
        pass  # it remembers
    except SystemExit as error:
        left = error
    finally:
        with suppress(OutputError):
            sys.stdout.flush()
        output.abandoned = output.failure is not None
        sys.stdout = before
    if output.failure is not None:
        if output.failure.errno != errno.EPIPE:
            sys.stderr.write(f"esc-sr: error: {output.failure.strerror}\n")
        raise SystemExit((left.code if left else 0) or 1)
    if left is not None:
        raise left


def _raw(stream: TextIO) -> _Output | None:
    """Open the file behind standard output again; None where it is something else."""
    if stream is not sys.__stdout__ or not isinstance(stream, io.TextIOWrapper):
        return None
    stream.flush()
    file = getattr(stream.buffer, "raw", stream.buffer)
    if type(file) is not io.FileIO:  # as the console of Windows, which has every sign
        return None
    return _Output(file.fileno(), "wb", closefd=False)


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


class _TellsOnce(logging.StreamHandler):
    """A handler that tells once that it cannot write, where there would be tracebacks."""

    _told: ClassVar[set[str]] = set()  # by this process: every job of a multirun has new handlers

    def handleError(self, record: logging.LogRecord) -> None:
        """Tell what the system refuses; what else goes wrong is a bug, and shown as ever."""
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        where = getattr(self, "baseFilename", "standard output")
        if where not in self._told:
            self._told.add(where)
            reason = os.strerror(error.errno) if error.errno else str(error)
            with suppress(OSError):
                sys.stderr.write(f"esc-sr: warning: cannot write the log to {where}: {reason}\n")


class ConsoleHandler(_TellsOnce):
    """Writes lines of the log to a stream; the work goes on where it cannot be written."""


class FileHandler(_TellsOnce, logging.FileHandler):
    """Writes lines of the log to a file; the work goes on where it cannot be written."""
