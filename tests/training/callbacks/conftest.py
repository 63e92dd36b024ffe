"""A tiny training run: endless loader, two validation sets, dropout, so that the RNG matters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers.logger import DummyLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

SCALE = 2


class TinyNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 3 * SCALE**2, 3, padding=1)
        self.dropout = nn.Dropout(0.3)
        self.modes: list[tuple[bool, bool]] = []

    def forward(self, lq: Tensor) -> Tensor:
        self.modes.append((self.training, torch.is_grad_enabled()))
        return F.pixel_shuffle(self.dropout(self.body(lq)), SCALE)


class TinyModule(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = TinyNetwork()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        loss = F.l1_loss(self.network(batch["lq"]), batch["gt"])
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch["lq"]))
        return loss

    def validation_step(
        self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Any]:
        sr = self.network(batch["lq"])
        self.log("val/loss", F.l1_loss(sr, batch["gt"]), batch_size=len(sr))
        return {"sr": sr, "lq": batch["lq"], "gt": batch["gt"], "name": batch["name"]}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class EndlessPatches(IterableDataset[dict[str, Any]]):
    """Patches drawn from the global generator: whoever disturbs it changes the training."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while True:
            gt = torch.rand(3, 8, 8)
            yield {"lq": F.avg_pool2d(gt, SCALE), "gt": gt, "name": "patch"}


class ValidationSet(Dataset[dict[str, Any]]):
    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        self.sizes = sizes

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        height, width = self.sizes[index]
        generator = torch.Generator().manual_seed(index)
        gt = torch.rand(3, SCALE * height, SCALE * width, generator=generator)
        return {"lq": F.avg_pool2d(gt, SCALE), "gt": gt, "name": f"image{index}"}


class TinyData(L.LightningDataModule):
    val_names = ("SetA", "SetB")

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        return DataLoader(EndlessPatches(), batch_size=4)

    def val_dataloader(self) -> list[DataLoader[dict[str, Any]]]:
        return [
            DataLoader(ValidationSet([(20, 30), (24, 16), (8, 8)])),
            DataLoader(ValidationSet([(12, 12)])),
        ]


@pytest.fixture
def fit(tmp_path):
    """Train the tiny network with some callbacks and loggers; return the module and the trainer."""

    def run(
        callbacks=(), logger=None, max_steps=4, ckpt_path=None, **options: Any
    ) -> tuple[TinyModule, L.Trainer]:
        L.seed_everything(1, verbose=False)
        module = TinyModule()
        options = {
            "enable_progress_bar": False,
            "enable_checkpointing": False,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
            "val_check_interval": 2,
            "num_sanity_val_steps": 1,
            **options,
        }
        trainer = L.Trainer(
            accelerator="cpu",
            devices=1,
            max_steps=max_steps,
            check_val_every_n_epoch=None,
            callbacks=list(callbacks),
            logger=DummyLogger() if logger is None else logger,
            default_root_dir=str(tmp_path),
            **options,
        )
        trainer.fit(module, datamodule=TinyData(), ckpt_path=ckpt_path)
        return module, trainer

    return run


@pytest.fixture
def logged():
    """A logger that remembers `(step, {key: value})`."""

    class Memory(DummyLogger):
        def __init__(self) -> None:
            super().__init__()
            self.rows: list[tuple[int, dict[str, float]]] = []

        def log_metrics(self, metrics: dict[str, float], step: int) -> None:
            self.rows.append((step, dict(metrics)))

        def values(self, key: str) -> list[float]:
            return [row[key] for _, row in self.rows if key in row]

        def steps(self, key: str) -> list[int]:
            return [step for step, row in self.rows if key in row]

    return Memory()
