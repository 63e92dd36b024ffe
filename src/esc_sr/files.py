"""Write files all or nothing."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; rename it at the end.

    An error or a kill leaves an existing file as it was, never half of a new one.

    Args:
        path: The file to be written; its folder is made.

    Yields:
        The temporary path, with the same suffix, so that writers that look at it are right.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name alone, no file yet: an interrupt before the `try` leaves nothing behind.
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # some writers, such as safetensors', let nobody else read
        os.replace(temporary, path)
    except OSError as error:
        if error.filename == str(temporary):  # a name that nobody has given
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


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
