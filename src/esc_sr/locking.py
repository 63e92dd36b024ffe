"""One process at a time works in a folder."""

from __future__ import annotations

import errno
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from esc_sr.errors import InputError, printable

log = logging.getLogger(__name__)

LOCK = ".lock"
_BUSY = (errno.EACCES, errno.EAGAIN)
_NO_FILE = (errno.ELOOP, errno.EISDIR, errno.ENXIO)


@contextmanager
def locked(folder: Path, remedy: str) -> Iterator[None]:
    """Hold a folder, or refuse where another process holds it.

    The lock is the operating system's: however its process ends, it is free at once. It belongs to
    the process alone, not to those that it forks, such as the workers of a data loader, which live
    some seconds longer than a process that is killed. Where the file system or the operating
    system (Windows) has no such locks, nothing is refused.

    Args:
        folder: It is made.
        remedy: What the user can do, told when it is refused.

    Raises:
        InputError: Another process holds it; the message says which, on which machine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = _acquire(folder / LOCK, folder, remedy)
    try:
        yield
    finally:
        if file is not None:
            # Before it is closed: nobody then holds a file that has no name any more.
            (folder / LOCK).unlink(missing_ok=True)
            os.close(file)


def _acquire(path: Path, folder: Path, remedy: str) -> int | None:
    """Return the descriptor that holds the lock; None where there are no locks."""
    try:
        import fcntl
    except ImportError:
        return None
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        except OSError as error:
            if error.errno in _NO_FILE:
                raise InputError(f"{path} is no ordinary file: remove it") from None
            raise
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(file, 1000).decode("utf-8", "replace").split("\n")[0]
            os.close(file)
            if error.errno in _BUSY:
                raise InputError(
                    f"{folder} is in use by {printable(holder) or 'another process'}: {remedy}"
                ) from None
            log.warning("%s cannot be locked (%s)", folder, error.strerror)
            return None
        try:
            current = os.stat(path).st_ino
        except FileNotFoundError:
            current = None
        if os.fstat(file).st_ino == current:
            break
        os.close(file)  # the one before has taken the name away in between
    with suppress(OSError):  # on a full disk nobody is told who holds it
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {platform.node()}\n".encode())
    return file
