"""Image files to uint8 RGB tensors and back."""

from __future__ import annotations

import io
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from esc_sr.errors import InputError
from esc_sr.files import replacing

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
# A small file can promise any size; a decoded pixel takes some 10 bytes until it is a tensor.
DEFAULT_MAX_MEGAPIXELS = 100.0
_PILLOW = threading.Lock()


class UnreadableImageError(InputError):
    """An image file that cannot be decoded: truncated, corrupt, empty or not an image."""


def list_images(folder: str | Path) -> list[Path]:
    """List the image files directly inside a folder, by extension and whatever its case.

    Hidden files are left out: among them are the temporary ones of `write_image`.

    Args:
        folder: An existing folder; `~` expands.

    Returns:
        Paths sorted by name.

    Raises:
        InputError: There is no such folder.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f"no such folder: {folder}; check the path")
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()
    )


def read_image(path: str | Path, *, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> Tensor:
    """Read an image file, upright as its EXIF orientation says.

    Args:
        path: A file of any format that Pillow reads; `~` expands.
        max_megapixels: Refuse images of more than so many million pixels, before decoding them.

    Returns:
        `(3, H, W)` uint8 RGB in 0..255. Grey and palette images become RGB, 16-bit ones 8-bit,
        transparency is dropped.

    Raises:
        UnreadableImageError: No such file, not an image, truncated or corrupt, or larger than
            `max_megapixels`.
    """
    path = Path(path).expanduser()
    try:
        with path.open("rb") as file:
            return decode_image(file, str(path), max_megapixels=max_megapixels)
    except OSError as error:
        raise UnreadableImageError(
            f"cannot read image {path}: {error.strerror or error}; check the path"
        ) from error


def decode_image(
    source: bytes | BinaryIO, name: str, *, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS
) -> Tensor:
    """Decode an image held in memory or in an open file.

    Args:
        source: The encoded image.
        name: What messages call it.
        max_megapixels: As for `read_image`.

    Returns:
        `(3, H, W)` uint8 RGB in 0..255.

    Raises:
        UnreadableImageError: As `read_image`.
    """
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with _opened(stream, name, max_megapixels) as image:
            return _to_tensor(_to_rgb(ImageOps.exif_transpose(image)))
    except UnreadableImageError:
        raise
    # Broken files raise nearly anything in Pillow's parsers: struct.error, IndexError, ...
    except Exception as error:
        raise _unreadable(name, error) from error


def image_size(
    path: str | Path, *, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS
) -> tuple[int, int]:
    """Return height and width of an image, upright, from its header alone.

    Args:
        path: An image file; `~` expands.
        max_megapixels: As for `read_image`.

    Returns:
        Height and width in pixels.

    Raises:
        UnreadableImageError: The header cannot be read, or promises more than `max_megapixels`.
    """
    path = Path(path).expanduser()
    try:
        with _opened(path, str(path), max_megapixels) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    except UnreadableImageError:
        raise
    # As in `decode_image`.
    except Exception as error:
        raise _unreadable(str(path), error) from error
    return (width, height) if turned else (height, width)


def check_max_megapixels(max_megapixels: Any) -> None:
    """Check a limit before it is needed.

    Args:
        max_megapixels: What a configuration says.

    Raises:
        InputError: It is no positive number.
    """
    is_number = isinstance(max_megapixels, int | float) and not isinstance(max_megapixels, bool)
    if not is_number or not max_megapixels > 0:
        raise InputError(f"max_megapixels must be a number above 0, got {max_megapixels}")


@contextmanager
def _opened(
    source: str | Path | BinaryIO, name: str, max_megapixels: float
) -> Iterator[Image.Image]:
    """Open an image, nothing of it decoded yet, if its header promises no more than allowed."""
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # what it logs, its errors say too
    with warnings.catch_warnings():
        # Metadata that is off is no reason to stop.
        warnings.simplefilter("ignore")
        with _PILLOW:  # its own limit is a global of its module
            theirs, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                opened = Image.open(source)
            finally:
                Image.MAX_IMAGE_PIXELS = theirs
        with opened as image:
            width, height = image.size
            if width * height > max_megapixels * 1e6:
                raise UnreadableImageError(
                    f"image {name} is {height}×{width}, {width * height / 1e6:.4g} megapixels, "
                    f"more than max_megapixels={max_megapixels:g}: raise that if the image is "
                    "meant, or cut it into parts"
                )
            yield image


def write_image(path: str | Path, image: Tensor) -> None:
    """Write an image; the file appears complete or not at all.

    Args:
        path: Target; its extension chooses the format. Missing folders are made; `~` expands.
        image: `(3, H, W)` uint8 RGB in 0..255.

    Raises:
        InputError: Unknown extension, or the file cannot be written.
        ValueError: `image` is not `(3, H, W)` uint8.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in EXTENSIONS:
        raise InputError(f"cannot write {path}: unknown extension; use one of {list(EXTENSIONS)}")
    image_format = Image.registered_extensions()[path.suffix.lower()]
    replace_file(path, encode_image(image, image_format))


def encode_image(image: Tensor, image_format: str = "PNG") -> bytes:
    """Encode an image, losslessly wherever the format can.

    Args:
        image: `(3, H, W)` uint8 RGB in 0..255.
        image_format: Pillow's name of the format.

    Returns:
        The bytes of the file.

    Raises:
        ValueError: `image` is not `(3, H, W)` uint8.
    """
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"expected (3, H, W) uint8, got {tuple(image.shape)} {image.dtype}")
    options: dict[str, object] = {
        "JPEG": {"quality": 95, "subsampling": 0},
        "WEBP": {"lossless": True},
        "PNG": {"compress_level": 3},  # twice as fast as the default for a few percent of size
    }.get(image_format, {})
    buffer = io.BytesIO()
    pixels = image.cpu().permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels).save(buffer, format=image_format, **options)
    return buffer.getvalue()


def replace_file(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file under a temporary name, then rename it: a kill never leaves half a file.

    Args:
        path: Target; missing folders are made.
        content: What it shall hold.
        durable: As for `replacing`.

    Raises:
        InputError: The file cannot be written.
    """
    try:
        with replacing(path, durable=durable) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def _unreadable(name: str, error: Exception) -> UnreadableImageError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Image.UnidentifiedImageError):
        reason = "not an image, or empty"
    return UnreadableImageError(f"cannot read image {name}: {reason}; replace or delete the file")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        # Pillow clips 16-bit grey to 255 instead of scaling it.
        grey = np.asarray(image, dtype=np.float64)
        if image.mode != "F":
            grey = grey / 257
        return Image.fromarray(grey.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
