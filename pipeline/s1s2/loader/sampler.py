"""Our orders for those who use torch's own DataLoader, with processes or without."""

from collections.abc import Iterator, Mapping
from typing import Any

from s1s2.errors import ContractError
from s1s2.loader.order import Cut, Items, Orders, Position, batches, epoch_order


class BatchSampler:
    """Places of a dataset, batch by batch, for `DataLoader(dataset, batch_sampler=...)`.

    It keeps ranks in step as `Loader` does. torchdata's `StatefulDataLoader` saves and loads its
    state with its own; `len`, `state_dict` and `load_state_dict` mean what they mean there.
    """

    def __init__(self, items: Items, orders: Orders, cut: Cut) -> None:
        self._items, self._orders, self._cut = items, orders, cut
        self._next = self._at = Position()

    def __len__(self) -> int:
        """Return how many batches an epoch has, the same for every rank."""
        return self._cut.batches(len(self._items.shards))

    def __iter__(self) -> Iterator[list[int]]:
        """Go through the next epoch, or what is left of the one that was loaded."""
        # torchdata asks for iterators that it never draws from: an epoch begins when one does
        position = self._at = self._next
        self._next = Position(position.epoch + 1)
        order = epoch_order(self._items, self._orders, position.epoch)
        for places in batches(order, self._cut, position.done):
            position = position.after(len(order), self._cut)
            self._at = position
            yield places.tolist()

    def set_epoch(self, epoch: int) -> None:
        """Begin that epoch next."""
        self._next = self._at = Position(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return where it stands: batches handed out, which a DataLoader may still be reading."""
        return {"epoch": self._at.epoch, "done": self._at.done, "seed": self._orders.seed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another sampler stood.

        Raises:
            ContractError: If that one had another seed.
        """
        if state.get("seed") != self._orders.seed:
            msg = f"the saved state has seed {state.get('seed')}, this sampler {self._orders.seed}"
            raise ContractError(msg)
        self._next = self._at = Position(int(state["epoch"]), int(state["done"]))
