"""Commands in processes of their own that start at once, so that they can be killed.

They are forked from a server that has imported what training needs; a fresh interpreter would take
seconds. What the command does, and all that it writes, is what `esc-sr` does.
"""

import logging
import multiprocessing
import os
import sys
import time
from pathlib import Path

from esc_sr.offspring import end_with_parent

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["esc_sr.tasks.train", "esc_sr.tasks.prepare"])


class Command:
    """`esc-sr` with arguments, running.

    Args:
        arguments: Of the command line; or one configuration, of a training: to compose it takes as
            long as a few steps.
        cwd: Where it is called; its output goes to a file there.
        moment: What it stops at, see `_stop_at`; None: nothing.
        variables: Of its environment, beside those of this process.
    """

    def __init__(self, *arguments, cwd, moment=None, variables=None):
        cwd.mkdir(parents=True, exist_ok=True)
        self.cwd = cwd
        number = len(list(cwd.glob("output*.txt")))
        self._output = cwd / f"output{number}.txt"
        self._output.touch()
        self._reached = cwd / f"reached{number}"
        where = (str(cwd), str(self._output), str(self._reached))
        self._process = _CONTEXT.Process(
            target=_serve, args=(arguments, *where, moment, variables or {})
        )
        self._process.start()
        self.pid = self._process.pid

    @property
    def output(self):
        """What it has printed so far."""
        return self._output.read_text()

    @property
    def errors(self):
        """The lines that tell of an error; there must be no traceback beside them."""
        assert "Traceback" not in self.output, self.output
        return [line for line in self.output.splitlines() if line.startswith("esc-sr: error: ")]

    def wait_for(self, condition, seconds=120):
        """Wait until something holds; it is an error if the command ends before."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self._process.is_alive(), self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.02)

    def wait_for_moment(self):
        """Wait until it has come to `moment`, where it stays for some time."""
        self.wait_for(lambda: os.path.exists(self._reached))

    def kill(self, signum, *, group=False):
        """Send a signal to it, or to all processes that it has started, too."""
        (os.killpg if group else os.kill)(self.pid, signum)

    def status(self, seconds=120):
        """Wait for its end; return its exit status, negative for a signal."""
        self._process.join(seconds)
        if self._process.is_alive():
            self._process.kill()
            raise AssertionError(f"it does not end: {self.output}")
        return self._process.exitcode


def run(*arguments, cwd):
    """Run a command to its end, which must be a success."""
    command = Command(*arguments, cwd=cwd)
    assert command.status() == 0, command.output
    return command


def _serve(arguments, cwd, output, reached, moment, variables):
    end_with_parent()
    # As in an interpreter of its own, for the workers of a data loader; or they would be forked
    # from yet another server, which imports everything anew.
    multiprocessing.set_start_method("fork", force=True)
    os.setsid()  # a group of its own, as a shell gives to each command
    os.chdir(cwd)
    os.environ.update(variables)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = ["esc-sr"]
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if moment is not None:
        _stop_at(*moment, Path(reached))
    if isinstance(arguments[0], dict):
        from omegaconf import OmegaConf

        from esc_sr.tasks.train import run

        run(OmegaConf.create(arguments[0]))
    else:
        from esc_sr.cli import main

        main(arguments)


def _stop_at(what, count, seconds, reached):
    """Wait when something happens for the count-th time, with a file that says so.

    Args:
        what: "step", before the forward; "gradient", between backward and optimizer; "weights",
            behind the optimizer and before the average; "validation", within it; "half" and
            "written", when half of a checkpoint is written, and all but its name.
        count: From 1.
        seconds: How long.
        reached: The file.
    """
    import esc_sr.files
    from esc_sr.training import checkpoint_io
    from esc_sr.training.module import SRLightningModule

    times = 0

    def pause():
        nonlocal times
        times += 1
        if times == count:
            reached.touch()
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                time.sleep(0.01)

    def before(owner, name):
        original = getattr(owner, name)

        def patched(*args, **kwargs):
            if name != "validation_step" or not args[0].trainer.sanity_checking:
                pause()
            return original(*args, **kwargs)

        setattr(owner, name, patched)

    if what in ("step", "gradient", "weights", "validation"):
        names = {
            "step": "training_step",
            "gradient": "on_before_optimizer_step",
            "weights": "lr_scheduler_step",
            "validation": "validation_step",
        }
        before(SRLightningModule, names[what])
    elif what == "half":
        save = checkpoint_io.torch.save

        class Half:
            def __init__(self, file):
                self._file = file

            def write(self, content):
                middle = len(content) // 2
                self._file.write(content[:middle])
                if len(content) > 100_000 or self._file.tell() > 100_000:
                    self._file.flush()
                    pause()
                self._file.write(content[middle:])
                return len(content)

            def __getattr__(self, name):
                return getattr(self._file, name)

        checkpoint_io.torch = type("torch", (), {"save": lambda c, file: save(c, Half(file))})
    elif what == "written":
        rename = os.replace

        def patched(source, target):
            if str(target).endswith(".ckpt"):
                pause()
            rename(source, target)

        esc_sr.files.os.replace = patched
    else:
        raise ValueError(what)
