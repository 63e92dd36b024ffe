"""Write files all or nothing."""

from __future__ import annotations

import os
import tempfile
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
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; give this one what a plain open() would.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file all or nothing.

    Args:
        path: The file; its folder is made.
        text: Its whole content.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
