"""Write a network as a program of `torch.export`, and read it back."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

METADATA = "metadata.json"


def write_program(program: ExportedProgram, path: Path, *, metadata: Mapping[str, str]) -> None:
    """Write a program as `.pt2`, which PyTorch runs without this package.

    Args:
        program: What `export.program.program_of` returns.
        path: Where to.
        metadata: What the file says of itself: `metadata.json` among its extra files.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, path, extra_files={METADATA: json.dumps(dict(metadata))})


def read_program(path: Path) -> tuple[Callable[[Tensor], Tensor], dict[str, str]]:
    """Read a program.

    Args:
        path: What `write_program` wrote.

    Returns:
        The program as a function of `(B, 3, H, W)`, and what the file says of itself.
    """
    extra = {METADATA: ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.load(path, extra_files=extra)
    return program.module(), json.loads(extra[METADATA])
