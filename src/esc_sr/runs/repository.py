"""The git repository that code lies in: its commit, and what is not committed."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from esc_sr.runs.redaction import redacted_text

_SECONDS = 30
_LARGEST_DIFF = 16 * 2**20  # characters
_MOST_NAMES = 100
# Files that hold secrets rather than code, wherever they lie.
_NEVER = (".env*", "*.pem", "*.key", "id_rsa*", ".netrc", "*credential*", "*secret*")
# A foreign repository may name programs to be called by git; none of them is.
_SAFELY = ("-c", "core.fsmonitor=false", "-c", "core.quotepath=false", "--no-optional-locks")


@dataclass(frozen=True)
class RepositoryState:
    """What the files of a repository were at one time.

    Attributes:
        root: Its top folder.
        commit: What is checked out, 40 digits; None before the first commit.
        dirty: Whether tracked files differ from it.
        diff: How, as `git apply` takes it, without files and literals that look like secrets;
            None if nothing differs or the difference is too large.
        untracked: Names of files that git does not know and does not ignore; the first hundred.
    """

    root: Path
    commit: str | None
    dirty: bool
    diff: str | None
    untracked: tuple[str, ...]


def repository_state(folder: Path, *, holding: Path | None = None) -> RepositoryState | None:
    """Look at the repository that a folder lies in.

    Args:
        folder: Any folder.
        holding: A file that the repository must track: a folder of packages may lie in a
            repository that has nothing to do with it.

    Returns:
        Its state; None without a repository, without git, or where git refuses.
    """
    root = _git(folder, "rev-parse", "--show-toplevel")
    if root is None:
        return None
    if holding is not None and _git(folder, "ls-files", "--error-unmatch", str(holding)) is None:
        return None
    top = Path(root.strip())
    commit = _git(top, "rev-parse", "--verify", "--quiet", "HEAD")
    told = ("--porcelain", "-z", "--no-renames", "--untracked-files=normal")
    entries = [entry for entry in (_git(top, "status", *told) or "").split("\0") if entry]
    untracked = [entry[3:] for entry in entries if entry.startswith("??")]
    dirty = len(untracked) < len(entries)
    diff = _diff(top) if dirty and commit is not None else None
    return RepositoryState(
        root=top,
        commit=commit and commit.strip(),
        dirty=dirty,
        diff=diff,
        untracked=tuple(untracked[:_MOST_NAMES]),
    )


def _diff(root: Path) -> str | None:
    without = [f":(exclude,glob,icase)**/{pattern}" for pattern in _NEVER]
    options = ("--no-ext-diff", "--no-textconv", "--no-color", "--binary", "HEAD", "--", ".")
    diff = _git(root, "diff", *options, *without)
    return None if diff is None or len(diff) > _LARGEST_DIFF else redacted_text(diff)


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *_SAFELY, *arguments],
            cwd=folder,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # Sources of any encoding come back as they were when this is written out.
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else None
