"""Picture files to arrays and back with all that is in them: bits, alpha, colours, metadata."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from esc_sr.errors import InputError
from esc_sr.files import replacing

# Enough for large scans; a header that promises more is refused before anything is decoded.
DEFAULT_MAX_PIXELS = 250_000_000

# What can be written, and the largest side that the format can hold.
_LARGEST_SIDE = {
    ".png": 2**31 - 1,
    ".jpg": 65_535,
    ".jpeg": 65_535,
    ".webp": 16_383,
    ".bmp": 2**31 - 1,
    ".tif": 2**31 - 1,
    ".tiff": 2**31 - 1,
}
WRITABLE = tuple(_LARGEST_SIDE)
READABLE = (*WRITABLE, ".gif")

_LOADERS = {
    "pngload": "PNG",
    "jpegload": "JPEG",
    "webpload": "WebP",
    "tiffload": "TIFF",
    "gifload": "GIF",
}
_FORMAT_OF = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WebP", ".bmp": "BMP"}
_FORMAT_OF |= {".tif": "TIFF", ".tiff": "TIFF", ".gif": "GIF"}
_TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange height and width
_DEFAULT_QUALITY = 95
_BIGTIFF_FROM = 4_000_000_000  # bytes
# Metadata that is carried over; libvips itself brings sizes and orientation in EXIF up to date.
_CARRIED = ("icc-profile-data", "xmp-data", "iptc-data", "resolution-unit")

Pixels = NDArray[Any]


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
class Metadata:
    """Colour profile, EXIF, XMP, IPTC and resolution of a file; see `write_picture`."""

    fields: dict[str, tuple[int, Any]] = field(default_factory=dict)
    resolution: tuple[float, float] | None = None


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
    path = Path(path).expanduser()
    if _is_bmp(path):
        with _open_bmp(path, max_pixels) as image:
            channels = {"RGBA": 4, "L": 1, "1": 1}.get(image.mode, 3)
            return PictureHeader(image.height, image.width, channels, 8, "BMP")
    image, kind, frames = _open(path, max_pixels)
    height, width = image.height, image.width
    if _field(image, "orientation", 1) in _TURNED:
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
    path = Path(path).expanduser()
    if _is_bmp(path):
        return _read_bmp(path, max_pixels)
    image, kind, frames = _open(path, max_pixels)
    notes = []
    if _FORMAT_OF.get(path.suffix.lower(), kind) != kind:
        notes.append(f"its name says {path.suffix}, it is a {kind}")
    if frames > 1:
        notes.append(f"the first of {frames} {'pages' if kind == 'TIFF' else 'frames'}")
    try:
        if image.interpretation == "cmyk":
            # The file's own profile if there is one; the result carries that of sRGB.
            image = image.icc_transform("srgb", embedded=True, input_profile="cmyk")
            notes.append("CMYK became sRGB")
        elif image.interpretation not in ("srgb", "rgb", "rgb16", "b-w", "grey16"):
            notes.append(f"{image.interpretation} became sRGB")
            image = image.colourspace("rgb16" if _is_wide(image) else "srgb")
        image = image.autorot()
        pixels = image.numpy()
        metadata = _metadata(image)
    except _vips().Error as error:
        raise UnreadablePictureError(f"cannot read {path}: {_tell(error)}") from error
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    return Picture(pixels, metadata, kind, tuple(notes))


def check_writable(path: str | Path, *, height: int, width: int) -> None:
    """Refuse, before any work, what `write_picture` could not write.

    Args:
        path: Where to.
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.

    Raises:
        InputError: Unknown extension, too large for the format, or the folder cannot be written.
    """
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    if suffix not in _LARGEST_SIDE:
        raise InputError(
            f"cannot write {path}: '{path.suffix}' is no picture format that is written; "
            f"use one of: {', '.join(WRITABLE)}"
        )
    if max(height, width) > _LARGEST_SIDE[suffix]:
        raise InputError(
            f"cannot write {path}: {width}×{height} is too large, {_FORMAT_OF[suffix]} holds at "
            f"most {_LARGEST_SIDE[suffix]} pixels a side; use .png or .tif"
        )
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder")
    folder = next(parent for parent in (path.parent, *path.absolute().parents) if parent.exists())
    if not folder.is_dir():
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
    (quality 95) and BMP hold 8 bits; JPEG and BMP have no alpha, so white shines through; BMP has
    no metadata.

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
            disk is full.
    """
    path = Path(path).expanduser()
    height, width, channels = pixels.shape
    check_writable(path, height=height, width=width)
    kind = _FORMAT_OF[path.suffix.lower()]
    vips = _vips()
    wide = pixels.dtype == np.uint16
    image = vips.Image.new_from_memory(
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
    if metadata and metadata.resolution:
        image = image.copy(xres=metadata.resolution[0], yres=metadata.resolution[1])
    notes = []
    if channels in (2, 4) and kind in ("JPEG", "BMP"):
        largest = np.iinfo(pixels.dtype).max
        image = image.flatten(background=[largest] * (channels - 1), max_alpha=largest)
        notes.append(f"{kind} has no transparency: white shines through")
    if wide and kind not in ("PNG", "TIFF"):
        image = (image / 257).rint().cast("uchar").copy(interpretation="b-w" if grey else "srgb")
        notes.append(f"{kind} holds 8 bits: 16 were rounded")
    if metadata:
        image = image.copy()
        for name, (kind_of_value, value) in metadata.fields.items():
            image.set_type(kind_of_value, name, value)
    try:
        with replacing(path) as temporary:
            _saver(kind, pixels.nbytes, quality or _DEFAULT_QUALITY, lossless)(image, temporary)
    except vips.Error as error:
        raise InputError(f"cannot write {path}: {_tell(error)}") from error
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    return tuple(notes)


def _saver(kind: str, num_bytes: int, quality: int, lossless: bool) -> Callable[[Any, Path], None]:
    def save(image: Any, path: Path) -> None:
        name = str(path)
        if kind == "PNG":
            image.pngsave(name, compression=4, filter="paeth")
        elif kind == "JPEG":
            image.jpegsave(name, Q=quality, subsample_mode="off")
        elif kind == "WebP":
            image.webpsave(name, Q=quality, lossless=lossless)
        elif kind == "TIFF":
            image.tiffsave(
                name,
                compression="deflate",
                predictor="horizontal",
                bigtiff=num_bytes > _BIGTIFF_FROM,
            )
        else:
            Image.fromarray(image.numpy()).save(path, format="BMP")

    return save


def _vips() -> ModuleType:
    """Import libvips when it is first needed, and keep its warnings out of the user's terminal."""
    logging.getLogger("pyvips").setLevel(logging.CRITICAL)
    import pyvips

    return pyvips


def _check_file(path: Path) -> None:
    """Refuse what is no file that could hold a picture."""
    if path.is_dir():
        raise UnreadablePictureError(f"cannot read {path}: it is a folder")
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as error:
        raise UnreadablePictureError(
            f"cannot read {path}: {error.strerror or error}; check the path"
        ) from error
    if size == 0:
        raise UnreadablePictureError(f"cannot read {path}: the file is empty")


def _open(path: Path, max_pixels: int) -> tuple[Any, str, int]:
    """Open a file with libvips: the undecoded image, its format and number of frames."""
    vips = _vips()
    try:
        # Without revalidate libvips would take a file of this name from its cache.
        image = vips.Image.new_from_file(str(path), fail_on="error", revalidate=True)
    except vips.Error as error:
        raise UnreadablePictureError(f"cannot read {path}: {_tell(error)}") from error
    kind = _LOADERS.get(_field(image, "vips-loader", ""))
    if kind is None:
        raise UnreadablePictureError(
            f"cannot read {path}: it is none of {', '.join(_LOADERS.values())} and BMP; convert it"
        )
    _check_size(path, image.height, image.width, max_pixels)
    if image.format not in ("uchar", "ushort") or image.bands > 4:
        raise UnreadablePictureError(
            f"cannot read {path}: it has {image.bands} channels of the type {image.format}; "
            "convert it to 8 or 16 bits, grey or RGB"
        )
    return image, kind, int(_field(image, "n-pages", 1))


def _check_size(path: Path, height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise UnreadablePictureError(
            f"{path} is {width}×{height}, {math.ceil(height * width / 1e6)} megapixels, more than "
            f"the limit of {max_pixels / 1e6:g}; raise it (--max-megapixels, max_pixels) if it is "
            "not an attack"
        )


def _is_wide(image: Any) -> bool:
    return image.format == "ushort"


def _field(image: Any, name: str, default: Any) -> Any:
    return image.get(name) if image.get_typeof(name) else default


def _metadata(image: Any) -> Metadata:
    names = [name for name in image.get_fields() if name in _CARRIED or name.startswith("exif-")]
    fields = {name: (image.get_typeof(name), image.get(name)) for name in names}
    return Metadata(fields, (image.xres, image.yres))


def _is_bmp(path: Path) -> bool:
    _check_file(path)
    with path.open("rb") as file:
        return file.read(2) == b"BM"


def _open_bmp(path: Path, max_pixels: int) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its size, which is checked here
            image = Image.open(path, formats=["BMP"])
    except Exception as error:
        raise UnreadablePictureError(f"cannot read {path}: damaged or not a BMP") from error
    _check_size(path, image.height, image.width, max_pixels)
    return image


def _read_bmp(path: Path, max_pixels: int) -> Picture:
    with _open_bmp(path, max_pixels) as image:
        mode = image.mode if image.mode in ("L", "RGB", "RGBA") else "RGB"
        try:
            pixels = np.asarray(image.convert("L" if image.mode == "1" else mode))
        except Exception as error:  # whatever a damaged file makes Pillow raise
            raise UnreadablePictureError(
                f"cannot read {path}: truncated or damaged ({_squeezed(error)})"
            ) from error
    return Picture(pixels if pixels.ndim == 3 else pixels[..., None], Metadata(), "BMP")


def _tell(error: Exception) -> str:
    """Say in a few words what libvips says in several lines."""
    text = str(error)
    if "not a known file format" in text or "is not in a known format" in text:
        return "not a picture, or damaged at its beginning"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any(
        word in text.lower() for word in ("premature", "read error", "truncated", "unable to parse")
    ):
        return f"truncated or damaged ({lines[-1]})"
    return lines[-1] if lines else "libvips gives no reason"


def _squeezed(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
