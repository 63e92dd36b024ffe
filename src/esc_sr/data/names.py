"""Which file belongs to which: the names that data sets and programs give to LQ and SR images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from esc_sr.errors import InputError

_GT_ENDING = re.compile(r"_(hr|gt)(_x\d)?$")  # RCAN's release has baby_HR_x2 and baby_LRBI_x2


def match_names(
    gt_names: Sequence[str], lq_names: Sequence[str], scale: int, lq_dir: str
) -> list[str]:
    """Find the LQ file of each GT file by its name, whatever its case and extension.

    For `baby.png` at ×2, the first that there is: `babyx2.*`, `baby_x2.*`, `baby_LRBI_x2.*`,
    `baby_LR.*`, `baby_LR_x2.*`, `baby_LRx2.*`, `baby_bicLRx2.*`, `baby_SRF_2_LR.*`, `baby.*`;
    `baby_HR.*`, `baby_GT.*`, `baby_HR_x2.*` and `baby_SRF_2_HR.*` are `baby` too. Of `baby.bmp`
    and `baby.png` the first in the alphabet is taken.

    Args:
        gt_names: File names.
        lq_names: File names.
        scale: Super-resolution factor, part of most LQ names.
        lq_dir: Where LQ lies, for messages.

    Returns:
        The LQ name of each GT name.

    Raises:
        InputError: Some have none.

    Example:
        >>> match_names(["baby.png", "img_001_SRF_2_HR.bmp"],
        ...             ["BABYX2.PNG", "img_001_SRF_2_LR.bmp"], 2, "lq")
        ['BABYX2.PNG', 'img_001_SRF_2_LR.bmp']
    """
    if not gt_names:
        raise InputError(f"no names ending in _HR in {lq_dir}, which is both gt_dir and lq_dir")
    by_stem = _by_stem(lq_names)
    found = [_first(_lq_stems(name, scale), by_stem) for name in gt_names]
    missing = [name for name, match in zip(gt_names, found, strict=True) if match is None]
    if missing:
        first = Path(missing[0]).stem
        others = [
            other
            for other in range(2, 9)
            if other != scale and _first([f"{core(missing[0])}x{other}"], by_stem)
        ]
        advice = (
            f"the folder holds ×{others[0]}: mend scale or lq_dir"
            if others
            else f"expected e.g. {first}x{scale}.png or {first}.png there"
        )
        raise InputError(
            f"{len(missing)} of {len(gt_names)} GT images have no LQ image in {lq_dir}: "
            f"{', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}; {advice}"
        )
    return [match for match in found if match is not None]


def match_results(
    gt_names: Sequence[str], sr_names: Sequence[str], scale: int, sr_dir: str
) -> list[str]:
    """Find the super-resolved file of each GT file by its name, whatever its case and extension.

    For `baby.png` at ×2, the first that there is: `baby.*`, `babyx2.*`, `baby_x2.*`, `baby_SR.*`,
    `baby_SR_x2.*`, `baby_x2_SR.*`, `babyx2_SR.*`, `baby_LRBI_x2.*`, else the one file that begins
    with `baby_`, `babyx2_` or `baby-`, such as `baby_ESC.png`. `baby_HR.*` and the like are `baby`
    as for `match_names`; of `baby.bmp` and `baby.png` neither is guessed.

    Args:
        gt_names: File names.
        sr_names: File names.
        scale: Super-resolution factor.
        sr_dir: Where the results lie, for messages.

    Returns:
        The result's name for each GT name.

    Raises:
        InputError: Some have none, or more than one that fits as well.
    """
    _refuse_same_stems(sr_names, sr_dir)
    by_stem = _by_stem(sr_names)
    found: dict[str, str] = {}
    # Longer names first, so that baby_2_ESC belongs to baby_2 and not to baby.
    for name in sorted(gt_names, key=lambda name: -len(core(name))):
        free = {stem: sr for stem, sr in by_stem.items() if sr not in found.values()}
        match = _first(_sr_stems(name, scale), free)
        if match is None:
            starts = tuple(f"{core(name)}{end}" for end in ("_", "-", f"x{scale}_", f"x{scale}-"))
            matches = sorted(sr for stem, sr in free.items() if stem.startswith(starts))
            if len(matches) > 1:
                raise InputError(
                    f"several images in {sr_dir} could be the result of {name}: "
                    f"{', '.join(matches[:3])}; leave one of them there"
                )
            match = matches[0] if matches else None
        if match is not None:
            found[name] = match
    missing = [name for name in gt_names if name not in found]
    if missing:
        first = Path(missing[0]).stem
        raise InputError(
            f"{len(missing)} of {len(gt_names)} images have no result in {sr_dir}: "
            f"{', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}; "
            f"expected e.g. {first}.png or {first}x{scale}.png there"
        )
    return [found[name] for name in gt_names]


def core(name: str) -> str:
    """Return what the files of one picture have in common, in lower case.

    Args:
        name: Name of the GT file.

    Example:
        >>> core("img_001_SRF_2_HR.png")
        'img_001_srf_2'
    """
    return _GT_ENDING.sub("", Path(name).stem.lower())


def _lq_stems(gt_name: str, scale: int) -> list[str]:
    ends = [f"x{scale}", f"_x{scale}", f"_lrbi_x{scale}", "_lr", f"_lr_x{scale}", f"_lrx{scale}"]
    ends += [f"_biclrx{scale}", f"_srf_{scale}_lr"]
    starts = _starts(gt_name, scale)
    return [*(f"{start}{end}" for start in starts for end in ends), *starts]


def _sr_stems(gt_name: str, scale: int) -> list[str]:
    ends = ["", f"x{scale}", f"_x{scale}", "_sr", f"_sr_x{scale}", f"_x{scale}_sr", f"x{scale}_sr"]
    ends.append(f"_lrbi_x{scale}")
    own, stem, bare = _starts(gt_name, scale)
    return [f"{start}{end}" for end in ends for start in dict.fromkeys((stem, own, bare))]


def _starts(gt_name: str, scale: int) -> tuple[str, str, str]:
    own = core(gt_name)
    return own, Path(gt_name).stem.lower(), own.removesuffix(f"_srf_{scale}")


def _refuse_same_stems(names: Sequence[str], folder: str) -> None:
    by_stem: dict[str, str] = {}
    for name in sorted(names):
        other = by_stem.setdefault(Path(name).stem.lower(), name)
        if other != name:
            raise InputError(f"{folder} has both {other} and {name}; leave one of them there")


def _by_stem(names: Sequence[str]) -> dict[str, str]:
    # In reverse, so that the first of several wins.
    return {Path(name).stem.lower(): name for name in sorted(names, reverse=True)}


def _first(stems: Sequence[str], by_stem: dict[str, str]) -> str | None:
    return next((by_stem[stem] for stem in stems if stem in by_stem), None)
