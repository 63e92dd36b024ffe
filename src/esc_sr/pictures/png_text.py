"""What libvips does not know of PNG files: texts that are not ASCII, XMP, animation."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from pathlib import Path

from esc_sr.files import replacing

_SIGNATURE_BYTES = 8
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_HEADER_BYTES = 25  # the first chunk
# These hold other metadata, some of it about the picture as it was.
_NO_TEXTS = (b"XML:com.adobe.xmp\0", b"Raw profile type ")
_MOST_BYTES = 2**24
_MOST_INFLATED = 2**20  # of one text; readers such as Pillow refuse files with more


def png_texts(path: Path) -> bytes:
    """Read the texts of a PNG file, such as title and author.

    Args:
        path: The file.

    Returns:
        The chunks that hold them, one after the other; of more than 16 MiB the first. Compressed
        ones that are damaged, or of more than 1 MiB when they are not compressed, are left out.
    """
    texts = b""
    with path.open("rb") as file:
        file.seek(_SIGNATURE_BYTES)
        while len(header := file.read(8)) == 8 and header[4:] != b"IEND":
            size = int.from_bytes(header[:4], "big") + 4  # and the checksum
            if header[4:] not in _TEXTS:
                file.seek(size, os.SEEK_CUR)
                continue
            if len(texts) + size > _MOST_BYTES:
                break
            chunk = file.read(size)
            if (
                len(chunk) == size
                and not chunk.startswith(_NO_TEXTS)
                and _is_small(header[4:], chunk[:-4])
            ):
                texts += header + chunk
    return texts


def _is_small(kind: bytes, chunk: bytes) -> bool:
    """Return whether a text, if it is compressed, is whole and no bomb."""
    _, _, rest = chunk.partition(b"\0")
    if kind == b"zTXt":
        packed = rest[1:]
    elif kind == b"iTXt" and rest[:1] == b"\1":
        packed = rest[2:].split(b"\0", 2)[-1]
    else:
        return True
    try:
        return len(zlib.decompressobj().decompress(packed, _MOST_INFLATED + 1)) <= _MOST_INFLATED
    except zlib.error:
        return False


def png_frames(path: Path) -> int:
    """Return how many frames an animated PNG has; 1 for any other.

    Args:
        path: The file.
    """
    with path.open("rb") as file:
        file.seek(_SIGNATURE_BYTES)
        while len(header := file.read(8)) == 8 and header[4:] != b"IDAT":
            if header[4:] == b"acTL":
                return int.from_bytes(file.read(4), "big")
            file.seek(int.from_bytes(header[:4], "big") + 4, os.SEEK_CUR)
    return 1


def png_xmp(xmp: bytes) -> bytes:
    """Put XMP into a text as the standards ask for.

    Args:
        xmp: In UTF-8.

    Returns:
        A chunk for `add_png_texts`.
    """
    # Not compressed, no language, no translated keyword.
    chunk = b"iTXtXML:com.adobe.xmp\0" + b"\0\0" + b"\0" + b"\0" + xmp
    return struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))


def add_png_texts(path: Path, texts: bytes) -> None:
    """Add texts to a PNG file, before the pixels: some readers stop there.

    Args:
        path: The file.
        texts: What `png_texts` and `png_xmp` return, one after the other.
    """
    with path.open("rb") as old, replacing(path) as temporary, temporary.open("wb") as new:
        new.write(old.read(_SIGNATURE_BYTES + _HEADER_BYTES))
        new.write(texts)
        shutil.copyfileobj(old, new)
