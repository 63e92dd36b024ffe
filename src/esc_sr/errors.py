"""Errors that are the user's to mend: one line saying what, where and what to do."""

from __future__ import annotations

import importlib
from types import ModuleType


class InputError(ValueError):
    """A wrong input (file, configuration value, combination), told in one line.

    Commands print the message alone and exit with status 1; a traceback means a bug.

    Example:
        >>> from esc_sr import load_model
        >>> load_model("nowhere.pth")
        Traceback (most recent call last):
        esc_sr.errors.InputError: checkpoint not found: nowhere.pth
    """


class Stopped(SystemExit):
    """A signal asked the command to end; the exit status is 128 and the number of the signal."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)


class MissingExtraError(InputError, ImportError):
    """An optional package is needed and not installed; the message names the extra."""


def check_integers(at_least: int, **values: object) -> None:
    """Check that values are integers and large enough.

    Args:
        at_least: Smallest value allowed.
        values: By the name that a message shall give them.

    Raises:
        InputError: One is not.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
            raise InputError(f"{name} must be an integer of at least {at_least}, got {value!r}")


def check_flags(**values: object) -> None:
    """Check that values are true or false.

    Args:
        values: By the name that a message shall give them.

    Raises:
        InputError: One is neither.
    """
    for name, value in values.items():
        if not isinstance(value, bool):
            raise InputError(f"{name} is true or false, got {value}")


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, which may be pages; or else its class's name."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def system_error(error: OSError) -> str:
    """Return what the system said, and of which file, where that is known.

    Example:
        >>> system_error(OSError(28, "No space left on device", "a.png"))
        'No space left on device: a.png'
    """
    where = "" if error.filename is None else f": {error.filename}"
    return f"{error.strerror or first_line(error)}{where}"


def printable(text: str) -> str:
    r"""Return a text of one line, without signs that a terminal would obey.

    Args:
        text: A message that may hold names of files, which may hold anything.

    Example:
        >>> printable("odd\nname.png")
        'odd\\nname.png'
    """
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape", "replace").decode()
        for sign in text
    )


def require_extra(module: str, extra: str) -> ModuleType:
    """Import an optional package, or say which extra brings it.

    Args:
        module: Dotted name of the module to import.
        extra: Name of the extra of this package that installs it.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: The module, or one that it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        # The latter two come from binaries for another torch, as torchvision's often are.
        raise MissingExtraError(
            f"'{module}' is needed here and could not be imported ({error}); "
            f"install it with: pip install 'esc-sr[{extra}]'"
        ) from error
