"""`run.json`: what was asked of a run, with what it was computed, and what came of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from esc_sr.errors import InputError
from esc_sr.files import MOST_BYTES_OF_JSON, fault_of_file, write_atomically

FILE_NAME = "run.json"
RUNNING, FINISHED, FAILED, INTERRUPTED = "running", "finished", "failed", "interrupted"
SKIPPED, PRUNED = "skipped", "pruned"
STATES = (RUNNING, FINISHED, FAILED, INTERRUPTED, SKIPPED, PRUNED)
_FORMAT = 1

# By set, by metric: a value for each image; "images" holds their names.
PerImage = dict[str, dict[str, list[Any]]]


@dataclass(kw_only=True)
class RunRecord:
    """What a run folder says about its run.

    Attributes:
        state: One of `STATES`. A run that was killed is "running" for ever.
        error: Why it failed or was pruned, or in whose place it was skipped; one line.
        config: The resolved configuration, secrets hidden.
        config_hash: `fingerprint` of it.
        files: By key of the configuration, digests of files that training began with.
        overrides: Of the command line, secrets hidden; None if the run was not started by one.
        config_dir: The folder given with `--config-dir`, if any.
        choices: By group of `conf/`, what was chosen.
        network: Its title.
        params_k: Parameters in 10³.
        macs_g: Multiply-adds in 10⁹ of one image of `macs_lq_size`; None where none can be counted.
        macs_lq_size: Height and width.
        sessions: One for each time that the run was started or resumed, the latest last:
            `started` and `finished` (ISO 8601, UTC), `wall_s`, `step` reached, `config_hash`,
            `working_dir`, `versions`, `device`, `git`.
        best_score: Of `monitor`.
        measured: What was logged last of each key of validation and costs.
        results: Of the best weights on the validation sets, image by image.
        bicubic: The same of bicubic.
    """

    state: str
    config: dict[str, Any]
    config_hash: str
    error: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    overrides: list[str] | None = None
    config_dir: str | None = None
    choices: dict[str, Any] = field(default_factory=dict)
    network: str | None = None
    params_k: float | None = None
    macs_g: float | None = None
    macs_lq_size: list[int] | None = None
    sessions: list[dict[str, Any]] = field(default_factory=list)
    best_score: float | None = None
    measured: dict[str, Any] = field(default_factory=dict)
    results: PerImage = field(default_factory=dict)
    bicubic: PerImage = field(default_factory=dict)

    @property
    def seed(self) -> Any:
        """What the configuration says; None if nothing."""
        return self.config.get("seed")

    @property
    def session(self) -> dict[str, Any]:
        """The latest session; empty before the first."""
        return self.sessions[-1] if self.sessions else {}

    @property
    def step(self) -> int | None:
        """Optimizer steps taken, as far as is known."""
        return self.session.get("step")

    @property
    def wall_s(self) -> float | None:
        """Seconds of all sessions; None if one was killed and nobody stopped the clock."""
        seconds = [number(session.get("wall_s")) for session in self.sessions]
        return sum(seconds) if seconds and None not in seconds else None  # pyright: ignore

    @property
    def repository(self) -> dict[str, Any]:
        """State of the repository that esc_sr lay in, or else of the working folder's; or empty."""
        states = self.session.get("git") or [{}]
        return next((state for state in states if state.get("of") == "esc_sr"), states[0])


def write_record(record: RunRecord, folder: Path) -> None:
    """Write `run.json`, all or nothing."""
    content = {"format": _FORMAT, **asdict(record)}
    text = json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False)
    # Names of files may hold bytes that are no text.
    text = text.encode("utf-8", "backslashreplace").decode()
    write_atomically(folder / FILE_NAME, text + "\n")


def read_record(folder: Path) -> RunRecord:
    """Read a folder's `run.json`, strictly: it may come from anywhere.

    Raises:
        InputError: There is none, or it is damaged, or of a kind that this version does not know.
    """
    path = folder / FILE_NAME
    fault = content = None
    try:
        fault = fault_of_file(path, most_bytes=MOST_BYTES_OF_JSON)
        if fault is None:
            content = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: None)
    except FileNotFoundError:
        raise InputError(f"{folder} holds no {FILE_NAME}, so no run that can be told of") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: {str(error)[:80]}") from None
    if fault is not None:
        raise InputError(f"{path} {fault}")
    if not isinstance(content, dict) or "config" not in content:
        raise InputError(f"{path} is damaged: `esc-sr train` writes an object with a 'config'")
    version = content.pop("format", None)
    if version != _FORMAT:
        raise InputError(f"{path} is of format {version!r}, this version reads {_FORMAT}")
    for key, (kind, fits) in _FIELDS.items():
        if key not in content or not fits(content[key]):
            raise InputError(f"{path} is damaged: '{key}' must be {kind}")
    return RunRecord(**{key: content[key] for key in _FIELDS})


def number(value: Any) -> float | None:
    """Return a number of a record: infinity is written as a text there, since JSON has none.

    Example:
        >>> number(1), number("inf"), number("one"), number(None)
        (1.0, inf, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and value not in ("inf", "-inf", "nan"):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer of any length
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, int | float | str) or value is None else str(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _or_null(fits: Any) -> Any:
    return lambda value: value is None or fits(value)


def _is_number(value: Any) -> bool:
    return number(value) is not None


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_size(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_sessions(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_session, value))


def _is_session(session: Any) -> bool:
    if not isinstance(session, dict):
        return False
    git = session.get("git")
    return (
        all(_or_null(_is_number)(session.get(key)) for key in ("wall_s", "step"))
        and all(_or_null(_is_object)(session.get(key)) for key in ("versions", "device"))
        and _or_null(lambda states: isinstance(states, list) and all(map(_is_object, states)))(git)
    )


def _is_per_image(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_set, value.values()))


def _is_set(result: Any) -> bool:
    if not isinstance(result, dict) or not _is_texts(result.get("images")):
        return False
    count = len(result["images"])
    return all(
        isinstance(values, list)
        and len(values) == count
        and (key == "images" or all(map(_is_number, values)))
        for key, values in result.items()
    )


# What a value must be: how that is said, and the test.
_FIELDS = {
    "state": (f"one of {', '.join(STATES)}", lambda value: value in STATES),
    "config": ("an object", _is_object),
    "config_hash": ("a text", _is_text),
    "error": ("a text or null", _or_null(_is_text)),
    "files": ("an object", _is_object),
    "overrides": ("a list of texts or null", _or_null(_is_texts)),
    "config_dir": ("a text or null", _or_null(_is_text)),
    "choices": ("an object", _is_object),
    "network": ("a text or null", _or_null(_is_text)),
    "params_k": ("a number or null", _or_null(_is_number)),
    "macs_g": ("a number or null", _or_null(_is_number)),
    "macs_lq_size": ("[height, width] or null", _or_null(_is_size)),
    "sessions": ("a list of objects", _is_sessions),
    "best_score": ("a number or null", _or_null(_is_number)),
    "measured": ("an object", _is_object),
    "results": ("sets of values by image", _is_per_image),
    "bicubic": ("sets of values by image", _is_per_image),
}
