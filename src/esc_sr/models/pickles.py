"""Read what a pickle would call, without calling anything."""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from _compat_pickle import IMPORT_MAPPING
from collections.abc import Iterator
from pathlib import Path

_MOST_BYTES = 2**26  # of a pickle that is looked at; that of a network has some ten thousands
# What tensors and state dicts consist of.
_OF_TENSORS = re.compile(r"collections\.OrderedDict|torch\.\w+|torch\._utils\._rebuild_\w+")


def foreign_globals(path: Path) -> Iterator[str]:
    """Name what a file of `torch.save` or `pickle.dump` asks for beyond tensors and containers.

    Args:
        path: The file; one that is no pickle, or a damaged one, names what stands before the fault.

    Yields:
        Dotted names of functions and classes, in the order of the file.
    """
    for name in globals_of(path):
        if not _OF_TENSORS.fullmatch(name):
            yield name


def globals_of(path: Path) -> Iterator[str]:
    """Name all functions and classes that a file of `torch.save` or `pickle.dump` asks for.

    Args:
        path: As of `foreign_globals`.

    Yields:
        As of `foreign_globals`.
    """
    try:
        content = io.BytesIO(_pickle_of(path))
        while True:  # files of an older kind are several pickles, one behind the other
            yield from _globals_in(content)
    except Exception:  # the end, or damage, of which there are many kinds
        return


def is_packed(path: Path) -> bool:
    """Tell whether a file is a zip that unpacks to more than it has: `torch.save` packs nothing.

    Args:
        path: The file; one that is no zip, or a damaged one, is left to whoever reads it.
    """
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception:  # damage, of which there are many kinds
        return False
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    return packed or sum(entry.file_size for entry in entries) > path.stat().st_size


def _pickle_of(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    with zipfile.ZipFile(path) as archive:
        (name, *_) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        with archive.open(name) as file:
            return file.read(_MOST_BYTES)


def _globals_in(content: io.BytesIO) -> Iterator[str]:
    texts: list[str] = []  # those last put on the stack, of which STACK_GLOBAL takes two
    memo: dict[int, str] = {}
    last: str | None = None
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("GLOBAL", "INST"):
            yield _dotted(*str(argument).split(" ", 1))
        elif opcode.name == "STACK_GLOBAL":
            yield _dotted(*["?", "?", *texts][-2:])
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = last or "?"
            continue
        elif opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[int(argument or 0)] = last or "?"
            continue
        last = None
        if isinstance(argument, str) and opcode.name not in ("GLOBAL", "INST"):
            last = argument
        elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
            last = memo.get(int(argument or 0), "?")
        if last is not None:
            texts = [*texts[-1:], last]


def _dotted(module: str, name: str) -> str:
    """Join them, under the module's name of today: old protocols know builtins as __builtin__."""
    return f"{IMPORT_MAPPING.get(module, module)}.{name}"
