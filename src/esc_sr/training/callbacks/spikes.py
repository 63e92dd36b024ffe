"""Say which batches had a loss far above the others."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image
from torch import Tensor
from torch.optim import Optimizer

from esc_sr.errors import InputError, check_flags, check_integers
from esc_sr.files import replacing, write_atomically
from esc_sr.training.step import BatchLosses, listed, of_all_processes

_log = logging.getLogger(__name__)
FILE_NAME = "spikes.csv"
_COLUMNS = ("step", "loss", "bound", "median", "rank", "position", "names")
_MOST_PICTURES = 64
_LONGEST_LIST = 32_000  # spreadsheets take 32,767 signs in a cell, Python's csv 131,072
_SIGMA = 1.4826  # times the median absolute deviation: the standard deviation of a normal law


class SpikeReport(Callback):
    """Report training batches whose loss is above `median + deviations·σ` of the latest ones.

    σ is estimated by the median absolute deviation, so that spikes do not raise the bound for
    those that follow. Each has a line in the log and a row in `spikes.csv`: the step, the loss, the
    bound, the process, the position of its first sample in the order of all, and the images. A
    resumed run goes on with both. Nothing is changed.

    Args:
        output_dir: Folder of the file.
        window: Latest losses, over all processes, that the bound is made of; no reports before
            there are as many.
        deviations: Standard deviations above the median.
        pictures: Also write the batch, low and high resolution side by side, into `spikes/`.

    Raises:
        InputError: A value is out of range.
    """

    def __init__(
        self,
        *,
        output_dir: str | Path,
        window: int = 100,
        deviations: float = 10.0,
        pictures: bool = False,
    ) -> None:
        super().__init__()
        check_integers(3, **{"callbacks.spikes.window": window})
        check_flags(**{"callbacks.spikes.pictures": pictures})
        if not (math.isfinite(deviations) and deviations > 0):
            raise InputError(f"callbacks.spikes.deviations must be above 0, got {deviations}")
        self.path = Path(output_dir) / FILE_NAME
        self.deviations = deviations
        self.pictures = pictures
        self._losses: deque[float] = deque(maxlen=window)
        self._rows: list[list[Any]] = []
        self._positions: list[int | None] = []
        self._batches: list[Any] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Read what was reported up to here, and forget what an interrupted run reported beyond."""
        self._positions, self._batches = [], []
        if trainer.is_global_zero and self.path.is_file():
            before = [row for line in self.path.read_bytes().splitlines() if (row := _row(line))]
            self._rows = [row for row in before if row[0] < trainer.global_step]
            if len(self._rows) < len(before):
                self._write()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note where in the order of samples the batch begins."""
        state = getattr(trainer, "datamodule", None)
        seen = state.state_dict().get("samples_seen") if state is not None else None
        self._positions.append(None if seen is None else seen + trainer.global_rank)
        if self.pictures:
            self._batches.append(batch)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """Compare the losses of the step with the latest ones.

        Here, and not after the step: the guard waits for the device at this place anyway.
        """
        batches: Sequence[BatchLosses] = getattr(pl_module, "step_losses", ())
        if not batches:
            raise InputError(
                f"{type(pl_module).__name__} does not tell its losses: ~callbacks.spikes"
            )
        losses: Any = torch.stack([batch.total.float() for batch in batches])
        if trainer.world_size > 1:
            losses = trainer.strategy.all_gather(losses)
        by_rank = losses.reshape(trainer.world_size, -1).tolist()
        # Every process has the same losses, so that all come to the same decisions.
        spikes = {
            (rank, i): bound
            for rank, of_rank in enumerate(by_rank)
            for i, loss in enumerate(of_rank)
            if (bound := self._bound()) is not None and bound[1] < loss < math.inf
        }
        for loss in (loss for of_rank in by_rank for loss in of_rank):
            if math.isfinite(loss):
                self._losses.append(loss)
        if spikes:
            mine = [
                (position, batch.names)
                for position, batch in zip(self._positions, batches, strict=True)
            ]
            everyones = of_all_processes(trainer, mine)
            for (rank, i), (middle, bound) in spikes.items():
                position, names = everyones[rank][i]
                row = [trainer.global_step, by_rank[rank][i], bound, middle, rank, position, names]
                self._report(trainer, row)
                if self.pictures and rank == trainer.global_rank:
                    self._draw(trainer.global_step, rank, i)
        self._positions, self._batches = [], []

    def state_dict(self) -> dict[str, Any]:
        """Return the latest losses."""
        return {"losses": list(self._losses)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the losses of a checkpoint.

        Args:
            state_dict: What `state_dict` returned.
        """
        self._losses.clear()
        self._losses.extend(float(loss) for loss in state_dict["losses"])

    def _bound(self) -> tuple[float, float] | None:
        """Return the median of the latest losses and the bound above it, once there are enough."""
        if len(self._losses) < (self._losses.maxlen or 0):
            return None
        middle = median(self._losses)
        spread = median(abs(loss - middle) for loss in self._losses)
        return middle, middle + self.deviations * _SIGMA * spread

    def _report(self, trainer: L.Trainer, row: list[Any]) -> None:
        if not trainer.is_global_zero:
            return
        step, loss, bound, middle, rank, position, names = row
        _log.warning(
            "loss spike at step %d: %.4g, above %.4g (median %.4g), in a batch of %s",
            *(step, loss, bound, middle, listed(names)),
        )
        self._rows.append([step, loss, bound, middle, rank, position, _json_list(names)])
        self._write()

    def _write(self) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([_COLUMNS, *self._rows])
        write_atomically(self.path, text.getvalue())

    def _draw(self, step: int, rank: int, i: int) -> None:
        lq, gt = self._batches[i]["lq"], self._batches[i]["gt"]
        scale = gt.shape[-1] // lq.shape[-1]
        enlarged = lq.repeat_interleave(scale, -1).repeat_interleave(scale, -2)
        pairs = torch.cat([enlarged, gt], dim=-1)[:_MOST_PICTURES]
        name = f"step{step:07d}_rank{rank}_batch{i}.png"
        with replacing(self.path.parent / "spikes" / name) as temporary:
            Image.fromarray(_sheet(pairs)).save(temporary)


