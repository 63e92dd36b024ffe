"""Where encoded images lie: a folder of files or an LMDB; and a cache before either."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from esc_sr.data.images import (
    DEFAULT_MAX_MEGAPIXELS,
    UnreadableImageError,
    check_max_megapixels,
    decode_image,
    image_size,
    list_images,
    read_image,
)
from esc_sr.errors import InputError, require_extra

LMDB_INDEX = "meta_info.txt"


class ImageSource(Protocol):
    """Named images that can be decoded one by one."""

    names: list[str]

    def read(self, name: str) -> Tensor:
        """Decode an image to `(3, H, W)` uint8."""
        ...

    def size(self, name: str) -> tuple[int, int]:
        """Return height and width in pixels without decoding."""
        ...

    def where(self, name: str) -> str:
        """Say where the image lies, for messages."""
        ...


class FolderImages:
    """The image files of a folder.

    Args:
        folder: An existing folder.
        max_megapixels: Larger images are refused.

    Raises:
        InputError: There is no such folder.
    """

    def __init__(self, folder: Path, *, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> None:
        self.folder = folder
        self._limit = max_megapixels
        self.names = [path.name for path in list_images(folder)]

    def read(self, name: str) -> Tensor:
        """Decode an image to `(3, H, W)` uint8."""
        return read_image(self.folder / name, max_megapixels=self._limit)

    def size(self, name: str) -> tuple[int, int]:
        """Return height and width from the header."""
        return image_size(self.folder / name, max_megapixels=self._limit)

    def where(self, name: str) -> str:
        """Return the path."""
        return str(self.folder / name)


class LmdbImages:
    """The images of an LMDB as BasicSR lays it out and `esc-sr prepare lmdb=true` writes it.

    Keys are names without extension, values encoded images; `meta_info.txt` beside the data
    holds a line `name.png (height,width,channels) compression` for each.

    Args:
        folder: The `….lmdb` folder.
        max_megapixels: Larger images are refused.

    Raises:
        InputError: It is not such a folder, or is incomplete.
        MissingExtraError: The package `lmdb` is not installed.
    """

    def __init__(self, folder: Path, *, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> None:
        self._limit = max_megapixels
        require_extra("lmdb", "lmdb")
        index = folder / LMDB_INDEX
        if not index.is_file():
            raise InputError(
                f"no {LMDB_INDEX} in {folder}: not a complete LMDB of images; "
                "run `esc-sr prepare` again, it continues"
            )
        self.folder = folder
        self._sizes: dict[str, tuple[int, int]] = {}
        try:
            lines = index.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(
                f"{index} is no text; delete the folder and run `esc-sr prepare` again"
            ) from error
        for line in lines:
            try:
                name, shape, _ = line.rsplit(" ", 2)
                height, width, _ = shape.strip("()").split(",")
                self._sizes[name] = (int(height), int(width))
            except ValueError as error:
                raise InputError(
                    f"{index}: cannot understand the line '{line}'; "
                    "expected 'name.png (height,width,channels) compression'"
                ) from error
        self.names = sorted(self._sizes)

    def read(self, name: str) -> Tensor:
        """Decode an image to `(3, H, W)` uint8."""
        lmdb = require_extra("lmdb", "lmdb")
        # Opened for each read (0.1 ms): LMDB allows a process to open a folder once, and a forked
        # worker to use nothing that its parent has opened.
        try:
            with lmdb.open(
                str(self.folder), readonly=True, lock=False, readahead=False, meminit=False
            ) as environment:
                check_whole(environment, self.folder)
                with environment.begin() as transaction:
                    content = transaction.get(Path(name).stem.encode())
        except lmdb.Error as error:
            raise UnreadableImageError(
                f"cannot read {self.folder}: {error}; delete the folder and run `esc-sr prepare` "
                "again"
            ) from error
        if content is None:
            raise UnreadableImageError(
                f"no image '{Path(name).stem}' in {self.folder} though {LMDB_INDEX} lists it; "
                "delete the folder and run `esc-sr prepare` again"
            )
        return decode_image(content, self.where(name), max_megapixels=self._limit)

    def size(self, name: str) -> tuple[int, int]:
        """Return height and width as the index says."""
        return self._sizes[name]

    def where(self, name: str) -> str:
        """Return the folder and the key."""
        return f"{self.folder}:{Path(name).stem}"


def check_whole(environment: Any, folder: Path) -> None:
    """Refuse an LMDB whose file ends before its last page: to read there kills the process.

    Args:
        environment: Of the package `lmdb`, opened.
        folder: Where it lies.

    Raises:
        UnreadableImageError: It does.
    """
    pages, data = environment.info()["last_pgno"] + 1, folder / "data.mdb"
    if data.stat().st_size < pages * environment.stat()["psize"]:
        raise UnreadableImageError(
            f"{data} is cut short; delete the folder and run `esc-sr prepare` again"
        )


class CachedImages:
    """Decoded images of another source, kept in memory (3 bytes a pixel) after the first read.

    Args:
        source: Where they come from.
    """

    def __init__(self, source: ImageSource) -> None:
        self.source = source
        self.names = source.names
        self._decoded: dict[str, Tensor] = {}

    def read(self, name: str) -> Tensor:
        """Return an image as `(3, H, W)` uint8; not to be written to."""
        if name not in self._decoded:
            self._decoded[name] = self.source.read(name)
        return self._decoded[name]

    def size(self, name: str) -> tuple[int, int]:
        """Return height and width in pixels."""
        return self.source.size(name)

    def where(self, name: str) -> str:
        """Say where the image lies."""
        return self.source.where(name)


def open_source(
    folder: str | Path,
    *,
    purpose: str,
    hint: str = "",
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
) -> ImageSource:
    """Open a folder of images, or an LMDB if its name ends in `.lmdb`.

    Args:
        folder: Where; `~` expands.
        purpose: What the images are, for messages, e.g. "GT".
        hint: How to come by them, appended to messages.
        max_megapixels: Images of more than so many million pixels are refused when they are read.

    Returns:
        The source, with at least one image.

    Raises:
        InputError: There is no such folder, or no image in it, or the limit is no positive number.
    """
    check_max_megapixels(max_megapixels)
    if not isinstance(folder, str | Path):
        raise InputError(f"the folder of {purpose} images must be a path, got {folder}; {hint}")
    path = Path(folder).expanduser()
    advice = hint or "check the path"
    if not path.is_dir():
        raise InputError(f"no such folder of {purpose} images: {path}; {advice}")
    kind = LmdbImages if path.suffix == ".lmdb" else FolderImages
    source = kind(path, max_megapixels=max_megapixels)
    if not source.names:
        raise InputError(f"no {purpose} images in {path}; {advice}")
    return source
