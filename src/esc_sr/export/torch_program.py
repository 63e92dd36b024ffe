"""Write a network as a program of `torch.export`, and read it back."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from esc_sr.errors import InputError, first_line

METADATA = "metadata.json"
_END, _END_BYTES = b"PK\5\6", 22  # of an archive without a comment
_MAX_METADATA = 2**20  # bytes; a compressed file could hold any number


def write_program(program: ExportedProgram, path: Path, *, metadata: Mapping[str, str]) -> None:
    """Write a program as `.pt2`, which PyTorch runs without this package.

    Args:
        program: What `export.program.program_of` returns.
        path: Where to.
        metadata: What the file says of itself: `metadata.json` among its extra files.

    Raises:
        OSError: The file cannot be written.
    """
    content = io.BytesIO()  # where torch cannot write a file, it aborts the process
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, content, extra_files={METADATA: json.dumps(dict(metadata))})
    path.write_bytes(content.getbuffer())


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


def read_metadata(path: Path) -> dict[str, str]:
    """Read what a program says of itself, and nothing else of it.

    Args:
        path: A `.pt2` file.

    Returns:
        Texts by name; none in a file of others.

    Raises:
        InputError: There is no such file, or it is no whole archive.
    """
    if not path.is_file():
        raise InputError(f"checkpoint not found: {path}")
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            # Of a truncated one the end of an archive within it would be taken for its own.
            file.seek(-_END_BYTES, 2)
            if not file.read().startswith(_END):
                raise zipfile.BadZipFile("its end is missing")
            for entry in archive.infolist():
                if entry.filename.endswith(f"/extra/{METADATA}"):
                    if entry.file_size > _MAX_METADATA:
                        raise ValueError(f"{METADATA} has {entry.file_size} bytes")
                    told = json.loads(archive.read(entry))
                    return {str(k): str(v) for k, v in told.items()}
    # What zipfile and json raise depends on where the damage lies.
    except (zipfile.BadZipFile, OSError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"cannot read {path} as a program of torch.export: it is truncated, damaged or "
            f"something else ({first_line(error)})"
        ) from error
    return {}
