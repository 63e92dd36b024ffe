"""The one place that says what a bad input may do: be refused in a line, and nothing else."""

import hashlib
import os
import re
import signal
from contextlib import contextmanager
from importlib import import_module
from types import SimpleNamespace

import pytest

from esc_sr import create_model, save_model
from esc_sr.cli import COMMANDS

# How much more memory a refusal may take than there was: small files may promise any size.
MOST_MIB = 256
# A refusal takes seconds on the busiest machine; what has not come by now never will.
HANGS_AFTER_S = 120
LONGEST_LINE = 700
CANARY = "executed"  # what hostile inputs make, if they are obeyed


def tree(folder):
    """Everything below a folder, with what it holds, links as links."""
    found = {}
    for parent, folders, files in os.walk(os.fsencode(folder)):
        for name in files + [one for one in folders if os.path.islink(os.path.join(parent, one))]:
            path = os.path.join(parent, name)
            if name == b"lock.mdb":  # who reads an LMDB leaves a mark there
                continue
            key = os.fsdecode(os.path.relpath(path, os.fsencode(folder)))
            if os.path.islink(path):
                found[key] = f"link to {os.readlink(path)!r}"
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    found[key] = hashlib.file_digest(file, "sha256").hexdigest()
            else:
                found[key] = "neither file nor folder"
    return found


def _status(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(key))


@contextmanager
def peak_memory():
    """Measure how much the resident memory rises above what it was, in MiB; 0 where unknown."""
    measured = SimpleNamespace(mib=0.0)
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        before = _status("VmRSS")
    except OSError:
        yield measured
        return
    yield measured
    measured.mib = _status("VmHWM") - before


@contextmanager
def no_hang(seconds):
    """Raise in this thread if it takes longer."""

    def ring(*_):
        raise TimeoutError(f"this hangs: no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def attack(esc_sr, tmp_path):
    """Call a command on bad input and check all that is promised of it.

    Returns a function; its keyword arguments: `named`, what the line must tell; `leaves`, a pattern
    of files that may be there afterwards, complete; `many`: there are several pictures, each bad
    one has a line of its own, and the others are done.
    """

    def call(*arguments, named="", leaves=None, many=False, cwd=tmp_path, most_mib=MOST_MIB):
        import_module(COMMANDS[arguments[0]][0])  # which takes more memory than any refusal
        before = tree(cwd)
        with no_hang(HANGS_AFTER_S), peak_memory() as memory:
            done = esc_sr(*arguments, cwd=cwd)
        after = tree(cwd)
        told = f"{done.stdout}\n{done.stderr}"
        assert "Traceback" not in told, told[-3000:]
        assert not any(os.path.basename(name) == CANARY for name in after), "code was executed"
        assert {name: after.get(name) for name in before} == before, "inputs were changed"
        new = sorted(after.keys() - before.keys())
        left = [name for name in new if leaves is None or not re.fullmatch(leaves, name)]
        assert not left, f"left behind: {left}"
        assert not [name for name in new if os.path.basename(name).startswith(".")], new
        assert memory.mib < most_mib, f"{memory.mib:.0f} MiB"
        lines = [
            line for line in told.splitlines() if re.match(r"(esc-sr: )?error: |failed: ", line)
        ]
        assert all(len(line) < LONGEST_LINE and line.isprintable() for line in lines), lines
        if many:
            assert done.returncode == bool(lines), told
            assert not done.stderr, done.stderr
        else:
            assert done.returncode in (1, 2), f"exit status {done.returncode}: {told}"
            assert len(done.stderr.splitlines()) == 1, done.stderr
            assert len(lines) == 1, told
            assert named in lines[0], lines[0]
        return SimpleNamespace(lines=lines, new=new, stdout=done.stdout, memory=memory.mib)

    return call


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A file with the smallest network, ×2."""
    tiny = {"dim": 4, "partial_dim": 2, "num_blocks": 1, "num_conv_attn": 1, "window_size": 2}
    network = create_model("esc", scale=2, num_heads=1, large_kernel_size=3, **tiny)
    return save_model(network, tmp_path_factory.mktemp("weights") / "sound.safetensors")
