"""The formats of picture files: how they are named, how large they can be."""

from __future__ import annotations

# What can be written, and the largest side that the format can hold.
LARGEST_SIDE = {
    ".png": 2**31 - 1,
    ".jpg": 65_500,  # the standard allows 65,535, libjpeg does not
    ".jpeg": 65_500,
    ".webp": 16_383,
    ".bmp": 2**31 - 1,
    ".tif": 2**31 - 1,
    ".tiff": 2**31 - 1,
}
WRITABLE = tuple(LARGEST_SIDE)
READABLE = (*WRITABLE, ".gif")
FORMAT_OF = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WebP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".gif": "GIF",
}
