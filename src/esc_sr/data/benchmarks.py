"""Benchmark sets in the folder layouts they are distributed in."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from esc_sr.data.degradations import Degradation
from esc_sr.data.images import DEFAULT_MAX_MEGAPIXELS, list_images
from esc_sr.data.pairs import PairedImages
from esc_sr.errors import InputError

_log = logging.getLogger(__name__)

EXPECTED_COUNTS = {
    "Set5": 5,
    "Set14": 14,
    "B100": 100,
    "Urban100": 100,
    "Manga109": 109,
    "DIV2K_valid": 100,
}
# Other names that sets are distributed under, in lower case without signs.
_OTHER_NAMES = {
    "B100": ("bsd100", "bsds100", "cbsd100"),
    "DIV2K_valid": ("div2kvalidhr",),
}

# Below the folder of a set, in lower case. BasicSR makes `LRbic…` of `GTmod…`: at another size
# than `HR`, which therefore has them only where there is no `GTmod…`.
_LR = ("lr_bicubic/x{}", "lr/x{}")
_LR_OF_CUT = ("lrbicx{}", "lrbic/x{}")
_CUT = r"gtmod.*"


def benchmark_set(
    *,
    root: str | Path,
    name: str,
    scale: int,
    degradation: Degradation | None = None,
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
    hint: str = "",
) -> PairedImages:
    """Open a benchmark set, whole images, one by one.

    Where there is no folder of LQ images they are made by MATLAB's bicubic, exactly. A count of
    images other than the published one is logged as a warning.

    Args:
        root: Folder that holds the sets; `~` expands.
        name: A set, e.g. "Set5"; any folder of the layouts of `benchmark_folders` is accepted.
        scale: Super-resolution factor.
        degradation: Makes LQ where there is none; None: MATLAB bicubic.
        max_megapixels: As for `PairedImages`.
        hint: How to come by the set, appended when it is missing.

    Returns:
        The pairs.

    Raises:
        InputError: The set is not there, or not complete.
    """
    gt_dir, lq_dir = require_benchmark(root, name, scale, hint=hint)
    pairs = PairedImages(
        gt_dir=gt_dir,
        lq_dir=lq_dir,
        scale=scale,
        degradation=degradation,
        max_megapixels=max_megapixels,
        hint=hint,
    )
    expected = EXPECTED_COUNTS.get(_canonical(Path(name).name) or "")
    if expected is not None and len(pairs) != expected:
        _log.warning(
            "%s in %s has %d images, the published set has %d: the mean will not compare",
            name,
            gt_dir,
            len(pairs),
            expected,
        )
    return pairs


def benchmark_folders(root: str | Path, name: str, scale: int) -> tuple[Path, Path | None] | None:
    """Find the folders of a set; case does not matter, nor which of its names it has.

    B100 is BSD100, BSDS100, CBSD100 and BSD_100 too, DIV2K_valid is DIV2K-valid and
    DIV2K_valid_HR; the folder that is called as asked for comes first. The first of these that
    exists:

    - `<root>/<name>/HR` with `LR_bicubic/X<scale>` or `LR/X<scale>` beside, or, where there is no
      `GTmod…`, `LRbicx<scale>` or `LRbic/X<scale>`
    - `<root>/<name>/GTmod12`, or another `GTmod…`, with any of these LQ folders, `LRbic…` first
    - `<root>/<name>/image_SRF_<scale>`, which holds both
    - `<root>/<name>/GT`, then `original`, with any of these LQ folders
    - `<root>/<name>_HR` with `<root>/<name>_LR_bicubic/X<scale>` (DIV2K)
    - `<root>/<name>` with images in it, and `<root>/<name>_bicLRx<scale>`

    Where `root` itself is called `name` and holds no such folder, it is taken for the set.

    Args:
        root: Folder that holds the sets; `~` expands.
        name: A set, or a path to one below `root`.
        scale: Super-resolution factor.

    Returns:
        The folders of GT and of LQ, the latter None if there is none; None if there is no set.
    """
    folders = set_folders(root, name)
    parent, _ = _split(root, name)
    if _is_named(parent.name, name):
        folders.append(parent)
    for folder in folders:
        found = _inside(folder, scale)
        if found is not None:
            return found
    for gt_dir in set_folders(root, name, ending="_HR"):
        beside = set_folders(root, name, ending="_LR_bicubic")
        return gt_dir, _first_below(beside[0], ("x{}",), scale) if beside else None
    for folder in folders:
        if list_images(folder):
            beside = set_folders(root, name, ending=f"_bicLRx{scale}")
            return folder, beside[0] if beside else None
    return None


def set_folders(root: str | Path, name: str, *, ending: str = "") -> list[Path]:
    """List the folders that are called like a set: as asked, in another case, by another name.

    Args:
        root: Folder that holds them; `~` expands. It need not exist.
        name: A set, or a path to one below `root`.
        ending: What follows the name of the set in that of the folder.

    Returns:
        The folders, the most literal name first.
    """
    root, name = _split(root, name)
    wanted = f"{name}{ending}"
    return sorted(
        (path for path in _folders(root) if _is_named(path.name, name, ending)),
        key=lambda path: (path.name != wanted, path.name.casefold() != wanted.casefold(), path),
    )


def require_benchmark(
    root: str | Path, name: str, scale: int, *, hint: str = ""
) -> tuple[Path, Path | None]:
    """Find the folders of a set as `benchmark_folders`, or say what was expected.

    Args:
        root: Folder that holds the sets; `~` expands.
        name: A set.
        scale: Super-resolution factor.
        hint: How to come by the set, appended when it is missing.

    Returns:
        The folders of GT and of LQ, the latter None if there is none.

    Raises:
        InputError: There is no such set.
    """
    found = benchmark_folders(root, name, scale)
    if found is None:
        folder = Path(root).expanduser() / name
        known = "" if _canonical(folder.name) else f" (known sets: {', '.join(EXPECTED_COUNTS)})"
        raise InputError(
            f"no benchmark set '{name}'{known}: expected {folder}/HR/*.png and, optionally, "
            f"{folder}/LR_bicubic/X{scale}/*.png; {hint or 'put it there or set benchmark_dir'}"
        )
    return found


def _split(root: str | Path, name: str) -> tuple[Path, str]:
    path = Path(root).expanduser() / name
    return path.parent, path.name


def _is_named(folder: str, name: str, ending: str = "") -> bool:
    """Whether a folder is called like a set; only those of known sets may lack signs."""
    name = Path(name).name
    if _separated(folder) == _separated(f"{name}{ending}"):
        return True
    known = _canonical(name)
    return known is not None and _plain(folder) in {
        f"{one}{_plain(ending)}" for one in _all_names(known)
    }


def _canonical(name: str) -> str | None:
    return next((known for known in EXPECTED_COUNTS if _plain(name) in _all_names(known)), None)


def _all_names(known: str) -> tuple[str, ...]:
    return _plain(known), *_OTHER_NAMES.get(known, ())


def _separated(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name.casefold())


def _plain(name: str) -> str:
    return _separated(name).replace("_", "")


def _inside(folder: Path, scale: int) -> tuple[Path, Path | None] | None:
    has_cut = _child(folder, _CUT) is not None
    layouts = (
        (r"hr", _LR if has_cut else _LR + _LR_OF_CUT),
        (_CUT, _LR_OF_CUT + _LR),
        (f"image_srf_{scale}", (f"image_srf_{scale}",)),
        (r"gt", _LR + _LR_OF_CUT),
        (r"original", _LR + _LR_OF_CUT),
    )
    for gt_pattern, lq_places in layouts:
        gt_dir = _child(folder, gt_pattern)
        if gt_dir is not None:
            return gt_dir, _first_below(folder, lq_places, scale)
    return None


def _child(folder: Path, pattern: str) -> Path | None:
    return next(
        (path for path in _folders(folder) if re.fullmatch(pattern, path.name.lower())), None
    )


def _first_below(folder: Path, places: tuple[str, ...], scale: int) -> Path | None:
    for place in places:
        found: Path | None = folder
        for part in place.format(scale).split("/"):
            found = found and _child(found, re.escape(part))
        if found is not None:
            return found
    return None


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
