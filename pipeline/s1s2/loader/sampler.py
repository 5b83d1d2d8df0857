"""Our orders for those who use torch's own DataLoader, with processes or without."""

from collections.abc import Iterator, Mapping
from typing import Any

from s1s2.loader.order import Choice, Cut, Position, batches, epoch_order


class BatchSampler:
    """Places of a dataset, batch by batch, for `DataLoader(dataset, batch_sampler=...)`.

    It keeps ranks in step as `Loader` does. torchdata's `StatefulDataLoader` saves and loads its
    state with its own; `len`, `state_dict` and `load_state_dict` mean what they mean there.
    """

    def __init__(self, choice: Choice, cut: Cut) -> None:
        self._choice, self._cut = choice, cut
        self._next = self._at = Position()

    def __len__(self) -> int:
        """Return how many batches an epoch has, the same for every rank."""
        return self._cut.batches(len(self._choice.chips))

    def __iter__(self) -> Iterator[list[int]]:
        """Go through the next epoch, or what is left of the one that was loaded."""
        # torchdata asks for iterators that it never draws from: an epoch begins when one does
        position = self._at = self._next
        self._next = Position(position.epoch + 1)
        order = epoch_order(self._choice.items, self._choice.orders, position.epoch)
        for places in batches(order, self._cut, position.done):
            position = position.after(len(order), self._cut)
            self._at = position
            yield places.tolist()

    def set_epoch(self, epoch: int) -> None:
        """Begin that epoch next."""
        self._next = self._at = Position(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return where it stands: batches handed out, which a DataLoader may still be reading."""
        return self._choice.state(self._at)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another sampler stood.

        Raises:
            ContractError: If that one was over other chips, or had other orders.
        """
        self._next = self._at = self._choice.position(state)
