"""`esc-sr train --from RUN`: the command line that a run was started with, once more."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from esc_sr.config import compose_config
from esc_sr.errors import InputError
from esc_sr.files import file_digest
from esc_sr.profiling.conditions import versions
from esc_sr.runs.fingerprint import relevant
from esc_sr.runs.labels import override_key
from esc_sr.runs.record import RunRecord, read_record
from esc_sr.runs.redaction import HIDDEN, redacted
from esc_sr.tasks.networks import OPTIONS_WITH_VALUE

log = logging.getLogger(__name__)
_OPTION = "--from"
# Of the folder that the run was written to, not of what it computes.
_OF_THE_FOLDER = {"run_dir", "paths.output_dir", "skip_finished"}
_SHOWN = 5


def repeated(arguments: Sequence[str]) -> list[str]:
    """Replace `--from RUN` by the arguments that RUN was started with.

    Overrides rather than the resolved configuration, so that what is added means what it always
    means: `scale=3` reaches every value that follows the scale. That they give today what they
    gave then is checked.

    Args:
        arguments: Of `esc-sr train`.

    Returns:
        The same without the option: other options, RUN's overrides without those of its folder
        and those that are given anew, then the new ones.

    Raises:
        InputError: RUN holds no run, was not started by a command line, kept a secret to itself,
            began with files that have changed, or the defaults have changed since.
    """
    given = [argument.partition("=") for argument in arguments]
    at = next((i for i, (option, _, _) in enumerate(given) if option == _OPTION), None)
    if at is None:
        return list(arguments)
    _, equals, value = given[at]
    rest = list(arguments[:at]) + list(arguments[at + 1 :])
    if not equals:
        value = rest.pop(at) if at < len(rest) else ""
    if not value or value.startswith("-") or any(option.startswith(_OPTION) for option in rest):
        raise InputError("--from needs one folder of a run: esc-sr train --from RUN [key=value]")
    folder = Path(value).expanduser()
    record = read_record(folder)
    if record.overrides is None:
        raise InputError(f"{folder} was not started by `esc-sr train`: no overrides to repeat")
    options, new = _told_apart(rest)
    new_keys = {override_key(override) for override in new}
    recorded = [one for one in record.overrides if _holds(one, record)]
    kept = [one for one in recorded if override_key(one) not in new_keys]
    for override in kept:
        if override.partition("=")[2] == HIDDEN:
            key = override_key(override)
            raise InputError(f"{folder} does not tell its {key}, a secret: give {key}=VALUE again")
    _check_unchanged(record, folder, recorded, new)
    named = any(option.partition("=")[0] in ("--config-dir", "-cd") for option in options)
    if record.config_dir is not None and not named:
        options += ["--config-dir", record.config_dir]
    return [*options, *kept, *new]


def _told_apart(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return options with their values, and overrides: Hydra takes no option among overrides."""
    options, overrides = [], []
    for i, argument in enumerate(arguments):
        is_value = i > 0 and arguments[i - 1] in OPTIONS_WITH_VALUE
        (options if is_value or argument[:1] == "-" else overrides).append(argument)
    return options, overrides


def _holds(override: str, record: RunRecord) -> bool:
    """Return whether an override is about what was computed, not about where."""
    key = override_key(override)
    own_checkpoint = key == "ckpt_path" and key not in record.files
    return key not in _OF_THE_FOLDER and not own_checkpoint


def _check_unchanged(
    record: RunRecord, folder: Path, recorded: Sequence[str], new: Sequence[str]
) -> None:
    """Refuse to call a repetition what is none, and tell of other versions."""
    before = relevant(record.config)
    search = (
        [] if record.config_dir is None else [f"hydra.searchpath=['file://{record.config_dir}']"]
    )
    today = _differing(before, [*recorded, *search])
    named = {override_key(one) for one in new}
    # What the new overrides change is meant to be other; what stays changed with them is not.
    singles = [one for one in new if not _is_sweep(one)]
    after = _differing(before, [*recorded, *search, *singles]) if today else {}
    changed = {key: today[key] for key in today if key in after and key not in named}
    if changed:
        told = [f"{key} was {was}, is {now}" for key, (was, now) in changed.items()]
        more = f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
        raise InputError(
            f"{folder} cannot be repeated as it was: conf/ gives other values now "
            f"({'; '.join(told[:_SHOWN])}{more}); give the old ones as overrides, or check out "
            f"commit {record.repository.get('commit') or 'of that time'}"
        )
    for key, digest in record.files.items():
        path = Path(str(record.config.get(key))).expanduser()
        if key not in named and not (path.is_file() and file_digest(path) == digest):
            raise InputError(f"{key}={path} is not the file any more that {folder} began with")
    then = record.session.get("versions") or {}
    for name, version in versions().items():
        if name in then and then[name] != version:
            log.warning("%s was %s in %s and is %s now", name, then[name], folder, version)


def _differing(before: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """Return by key what a run's configuration was and what overrides give now, if other."""
    cfg = compose_config("train", [*overrides, "paths.output_dir=RUN"])
    resolved: Any = OmegaConf.to_container(cfg, resolve=True)
    now = relevant(redacted(resolved))
    missing = object()
    return {
        key: (before.get(key, "not there"), now.get(key, "not there"))
        for key in dict.fromkeys([*before, *now])
        # As texts: that is how a record holds numbers that are not finite.
        if str(before.get(key, missing)) != str(now.get(key, missing))
    }


def _is_sweep(override: str) -> bool:
    value = override.partition("=")[2]
    return "," in value and value[:1] not in "[{'\""
