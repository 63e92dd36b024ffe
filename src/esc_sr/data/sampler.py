"""The order of training samples: endless, shuffled, and the same after any interruption."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class SampleKey(NamedTuple):
    """Names one training sample: which image, and the seed of its crop and augmentation."""

    image_index: int
    seed: int


class ResumableSampler(Sampler[SampleKey]):
    """Yield the samples of this process, for ever, from any position on.

    Position p, counted over all processes, is an image of the permutation of epoch
    `p // num_images` together with a seed drawn from (seed, p). It depends on nothing else:
    neither on the batch size nor on the number of processes or workers. There is no length:
    training is counted in steps. Every new iteration begins at `start` again.

    Args:
        num_images: Images in the data set.
        seed: Seed of order and samples, at least 0.
        start: Position to begin at: samples consumed before, over all processes.
        rank: Number of this process.
        world_size: Number of processes.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        *,
        num_images: int,
        seed: int = 0,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if num_images < 1:
            raise ValueError(f"num_images must be at least 1, got {num_images}")
        if seed < 0 or start < 0:
            raise ValueError(f"seed and start must not be negative, got {seed} and {start}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be in 0..{world_size - 1}, got {rank}")
        self.num_images = num_images
        self.seed = seed
        self.start = start
        self.rank = rank
        self.world_size = world_size

    def __iter__(self) -> Iterator[SampleKey]:
        permutation_epoch, permutation = -1, np.empty(0, dtype=np.int64)
        position = self.start + self.rank
        while True:
            epoch, place = divmod(position, self.num_images)
            if epoch != permutation_epoch:
                permutation = np.random.default_rng((self.seed, epoch)).permutation(self.num_images)
                permutation_epoch = epoch
            words = np.random.SeedSequence((self.seed, position)).generate_state(1, np.uint64)
            yield SampleKey(int(permutation[place]), int(words[0]))
            position += self.world_size
