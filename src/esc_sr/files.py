"""Write files all or nothing."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from esc_sr.errors import InputError

# Errors of writing, which need not name the file.
_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
_LONGEST_NAME = 255  # bytes, nearly everywhere
# What files of results and records may have: a thousand times what is usual.
MOST_BYTES_OF_JSON = 64 * 2**20
# What `replacing` calls a file that is not complete.
_UNFINISHED = re.compile(r"\..*\.unfinished-[0-9a-f]{8}(\.[^.]+)?")


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; rename it at the end.

    An error or a kill leaves an existing file as it was, never half of a new one.

    Args:
        path: The file to be written; its folder is made.
        durable: Wait until the content is on the disk before the name changes, so that this holds
            where the machine itself stops, too. Some milliseconds for each file.

    Yields:
        The temporary path, with the same suffix, so that writers that look at it are right.

    Raises:
        InputError: There is a device or a pipe in its place, which would be gone.
        OSError: It cannot be written; the message has the path, not the temporary one.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path} is no ordinary file: nothing is written in its place")
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name alone, no file yet: an interrupt before the `try` leaves nothing behind.
    temporary = path.with_name(_unfinished_name(path))
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # some writers, such as safetensors', let nobody else read
        if durable:
            _sync(temporary)
        os.replace(temporary, path)
        if durable:
            _sync(path.parent)
    except Exception as error:
        number = _reason(error, temporary)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _unfinished_name(path: Path) -> str:
    """Return a name for a file that is not complete, no longer than names can be."""
    ending = f".unfinished-{secrets.token_hex(4)}{path.suffix}"
    stem = os.fsencode(path.stem)[: _LONGEST_NAME - 1 - len(os.fsencode(ending))]
    return f".{stem.decode('utf-8', 'ignore')}{ending}"


def _reason(error: BaseException, temporary: Path) -> int | None:
    """Return the number of the system's error where a file could not be written.

    Many writers do not name the file, or give it the temporary name, which nobody has chosen;
    torch's hides the error behind one of its own, and safetensors' is no `OSError`.
    """
    if isinstance(error, InputError):
        return None  # it says what there is to say
    told = re.search(r"\(os error (\d+)\)", str(error))
    if told and int(told.group(1)) in _WRITING:
        return int(told.group(1))
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, OSError) and (
            at.filename == str(temporary) or (not at.filename and at.errno in _WRITING)
        ):
            return at.errno
        at = at.__context__
    return None


def _sync(path: Path) -> None:
    """Wait until the disk holds a file, or the names of a folder."""
    if path.is_dir() and os.name == "nt":
        return  # folders cannot be opened there
    number = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(number)
    except OSError as error:
        # Some file systems know no such call for folders; a full disk is another matter.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(number)


def remove_unfinished(folder: Path) -> None:
    """Remove what `replacing` left in a folder when it was killed.

    Only where nobody writes at the same time: see `esc_sr.locking`.

    Args:
        folder: Not those below it; may be missing.
    """
    if folder.is_dir():
        for path in folder.iterdir():
            if _UNFINISHED.fullmatch(path.name) and path.is_file():
                path.unlink(missing_ok=True)


def make_folder(folder: str | Path) -> Path:
    """Make a folder for results, before the work whose results they will be.

    Args:
        folder: Where; `~` expands.

    Returns:
        The folder, into which files can be written.

    Raises:
        OSError: It cannot be made or written to.
    """
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    return folder


def file_name(text: str) -> str:
    """Return a text from anywhere as one part of a path, so that it leads nowhere else.

    Args:
        text: A name, of a validation set or an image.

    Example:
        >>> file_name("../../a/b"), file_name("/data/Set5"), file_name("Set5")
        ('_._.._a_b', '_data_Set5', 'Set5')
    """
    name = re.sub(r"[/\\\x00-\x1f\x7f]", "_", text)
    return f"_{name[1:]}" if name[:1] in ("", ".") else name


def fault_of_file(path: Path, *, most_bytes: int) -> str | None:
    """Say why a file is better not opened, in words that follow its name; None: nothing is wrong.

    Args:
        path: The file; links are followed.
        most_bytes: What it may have; whole MiB.

    Returns:
        That it is a pipe or the like, at which a reader could wait for ever, or too large.

    Raises:
        OSError: It is missing, or lies where nobody may look.
    """
    told = path.stat()
    if stat.S_ISDIR(told.st_mode):
        return "is a folder"
    if not stat.S_ISREG(told.st_mode):
        return "is no ordinary file"
    if told.st_size > most_bytes:
        return f"has more than {most_bytes // 2**20} MiB"
    return None


def file_digest(path: str | Path) -> str:
    """Return the first 16 digits of a file's SHA-256: files of one name are told apart by it.

    Args:
        path: The file; `~` expands.
    """
    with Path(path).expanduser().open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def write_atomically(path: Path, text: str) -> None:
    """Write a text file all or nothing.

    Args:
        path: The file; its folder is made.
        text: Its whole content.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
