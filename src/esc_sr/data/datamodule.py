"""Loaders for Lightning that resume at the very next sample."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from esc_sr.data.pairs import JoinedImages, Pair, PairedImages
from esc_sr.data.sampler import ResumableSampler
from esc_sr.errors import InputError, check_integers
from esc_sr.offspring import end_with_parent


class SRDataModule(L.LightningDataModule):
    """Endless training batches and whole validation images.

    Training is counted in steps; the checkpoint holds how many samples were seen, over all
    processes, and training resumes at the next one even with another batch size or number of
    processes. The trainer must leave the sampler alone: `use_distributed_sampler=False`.

    Args:
        train: Training pairs with a `crop_size`; several, as a list or by name, are joined;
            None: validation only.
        val: Validation sets by name, in order.
        batch_size: Training samples in a batch of one process.
        num_workers: Processes that read training images, for each training process; 0: none.
        seed: Seed of the order, the crops and the augmentation, at least 0.
        pin_memory: Copy batches to page-locked memory, where there is an accelerator.

    Raises:
        InputError: A value is out of range, or joined sets do not fit together.
    """

    def __init__(
        self,
        *,
        train: PairedImages | Sequence[PairedImages] | Mapping[str, PairedImages] | None = None,
        val: Mapping[str, Dataset[Pair]] | None = None,
        batch_size: int = 16,
        num_workers: int = 0,
        seed: int = 0,
        pin_memory: bool = False,
    ) -> None:
        super().__init__()
        check_integers(1, **{"data.batch_size": batch_size})
        check_integers(0, **{"data.num_workers": num_workers, "seed": seed})
        if isinstance(train, Mapping):
            train = list(train.values())
        self.train = JoinedImages(train) if isinstance(train, Sequence) else train
        if self.train is not None and self.train.crop_size is None and batch_size > 1:
            raise InputError(
                f"whole images do not fit into a batch of {batch_size}: "
                "set crop_size of the training set, or data.batch_size=1"
            )
        self.val = {str(name): images for name, images in (val or {}).items()}
        for name, images in self.val.items():
            if not name or "." in name:
                raise InputError(
                    f"data.val: a validation set cannot be called '{name}', because what is logged "
                    "is called by it: no dots, and not nothing"
                )
            if isinstance(images, str) or not isinstance(images, Dataset | Sequence):
                raise InputError(f"data.val.{name} must be a set of images, got {images}")
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        # Without an accelerator there is nothing to pin for, and torch would warn.
        self.pin_memory = pin_memory and torch.accelerator.is_available()
        self._resumed_samples = 0
        self._resumed_batches = 0

    @property
    def val_names(self) -> list[str]:
        """Names of the validation sets, in the order of the loaders."""
        return list(self.val)

    def train_dataloader(self) -> DataLoader[Pair]:
        """Return an endless loader that begins where training was interrupted.

        Raises:
            InputError: There is no training set.
        """
        if self.train is None:
            raise InputError("this choice of data has no training images; choose e.g. data=div2k")
        if self.num_workers > 0:
            self.train.fill_cache()
        sampler = ResumableSampler(
            num_images=len(self.train),
            seed=self.seed,
            start=self._samples_seen(),
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self._world_size(),
        )
        return DataLoader(
            self.train,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=self.pin_memory,
            drop_last=True,
            worker_init_fn=_obey_the_main_process,
        )

    def val_dataloader(self) -> list[DataLoader[Pair]]:
        """Return one loader for each validation set, a whole image a batch."""
        return [
            DataLoader(dataset, batch_size=1, pin_memory=self.pin_memory)
            for dataset in self.val.values()
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return `samples_seen` over all processes, and the batches they came in, as integers."""
        return {"samples_seen": self._samples_seen(), "batches_seen": self._batches_seen()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue after the samples that a checkpoint has seen.

        Args:
            state_dict: What `state_dict` returned.
        """
        self._resumed_samples = int(state_dict["samples_seen"])
        self._resumed_batches = int(state_dict["batches_seen"])

    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    def _batches_seen(self) -> int:
        """Return the batches of one process since the first start; Lightning restores the count.

        Batches and not optimizer steps: gradient accumulation has several batches to a step, and
        adversarial training several steps to a batch.
        """
        if self.trainer is None:
            return self._resumed_batches
        return self.trainer.fit_loop.epoch_loop.batch_progress.total.state_dict()["processed"]

    def _samples_seen(self) -> int:
        # Batches before the resume may have had another size: only the new ones are counted so.
        batches = max(0, self._batches_seen() - self._resumed_batches)
        return self._resumed_samples + batches * self.batch_size * self._world_size()


def _obey_the_main_process(worker: int) -> None:
    """End with the main process, and not by a signal: a terminal or a cluster signals all of them.

    The main process finishes its step then, and needs the images. The second SIGTERM ends a worker,
    should it hang.

    Args:
        worker: Its number.
    """

    def ignore_once(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, ignore_once)
    end_with_parent()
