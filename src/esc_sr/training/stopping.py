"""Signals that ask a run to end: noted at once, obeyed between two steps."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from esc_sr.errors import Stopped

# Of the second one. Whoever passes on what a terminal sends to all may double the first.
_SECONDS_APART = 1.0


class StopRequest:
    """Note SIGINT and SIGTERM instead of ending at once; the second time end at once.

    Signals by which a cluster announces the end of a job's time, SIGUSR1 and SIGUSR2, are noted
    too where somebody handles them: Lightning puts the job into SLURM's queue again and saves a
    checkpoint at once, were it in the middle of a step. `hand_on` calls that handler later.
    """

    def __init__(self) -> None:
        self._signum: int | None = None
        self._since = 0.0
        self._announced: int | None = None
        self._found: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    @property
    def received(self) -> int | None:
        """The signal that asked, if one has."""
        return self._announced if self._signum is None else self._signum

    @property
    def announced(self) -> bool:
        """Whether the end of the job's time was announced."""
        return self._announced is not None

    def listen(self) -> None:
        """Take over the signals; not outside the main thread, where Python allows none."""
        if threading.current_thread() is not threading.main_thread():
            return
        for signum in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(signum) != signal.SIG_IGN:  # as in the background of a script
                self._found[signum] = signal.signal(signum, self._note)
        for name in ("SIGUSR1", "SIGUSR2"):  # not on Windows
            signum = getattr(signal, name, None)
            if signum is not None and callable(signal.getsignal(signum)):
                self._found[signum] = signal.signal(signum, self._note_announcement)

    def release(self) -> None:
        """Give the signals back to whoever had them."""
        for signum, handler in self._found.items():
            if handler is not None:  # of another language, which cannot be put back
                signal.signal(signum, handler)
        self._found.clear()

    def hand_on(self) -> None:
        """Call who handles the announcement of the end, once everything is saved."""
        handlers = {
            s: h for s, h in self._found.items() if s not in (signal.SIGINT, signal.SIGTERM)
        }
        # Another process of this run may have got it, and not this one.
        signum = self._announced or next(iter(handlers), None)
        handler = handlers.get(signum) if signum is not None else None
        if signum is not None and callable(handler):
            handler(signum, None)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self._signum is None:
            self._signum, self._since = signum, time.monotonic()
        elif time.monotonic() - self._since > _SECONDS_APART:
            raise Stopped(signum)

    def _note_announcement(self, signum: int, frame: FrameType | None) -> None:
        self._announced = signum
