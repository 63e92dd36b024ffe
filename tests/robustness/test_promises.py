"""docs/reliability.md names tests that exist, and counts them rightly."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
FILE_OF_A_TABLE = re.compile(r"proved by \(in `([\w/.]+)` unless a path is given\)")


def named_tests():
    """The tests that the tables name, each with its file, or the file alone."""
    here = ""
    for line in PAGE.splitlines():
        if not line.startswith("|"):
            continue
        if found := FILE_OF_A_TABLE.search(line):
            here = found.group(1)
        for file, name in re.findall(r"`((?:[\w/]+\.py)?)(?:::)?((?:test_\w+)?)`", line):
            folder = "" if file.startswith("tests/") else "tests/robustness/"
            if file or name:
                yield (folder + file if file else here), name


def test_every_test_that_is_named_exists():
    named = set(named_tests())
    assert len(named) > 60
    for file, name in sorted(named):
        source = (ROOT / file).read_text(encoding="utf-8")
        assert not name or f"def {name}(" in source, f"{file}::{name}"


def collected(marks):
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", marks]
    done = subprocess.run(
        [*command, "tests/robustness"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return Counter(re.findall(r"^tests/robustness/(test_\w+\.py)::", done.stdout, re.MULTILINE))


@pytest.mark.slow
def test_the_cases_are_as_many_as_it_says():
    fast, whole = collected("not slow and not gpu"), collected("not gpu")
    rows = re.findall(r"^\|.*\| `(test_\w+\.py)` \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)
    said = {file: (int(in_ci), int(every)) for file, in_ci, every in rows}
    assert said == {
        file: (fast[file], whole[file]) for file in whole if file != Path(__file__).name
    }
