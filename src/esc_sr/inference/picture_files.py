"""From what stands on the command line to the files that are read and written."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from esc_sr.errors import InputError
from esc_sr.inference.pictures import READABLE, WRITABLE

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True)
class Job:
    """A picture to read and where its result goes."""

    source: Path
    target: Path


def find_jobs(
    inputs: Sequence[str], output: str | Path, *, extension: str | None = None
) -> list[Job]:
    """Find the pictures that are meant and say where each result goes.

    One picture and an output with the extension of a picture give that very file. Else the output
    is a folder: the pictures of a folder keep their places below it, others lie directly in it.
    Hidden files and folders are left out, and so is the output folder if it lies in an input.

    Args:
        inputs: Files, folders (searched to the bottom) or globs such as `photos/**/*.jpg`.
        output: A file or a folder.
        extension: Extension of the results, such as "png"; None: as the picture, or `.png` where
            that cannot be written.

    Returns:
        The jobs, sorted within a folder.

    Raises:
        InputError: An input is missing, a URL or holds no picture, two results would be the same
            file, or a result would replace a picture that is read.
    """
    target = Path(output).expanduser()
    found: list[tuple[Path, Path]] = []  # a picture and its place below the output folder
    for text in inputs:
        found.extend(_pictures(text, target))
    single = len(found) == 1 and not Path(inputs[0]).expanduser().is_dir() and not target.is_dir()
    if single and target.suffix.lower() in WRITABLE:
        if extension and _dotted(extension) != target.suffix.lower():
            raise InputError(
                f"output {target} and format {extension} contradict each other; leave one out"
            )
        jobs = [Job(found[0][0], target)]
    else:
        if target.suffix.lower() in WRITABLE and not target.is_dir():
            raise InputError(
                f"{len(found)} pictures cannot all be written to {target}; give a folder"
            )
        if target.exists() and not target.is_dir():
            raise InputError(f"{target} is a file; give a folder, or a name such as out.png")
        jobs = [
            Job(source, target / place.with_suffix(_suffix(place, extension)))
            for source, place in found
        ]
    _check(jobs)
    return jobs


def _pictures(text: str, output: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the pictures of one input, each with its place below the output folder."""
    if _URL.match(text):
        raise InputError(f"{text} is a URL; download it first and give the file")
    path = Path(text).expanduser()
    if path.is_dir():
        pictures = [(picture, picture.relative_to(path)) for picture in _walk(path, output)]
        if not pictures:
            raise InputError(f"no pictures in {path}; looked for {', '.join(READABLE)}")
        yield from pictures
    elif path.exists():
        yield path, Path(path.name)
    elif glob.has_magic(text):
        matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        files = [match for match in matches if match.is_file() and _is_picture(match)]
        if not files:
            raise InputError(f"nothing matches {text}, or no picture: {', '.join(READABLE)}")
        yield from ((file, Path(file.name)) for file in files)
    else:
        raise InputError(f"no such file or folder: {path}; check the path")


def _walk(folder: Path, output: Path) -> Iterator[Path]:
    # Links to folders are not followed: they could lead back up.
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and (Path(parent) / name).resolve() != output.resolve()
        )
        for name in sorted(names):
            if _is_picture(Path(name)) and not name.startswith("."):
                yield Path(parent) / name


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in READABLE


def _suffix(place: Path, extension: str | None) -> str:
    if extension:
        return _dotted(extension)
    return place.suffix if place.suffix.lower() in WRITABLE else ".png"


def _dotted(extension: str) -> str:
    return f".{extension.lower().lstrip('.')}"


def _check(jobs: Sequence[Job]) -> None:
    by_target: dict[Path, Path] = {}
    sources = {job.source.resolve() for job in jobs}
    for job in jobs:
        other = by_target.setdefault(job.target.absolute(), job.source)
        if other != job.source:
            raise InputError(
                f"{other} and {job.source} would both become {job.target}; "
                "enlarge them in two calls, or without a common format"
            )
        if job.target.resolve() in sources:
            raise InputError(
                f"{job.target} would be replaced by its own enlargement; give another output"
            )
