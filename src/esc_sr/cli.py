"""The command line: a table of commands, each loaded only when it is called."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from esc_sr import __version__
from esc_sr.errors import InputError, Stopped, printable, system_error
from esc_sr.output import OutputError, guarded

# name: (module with a `main()`, what it does)
COMMANDS = {
    "train": ("esc_sr.tasks.train", "train a network, or a whole sweep with -m"),
    "search": ("esc_sr.tasks.search", "train many networks, proposed from what came before"),
    "evaluate": ("esc_sr.tasks.evaluate", "measure PSNR and SSIM on benchmark sets"),
    "verify": ("esc_sr.tasks.verify", "compare a checkpoint with published numbers"),
    "compare": (
        "esc_sr.tasks.compare",
        "compare networks: published and measured, table and bubble plot",
    ),
    "report": ("esc_sr.tasks.report", "put runs side by side: tables, a page, pictures"),
    "workspace": ("esc_sr.tasks.workspace", "lay out a W&B workspace for runs"),
    "upscale": ("esc_sr.tasks.upscale", "enlarge pictures"),
    "bench": ("esc_sr.tasks.bench", "measure latency, memory, multiply-adds, parameters"),
    "analyze": (
        "esc_sr.tasks.analyze",
        "look inside: similarity of layers, attribution, receptive field, kernels, spectra",
    ),
    "info": ("esc_sr.tasks.info", "tell what a file of weights, or a program, is"),
    "convert": ("esc_sr.tasks.convert", "give a trained network another bias, for flash attention"),
    "export": (
        "esc_sr.tasks.export",
        "write a network for other programs: ONNX, torch.export, safetensors, pth",
    ),
    "import-config": ("esc_sr.tasks.import_config", "make an experiment of BasicSR's options"),
    "prepare": ("esc_sr.tasks.prepare", "cut a data set into sub-images for fast training"),
}

USAGE = f"""\
esc-sr {__version__}: efficient image super-resolution

usage: esc-sr COMMAND [key=value ...]

commands:
{{commands}}

examples:
  esc-sr train experiment=quickstart          two minutes on two CPU cores, nothing to download
  esc-sr train experiment=quickstart attention=eager
  esc-sr train -m attention=eager,sdpa,conv_attn experiment=quickstart
  esc-sr search space=quickstart trials=12
  esc-sr evaluate best.ckpt sets=[Set5] self_ensemble=true
  esc-sr verify esc_x4.pth table=esc_x4
  esc-sr upscale photo.jpg -o photo_x4.png --checkpoint model.safetensors
  esc-sr bench model=[esc,rcan] lq_size=[45,80]
  esc-sr convert model.safetensors bias=fourier
  esc-sr export model.safetensors format=onnx
  esc-sr compare scale=4 output_dir=out
  esc-sr report runs/multirun group=seed output_dir=out

`esc-sr COMMAND --help` explains a command; `esc-sr COMMAND --cfg job` prints its configuration.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run `esc-sr`.

    Args:
        argv: Arguments after the program's name; None: those of the process.
    """
    with guarded():
        _run(list(sys.argv[1:] if argv is None else argv))


def _run(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS)) + 2
        lines = (f"  {name:<{width}}{text}" for name, (_, text) in COMMANDS.items())
        sys.stdout.write(USAGE.format(commands="\n".join(lines)))
        return
    if arguments[0] in ("-V", "--version"):
        sys.stdout.write(f"{__version__}\n")
        return
    command, *rest = arguments
    if command not in COMMANDS:
        sys.stderr.write(
            f"esc-sr: error: unknown command '{command}'; choose one of: {', '.join(COMMANDS)}\n"
        )
        sys.exit(2)
    try:
        here = _working_folder()
        if here not in sys.path and "" not in sys.path:
            sys.path.append(here)  # behind all else: modules there may be `_target_`s
        with _ending_at_sigterm():
            importlib.import_module(COMMANDS[command][0]).main(rest)
    except OutputError:
        raise
    except (InputError, OSError) as error:  # where there is no configuration, or not yet
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        text = system_error(error) if isinstance(error, OSError) else str(error)
        sys.stderr.write(f"esc-sr: error: {printable(text)}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("esc-sr: interrupted\n")
        sys.exit(130)
    except Stopped as stopped:
        sys.stderr.write("esc-sr: terminated\n")
        sys.exit(stopped.code)


def _working_folder() -> str:
    """Return the folder that this was called in.

    Raises:
        InputError: It has been removed since.
    """
    try:
        return os.getcwd()
    except OSError as error:
        raise InputError(
            f"the working folder is gone ({error.strerror}): change to one that exists"
        ) from error


@contextmanager
def _ending_at_sigterm() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does: what is half written is cleared away."""
    received: int | None = None

    def end(signum: int, frame: FrameType | None) -> None:
        nonlocal received
        received = signum
        raise Stopped(signum)

    ignored = signal.getsignal(signal.SIGTERM) == signal.SIG_IGN  # which is somebody's wish
    if ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except BaseException as error:
        # Imports and libraries may make another error of it, as `__set_name__` does.
        if received is None or isinstance(error, Stopped):
            raise
        raise Stopped(received) from error
    finally:
        signal.signal(signal.SIGTERM, previous)
