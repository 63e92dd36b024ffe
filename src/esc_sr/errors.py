"""Errors that are the user's to mend: one line saying what, where and what to do."""

from __future__ import annotations

import importlib
from types import ModuleType


class InputError(ValueError):
    """A wrong input (file, configuration value, combination), told in one line.

    Commands print the message alone and exit with status 1; a traceback means a bug.
    """


class MissingExtraError(InputError, ImportError):
    """An optional package is needed and not installed; the message names the extra."""


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
    except ImportError as error:
        raise MissingExtraError(
            f"'{module}' is needed here and could not be imported ({error}); "
            f"install it with: pip install 'esc-sr[{extra}]'"
        ) from error
