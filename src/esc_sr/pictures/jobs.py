"""From what stands on the command line to the files that are read and written."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from PIL import Image

from esc_sr.errors import InputError
from esc_sr.pictures.formats import FORMAT_OF, READABLE, WRITABLE

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True)
class Job:
    """A picture to read and where its result goes.

    Attributes:
        source: The picture, or a folder that could not be searched.
        target: Where its result goes.
        problem: Why it cannot be read, if that is known.
    """

    source: Path
    target: Path
    problem: str | None = None


def find_jobs(
    inputs: Sequence[str],
    output: str | Path | None,
    *,
    extension: str | None = None,
    suffix: str = "_sr",
) -> list[Job]:
    """Find the pictures that are meant and say where each result goes.

    Without an output, results lie beside their pictures, with a suffix to the name; a picture that
    is the result of another one given is left out, as `*.jpg` gives it the second time. One picture
    and an output with the extension of a picture give that very file. Else the output
    is a folder: the pictures of a folder keep their places below it, those of a glob their places
    below its part before the first wildcard, others lie directly in it. Hidden files and folders
    are left out, and so is the output folder if it lies in an input. A picture that is given twice
    is read once. Links to folders are followed if they are given, not if they are found.

    Args:
        inputs: Files, folders (searched to the bottom) or globs such as `photos/**/*.jpg`.
        output: A file or a folder; None: beside the pictures, which must be files then.
        extension: Extension of the results, such as "png"; None: as the picture, or `.png` where
            that cannot be written.
        suffix: What follows the name of a picture in that of a result beside it, such as "_x4".

    Returns:
        The jobs, sorted within a folder; folders below an input that cannot be read come last.

    Raises:
        InputError: An input is missing, a URL or holds no picture; the output is no place for
            them; two results would be the same file, or one would replace a picture that is read.
    """
    if extension and _dotted(extension) not in WRITABLE:
        raise InputError(f"cannot write {extension}; use one of: {', '.join(WRITABLE)}")
    if output is None:
        return _beside(inputs, suffix, extension)
    target = _output(str(output))
    found: dict[tuple[str, Path], Path] = {}  # what it really is and its place -> how it was given
    unreadable: list[OSError] = []
    for text in inputs:
        for picture, place in _pictures(text, target, unreadable):
            found.setdefault((os.path.realpath(picture), place), picture)
    if target.suffix.lower() in WRITABLE and not os.path.isdir(target):
        jobs = [_single(list(found.values()), inputs, target, extension)]
    else:
        if os.path.exists(target) and not os.path.isdir(target):
            raise InputError(f"{target} is a file; give a folder, or a name such as out.png")
        jobs = [
            Job(source, target / _renamed(place, extension)) for (_, place), source in found.items()
        ]
    _check(jobs)
    return jobs + [Job(Path(error.filename), target, _reason(error)) for error in unreadable]


def _beside(inputs: Sequence[str], suffix: str, extension: str | None) -> list[Job]:
    jobs: dict[str, Job] = {}
    for text in inputs:
        _refuse_url(text)
        path = os.path.expanduser(text)
        if os.path.isdir(path) or (glob.has_magic(text) and not os.path.exists(path)):
            raise InputError(f"{text} may be many pictures: give a folder for the results with -o")
        for source, _ in _pictures(text, Path(), []):
            target = _renamed(source, extension)
            target = target.with_name(f"{target.stem}{suffix}{target.suffix}")
            jobs.setdefault(os.path.realpath(source), Job(source, target))
    results = {os.path.realpath(job.target) for job in jobs.values()}
    found = [job for source, job in jobs.items() if source not in results]
    _check(found)
    return found


def _output(text: str) -> Path:
    _refuse_url(text)
    if not text:
        raise InputError("the output is an empty path; give a picture or a folder")
    target = Path(os.path.expanduser(text))
    suffix = target.suffix.lower()
    others = {*Image.registered_extensions(), ".heic", ".heif", ".jxl", ".svg"} - {*WRITABLE}
    if suffix in others and not os.path.isdir(target):
        raise InputError(f"cannot write {target}: use one of {', '.join(WRITABLE)}, or a folder")
    return target


def _single(
    sources: Sequence[Path], inputs: Sequence[str], target: Path, extension: str | None
) -> Job:
    """Return the job of one picture that becomes one file."""
    if len(sources) != 1 or any(os.path.isdir(os.path.expanduser(text)) for text in inputs):
        raise InputError(f"{target} is the name of one picture; give a folder for several")
    if extension and FORMAT_OF[_dotted(extension)] != FORMAT_OF[target.suffix.lower()]:
        raise InputError(
            f"output {target} and format {extension} contradict each other; leave one out"
        )
    return Job(sources[0], target)


def _refuse_url(text: str) -> None:
    if _URL.match(text):
        raise InputError(f"{text} is a URL; give a file or folder of this machine")


def _pictures(text: str, output: Path, unreadable: list[OSError]) -> Iterator[tuple[Path, Path]]:
    """Yield the pictures of one input, each with its place below the output folder."""
    _refuse_url(text)
    if not text:
        raise InputError("an input is an empty path; give a picture or a folder")
    path = Path(os.path.expanduser(text))
    if os.path.isdir(path):
        errors: list[OSError] = []
        pictures = [(picture, picture.relative_to(path)) for picture in _walk(path, output, errors)]
        unreadable += errors
        if errors and not pictures:
            raise InputError(_reason(errors[0]))
        if not pictures:
            raise InputError(f"no pictures in {path}; looked for {', '.join(READABLE)}")
        yield from pictures
    elif os.path.exists(path):
        yield path, Path(path.name)
    elif glob.has_magic(text):
        root = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))
        matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        files = [match for match in matches if match.is_file() and _is_picture(match)]
        if _is_below(output, root):
            files = [file for file in files if not _is_below(file, output)]
        if not files:
            raise InputError(f"nothing matches {text}, or no picture: {', '.join(READABLE)}")
        yield from ((file, file.relative_to(root)) for file in files)
    else:
        raise InputError(f"no such file or folder: {path}; check the path")


def _is_below(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(folder)) in Path(os.path.realpath(path)).parents


def _walk(folder: Path, output: Path, unreadable: list[OSError]) -> Iterator[Path]:
    left_out = os.path.realpath(output)
    # Links to folders are not followed: they could lead back up.
    for parent, folders, names in os.walk(folder, onerror=unreadable.append):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(Path(parent) / name) != left_out
        )
        for name in sorted(names):
            if _is_picture(Path(name)) and not name.startswith("."):
                yield Path(parent) / name


def _reason(error: OSError) -> str:
    return f"cannot read the folder {error.filename}: {error.strerror}"


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in READABLE


def _renamed(place: Path, extension: str | None) -> Path:
    suffix = place.suffix if place.suffix.lower() in WRITABLE else ".png"
    suffix = _dotted(extension) if extension else suffix
    # What follows the last dot of another name, as in `scan.001`, is part of it.
    stem = place.stem if _is_picture(place) else place.name
    return place.with_name(stem + suffix)


def _dotted(extension: str) -> str:
    return f".{extension.lower().lstrip('.')}"


def _check(jobs: Sequence[Job]) -> None:
    by_target: dict[str, Path] = {}
    sources = {os.path.realpath(job.source) for job in jobs}
    for job in jobs:
        other = by_target.setdefault(os.path.abspath(job.target), job.source)
        if other != job.source:
            raise InputError(
                f"{other} and {job.source} would both become {job.target}; "
                "enlarge them in two calls, each with an output of its own"
            )
        if os.path.realpath(job.target) in sources:
            raise InputError(
                f"{job.target} is read and would be replaced by an enlargement; give another output"
            )
