"""EXIF of a picture that has been turned upright, and EXIF in TIFF, which libvips leaves out."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

# Tag -> type and value in little-endian order.
_Directory = dict[int, tuple[int, bytes]]

_PREFIX = b"Exif\0\0"
_EXIF, _GPS, _INTEROPERABILITY = 34665, 34853, 40965  # where a directory points to others
_WIDTH, _HEIGHT, _ORIENTATION = 256, 257, 274
_EXIF_WIDTH, _EXIF_HEIGHT = 40962, 40963
_LONG = 4
# What describes a picture; the other tags of a TIFF say how its pixels are stored.
_DESCRIBING = {270, 271, 272, 305, 306, 315, 316, 18246, 33432, *range(40091, 40096)}
# Size of a value by its type; a fraction is two numbers.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}
_FRACTIONS = (5, 10)


def upright_exif(block: bytes) -> bytes | None:
    """Take from an EXIF block what no longer holds: orientation, size and thumbnail.

    Args:
        block: As in a JPEG file, with or without `Exif` at its start.

    Returns:
        A new block; None: the given one is damaged.
    """
    data = block.removeprefix(_PREFIX)
    try:
        main, exif, gps = _read(data)
    except (KeyError, ValueError, struct.error):
        return None
    for tag in (_WIDTH, _HEIGHT, _ORIENTATION):
        main.pop(tag, None)
    return _block(main, exif, gps)


def tiff_exif(path: Path) -> bytes | None:
    """Read what a TIFF file says about its picture.

    Args:
        path: The file.

    Returns:
        An EXIF block; None: it says nothing, or nothing that can be read.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            main, exif, gps = _read(data)
    except (KeyError, ValueError, struct.error):
        return None
    main = {tag: value for tag, value in main.items() if tag in _DESCRIBING}
    return _block(main, exif, gps) if main or exif or gps else None


def add_tiff_exif(path: Path, block: bytes, *, height: int, width: int) -> None:
    """Add what an EXIF block says to a TIFF file of one page.

    The directory of the file is written anew at its end; the pixels stay where they are.

    Args:
        path: The file.
        block: As `upright_exif` returns it.
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
    """
    main, exif, gps = _read(block.removeprefix(_PREFIX))
    for tag, value in ((_EXIF_WIDTH, width), (_EXIF_HEIGHT, height)):
        if tag in exif:
            exif[tag] = _LONG, struct.pack("<I", value)
    with path.open("r+b") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            order, big, first = _layout(data)
            entries = _read_directory(data, first, order, big)
        entries |= {tag: value for tag, value in main.items() if tag in _DESCRIBING}
        end = file.seek(0, 2)
        body, first = _written(entries, exif, gps, end, order, big)
        file.write(body)
        file.seek(8 if big else 4)
        file.write(struct.pack(order + ("Q" if big else "I"), first))


def _block(main: _Directory, exif: _Directory, gps: _Directory) -> bytes:
    body, first = _written(main, exif, gps, 8, "<", False)
    return _PREFIX + struct.pack("<2sHI", b"II", 42, first) + body


def _layout(data: bytes | mmap.mmap) -> tuple[str, bool, int]:
    """Return byte order, whether offsets have 64 bits, and where the first directory is."""
    order = {b"II": "<", b"MM": ">"}[data[:2]]
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    (first,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    return order, big, first


def _read(data: bytes | mmap.mmap) -> tuple[_Directory, _Directory, _Directory]:
    """Read the first directory, and those of EXIF and GPS that it points to."""
    order, big, first = _layout(data)
    main = _read_directory(data, first, order, big)
    others = []
    for pointer in (_EXIF, _GPS):
        _, value = main.pop(pointer, (0, b""))
        offset = int.from_bytes(value, "little")
        others.append(_read_directory(data, offset, order, big) if offset else {})
    others[0].pop(_INTEROPERABILITY, None)
    return main, others[0], others[1]


def _read_directory(data: bytes | mmap.mmap, offset: int, order: str, big: bool) -> _Directory:
    counts, entry, inline, offsets = ("Q", "HHQ", 8, "Q") if big else ("H", "HHI", 4, "I")
    (count,) = struct.unpack_from(order + counts, data, offset)
    at = offset + struct.calcsize("=" + counts)
    found: _Directory = {}
    total = 0
    for _ in range(count):
        tag, kind, number = struct.unpack_from(order + entry, data, at)
        at += struct.calcsize("=" + entry)
        size = number * _SIZES.get(kind, 0)
        where = at if size <= inline else struct.unpack_from(order + offsets, data, at)[0]
        at += inline
        total += size
        if total > len(data):
            raise ValueError("values larger than the file")
        value = data[where : where + size]
        if size and len(value) == size:
            found[tag] = kind, _ordered(value, kind, order)
    return found


def _written(
    main: _Directory, exif: _Directory, gps: _Directory, at: int, order: str, big: bool
) -> tuple[bytes, int]:
    """Return bytes to be put at `at`, and where in the file the first directory then is."""
    body = b"\0" * (at % 2)
    main = dict(main)
    for pointer, entries in ((_EXIF, exif), (_GPS, gps)):
        if entries:
            main[pointer] = _LONG, struct.pack("<I", at + len(body))
            body += _directory(entries, at + len(body), order, big)
    first = at + len(body)
    return body + _directory(main, first, order, big), first


def _directory(entries: _Directory, at: int, order: str, big: bool) -> bytes:
    counts, entry, inline, offsets = ("Q", "HHQ", 8, "Q") if big else ("H", "HHI", 4, "I")
    head = struct.pack(order + counts, len(entries))
    step = struct.calcsize("=" + entry) + inline
    behind = at + len(head) + step * len(entries) + struct.calcsize("=" + offsets)
    behind += behind % 2
    values = b""
    for tag, (kind, value) in sorted(entries.items()):
        head += struct.pack(order + entry, tag, kind, len(value) // _SIZES[kind])
        value = _ordered(value, kind, order)
        if len(value) <= inline:
            head += value.ljust(inline, b"\0")
        else:
            head += struct.pack(order + offsets, behind + len(values))
            values += value + b"\0" * (len(value) % 2)
    head += struct.pack(order + offsets, 0)  # no directory follows
    return head.ljust(behind - at, b"\0") + values


def _ordered(value: bytes, kind: int, order: str) -> bytes:
    """Turn numbers from or to little-endian order."""
    unit = _SIZES[kind] // (2 if kind in _FRACTIONS else 1)
    if order == "<" or unit == 1:
        return value
    return b"".join(value[i : i + unit][::-1] for i in range(0, len(value), unit))
