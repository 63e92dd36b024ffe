"""Cut the images of a data set into overlapping sub-images, which load many times faster."""

from __future__ import annotations

import json
import math
import multiprocessing
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ProcessPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from itertools import product
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from esc_sr.data.crops import crop, crop_to_multiple
from esc_sr.data.degradations import BicubicDegradation
from esc_sr.data.images import (
    DEFAULT_MAX_MEGAPIXELS,
    encode_image,
    image_size,
    read_image,
    replace_file,
)
from esc_sr.data.pairs import match_names
from esc_sr.data.sources import LMDB_INDEX, check_whole, open_source
from esc_sr.errors import InputError, check_integers, require_extra
from esc_sr.files import remove_unfinished
from esc_sr.functional.resize import matlab_imresize
from esc_sr.locking import locked
from esc_sr.offspring import end_with_parent

RECIPE_FILE = "subimages.json"
# What notes of earlier versions do not mention.
_UNNOTED_BEFORE: dict[str, Any] = {"shrink": [1], "min_error": 0.0}


@dataclass(frozen=True, kw_only=True)
class CutRecipe:
    """How images are cut; sizes in GT pixels, multiples of every scale.

    Attributes:
        scales: Super-resolution factors to make LQ sub-images for; may be empty.
        window_size: Side of a sub-image.
        step: From one sub-image to the next.
        threshold: A rest at the border wider than this gets one more window, flush with it.
        shrink: Factors by which images are made smaller first, MATLAB's bicubic, each in turn: 1
            is the image as it is, 2 another of half the sides, sharper and with fewer artefacts.
        min_error: Leave out sub-images that have nothing to teach: where bicubic interpolation
            from the largest scale is wrong by less than this, mean absolute error in levels of
            255. 0: none.
    """

    scales: tuple[int, ...]
    window_size: int = 480
    step: int = 240
    threshold: int = 0
    shrink: tuple[int, ...] = (1,)
    min_error: float = 0.0

    def __post_init__(self) -> None:
        check_integers(1, window_size=self.window_size, step=self.step)
        check_integers(0, threshold=self.threshold)
        for scale in self.scales:
            check_integers(2, **{"each of scales": scale})
        if not self.shrink or len(set(self.shrink)) < len(self.shrink):
            raise InputError(f"shrink must be different factors, such as [1,2]; got {self.shrink}")
        for factor in self.shrink:
            check_integers(1, **{"each of shrink": factor})
        if isinstance(self.min_error, bool) or not 0 <= self.min_error < 255:
            raise InputError(f"min_error must lie between 0 and 255 levels, got {self.min_error}")
        if self.min_error and not self.scales:
            raise InputError("min_error needs a scale to measure at: set scales, or min_error=0")
        if self.window_size % self.multiple or self.step % self.multiple:
            raise InputError(
                f"window_size={self.window_size} and step={self.step} must be multiples of "
                f"{self.multiple}, so that sub-images match at the scales {list(self.scales)}"
            )

    @property
    def multiple(self) -> int:
        """Least common multiple of the scales."""
        return math.lcm(*self.scales)


@dataclass(frozen=True, kw_only=True)
class PrepareResult:
    """What was cut.

    Attributes:
        images: Images read, those of the GT folder.
        subimages: GT sub-images there are now, old and new.
        left_out: Sub-images that `min_error` left out.
        written: Sub-images written by this run, GT and LQ.
        megabytes: Size of what this run wrote, in 10⁶ bytes.
        seconds: Wall time.
    """

    images: int
    subimages: int
    left_out: int
    written: int
    megabytes: float
    seconds: float


def window_positions(length: int, window_size: int, step: int, threshold: int) -> list[int]:
    """Return where the windows along one side begin.

    Args:
        length: Of the side, in pixels.
        window_size: Of a window; a shorter side gets one window from its beginning.
        step: From one window to the next.
        threshold: A rest wider than this gets one more window, flush with the end.

    Returns:
        First pixels, ascending.
    """
    positions = list(range(0, length - window_size + 1, step)) or [0]
    if length - (positions[-1] + window_size) > threshold:
        positions.append(length - window_size)
    return positions


