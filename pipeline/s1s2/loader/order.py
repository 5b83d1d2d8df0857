"""Which items a batch holds: seeded orders, ranks that share them out, and where one stands. Pure.

An *item* is a row of a list of chips: one chip, or a pair of them. An order is a function of seed
and epoch alone; world and batch size only cut it, so a run resumed with others goes on exactly.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from s1s2.errors import ContractError

Numbers = NDArray[np.int64]
Shuffle = Literal["none", "full", "block", "spread"]
"""As stored; all mixed; groups of shards mixed; all mixed, chips of one cell kept far apart."""
Uneven = Literal["pad", "drop"]
"""What becomes of a rest that the ranks cannot share evenly: items repeat, or are left out."""


@dataclass(frozen=True)
class Orders:
    """How the order of an epoch is drawn."""

    shuffle: Shuffle = "none"
    seed: int = 0
    block_shards: int = 4
    """Shards mixed at a time by `block`."""

    def __post_init__(self) -> None:
        if self.shuffle not in get_args(Shuffle):
            msg = f"shuffle {self.shuffle!r}: expected one of {', '.join(get_args(Shuffle))}"
            raise ContractError(msg)
        if self.seed < 0:
            msg = f"seed {self.seed}: expected 0 or more"
            raise ContractError(msg)
        if self.block_shards < 1:
            msg = f"block_shards {self.block_shards}: expected 1 or more"
            raise ContractError(msg)


@dataclass(frozen=True)
class Items:
    """What an order needs to know of the items, one entry each."""

    shards: Numbers
    cells: Numbers
    weights: NDArray[np.float64] | None = None
    """How often an item is drawn, relative to others; None: every one once an epoch."""

    def __post_init__(self) -> None:
        weights = self.weights
        if weights is None:
            return
        if len(weights) != len(self.shards) or not np.isfinite(weights).all():
            msg = f"weights: expected {len(self.shards)} finite numbers, one an item"
            raise ContractError(msg)
        if (weights < 0).any() or not weights.sum() > 0:
            msg = "weights: expected none below 0, and one above it"
            raise ContractError(msg)


def epoch_order(items: Items, orders: Orders, epoch: int) -> Numbers:
    """Return the items of an epoch, as places in their list; the same for the same seed and epoch.

    With weights as many are drawn as there are items, some repeatedly; else every one comes once.

    Examples:
        >>> four = Items(np.array([0, 0, 1, 1]), np.arange(4))
        >>> epoch_order(four, Orders(), epoch=3).tolist()
        [0, 1, 2, 3]
        >>> sorted(epoch_order(four, Orders("full", seed=1), epoch=3).tolist())
        [0, 1, 2, 3]
    """
    random = np.random.default_rng([orders.seed, epoch])
    n = len(items.shards)
    if items.weights is not None:
        drawn = random.choice(n, n, p=items.weights / items.weights.sum())
        return drawn.astype(np.int64) if orders.shuffle != "none" else np.sort(drawn)
    if orders.shuffle == "none":
        return np.arange(n)
    if orders.shuffle == "full":
        return random.permutation(n)
    if orders.shuffle == "block":
        return _by_blocks(items.shards, orders.block_shards, random)
    return _apart(items.cells, random)


def _by_blocks(shards: Numbers, size: int, random: np.random.Generator) -> Numbers:
    """Deal the shards into groups of some, at random, and mix each group."""
    found, which = np.unique(shards, return_inverse=True)
    group = (random.permutation(len(found)) // size)[which]
    return np.lexsort((random.random(len(shards)), group))


def _apart(cells: Numbers, random: np.random.Generator) -> Numbers:
    """Put the items of each cell at even steps through the epoch, each cell begun at random."""
    mixed = random.permutation(len(cells))
    by_cell = mixed[np.argsort(cells[mixed], kind="stable")]
    _, which, counts = np.unique(cells[by_cell], return_inverse=True, return_counts=True)
    nth = np.arange(len(cells)) - np.repeat(np.cumsum(counts) - counts, counts)
    at = (nth + random.random(len(counts))[which]) / counts[which]
    return by_cell[np.argsort(at, kind="stable")]


@dataclass(frozen=True)
class Cut:
    """How the ranks of a training share out an order, batch by batch."""

    batch_size: int
    """Items in a batch of one rank."""
    rank: int = 0
    world: int = 1
    drop_last: bool = False
    """Leave out what does not fill a batch of every rank."""
    uneven: Uneven = "pad"

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            msg = f"batch_size {self.batch_size}: expected 1 or more"
            raise ContractError(msg)
        if not 0 <= self.rank < self.world:
            msg = f"rank {self.rank} of {self.world}: expected 0 to one less than the number"
            raise ContractError(msg)
        if self.uneven not in get_args(Uneven):
            msg = f"uneven {self.uneven!r}: expected one of {', '.join(get_args(Uneven))}"
            raise ContractError(msg)

    @property
    def step(self) -> int:
        """Items of one batch of all ranks."""
        return self.batch_size * self.world

    def rest(self, n: int) -> int:
        """Return how many items each rank finds in a last batch that is not full."""
        left = n % self.step
        if self.drop_last:
            return 0
        return ceil(left / self.world) if self.uneven == "pad" else left // self.world

    def batches(self, n: int) -> int:
        """Return how many batches every rank gets of `n` items.

        Examples:
            >>> Cut(4, world=2).batches(17), Cut(4, world=2, uneven="drop").batches(17)
            (3, 2)
        """
        return n // self.step + (self.rest(n) > 0)

    def repeated(self, n: int) -> int:
        """Return how many items come twice in an epoch of `n`, so that all ranks get as many."""
        return max(0, self.rest(n) * self.world - n % self.step)


def batches(order: Numbers, cut: Cut, done: int = 0) -> Iterator[Numbers]:
    """Give a rank its batches of what is left of an order.

    Ranks take turns item by item, so that every batch of all of them is a run of the order.

    Args:
        order: The items of the epoch.
        cut: Which rank, of how many, and how large the batches are.
        done: Items that all ranks together have had.

    Examples:
        >>> [b.tolist() for b in batches(np.arange(7), Cut(2, rank=1, world=2))]
        [[1, 3], [5, 4]]
    """
    left = order[done:]
    full = len(left) // cut.step
    for k in range(full):
        yield left[k * cut.step + cut.rank : (k + 1) * cut.step : cut.world]
    if rest := cut.rest(len(left)):
        tail = left[full * cut.step :]
        # repeats are those of the same batch, so none of a batch long past comes back
        yield np.resize(tail, rest * cut.world)[cut.rank :: cut.world]


@dataclass(frozen=True)
class Position:
    """Where a training stands: what all ranks together have had."""

    epoch: int = 0
    done: int = 0
    """Items of the epoch that were handed out."""

    def after(self, n: int, cut: Cut) -> "Position":
        """Return the position one batch later, of an epoch of `n` items.

        Examples:
            >>> Position(2, 4).after(7, Cut(2, world=2)), Position(0, 0).after(7, Cut(2, world=2))
            (Position(epoch=3, done=0), Position(epoch=0, done=4))
        """
        done = min(self.done + cut.step, n)
        return Position(self.epoch, done) if cut.batches(n - done) else Position(self.epoch + 1)


@dataclass(frozen=True)
class Choice:
    """Which chips a loader serves, and in which orders."""

    chips: Numbers
    """Shape (items, chips of an item): 1, or 2 for pairs."""
    items: Items
    orders: Orders

    def digest(self) -> str:
        """Return a hash of all that decides the orders."""
        total = hashlib.sha256(repr((self.chips.shape, self.orders)).encode())
        for array in (self.chips, self.items.shards, self.items.cells, self.items.weights):
            total.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
        return total.hexdigest()

    def state(self, at: Position) -> dict[str, Any]:
        """Return a position as it is saved, with a hash of the items and orders it is of."""
        return {"epoch": at.epoch, "done": at.done, "choice": self.digest()}

    def position(self, state: Mapping[str, Any]) -> Position:
        """Return the position that was saved, with whatever ranks and batch size.

        Raises:
            ContractError: If it is of other chips, or other orders.
        """
        if state.get("choice") != self.digest():
            msg = (
                "the saved state is of a loader over other chips, or with another seed, shuffle or "
                "weights; make this one as that was"
            )
            raise ContractError(msg)
        return Position(int(state["epoch"]), int(state["done"]))
