"""Enlarge pictures of any size and kind with any network."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from esc_sr.errors import InputError
from esc_sr.inference.device import GIB, memory_budget, pick_device
from esc_sr.inference.enlarge import enlarge_rows
from esc_sr.inference.onnx_network import OnnxNetwork
from esc_sr.inference.planning import Plan, Tiling, plan_tiles
from esc_sr.inference.rescale import shrink_rows
from esc_sr.inference.self_ensemble import self_ensemble
from esc_sr.models.checkpoints import load_model
from esc_sr.models.esc import ESCBase
from esc_sr.models.for_inference import AUTOCAST_DTYPES, DTYPES, Precision, for_inference
from esc_sr.models.packaged import default_weights

Pixels = NDArray[Any]
Progress = Callable[[float], None]


class Upscaler:
    """Enlarges pictures held as arrays; `esc-sr upscale` does it for files.

    Large pictures are cut so that the working memory stays within a budget: layer by layer where
    three feature maps of the whole picture fit (the result is that of the whole picture), else in
    overlapping tiles (see `Plan`).

    Args:
        network: A network mapping `(B, 3, H, W)` in [0, 1] to `(B, 3, s·H, s·W)` with an attribute
            `scale`, or the path of a checkpoint. Of an ESC or ESC-FP a copy is used, made fast by
            `models.for_inference`, with the same results. The path of an `.onnx` file, or an
            `OnnxNetwork`: onnxruntime computes, on the CPU. None: the packaged weights for the
            scale.
        scale: Enlargement wanted; None: the network's. A smaller one is reached by shrinking the
            network's result as MATLAB's bicubic does.
        device: "cpu", "cuda", …; "auto": the accelerator there is, else the CPU.
        precision: "fp32", or "bf16" or "fp16": the type of ESC's weights and features; for other
            networks that of their convolutions and matrix products. An ONNX file has its own.
        tiling: "auto", "whole", "exact" or "overlap".
        tile: Side of a tile in LQ pixels; None: from the memory.
        overlap: LQ pixels read around a tile of "overlap"; None: 32, or a window if larger.
        memory_gib: Working memory allowed, beside the network, the picture and the result; None:
            half of what is free but at most 2 on a CPU, 0.7 of what is free on a GPU.
        self_ensemble: Average over the eight flips and rotations: eight times the work, and two
            fp32 copies of the result in memory.

    Raises:
        InputError: A value is not known, the checkpoint cannot be read, or the scale is larger
            than the network's.

    Example:
        >>> import numpy as np
        >>> from esc_sr.models.bicubic import Bicubic
        >>> upscaler = Upscaler(Bicubic(scale=4), scale=3)
        >>> upscaler(np.zeros((5, 7, 4), dtype=np.uint16)).shape
        (15, 21, 4)
    """

    def __init__(
        self,
        network: nn.Module | str | Path | None = None,
        *,
        scale: float | None = None,
        device: str = "auto",
        precision: Precision = "fp32",
        tiling: Tiling = "auto",
        tile: int | None = None,
        overlap: int | None = None,
        memory_gib: float | None = None,
        self_ensemble: bool = False,
    ) -> None:
        if precision not in DTYPES:
            raise InputError(f"unknown precision '{precision}'; choose one of: {', '.join(DTYPES)}")
        if tiling == "whole" and (tile, overlap) != (None, None):
            raise InputError("tiling=whole has no tiles: leave tile and overlap out")
        if tiling == "exact" and overlap is not None:
            raise InputError("tiling=exact reads what each layer needs: leave overlap out")
        if memory_gib is not None and not memory_gib > 0:
            raise InputError(f"memory must be a positive number of GiB, got {memory_gib}")
        if network is None:
            network = default_weights(scale)
        if not isinstance(network, nn.Module):
            if not isinstance(network, str | os.PathLike):
                raise InputError(
                    "network must be a torch.nn.Module, the path of a checkpoint or of an .onnx "
                    f"file, or the name of packaged weights, got {network!r}"
                )
            is_onnx = Path(network).suffix.lower() == ".onnx"
            network = OnnxNetwork(network) if is_onnx else load_model(network)
        if isinstance(network, OnnxNetwork):
            device = _device_of_onnx(network, device, precision)
        self.device = pick_device(device)
        self.network: nn.Module = network.to(self.device).eval()
        # What autocast computes in: nothing where the weights have that type already.
        self._autocast = AUTOCAST_DTYPES[precision]
        if isinstance(network, ESCBase):
            self.network, _ = for_inference(network, precision=precision)
            self._autocast = None
        self.network_scale = int(getattr(network, "scale", 0))
        if self.network_scale < 1:
            raise InputError(f"{type(network).__name__} does not say its scale: it has no 'scale'")
        wanted = self.network_scale if scale is None else scale
        if not 1 <= wanted <= self.network_scale:
            raise InputError(
                f"scale={wanted:g} is out of range: this network enlarges ×{self.network_scale}, "
                f"so scale can be 1 to {self.network_scale}; use a network of a larger scale"
            )
        self.scale = Fraction(wanted).limit_denominator(100)
        self.precision = precision
        self.self_ensemble = self_ensemble
        self._tiling: Tiling = tiling
        self._tile = tile
        self._overlap = overlap
        self._budget = None if memory_gib is None else memory_gib * GIB
        self.plan(1, 1)  # refuses wrong options before any work

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the result of a picture of this size."""
        return -int(-height * self.scale // 1), -int(-width * self.scale // 1)

    def plan(self, height: int, width: int, *, batch_size: int = 1) -> Plan:
        """Return how a picture of this size is enlarged with the memory that is free now.

        Args:
            height: Of the picture, in pixels.
            width: Of the picture, in pixels.
            batch_size: Pictures enlarged at the same time.
        """
        budget = memory_budget(self.device) if self._budget is None else self._budget
        return plan_tiles(
            self.network,
            (height, width),
            scale=self.network_scale,
            budget=budget,
            tiling=self._tiling,
            tile=self._tile,
            overlap=self._overlap,
            itemsize=DTYPES[self.precision].itemsize,
            batch_size=batch_size,
        )

    def __call__(self, pixels: Pixels, *, on_progress: Progress = lambda fraction: None) -> Pixels:
        """Enlarge a picture, or several of the same size at once.

        Grey goes through the network as grey RGB and is averaged afterwards; so does an alpha
        channel, unless it is the same everywhere.

        Args:
            pixels: `(H, W)`, `(H, W, C)` or `(B, H, W, C)`, uint8 or uint16 in any byte order; C
                is 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and alpha).
            on_progress: Called now and then with the share that is done.

        Returns:
            The result: the same kind, in the machine's byte order, `s` times as high and wide.

        Raises:
            InputError: Another kind of array, a result that does not fit into the memory that is
                free, or the network's output is not finite.
        """
        kind = "a picture is an array (H, W), (H, W, C) or (B, H, W, C) of uint8 or uint16"
        if not isinstance(pixels, np.ndarray):
            raise InputError(f"{kind}, got a {type(pixels).__name__}")
        # numpy tells apart what differs in the order of the bytes alone.
        pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim not in (2, 3, 4):
            raise InputError(f"{kind}, got {pixels.shape} of {pixels.dtype}")
        batch = pixels[None, :, :, None] if pixels.ndim == 2 else pixels
        batch = batch[None] if batch.ndim == 3 else batch
        if batch.shape[-1] not in (1, 2, 3, 4) or 0 in batch.shape:
            raise InputError(f"a picture has 1 to 4 channels and at least a pixel: {pixels.shape}")
        num_colors = 1 if batch.shape[-1] < 3 else 3
        count, height, width = batch.shape[:3]
        shape = (count, *self.output_size(height, width), batch.shape[-1])
        _check_fits(shape, batch.dtype.itemsize)
        result = np.empty(shape, dtype=batch.dtype)
        alpha = batch[..., num_colors:]
        passes = 1 if not alpha.size or np.all(alpha == alpha.flat[0]) else 2
        self._fill(
            result[..., :num_colors], batch[..., :num_colors], lambda f: on_progress(f / passes)
        )
        if passes == 2:
            self._fill(result[..., num_colors:], alpha, lambda f: on_progress((1 + f) / 2))
        elif alpha.size:
            result[..., num_colors:] = alpha.flat[0]
        return (
            result.reshape(*pixels.shape[:-3], *result.shape[1:])
            if pixels.ndim > 2
            else (result[0, ..., 0])
        )

    def _fill(self, target: Pixels, source: Pixels, on_progress: Progress) -> None:
        """Enlarge one or three channels of `(B, H, W, C)` into `target`, row by row."""
        count, height, width, channels = source.shape
        plan = self.plan(height, width, batch_size=count)
        if count > 1 and plan.method != "whole":
            for i in range(count):
                part = slice(i, i + 1)
                self._fill(target[part], source[part], lambda f, i=i: on_progress((i + f) / count))
            return
        largest = np.iinfo(source.dtype).max
        lq = torch.empty(count, 3, height, width)
        for channel in range(3):
            np.divide(
                source[..., min(channel, channels - 1)],
                np.float32(largest),
                out=lq[:, channel].numpy(),
                dtype=np.float32,
            )
        top = 0
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, self._autocast, enabled=self._autocast is not None),
        ):
            for strip in self._rows(lq, plan, on_progress):
                if not bool(strip.isfinite().all()):
                    raise InputError(
                        "the network's output is not finite: its weights are broken"
                        + (
                            ""
                            if self.precision == "fp32"
                            else f", or {self.precision} overflows; use fp32"
                        )
                    )
                if channels == 1:
                    strip = strip.mean(1, keepdim=True)
                rows = slice(top, top + strip.shape[-2])
                for channel in range(channels):
                    level = strip[:, channel].mul(largest).add(0.5).clamp(0, largest)
                    target[:, rows, :, channel] = level.numpy().astype(target.dtype)
                top = rows.stop

    def _rows(self, lq: Tensor, plan: Plan, on_progress: Progress) -> Iterator[Tensor]:
        scale = self.network_scale
        rows = (
            iter([self._ensemble(lq, on_progress)])
            if self.self_ensemble
            else self._network_rows(lq, plan, on_progress)
        )
        if self.scale == scale:
            return rows
        return shrink_rows(
            (strip.clamp(0, 1) for strip in rows),
            height=lq.shape[-2] * scale,
            ratio=self.scale / scale,
        )

    def _network_rows(self, lq: Tensor, plan: Plan, on_progress: Progress) -> Iterator[Tensor]:
        return enlarge_rows(
            self.network,
            lq,
            plan,
            scale=self.network_scale,
            device=self.device,
            on_progress=on_progress,
        )

    def _ensemble(self, lq: Tensor, on_progress: Progress) -> Tensor:
        done = 0

        def forward(turned: Tensor) -> Tensor:
            nonlocal done
            plan = self.plan(*turned.shape[-2:], batch_size=len(turned))
            rows = self._network_rows(turned, plan, lambda f: on_progress((done + f) / 8))
            sr = torch.cat(list(rows), dim=-2)
            done += 1
            return sr

        return self_ensemble(forward)(lq)


