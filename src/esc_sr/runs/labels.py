"""What a run is called where many are shown together: its name, group and tags."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from esc_sr.runs.fingerprint import NOT_OF_THE_RESULT, READING, fingerprint
from esc_sr.runs.record import RunRecord
from esc_sr.runs.redaction import HIDDEN, is_secret

_LONGEST = 64
_LONGEST_TAG = 64  # what W&B takes
_TAGGED = ("experiment", "model", "attention", "data", "debug")
# Beside what a result does not follow from: who computes and who looks on.
_UNNAMED = {"trainer.accelerator", "trainer.devices", "trainer.num_nodes", "final_table"}
_UNNAMED |= {"trainer.val_check_interval", "trainer.log_every_n_steps"}
_UNNAMED_CHOICES = {"logger", "callbacks", "hydra", "paths"}
_UNNAMED_GROUPS = {"trainer", "experiment", "model"}  # the latter two begin the name


@dataclass(frozen=True, kw_only=True)
class RunLabels:
    """How to find a run among others.

    Attributes:
        name: Of the run; short, without folders and secrets. None if nothing is known of it.
        variant: The same for runs that were asked for the same but for their seed, at any length.
        group: What the runs of a multirun share; None for a single run.
        tags: What was chosen, and the scale.
    """

    name: str | None
    variant: str
    group: str | None
    tags: tuple[str, ...]


def override_key(override: str) -> str:
    """Return the key, or the group, that an override is about.

    Example:
        >>> override_key("+model.width=32"), override_key("attention/bias@model.attention.bias=x")
        ('model.width', 'attention/bias')
    """
    return override.lstrip("+~").partition("=")[0].partition("@")[0]


def labels_of(
    record: RunRecord, *, common: Iterable[str] = (), group: str | None = None
) -> RunLabels:
    """Label a run by its record; its variant ends with a hash of the configuration without seeds.

    Args:
        record: Of the run. If no command line has started it, it has no name, and the hash alone
            for its variant.
        common: As for `labels`.
        group: As for `labels`.
    """
    # Names leave things out, such as folders: only the hash tells all variants apart.
    digits = fingerprint(record.config, record.files, seeds=False)
    if record.overrides is None:
        return RunLabels(name=None, variant=digits, group=None, tags=())
    scale = record.config.get("scale")
    found = labels(record.overrides, chosen(record), scale, common=common, group=group)
    return replace(found, variant=f"{found.variant}-{digits[:6]}")


def chosen(record: RunRecord) -> dict[str, Any]:
    """Return what was chosen of each group, without those of nothing and those that look on."""
    by_group = {group.partition("@")[0]: choice for group, choice in record.choices.items()}
    return {
        group: choice
        for group, choice in by_group.items()
        if choice is not None and group.partition("/")[0] not in _UNNAMED_CHOICES
    }


def labels(
    overrides: Sequence[str],
    choices: Mapping[str, Any],
    scale: Any = None,
    *,
    common: Iterable[str] = (),
    group: str | None = None,
) -> RunLabels:
    """Label a run by what was asked of it.

    The name begins with the experiment, or else the model, and goes on with the overrides that a
    result follows from, seeds last. Folders, files and secrets are left out.

    Args:
        overrides: Of the command line, such as `["model=esc_lt", "seed=1"]`.
        choices: By group of `conf/`, what was chosen.
        scale: Of the network.
        common: Overrides that all runs of the multirun have: the name does without them.
        group: What the runs of the multirun share.

    Example:
        >>> chosen = {"model": "esc_lt", "attention": "sdpa", "experiment": None}
        >>> labels(["model=esc_lt", "model.window_size=16", "seed=1"], chosen, 4)
        ... # doctest: +NORMALIZE_WHITESPACE
        RunLabels(name='esc_lt-window_size=16-seed=1', variant='esc_lt-window_size=16', group=None,
                  tags=('esc_lt', 'sdpa', 'x4'))
    """
    by_key = {override_key(override): override for override in overrides}  # the last one counts
    parts = {key: _part(key, by_key, choices) for key in by_key}
    # Choices, values, seeds.
    ranks = {key: 2 if _is_seed(key) else int("." in key) for key in parts}
    told = {key: parts[key] for key in sorted(parts, key=lambda key: ranks[key]) if parts[key]}
    experiment = choices.get("experiment")
    model = choices.get("model") if experiment is None or "model" in by_key else None
    base = [_plain(str(name)) for name in (experiment, model) if name is not None]
    common = set(common)
    own = [key for key in told if by_key[key] not in common] or list(told)
    by_rank = [[told[key] for key in own if ranks[key] == rank] for rank in range(3)]
    variant = base + [told[key] for key in told if not _is_seed(key)]
    return RunLabels(
        name=_shortened(base + by_rank[0], by_rank[1], by_rank[2]) or "run",
        variant="-".join(variant) or "run",
        group=group,
        tags=_tags(choices, scale),
    )


def _tags(choices: Mapping[str, Any], scale: Any) -> tuple[str, ...]:
    tags = [str(choices[name]) for name in _TAGGED if choices.get(name) is not None]
    if isinstance(scale, int):
        tags.append(f"x{scale}")
    return tuple(dict.fromkeys(_plain(tag)[:_LONGEST_TAG] for tag in tags))


def _is_seed(key: str) -> bool:
    return key.rpartition(".")[2] == "seed"


def _part(key: str, by_key: Mapping[str, str], choices: Mapping[str, Any]) -> str:
    """Return what an override adds to a name; nothing if it tells nothing, or too much."""
    override = by_key[key]
    value = override.partition("=")[2].strip("'\"")
    top = key.partition(".")[0].partition("/")[0]
    is_group = key in {name.partition("@")[0] for name in choices}
    if (
        top in NOT_OF_THE_RESULT | _UNNAMED_CHOICES
        or key in READING | _UNNAMED
        or (is_group and (key in _UNNAMED_GROUPS or value == "null"))
        or is_secret(key)
        or HIDDEN in value
        or "${" in value
        or re.search(r"[/\\~]", value)
        or re.search(r"(?:_dir|path|_from)$", key)
    ):
        return ""
    if override.startswith("~"):
        return f"no_{_plain(key)}"
    if is_group:
        return _plain(value)
    name = key.rpartition(".")[2]
    if sum(other.rpartition(".")[2] == name for other in by_key) > 1:
        name = key
    return f"{name}={_plain(_rounded(value))}"


def _rounded(value: str) -> str:
    """Cut the digits of what a search has drawn."""
    if len(value) <= 8 or not re.fullmatch(r"[-+]?\d*\.?\d+(?:e[-+]?\d+)?", value, re.IGNORECASE):
        return value
    return f"{float(value):.4g}"


def _plain(text: str) -> str:
    text = re.sub(r"[\[\]{}()'\"\s]", "", text)
    return re.sub(r"[^\w.+=-]", "_", text.replace(",", "+").replace(":", "="))


def _shortened(choices: Sequence[str], values: Sequence[str], seeds: Sequence[str]) -> str:
    """Join the parts of a name; of a long one leave out the first values, and end with a hash."""
    name = "-".join([*choices, *values, *seeds])
    if len(name) <= _LONGEST:
        return name
    digits = hashlib.sha256(name.encode()).hexdigest()[:6]
    kept, left = [*choices, *values], len(choices)
    while kept and len("-".join([*kept, *seeds, digits])) > _LONGEST:
        # What varies is often said last: a search appends it to what is fixed.
        kept.pop(left if len(kept) > left else -1)
    return "-".join([*kept, *seeds, digits])[-_LONGEST:]
