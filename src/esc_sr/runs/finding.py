"""Find run folders below others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from esc_sr.errors import InputError
from esc_sr.runs.record import FILE_NAME, FINISHED, RunRecord, read_record


def run_folders(root: Path) -> Iterator[Path]:
    """Go through the run folders below a folder, itself included, sorted; links are not followed.

    Args:
        root: A run's folder, a multirun's, or one above.

    Yields:
        Folders with a `run.json`, in the order of their names, numbers by their value.
    """
    for folder, below, files in os.walk(root):
        if FILE_NAME in files:
            below.clear()  # a run has no runs within
            yield Path(folder)
        below[:] = sorted((name for name in below if name[0] != "."), key=_by_value)


def find_finished(config_hash: str, roots: Iterable[Path]) -> tuple[Path, RunRecord] | None:
    """Find a finished run of the same configuration.

    Args:
        config_hash: `fingerprint` of the configuration.
        roots: Folders to look in, at any depth; those that do not exist hold none.

    Returns:
        Its folder and its record, the first found; None without one. Damaged ones are passed over.
    """
    for root in roots:
        for folder in run_folders(root):
            try:
                record = read_record(folder)
            except InputError:
                continue
            if record.state == FINISHED and record.config_hash == config_hash:
                return folder, record
    return None


def _by_value(name: str) -> tuple[int, int, str]:
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)
