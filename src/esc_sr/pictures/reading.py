"""Read picture files: upright, with every bit and what else is in them."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import BmpImagePlugin, Image

from esc_sr.errors import InputError
from esc_sr.pictures.formats import FORMAT_OF
from esc_sr.pictures.libvips import Pixels, expanded, reason, vips
from esc_sr.pictures.metadata import TURNED, Metadata, field_of, fields_of, metadata_of
from esc_sr.pictures.png_text import png_frames

# Enough for large scans; a header that promises more is refused before anything is decoded.
DEFAULT_MAX_PIXELS = 250_000_000
# How the files of a format begin, and what reads them. Loaders are called by name: libvips' own
# choice would go by the file's name too and draw SVG, for example.
_BEGINNINGS = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "WebP": (b"RIFF....WEBP",),
    "TIFF": (b"II\\*\0", b"MM\0\\*", b"II\\+\0", b"MM\0\\+"),
    "GIF": (b"GIF8[79]a",),
    "BMP": (b"BM",),
}
_LOADERS = {
    "PNG": "pngload",
    "JPEG": "jpegload",
    "WebP": "webpload",
    "TIFF": "tiffload",
    "GIF": "gifload",
}
# Kinds of colours that are read, and the most channels of each.
_CHANNELS = {"b-w": 2, "grey16": 2, "srgb": 4, "rgb": 4, "rgb16": 4, "cmyk": 4}


class UnreadablePictureError(InputError):
    """A file that cannot be read as a picture: missing, truncated, too large, of another kind."""


@dataclass(frozen=True)
class PictureHeader:
    """What the header of a file says: upright size in pixels, channels, bits, format, frames."""

    height: int
    width: int
    channels: int
    bits: int
    format: str
    frames: int = 1


@dataclass(frozen=True)
class Picture:
    """A picture as it is to be seen.

    Attributes:
        pixels: `(H, W, C)` uint8 or uint16, upright; C is 1 (grey), 2 (grey and alpha), 3 (RGB) or
            4 (RGB and alpha).
        metadata: What else was in the file.
        format: "PNG", "JPEG", "WebP", "TIFF", "GIF" or "BMP".
        notes: What was done that one should know, such as that only the first frame was read.
    """

    pixels: Pixels
    metadata: Metadata
    format: str
    notes: tuple[str, ...] = ()


def picture_header(path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> PictureHeader:
    """Read what a picture's header says; nothing is decoded.

    Args:
        path: The file; its content decides the format, not its name.
        max_pixels: Refuse pictures of more pixels.

    Returns:
        Size and kind, as `read_picture` will give them.

    Raises:
        UnreadablePictureError: The file is missing, empty, no picture, or too large.
    """
    path, kind = _identify(path)
    if kind == "BMP":
        with _open_bmp(path, max_pixels) as image:
            channels = {"RGBA": 4, "L": 1, "1": 1}.get(image.mode, 3)
            return PictureHeader(image.height, image.width, channels, 8, kind)
    image, frames = _open(path, kind, max_pixels)
    height, width = image.height, image.width
    if field_of(image, "orientation", 1) in TURNED:
        height, width = width, height
    channels = 3 if image.interpretation == "cmyk" else image.bands
    return PictureHeader(height, width, channels, 16 if _is_wide(image) else 8, kind, frames)


def read_picture(path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Read a PNG, JPEG, WebP, TIFF, GIF or BMP file.

    Upright as EXIF says. Palettes become RGB, with alpha if there is any; 16 bits stay 16 bits;
    CMYK becomes sRGB through the file's profile; of several frames or pages the first is read.

    Args:
        path: The file; its content decides the format, not its name.
        max_pixels: Refuse pictures of more pixels before decoding them.

    Returns:
        The picture.

    Raises:
        UnreadablePictureError: The file is missing, empty, truncated, damaged, too large or of a
            kind that is not read.
    """
    path, kind = _identify(path)
    notes = []
    if FORMAT_OF.get(path.suffix.lower(), kind) != kind:
        notes.append(f"its name says {path.suffix}, it is a {kind}")
    if kind == "BMP":
        return Picture(_read_bmp(path, max_pixels), Metadata(), kind, tuple(notes))
    image, frames = _open(path, kind, max_pixels)
    if frames > 1:
        notes.append(f"the first of {frames} {'pages' if kind == 'TIFF' else 'frames'}")
    try:
        metadata = metadata_of(image, path, kind)
        if image.interpretation == "cmyk":
            # The file's own profile if there is one; the result carries that of sRGB.
            image = image.icc_transform(
                "srgb", embedded=True, input_profile="cmyk", depth=16 if _is_wide(image) else 8
            )
            metadata.fields.update(fields_of(image, ("icc-profile-data",)))
            notes.append("CMYK became sRGB")
        pixels = image.autorot().numpy()
    except vips().Error as error:
        raise UnreadablePictureError(f"cannot read {path}: {_tell(error, path)}") from error
    except OSError as error:
        raise UnreadablePictureError(f"cannot read {path}: {error.strerror or error}") from error
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    return Picture(pixels, metadata, kind, tuple(notes))


