"""Processes that end with the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Let this process end at once when the one that started it has ended, however that was.

    The system's own number of the parent does not tell: of a process that was started by way of a
    fork server, that is its parent.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:  # in a thread: a signal leaves no time to tell others
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
