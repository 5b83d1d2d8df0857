"""Batches of stored chips in an order that follows from seed and epoch, from any step on."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s1s2.bands import Sensor
from s1s2.errors import ContractError
from s1s2.load import Corpus, Ranks

Raw = dict[Sensor, Tensor]
"""Chips as stored, by sensor: uint16 (B, 12, y, x) and int16 (B, 2, y, x)."""


@dataclass(frozen=True)
class Order:
    """The batches of one process out of `world`: whole batches alone, split evenly."""

    chips: NDArray[np.int64]
    """Numbers of the chips to learn from."""
    batch_size: int
    """Chips a step over all processes."""
    seed: int
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if len(self.chips) < self.batch_size:
            msg = (
                f"{len(self.chips):,} chips to learn from, fewer than one batch of "
                f"{self.batch_size:,}; give a smaller --batch-size"
            )
            raise ContractError(msg)

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return len(self.chips) // self.batch_size

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """Return the chips of each step of this process, (steps, B / world)."""
        order = np.random.default_rng([self.seed, epoch]).permutation(self.chips)
        whole = order[: self.steps * self.batch_size].reshape(self.steps, self.world, -1)
        return whole[:, self.rank]


def batches(corpus: Corpus, chips: NDArray[np.int64]) -> Iterator[Raw]:
    """Yield a batch for each line of chip numbers, (steps, B).

    The one place where training meets the loader.
    """
    if not chips.size:
        return
    alone = Ranks(0, 1)  # shared out already
    loader = corpus.loader(chips.shape[1], chips=chips.ravel(), values="raw", ranks=alone)
    for batch in loader:
        yield {sensor: batch[str(sensor)] for sensor in Sensor}


def read_rows(corpus: Corpus, rows: NDArray[np.int64]) -> Raw:
    """Return the chips of some rows of the corpus' index in one batch."""
    dataset = corpus.dataset(None, "raw")
    chips = [dataset[row] for row in rows.tolist()]
    return {s: torch.stack([torch.as_tensor(chip[str(s)]) for chip in chips]) for s in Sensor}