def _identify(path: str | Path) -> tuple[Path, str]:
    """Tell the format from the first bytes, or refuse what is no file that holds a picture."""
    path = expanded(path)
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise UnreadablePictureError(
            f"cannot read {shown}: its name is not UTF-8; rename it"
        ) from error
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UnreadablePictureError(f"cannot read {path}: it is a folder")
        if not stat.S_ISREG(mode):  # reading a pipe could wait for ever
            raise UnreadablePictureError(f"cannot read {path}: it is no ordinary file")
        with path.open("rb") as file:
            beginning = file.read(12)
    except OSError as error:
        raise UnreadablePictureError(
            f"cannot read {path}: {error.strerror or error}; check path and permissions"
        ) from error
    if not beginning:
        raise UnreadablePictureError(f"cannot read {path}: the file is empty")
    for kind, patterns in _BEGINNINGS.items():
        if any(re.match(pattern, beginning, re.DOTALL) for pattern in patterns):
            return path, kind
    raise UnreadablePictureError(
        f"cannot read {path}: it is none of {', '.join(_BEGINNINGS)}, or damaged at its beginning"
    )


def _open(path: Path, kind: str, max_pixels: int) -> tuple[Any, int]:
    """Open a file with libvips: the undecoded image and its number of frames."""
    vips().vips_lib.vips_error_clear()  # or this file is blamed for an earlier one
    try:
        # Without revalidate libvips would take a file of this name from its cache.
        load = getattr(vips().Image, _LOADERS[kind])
        image = load(str(path), fail_on="error", revalidate=True)
    except vips().Error as error:
        raise UnreadablePictureError(f"cannot read {path}: {_tell(error, path)}") from error
    _check_size(path, image.height, image.width, max_pixels)
    if (
        image.bands > _CHANNELS.get(image.interpretation, 0)
        or image.format not in ("uchar", "ushort")
        or image.coding != "none"
    ):
        raise UnreadablePictureError(
            f"cannot read {path}: it has {image.bands} channels of the type {image.format} "
            f"({image.interpretation}); convert it to 8 or 16 bits, grey or RGB"
        )
    frames = png_frames(path) if kind == "PNG" else int(field_of(image, "n-pages", 1))
    return image, frames


def _check_size(path: Path, height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise UnreadablePictureError(
            f"cannot read {path}: {width}×{height} are {height * width / 1e6:.4g} "
            f"megapixels, more than the limit of {max_pixels / 1e6:g}; raise it "
            "(--max-megapixels, from Python max_pixels=) if this is no attack"
        )


def _is_wide(image: Any) -> bool:
    return image.format == "ushort"


def _open_bmp(path: Path, max_pixels: int) -> Image.Image:
    try:
        # Not through Image.open, which has a limit of its own.
        image = BmpImagePlugin.BmpImageFile(path)
    except Exception as error:  # whatever a damaged file makes Pillow raise
        raise UnreadablePictureError(
            f"cannot read {path}: truncated or damaged ({_squeezed(error)})"
        ) from error
    try:
        _check_size(path, image.height, image.width, max_pixels)
    except UnreadablePictureError:
        image.close()
        raise
    return image


def _read_bmp(path: Path, max_pixels: int) -> Pixels:
    with _open_bmp(path, max_pixels) as image:
        mode = image.mode if image.mode in ("L", "RGB", "RGBA") else "RGB"
        try:
            pixels = np.asarray(image.convert("L" if image.mode == "1" else mode))
        except Exception as error:  # whatever a damaged file makes Pillow raise
            raise UnreadablePictureError(
                f"cannot read {path}: truncated or damaged ({_squeezed(error)})"
            ) from error
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _tell(error: Exception, path: Path) -> str:
    """Say of a file whose kind is known why it cannot be read."""
    return f"truncated, damaged or of an unusual kind ({reason(error, path)})"


def _squeezed(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
