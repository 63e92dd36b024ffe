"""What a search varies: keys and groups of `esc-sr train` with the values they may have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from esc_sr.errors import InputError, check_flags

if TYPE_CHECKING:
    from optuna.trial import Trial

Value = str | float | int | bool | None

TYPES = {"categorical": {"choices"}, "int": {"low", "high"}, "float": {"low", "high"}}
_OPTIONS = {"categorical": set[str](), "int": {"log", "step"}, "float": {"log", "step"}}
# Of the folder of a trial and how it is begun: the search's own business.
RESERVED = {"run_dir", "ckpt_path", "skip_finished", "paths.output_dir", "hydra.run.dir"}


@dataclass(frozen=True)
class Parameter:
    """A key or group that is varied.

    Attributes:
        key: As on the command line of `esc-sr train`.
        type: A key of `TYPES`.
        choices: Of a categorical one.
        low: Smallest value.
        high: Largest value, included.
        log: Whether the logarithm is what is spread evenly.
        step: Distance of neighbouring values; None: any value (of integers: 1).
    """

    key: str
    type: str
    choices: tuple[Value, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False
    step: float | None = None

    def suggest(self, trial: Trial) -> Value:
        """Return Optuna's proposal; asked again for the same trial, the same."""
        if self.type == "categorical":
            return trial.suggest_categorical(self.key, self.choices)
        if self.type == "int":
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(
                self.key, int(self.low), int(self.high), log=self.log, step=step
            )
        return trial.suggest_float(self.key, self.low, self.high, log=self.log, step=self.step)

    def ends(self) -> tuple[Value, ...]:
        """Return values to be tried out before the search: all choices, or both ends."""
        if self.type == "categorical":
            return self.choices
        return (int(self.low), int(self.high)) if self.type == "int" else (self.low, self.high)

    def grid(self) -> list[Value]:
        """Return all values.

        Raises:
            InputError: There is no end of them.
        """
        if self.type == "categorical":
            return list(self.choices)
        if self.type == "int":
            return list(range(int(self.low), int(self.high) + 1, int(self.step or 1)))
        if self.step is None:
            raise InputError(
                f"sampler=grid needs a step or choices for params.{self.key}: a float has no end "
                "of values"
            )
        # As Optuna counts them: the last one may lie below `high`.
        count = math.floor((self.high - self.low) / self.step + 1e-8) + 1
        return [self.low + i * self.step for i in range(count)]


def read_space(params: Mapping[str, Any]) -> list[Parameter]:
    """Check what a configuration says is varied.

    Args:
        params: By key of `esc-sr train`, how it varies.

    Returns:
        The parameters, in the same order.

    Raises:
        InputError: There is none, or one is not well described.
    """
    if not params:
        raise InputError("nothing is varied: choose space=NAME, or give params={KEY: {type: ...}}")
    return [_parameter(str(key), described) for key, described in params.items()]


def override(key: str, value: Value) -> str:
    """Return a value as an override of the command line.

    Example:
        >>> override("optimizer.lr", 0.001), override("compile", True), override("metrics", None)
        ('optimizer.lr=0.001', 'compile=true', 'metrics=null')
    """
    if value is None:
        return f"{key}=null"
    return f"{key}={str(value).lower() if isinstance(value, bool) else value}"


def overrides_of(values: Mapping[str, Value]) -> list[str]:
    """Return values as overrides of `esc-sr train`."""
    return [override(key, value) for key, value in values.items()]


def grid_size(space: Sequence[Parameter]) -> int:
    """Return how many combinations there are.

    Raises:
        InputError: There is no end of them.
    """
    return math.prod(len(parameter.grid()) for parameter in space)


def _parameter(key: str, described: Any) -> Parameter:
    where = f"params.{key}"
    if key in RESERVED:
        raise InputError(f"{where}: the search itself sets {key}")
    if not isinstance(described, Mapping) or "type" not in described:
        raise InputError(
            f"{where} must be like {{type: float, low: 1e-4, high: 1e-2, log: true}}; keys are "
            "written as on the command line, with their dots: optimizer.lr"
        )
    content = {str(name): value for name, value in described.items()}
    kind = content.pop("type")
    if kind not in TYPES:
        raise InputError(f"{where}.type={kind} is unknown; choose one of: {', '.join(TYPES)}")
    missing = TYPES[kind] - content.keys()
    unknown = content.keys() - TYPES[kind] - _OPTIONS[kind]
    if missing or unknown:
        told = f"lacks {', '.join(sorted(missing))}" if missing else ""
        told = told or f"has no {', '.join(sorted(unknown))}"
        needs = ", ".join(sorted(TYPES[kind]))
        may = f" and may have {', '.join(sorted(_OPTIONS[kind]))}" if _OPTIONS[kind] else ""
        raise InputError(f"{where} of type {kind} {told}; it has {needs}{may}")
    return _categorical(key, content) if kind == "categorical" else _range(key, kind, content)


def _categorical(key: str, content: Mapping[str, Any]) -> Parameter:
    where = f"params.{key}.choices"
    choices = content["choices"]
    if not isinstance(choices, list) or not choices:
        raise InputError(f"{where} must be a list with at least one value, got {choices}")
    for choice in choices:
        if choice is not None and not isinstance(choice, str | int | float):
            raise InputError(f'{where}: {choice} must be in quotes, as "{choice}"')
    if len({str(choice) for choice in choices}) < len(choices):
        raise InputError(f"{where} has a value twice: {choices}")
    return Parameter(key, "categorical", choices=tuple(choices))


def _range(key: str, kind: str, content: Mapping[str, Any]) -> Parameter:
    where = f"params.{key}"
    low, high, step = content["low"], content["high"], content.get("step")
    log = content.get("log", False)
    check_flags(**{f"{where}.log": log})
    numbers = {"low": low, "high": high} | ({} if step is None else {"step": step})
    for name, value in numbers.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole or (kind == "float" and isinstance(value, float) and math.isfinite(value))):
            article = "an integer" if kind == "int" else "a number"
            raise InputError(f"{where}.{name} must be {article}, got {value}")
    if low > high:
        raise InputError(f"{where}: low={low} is above high={high}")
    if step is not None and step <= 0:
        raise InputError(f"{where}.step must be above 0, got {step}")
    if log and (low <= 0 or step is not None):
        raise InputError(f"{where}: log needs low above 0 and no step")
    if step is not None and (high - low) % step > 1e-8 < step - (high - low) % step - 1e-8:
        raise InputError(f"{where}: high={high} is not low={low} plus a multiple of step={step}")
    return Parameter(key, kind, low=low, high=high, log=log, step=step)
