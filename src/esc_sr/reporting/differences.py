"""What sets runs apart: the overrides, and where those do not say it, values."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from esc_sr.reporting.reading import Run
from esc_sr.runs.fingerprint import leaves, relevant
from esc_sr.runs.labels import override_key

ABSENT = "–"
# About where a run writes and who looks on.
_ELSEWHERE = ("run_dir", "paths.", "logger", "ckpt_path", "skip_finished", "hydra", "final_table")
_MOST_UNEXPLAINED = 6
# Groups whose files are nothing but values of others.
_BUNDLES = {"experiment", "debug"}


def differing_keys(runs: Sequence[Run], *, seeds: bool = True) -> tuple[list[str], int]:
    """Return the keys that tell runs apart.

    Those of overrides first, in the order in which they were given. Runs that are equal in these
    may still differ, where defaults have changed between them: then the values that do are named.

    Args:
        runs: To be told apart.
        seeds: Whether keys called "seed" take part.

    Returns:
        The keys, and how many more values differ that no key accounts for.
    """
    keys = dict.fromkeys(
        override_key(override) for run in runs for override in run.record.overrides or ()
    )
    wanted = [
        key
        for key in keys
        if not key.startswith(_ELSEWHERE) and (seeds or key.rpartition(".")[2] != "seed")
    ]
    told = [key for key in wanted if len({value_of(run, key) for run in runs}) > 1]
    rest = [key for key in told if key not in _BUNDLES]
    if rest and not _unexplained([relevant(run.record.config, seeds=seeds) for run in runs], rest):
        told = rest  # the bundles say the same once more
    alike: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in runs:
        alike[tuple(value_of(run, key) for key in told)].append(run)
    unexplained: dict[str, None] = {}
    for group in alike.values():
        configs = [relevant(run.record.config, seeds=seeds) for run in group]
        unexplained |= dict.fromkeys(_unexplained(configs, ()))
    more = _without_copies(list(unexplained), runs)
    return told + more[:_MOST_UNEXPLAINED], max(len(more) - _MOST_UNEXPLAINED, 0)


def value_of(run: Run, key: str) -> str:
    """Return what a run has for a key of its configuration or a group, as a text.

    The resolved value where there is one, so that `1e-3` and `0.001` are the same.
    """
    flat = leaves(run.record.config)
    if key in flat:
        return _text(flat[key])
    for group, choice in run.record.choices.items():
        if group.partition("@")[0] == key:
            return _text(choice)
    given = [one for one in run.record.overrides or () if override_key(one) == key]
    if given:
        return given[-1].partition("=")[2] or "left out"
    return ABSENT


def knows(run: Run, key: str) -> bool:
    """Return whether a run has a value for a key."""
    return value_of(run, key) != ABSENT


def _unexplained(configs: Sequence[Mapping[str, Any]], keys: Iterable[str]) -> list[str]:
    """Return what differs between configurations, but for what belongs to one of the keys.

    Args:
        configs: By dotted key.
        keys: Of values, of nodes above them, or of groups, such as `attention` for
            `model.attention.bias.rank`.
    """
    parts = {key.rpartition("/")[2] for key in keys}
    return [
        leaf
        for leaf in dict.fromkeys(leaf for config in configs for leaf in config)
        if not any(f".{part}." in f".{leaf}." for part in parts)
        and len({_text(config.get(leaf, ABSENT)) for config in configs}) > 1
    ]


def _without_copies(keys: list[str], runs: Sequence[Run]) -> list[str]:
    """Of keys with the same values in all runs, which follow from each other, keep the shortest."""
    shortest: dict[tuple[str, ...], str] = {}
    for key in keys:
        values = tuple(value_of(run, key) for run in runs)
        other = shortest.setdefault(values, key)
        if key.count(".") < other.count("."):
            shortest[values] = key
    return list(shortest.values())


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return f"[{','.join(value)}]"
    return json.dumps(value, ensure_ascii=False, default=str)
