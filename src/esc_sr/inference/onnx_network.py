"""A network that onnxruntime computes, in the place of one that PyTorch does."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from esc_sr.errors import InputError, first_line, require_extra
from esc_sr.inference.onnx_model import read_onnx

_TYPES = {"float": np.float32, "float16": np.float16}
_COLORS = 3
# What a file that does not tell gets: an ESC with windows of 32 needs less.
_DEFAULT_BYTES_PER_PIXEL = 32 * 1024
_DEFAULT_PROBE = 64  # side of the image by which the scale is measured


class OnnxNetwork(nn.Module):
    """A network read from an ONNX file, called as any other; it has no parameters.

    PyTorch computes nothing of it: tensors are handed over as arrays. It runs on the CPU.

    Args:
        path: An ONNX file with one input, `(B, 3, H, W)` RGB in [0, 1], float32 or float16, and
            one output, `(B, 3, s·H, s·W)`.

    Attributes:
        scale: Super-resolution factor, measured.
        window_size: (height, width) of its attention windows, as the file tells; else (1, 1).
        bytes_per_pixel: Working memory for each LQ pixel, as the file tells; else a large number.
        fixed_size: (height, width) of the only image that it takes; None: it takes any.
        metadata: What the file says of itself.

    Raises:
        MissingExtraError: onnx or onnxruntime is not installed.
        InputError: The file cannot be read, wants to read outside its folder, or has another
            interface.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        onnxruntime = import_onnxruntime()
        path = Path(path).expanduser()
        model = read_onnx(path)
        if model.interface_problem is not None:
            raise InputError(
                f"{path} has another interface: {model.interface_problem}; needed is one input "
                "(B, 3, H, W), float32 or float16, RGB in [0, 1], and one output (B, 3, s·H, s·W)"
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # it raises what it logs
        options.intra_op_num_threads = torch.get_num_threads()
        options.enable_mem_pattern = False  # sizes differ from call to call
        try:
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # of classes that onnxruntime does not make public
            if model.foreign_operators:
                raise InputError(
                    f"{path} needs operators that onnxruntime does not have: "
                    f"{', '.join(model.foreign_operators)}"
                ) from error
            raise InputError(
                f"cannot read {path} as an ONNX network: {first_line(error)}"
            ) from error
        self._session = session
        self._path = path
        self.title = path.name
        self.metadata: Mapping[str, str] = model.metadata
        (given,) = model.inputs
        assert given.shape is not None
        self._input, self._dtype = given.name, _TYPES[given.type]
        batch, _, height, width = given.shape
        self._fixed_batch = batch if isinstance(batch, int) else None
        self.fixed_size: tuple[int, int] | None = None
        if isinstance(height, int) and isinstance(width, int):
            self.fixed_size = height, width
        self._read_metadata()
        self.scale = self._measured_scale()

    def _read_metadata(self) -> None:
        told = self.metadata
        for key, expected in (("layout", "NCHW"), ("channels", "RGB"), ("value_range", "[0, 1]")):
            if told.get(key, expected) != expected:
                raise InputError(
                    f"{self._path} has another interface: its {key} is {told[key]}, not {expected}"
                )
        try:
            window = json.loads(told.get("window_size", "[1, 1]"))
            self.window_size = (int(window[0]), int(window[1]))
            known = told.get("bytes_per_pixel")
            self.bytes_per_pixel = _DEFAULT_BYTES_PER_PIXEL if known is None else float(known)
        except (ValueError, TypeError, LookupError) as error:
            raise InputError(
                f"{self._path} says of itself what is not understood: {error}"
            ) from error
        if min(self.window_size) < 1 or not 0 < self.bytes_per_pixel < math.inf:
            raise InputError(
                f"{self._path} says of itself what cannot be: "
                f"window_size={list(self.window_size)}, bytes_per_pixel={self.bytes_per_pixel:g}"
            )

    def _measured_scale(self) -> int:
        known = "window_size" in self.metadata
        size = self.fixed_size or (self.window_size if known else (_DEFAULT_PROBE,) * 2)
        sr = self._run(np.full((self._fixed_batch or 1, _COLORS, *size), 0.5, self._dtype))
        if sr.ndim == 4 and sr.shape[1] == _COLORS:
            scale = sr.shape[2] // size[0]
            if scale >= 1 and sr.shape[2:] == (scale * size[0], scale * size[1]):
                return scale
        raise InputError(
            f"{self._path} has another interface: of an image of {size[0]}×{size[1]} it makes "
            f"{tuple(sr.shape)}, which is no enlargement of RGB by a whole number"
        )

    def forward(self, lq: Tensor) -> Tensor:
        """Map `(B, 3, H, W)` in [0, 1] to `(B, 3, s·H, s·W)` float32, not clamped.

        Raises:
            InputError: The file takes images of another size only.
        """
        size = (lq.shape[-2], lq.shape[-1])
        if self.fixed_size is not None and size != self.fixed_size:
            raise InputError(
                f"{self._path} takes images of {self.fixed_size[0]}×{self.fixed_size[1]} only, "
                f"got {size[0]}×{size[1]}"
            )
        images = lq.detach().cpu().numpy().astype(self._dtype)
        step = self._fixed_batch
        if step is None or len(images) == step:
            sr = self._run(images)
        elif step == 1:
            sr = np.concatenate([self._run(images[i : i + 1]) for i in range(len(images))])
        else:
            raise InputError(f"{self._path} takes {step} images at a time, got {len(images)}")
        return torch.from_numpy(sr).to(lq.device, torch.float32)

    def _run(self, images: np.ndarray) -> np.ndarray:
        try:
            (sr,) = self._session.run(None, {self._input: images})
        except Exception as error:  # as above
            raise InputError(
                f"onnxruntime cannot run {self._path} on {images.shape}: {first_line(error)}"
            ) from error
        return sr


def import_onnxruntime() -> ModuleType:
    """Import onnxruntime so that it reports nothing: 1.32.0 asks Microsoft's network.

    Everything here that needs the package takes it from this function.

    Raises:
        MissingExtraError: The package is not installed.
    """
    # The import alone begins it, and is stopped by nothing else.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    onnxruntime = require_extra("onnxruntime", "export")
    onnxruntime.disable_telemetry_events()  # whoever imported it before
    return onnxruntime
