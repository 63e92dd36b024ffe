"""Write a network as ONNX."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from esc_sr import __version__
from esc_sr.errors import InputError, check_integers, first_line, require_extra

DEFAULT_OPSET = 18
INPUT, OUTPUT = "lq", "sr"


def check_opset(opset: object) -> None:
    """Refuse an opset that cannot be written.

    Args:
        opset: The version wanted.

    Raises:
        MissingExtraError: The packages that write ONNX are not installed.
        InputError: PyTorch's exporter or the installed onnx does not know the version.
    """
    onnx = require_extra("onnx", "export")
    require_extra("onnxscript", "export")
    check_integers(DEFAULT_OPSET, opset=opset)
    newest = onnx.defs.onnx_opset_version()
    assert isinstance(opset, int)
    if opset > newest:
        raise InputError(f"opset={opset}: the installed onnx knows opsets up to {newest}")


def write_onnx(
    program: ExportedProgram, path: Path, *, opset: int, metadata: Mapping[str, str]
) -> None:
    """Write a program as one ONNX file, its weights inside.

    The file says nothing of the machine that wrote it: traces of the source are taken out.

    Args:
        program: What `program_of` returns.
        path: Where to.
        opset: Version of ONNX's operators.
        metadata: What the file says of itself (`metadata_props`).

    Raises:
        InputError: An operation has no counterpart in ONNX, or not in this opset.
        OSError: The file cannot be written.
    """
    try:
        with _quiet():
            made = torch.onnx.export(
                program,
                (),
                dynamo=True,
                opset_version=opset,
                input_names=[INPUT],
                output_names=[OUTPUT],
                verbose=False,
            )
        assert made is not None
        model = made.model
        written = model.graph.opset_imports.get("")
        if written != opset:  # it goes on where a conversion fails, and leaves half of both
            raise InputError(f"PyTorch's exporter stays at {written}; choose an older opset")
        _name_sides(model)
        for node in model.graph.all_nodes():
            node.metadata_props.clear()
            for value in node.outputs:
                value.metadata_props.clear()
        for function in model.functions.values():
            for node in function.all_nodes():
                node.metadata_props.clear()
        model.metadata_props.clear()
        model.metadata_props.update(metadata)
        model.producer_name, model.producer_version = "esc_sr", __version__
        made.save(path)
    except OSError:  # of the disk
        raise
    except Exception as error:  # whatever torch's exporter raises
        raise InputError(
            f"cannot be written as ONNX of opset {opset}: {first_line(error)}"
        ) from error


def _name_sides(model: Any) -> None:
    """Call what is open batch, height and width, where the exporter has numbered its symbols."""
    given = model.graph.inputs[0]
    numbered = [str(side) for side in given.shape if not isinstance(side, int)]
    names = dict(zip(numbered, ("batch", "height", "width"), strict=False))
    values = [*model.graph.inputs, *model.graph.outputs]
    values += [value for node in model.graph.all_nodes() for value in node.outputs]
    for value in values:
        if value.shape is not None:
            value.shape = type(value.shape)(
                side
                if isinstance(side, int)
                else re.sub(r"\w+", lambda found: names.get(found[0], found[0]), str(side))
                for side in value.shape
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the exporter tells of packages and parts of torch that are not the user's."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
