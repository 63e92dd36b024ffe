"""What is printed is no reason to fail for its signs, and one to say so where it is not written."""

import logging
import os
import subprocess
import sys

import pytest

from esc_sr.output import ConsoleHandler, FileHandler

full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
CANNOT = "esc-sr: error: cannot write the output: No space left on device\n"


def program(text, *options, stdout=subprocess.PIPE, **variables):
    """Run a text with `guarded` around it, in a process whose output is its own."""
    inside = "".join(f"    {line}\n" for line in text.splitlines())
    code = f"import sys\nfrom esc_sr.output import guarded\nwith guarded():\n{inside}"
    command = [sys.executable, *options, "-c", code]
    environment = {**os.environ, "PYTHONUNBUFFERED": "", **variables}
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment, timeout=60
    )


def test_signs_that_the_encoding_lacks_become_escapes():
    done = program(r"print('×4 \udcff')", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\xd74 \\udcff\n", "")
    done = program(r"print('×4 \udcff')", PYTHONIOENCODING="utf-8")
    assert (done.returncode, done.stdout, done.stderr) == (0, "×4 \\udcff\n", "")


@pytest.mark.parametrize("options", [(), ("-u",), ("-X", "dev")], ids=["", "unbuffered", "dev"])
def test_what_is_printed_comes_out_in_its_order(options):
    done = program("print('b')\nsys.exit(3)", *options)
    assert (done.returncode, done.stdout, done.stderr) == (3, "b\n", "")


FAILING = {
    "short": "print('a')",
    "longer than a buffer": "print('a' * 100_000)",
    "left by itself": "print('a')\nsys.exit(0)",
    "seen by nobody": "try: print('a' * 100_000)\nexcept OSError: pass",
    "a table": "from rich.console import Console\nConsole().print('a')",
    "logged": (
        "import logging\nfrom esc_sr.output import ConsoleHandler\n"
        "logging.getLogger().addHandler(ConsoleHandler(sys.stdout))\nlogging.error('a')\n"
        "logging.error('b')"
    ),
}


@full
@pytest.mark.parametrize("options", [(), ("-u",), ("-X", "dev")], ids=["", "unbuffered", "dev"])
@pytest.mark.parametrize("text", FAILING.values(), ids=FAILING)
def test_an_output_that_cannot_be_written_is_told_in_one_line(text, options):
    with open("/dev/full", "w") as device:
        done = program(text, *options, stdout=device)
    warning = "esc-sr: warning: cannot write the log to standard output: No space left on device\n"
    assert done.stderr == (warning if "logging" in text else "") + CANNOT
    assert done.returncode == 1


@pytest.mark.parametrize("text", [FAILING["short"], FAILING["longer than a buffer"]])
def test_a_reader_that_has_gone_is_not_told_anything(text):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        done = program(text, stdout=pipe)
    assert (done.returncode, done.stderr) == (1, "")


def test_an_exit_status_is_kept_beside_an_output_that_is_lost():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        assert program("print('a')\nsys.exit(143)", stdout=pipe).returncode == 143


def test_streams_that_are_closed_swallow_everything():
    code = "from esc_sr.cli import main; main(['--help']); main(['unknown'])"
    command = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", sys.executable, "-c", code]
    assert subprocess.run(command, timeout=60).returncode == 2


def test_other_errors_are_those_of_other_files():
    done = program("raise OSError(28, 'No space left on device', 'a.png')")
    assert done.stderr.endswith("OSError: [Errno 28] No space left on device: 'a.png'\n")


@full
@pytest.mark.parametrize("where", ["console", "file"])
def test_a_log_that_cannot_be_written_is_told_once(where, capsys, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", True)
    monkeypatch.setattr(ConsoleHandler, "_told", told_before := set())
    monkeypatch.setattr(FileHandler, "_told", told_before)
    if where == "console":
        handler = ConsoleHandler(open("/dev/full", "w"))  # noqa: SIM115
        told = "standard output"
    else:
        handler, told = FileHandler("/dev/full"), "/dev/full"
    log = logging.Logger("a log")
    log.addHandler(handler)
    for _ in range(3):
        log.info("a line")
    assert capsys.readouterr().err == (
        f"esc-sr: warning: cannot write the log to {told}: No space left on device\n"
    )
    log.info("%d", "no number")
    assert "Traceback" in capsys.readouterr().err  # a bug
    with pytest.raises(OSError, match="No space"):
        handler.stream.close()