def cut_subimages(
    *,
    gt_dir: str | Path,
    gt_out: str | Path,
    recipe: CutRecipe,
    lq_dir: str | Path | None = None,
    lq_out: str | Path | None = None,
    lmdb: bool = False,
    num_workers: int = 0,
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
    hint: str = "",
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> PrepareResult:
    """Cut every image into sub-images, with LQ sub-images of the same places.

    LQ is cut from `<lq_dir>/X<scale>` or made from the whole GT by MATLAB's bicubic, which is
    the same. Outputs are PNG files `<name>_s001.png` in `gt_out` and `<lq_out>/X<scale>`, or
    LMDBs with `.lmdb` appended to these. What exists already is kept: a run that was killed is
    completed by the next one. An image smaller than the window is kept whole. A shrunk image is
    called `<name>_d<factor>`; `min_error` looks at its sub-images again in every run.

    Args:
        gt_dir: Folder of high-resolution images.
        gt_out: Output folder of GT sub-images.
        recipe: How to cut.
        lq_dir: Folder that holds `X2`, `X3`, ...; None: made from GT, and of shrunk images always.
        lq_out: Output folder that will hold `X2`, `X3`, ...; needed if there are scales.
        lmdb: Write LMDBs instead of files.
        num_workers: Processes; 0: this one.
        max_megapixels: Images of more than so many million pixels are refused.
        hint: How to come by the images, appended when they are missing.
        on_progress: Called with images done and their total, at the start and after each.

    Returns:
        A summary.

    Raises:
        InputError: A folder is missing or empty, an image is unreadable or does not match its
            pair, or the output folder holds sub-images of another recipe.
        MissingExtraError: `lmdb` without the package.
    """
    begin = time.perf_counter()
    check_integers(0, num_workers=num_workers)
    if recipe.scales and lq_out is None:
        raise InputError("lq_out is needed where scales are given: set it, or scales=[]")
    jobs = _plan(gt_dir, lq_dir, recipe, hint, max_megapixels)
    folders = {1: Path(gt_out).expanduser()}
    if lq_out is not None:
        folders |= {scale: Path(lq_out).expanduser() / f"X{scale}" for scale in recipe.scales}
    if lmdb:
        folders = {s: folder.with_name(f"{folder.name}.lmdb") for s, folder in folders.items()}

    written = size = left_out = 0
    windows: list[_Window] = []
    with ExitStack() as stack:
        for folder in folders.values():
            stack.enter_context(locked(folder, "wait for it, or choose another output folder"))
            _claim(folder, recipe)
        on_progress(0, len(jobs))
        stores: dict[int, _LmdbStore] = {}
        if lmdb:
            stores = {s: stack.enter_context(_LmdbStore(f)) for s, f in folders.items()}
        work = [(job, recipe, None if lmdb else folders, _done(job, stores)) for job in jobs]
        results = stack.enter_context(closing(_map(_cut_image, work, num_workers)))
        for done, (cut, idle) in enumerate(results, start=1):
            left_out += idle
            for scale, store in stores.items():
                store.put([window for window in cut if window.scale == scale])
            written += sum(window.num_bytes > 0 for window in cut)
            size += sum(window.num_bytes for window in cut)
            windows += [replace(window, content=None) for window in cut]
            on_progress(done, len(jobs))
        for scale, store in stores.items():
            store.finish([window for window in windows if window.scale == scale])
    return PrepareResult(
        images=len({job.gt_path for job in jobs}),
        subimages=sum(window.scale == 1 for window in windows),
        left_out=left_out,
        written=written,
        megabytes=size / 1e6,
        seconds=time.perf_counter() - begin,
    )


@dataclass(frozen=True)
class _Job:
    """An image to cut, shrunk first; `lq_paths` by scale, empty if LQ is to be made."""

    name: str
    gt_path: str
    shrink: int
    lq_paths: dict[int, str]
    max_megapixels: float

    def read(self, path: str) -> Tensor:
        return read_image(path, max_megapixels=self.max_megapixels)


@dataclass(frozen=True)
class _Window:
    """A sub-image; GT has scale 1. `num_bytes` is 0 where it existed before."""

    scale: int
    key: str
    height: int
    width: int
    num_bytes: int = 0
    content: bytes | None = None


def _plan(
    gt_dir: str | Path,
    lq_dir: str | Path | None,
    recipe: CutRecipe,
    hint: str,
    max_megapixels: float,
) -> list[_Job]:
    """Find the images and their pairs; everything that can be missing is missed here."""
    gt = open_source(gt_dir, purpose="GT", hint=hint, max_megapixels=max_megapixels)
    stems = [Path(name).stem for name in gt.names]
    wanted = {1: stems} | {f: [f"{stem}_d{f}" for stem in stems] for f in recipe.shrink if f > 1}
    counts = Counter(name for names in wanted.values() for name in names)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise InputError(f"two images are called '{twice[0]}' in {gt_dir}: rename one")
    lq_paths: list[dict[int, str]] = [{} for _ in stems]
    if lq_dir is not None:
        for scale in recipe.scales:
            folder = Path(lq_dir).expanduser() / f"X{scale}"
            lq = open_source(folder, purpose=f"LQ ×{scale}", hint=hint)
            matches = match_names(gt.names, lq.names, scale, str(folder))
            for paths, name in zip(lq_paths, matches, strict=True):
                paths[scale] = lq.where(name)
    return [
        _Job(
            wanted[factor][index],
            gt.where(name),
            factor,
            lq_paths[index] if factor == 1 else {},
            max_megapixels,
        )
        for index, name in enumerate(gt.names)
        for factor in recipe.shrink
    ]


def _claim(folder: Path, recipe: CutRecipe) -> None:
    """Note the recipe in an output folder, or check that it is the one noted there."""
    note = folder / RECIPE_FILE
    wanted = {
        "window_size": recipe.window_size,
        "step": recipe.step,
        "threshold": recipe.threshold,
        "multiple": recipe.multiple,
        "shrink": list(recipe.shrink),
        "min_error": recipe.min_error,
    }
    if note.is_file():
        try:
            found = _UNNOTED_BEFORE | json.loads(note.read_text())
        except ValueError as error:
            raise InputError(f"cannot read {note}: {error}; delete {folder}") from error
        if found != wanted:
            raise InputError(
                f"{folder} holds sub-images of another recipe ({found}, now {wanted}): "
                "delete it or choose another output folder"
            )
        remove_unfinished(folder)  # of a run that was killed
    elif folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise InputError(
            f"{folder} holds files that this command did not make: "
            "delete it or choose another output folder"
        )
    else:
        replace_file(note, json.dumps(wanted).encode())


def _done(job: _Job, stores: Mapping[int, _LmdbStore]) -> dict[int, frozenset[str]]:
    return {scale: store.keys_of(job.name) for scale, store in stores.items()}


_Work = tuple[_Job, CutRecipe, dict[int, Path] | None, dict[int, frozenset[str]]]
_Cut = tuple[list[_Window], int]  # and how many places were left out


def _map(
    function: Callable[[_Work], _Cut], work: Sequence[_Work], num_workers: int
) -> Generator[_Cut, None, None]:
    """Map in order, in other processes if there are to be any; closed, begin nothing more."""
    if num_workers == 0:
        yield from map(function, work)
        return
    # Forking a process that has used torch's threads can hang.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    executor = ProcessPoolExecutor(
        num_workers, mp_context=context, initializer=_begin_worker, initargs=(stop,)
    )
    try:
        with _interrupts_later():
            results = executor.map(function, work)  # which starts the processes
        yield from results
    finally:
        stop.set()
        executor.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Keep Ctrl-C back; processes that are started here never see it, not in their imports either.

    A terminal sends it to them too, and only this process shall obey. They inherit the mask; here
    another thread may get the signal all the same, and Python's handler comes into this one.
    """
    handler = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not (is_main and callable(handler) and hasattr(signal, "pthread_sigmask")):
        yield
        return
    noted: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
    if noted:
        handler(signal.SIGINT, None)


_stop: Event | None = None  # in other processes


def _begin_worker(stop: Event) -> None:
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it could not be kept back
    torch.set_num_threads(1)
    end_with_parent()  # one that is killed would leave them waiting for ever


def _cut_image(work: _Work) -> _Cut:
    """Cut one image; write the files, or return their content where there are no folders."""
    job, recipe, folders, done = work
    multiple = recipe.multiple
    gt_size = image_size(job.gt_path, max_megapixels=job.max_megapixels)
    full_height, full_width = (side // job.shrink for side in gt_size)
    height, width = full_height - full_height % multiple, full_width - full_width % multiple
    if not min(height, width):
        shrunk = f", shrunk by {job.shrink}" if job.shrink > 1 else ""
        raise InputError(
            f"{job.gt_path}{shrunk} is {full_height}×{full_width} pixels, less than {multiple}: "
            "remove it"
        )
    tops = window_positions(height, recipe.window_size, recipe.step, recipe.threshold)
    lefts = window_positions(width, recipe.window_size, recipe.step, recipe.threshold)
    rows, columns = min(recipe.window_size, height), min(recipe.window_size, width)
    # What is complete already costs reading a header, no more.
    images: dict[int, Tensor] = {}

    def place(scale: int, top: int, left: int) -> Tensor:
        if 1 not in images:
            images[1] = _read_gt(job)
        if scale not in images:
            images[scale] = _read_lq(job, images[1], scale)
        return crop(images[scale], top // scale, left // scale, rows // scale, columns // scale)

    windows: list[_Window] = []
    left_out = 0
    for number, (top, left) in enumerate(product(tops, lefts), start=1):
        if _stop is not None and _stop.is_set():
            raise CancelledError  # which nobody waits for any more
        key = f"{job.name}_s{number:03d}"
        missing: list[tuple[_Window, Path | None]] = []
        for scale in (1, *recipe.scales):
            window = _Window(scale, key, rows // scale, columns // scale)
            path = folders[scale] / f"{key}.png" if folders else None
            if _is_there(path) if path else key in done[scale]:
                windows.append(window)
            else:
                missing.append((window, path))
        if missing and recipe.min_error:
            coarsest = max(recipe.scales)
            lq = place(coarsest, top, left)
            if _bicubic_error(place(1, top, left), lq, coarsest) < recipe.min_error:
                left_out += 1
                continue
        for window, path in missing:
            content = encode_image(place(window.scale, top, left))
            if path:
                # Tens of thousands of files: to wait for the disk each time takes minutes. Should
                # the machine stop, some may be empty, and are made again.
                replace_file(path, content, durable=False)
            kept = None if path else content
            windows.append(replace(window, num_bytes=len(content), content=kept))
    return windows, left_out


def _is_there(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _bicubic_error(gt: Tensor, lq: Tensor, scale: int) -> float:
    """Return the mean absolute error of bicubic interpolation, in levels of 255."""
    return (matlab_imresize(lq, scale).float() - gt.float()).abs().mean().item()


def _read_gt(job: _Job) -> Tensor:
    image = job.read(job.gt_path)
    if job.shrink == 1:
        return image
    return BicubicDegradation()(crop_to_multiple(image, job.shrink), job.shrink)


def _read_lq(job: _Job, gt: Tensor, scale: int) -> Tensor:
    if scale not in job.lq_paths:
        return BicubicDegradation()(crop_to_multiple(gt, scale), scale)
    lq = job.read(job.lq_paths[scale])
    expected = (gt.shape[-2] // scale, gt.shape[-1] // scale)
    if tuple(lq.shape[-2:]) != expected:
        raise InputError(
            f"{job.lq_paths[scale]} is {lq.shape[-2]}×{lq.shape[-1]}, but {job.gt_path} "
            f"({gt.shape[-2]}×{gt.shape[-1]}) at scale {scale} needs "
            f"{expected[0]}×{expected[1]}: mend lq_dir"
        )
    return lq


class _LmdbStore:
    """An LMDB that is being written, in BasicSR's layout."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lmdb: Any = require_extra("lmdb", "lmdb")
        # Where the disk does not do sparse files the whole map is allocated: start small, grow.
        try:
            self._environment: Any = self._lmdb.open(str(folder), map_size=2**28)
        except self._lmdb.Error as error:
            raise InputError(f"cannot go on in {folder}: {error}; delete it") from error
        try:
            check_whole(self._environment, folder)
        except InputError:
            self._environment.close()
            raise
        self._keys: dict[str, set[str]] = {}
        with self._environment.begin() as transaction:
            for key in transaction.cursor().iternext(values=False):
                name, _, _ = key.decode().rpartition("_s")
                self._keys.setdefault(name, set()).add(key.decode())

    def __enter__(self) -> _LmdbStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self._environment.close()

    def keys_of(self, name: str) -> frozenset[str]:
        """Return the keys there are of an image."""
        return frozenset(self._keys.get(name, ()))

    def put(self, windows: Sequence[_Window]) -> None:
        """Add the new ones of an image, all or none."""
        new = [(window.key, window.content) for window in windows if window.content]
        while new:
            try:
                with self._environment.begin(write=True) as transaction:
                    for key, content in new:
                        transaction.put(key.encode(), content)
                return
            except self._lmdb.MapFullError:
                self._environment.set_mapsize(2 * self._environment.info()["map_size"])

    def finish(self, windows: Sequence[_Window]) -> None:
        """Write the index; an LMDB without it is not complete."""
        lines = [f"{w.key}.png ({w.height},{w.width},3) 3\n" for w in windows]
        replace_file(self._folder / LMDB_INDEX, "".join(lines).encode())