def _row(line: bytes) -> list[Any] | None:
    """Return a row that was written here, with its step as a number; None of anything else."""
    try:
        (row,) = csv.reader([line.decode()])
        step, *others = row
        return [int(step), *others] if len(row) == len(_COLUMNS) else None
    except (ValueError, csv.Error):  # not UTF-8, no number or of too many digits; a field too long
        return None


def _json_list(names: Sequence[str]) -> str:
    """Return names as a JSON list that fits into a cell; the last may say how many more there are.

    Names may hold any sign, and no program takes such a cell for a formula.
    """
    texts = [
        json.dumps(name, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
        for name in names
    ]
    fitting = sum(length <= _LONGEST_LIST for length in accumulate(len(t) + 2 for t in texts))
    if fitting < len(texts):
        texts[fitting:] = [json.dumps(f"and {len(texts) - fitting} more")]
    return f"[{', '.join(texts)}]"


def _sheet(images: Tensor) -> np.ndarray[Any, Any]:
    """Set `(B, 3, H, W)` in [0, 1] into rows, eight a row; `(H', W', 3)` uint8."""
    pixels = images.detach().float().nan_to_num().clamp(0, 1).mul(255).round().byte().cpu()
    columns = min(8, len(pixels))
    blank = -len(pixels) % columns
    pixels = torch.cat([pixels, pixels.new_zeros(blank, *pixels.shape[1:])])
    rows = pixels.unflatten(0, (-1, columns)).permute(0, 3, 1, 4, 2)
    return rows.reshape(rows.shape[0] * rows.shape[1], -1, 3).numpy()