def _device_of_onnx(network: OnnxNetwork, device: str, precision: str) -> str:
    """Refuse what an ONNX file does not leave open, and return where onnxruntime computes.

    Raises:
        InputError: Another device or precision is asked for, or the file takes one size only.
    """
    if precision != "fp32":
        raise InputError(
            f"precision={precision} cannot be chosen for {network.title}: an ONNX file has its "
            "own; leave it out, and export with precision=fp16"
        )
    if device not in ("auto", "cpu"):
        raise InputError(
            f"device={device} cannot be chosen for {network.title}: onnxruntime computes on "
            "the CPU here; use device=cpu, or the checkpoint itself"
        )
    if network.fixed_size is not None:
        height, width = network.fixed_size
        raise InputError(
            f"{network.title} takes images of {height}×{width} only: export it for any size, "
            "without lq_size"
        )
    return "cpu"


def _check_fits(shape: tuple[int, ...], itemsize: int) -> None:
    """Refuse a result that would be killed for its memory when it is nearly done."""
    needed, free = math.prod(shape) * itemsize, psutil.virtual_memory().available
    if needed > free:
        raise InputError(
            f"the result of {shape[2]}×{shape[1]} needs {needed / GIB:.1f} GiB of memory, "
            f"{free / GIB:.1f} are free; use a smaller scale, or cut the picture into parts"
        )
