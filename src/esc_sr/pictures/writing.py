"""Write picture files, all or nothing, with their metadata."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from esc_sr.errors import InputError
from esc_sr.files import replacing
from esc_sr.pictures.exif import add_tiff_exif
from esc_sr.pictures.formats import FORMAT_OF, LARGEST_SIDE, WRITABLE
from esc_sr.pictures.libvips import Pixels, expanded, reason, vips
from esc_sr.pictures.metadata import USUAL_RESOLUTION, Metadata
from esc_sr.pictures.png_text import add_png_texts, png_xmp

_SAVERS = {"PNG": "pngsave", "JPEG": "jpegsave", "WebP": "webpsave", "TIFF": "tiffsave"}
_DEFAULT_QUALITY = 95
_BIGTIFF_FROM = 4_000_000_000  # bytes
_BMP_BYTES = 2**32 - 1  # its header counts them in 32 bits
_JPEG_XMP_BYTES = 60_000  # what libvips writes into one segment


def check_writable(path: str | Path, *, height: int, width: int) -> None:
    """Refuse, before any work, what `write_picture` could not write.

    Args:
        path: Where to.
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.

    Raises:
        InputError: Unknown extension, too large for the format, or the folder cannot be written.
    """
    path = expanded(path)
    suffix = path.suffix.lower()
    if suffix not in LARGEST_SIDE:
        raise InputError(
            f"cannot write {path}: '{path.suffix}' is no picture format that is written; "
            f"use one of: {', '.join(WRITABLE)}"
        )
    if max(height, width) > LARGEST_SIDE[suffix]:
        raise InputError(
            f"cannot write {path}: {width}×{height} is too large, {FORMAT_OF[suffix]} holds at "
            f"most {LARGEST_SIDE[suffix]} pixels a side; use .png or .tif"
        )
    if suffix == ".bmp" and 3 * height * (width + 1) + 1024 > _BMP_BYTES:
        raise InputError(
            f"cannot write {path}: {width}×{height} is too large, BMP holds at most 4 GiB; "
            "use .png or .tif"
        )
    if os.path.isdir(path):
        raise InputError(f"cannot write {path}: it is a folder")
    above = (path.parent, *path.absolute().parents)
    folder = next(parent for parent in above if os.path.exists(parent))
    if not os.path.isdir(folder):
        raise InputError(f"cannot write {path}: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {path}: no permission to write in {folder}")


def write_picture(
    path: str | Path,
    pixels: Pixels,
    *,
    metadata: Metadata | None = None,
    quality: int | None = None,
    lossless: bool = False,
) -> tuple[str, ...]:
    """Write a picture, all or nothing, with its metadata.

    PNG and TIFF (deflate) keep everything. JPEG (quality 95, full colour resolution), WebP
    (quality 95) and BMP hold 8 bits; JPEG and BMP have no alpha, so white shines through; BMP
    keeps the resolution alone.

    Args:
        path: Its extension decides the format; its folder is made.
        pixels: `(H, W, C)` uint8 or uint16, C from 1 to 4 as in `Picture`.
        metadata: What `read_picture` found in the file that this picture comes from.
        quality: 1 to 100, of JPEG and WebP; None: 95.
        lossless: Write WebP without loss.

    Returns:
        Notes on what the format could not keep.

    Raises:
        InputError: As `check_writable`, or the file cannot be written, for example because the
            disk is full; or the pixels are of another kind.
    """
    path = expanded(path)
    if (
        pixels.ndim != 3
        or pixels.shape[2] not in (1, 2, 3, 4)
        or pixels.dtype not in (np.uint8, np.uint16)
        or pixels.size == 0
    ):
        raise InputError(
            f"cannot write {path}: a picture is an array (H, W, C) of uint8 or uint16 with C from "
            f"1 to 4, got {pixels.shape} of {pixels.dtype}"
        )
    quality = _DEFAULT_QUALITY if quality is None else quality
    if not 1 <= quality <= 100:
        raise InputError(f"cannot write {path}: quality must be 1 to 100, got {quality}")
    height, width = pixels.shape[:2]
    check_writable(path, height=height, width=width)
    kind = FORMAT_OF[path.suffix.lower()]
    image, notes = _fitted(pixels, kind)
    metadata = metadata or Metadata()
    across, down = metadata.resolution or (USUAL_RESOLUTION, USUAL_RESOLUTION)
    image = image.copy(xres=across, yres=down)
    texts = metadata.texts
    fields = metadata.fields
    if kind == "BMP":
        notes += _lost_to_bmp(metadata)
        fields = {}
    elif texts and kind != "PNG":
        notes.append(f"{kind} has no place for the texts of a PNG: they were left out")
    for name, (kind_of_value, value) in fields.items():
        if name == "xmp-data" and kind == "PNG":
            texts += png_xmp(value)
        elif lost := _lost(name, value, kind):
            notes.append(lost)
        else:
            image.set_type(kind_of_value, name, value)
    exif = metadata.fields.get("exif-data", (0, b""))[1]
    # Without EXIF to keep libvips would make up some: not needed but for a resolution.
    keep_exif = exif or (metadata.resolution and kind in ("JPEG", "WebP"))
    keep = vips().enums.ForeignKeep.ALL
    keep &= -1 if keep_exif else ~vips().enums.ForeignKeep.EXIF
    temporary = path
    try:
        with replacing(path) as temporary:
            if kind == "BMP":
                inches = (across * 25.4, down * 25.4)  # Pillow wants dots for each of them
                Image.fromarray(image.numpy()).save(temporary, format="BMP", dpi=inches)
            else:
                options = _options(kind, pixels.nbytes, quality, lossless)
                getattr(image, _SAVERS[kind])(str(temporary), keep=keep, **options)
            if kind == "TIFF" and exif:
                add_tiff_exif(temporary, exif, height=height, width=width)
            if kind == "PNG" and texts:
                add_png_texts(temporary, texts)
    except vips().Error as error:
        raise InputError(f"cannot write {path}: {reason(error, temporary)}") from error
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    return tuple(notes)


def _fitted(pixels: Pixels, kind: str) -> tuple[Any, list[str]]:
    """Return a libvips image with what the format can hold, and notes on what it cannot."""
    height, width, channels = pixels.shape
    wide = pixels.dtype == np.uint16
    image = vips().Image.new_from_memory(
        np.ascontiguousarray(pixels).reshape(-1).data,
        width,
        height,
        channels,
        "ushort" if wide else "uchar",
    )
    grey = channels < 3
    image = image.copy(
        interpretation=("grey16" if wide else "b-w") if grey else "rgb16" if wide else "srgb"
    )
    notes = []
    if channels in (2, 4) and kind in ("JPEG", "BMP"):
        largest = np.iinfo(pixels.dtype).max
        image = image.flatten(background=[largest] * (channels - 1), max_alpha=largest)
        notes.append(f"{kind} has no transparency: white shines through")
    if wide and kind not in ("PNG", "TIFF"):
        image = (image / 257).rint().cast("uchar").copy(interpretation="b-w" if grey else "srgb")
        notes.append(f"{kind} holds 8 bits: 16 were rounded")
    return image, notes


def _lost_to_bmp(metadata: Metadata) -> list[str]:
    """Say what BMP, which keeps a resolution alone, cannot keep."""
    names = {
        "icc-profile-data": "the colour profile",
        "exif-data": "EXIF",
        "xmp-data": "XMP",
        "iptc-data": "IPTC",
    }
    lost = [told for name, told in names.items() if name in metadata.fields]
    lost += ["texts"] if metadata.texts else []
    return [f"BMP has no place for {', '.join(lost)}: left out"] if lost else []


def _lost(name: str, value: Any, kind: str) -> str | None:
    """Say why a format cannot keep a field."""
    if name == "icc-profile-data" and kind == "WebP" and value[16:20] == b"GRAY":
        return "WebP has no grey: the colour profile for it was left out"
    if name == "xmp-data" and kind == "JPEG" and len(value) > _JPEG_XMP_BYTES:
        return "JPEG holds 60 kB of XMP: it was left out"
    return None


def _options(kind: str, num_bytes: int, quality: int, lossless: bool) -> dict[str, Any]:
    """Return the options with which libvips writes a format."""
    return {
        "PNG": {"compression": 4, "filter": "paeth"},
        "JPEG": {"Q": quality, "subsample_mode": "off"},
        # "exact" keeps the colours where nothing is to be seen of them.
        "WebP": {"Q": quality, "lossless": lossless, "exact": lossless},
        "TIFF": {
            "compression": "deflate",
            "predictor": "horizontal",
            "bigtiff": num_bytes > _BIGTIFF_FROM,
        },
    }[kind]
