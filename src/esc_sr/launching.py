"""What failed jobs of a multirun leave for the process that has started them.

Launchers put jobs into other processes or onto other machines, and give back the first failure
alone. So each job that fails there leaves a note in a folder that all of them see.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from esc_sr.errors import InputError
from esc_sr.files import write_atomically

# What joblib and submitit raise where a process is gone.
ENDED = {"TerminatedWorkerError", "BrokenProcessPool", "FailedJobError", "UncompletedJobError"}


class JobFailed(InputError):
    """A job of a multirun has failed, and said so.

    Attributes:
        notes: Folder with what the jobs of other processes have to say; empty in this one.
    """

    notes: str = ""


def leave_note(folder: Path, job: int, name: str, text: str) -> None:
    """Write down that a job has failed; and why, where nobody has seen that.

    Args:
        folder: Of the notes; it is made.
        job: Its number, by which notes are ordered.
        name: What the user is told that it is called.
        text: Why it failed.
    """
    write_atomically(folder / str(job), f"{name}\n{text if unseen() else ''}")


def unseen() -> bool:
    """Return whether standard error is a file of submitit's."""
    return "SUBMITIT_EXECUTOR" in os.environ


def take_notes(folder: Path) -> list[tuple[str, str]]:
    """Return names and reasons of failed jobs, in their order, and remove the folder.

    Args:
        folder: Of the notes.

    Returns:
        For each its name, and why it failed; empty where the user has been told already.
    """
    notes = []
    for path in sorted(folder.iterdir(), key=lambda path: int(path.name)):
        name, _, text = path.read_text(encoding="utf-8").partition("\n")
        notes.append((name, text))
    shutil.rmtree(folder)
    return notes
