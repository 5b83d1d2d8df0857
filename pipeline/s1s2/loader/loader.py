"""The loader of a training loop: batches of tensors, seeded orders, resumed exactly."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch

from s1s2.loader.batches import Batches, Feed
from s1s2.loader.device import Finisher, moved
from s1s2.loader.finish import Output, Plan
from s1s2.loader.hosts import Source
from s1s2.loader.order import Choice, Cut, Numbers, Position, batches, epoch_order

Batch = dict[str, torch.Tensor]


class Loader:
    """Batches of tensors; `Corpus.loader` makes it.

    Each `iter` is another epoch, in an order of its own. A batch is a dict of tensors and may be
    held as long as one likes; on the CPU it is a view of memory that is used again once it is gone.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # Corpus.loader is what people call
        self,
        source: Source,
        plan: Plan,
        choice: Choice,
        cut: Cut,
        feed: Feed,
        device: str | torch.device | None = None,
    ) -> None:
        self._choice, self._cut = choice, cut
        self._device = torch.device(device or "cpu")
        self._dtype = getattr(torch, plan.dtype)
        on_host = plan if self._device.type == "cpu" else _as_stored(plan)
        self._finisher = None if on_host is plan else Finisher(plan, self._device)
        rows = cut.batch_size * choice.chips.shape[1]
        self._batches = Batches(source, on_host, rows, feed)
        self._next = self._at = Position()

    def __len__(self) -> int:
        """Return how many batches an epoch has, the same for every rank."""
        return self._cut.batches(len(self._choice.chips))

    def __iter__(self) -> Iterator[Batch]:
        """Go through the next epoch, or through what is left of the one that was loaded.

        Raises:
            StoreError: If a chip is missing or damaged, or no batch comes in time.
            UnreachableError: If the store that it lies in does not answer, or refuses.
        """
        position = self._at = self._next
        self._next = Position(position.epoch + 1)
        order = epoch_order(self._choice.items, self._choice.orders, position.epoch)
        jobs = (self._choice.chips[b] for b in batches(order, self._cut, position.done))
        for batch in self._on_device(self._on_host(jobs)):
            position = position.after(len(order), self._cut)
            self._at = position
            yield batch

    @property
    def repeated(self) -> int:
        """Items that come twice in an epoch, so that all ranks get as many batches."""
        return self._cut.repeated(len(self._choice.chips))

    @property
    def skipped(self) -> Mapping[int, str]:
        """Chips that were left out because they cannot be read, and why; see `Feed.damaged`."""
        return self._batches.skipped

    @property
    def memory_bytes(self) -> int:
        """Size of the ring of batches: all this holds but for some megabytes, from a folder.

        From object storage encoded chips come on top, `Feed.hold_mb` and those asked for.
        """
        return self._batches.slots.nbytes

    def set_epoch(self, epoch: int) -> None:
        """Begin that epoch next."""
        self._next = self._at = Position(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return where the loop stands, after its last batch; the same on all ranks."""
        return self._choice.state(self._at)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another loader stood; its ranks and batch size may have been others.

        Raises:
            ContractError: If that one served other chips, or in other orders.
        """
        self._next = self._at = self._choice.position(state)

    def close(self) -> None:
        """End the reading process; iterating again starts another."""
        self._batches.close()

    def __enter__(self) -> Self:
        """Return itself; `close` comes with the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the reading process."""
        self.close()

    def _on_host(self, jobs: Iterator[Numbers]) -> Iterator[Batch]:
        for chips, arrays in self._batches.read(jobs):
            batch = {key: torch.from_numpy(array) for key, array in arrays.items()}
            batch["chip"] = torch.from_numpy(np.ascontiguousarray(chips.T))
            if self._choice.chips.shape[1] == 1:
                batch = {key: tensor[0] for key, tensor in batch.items()}
            yield batch

    def _on_device(self, found: Iterator[Batch]) -> Iterator[Batch]:
        if self._finisher is not None:
            return moved(found, self._device, self._finisher, self._batches.slots)
        if self._dtype == torch.float32:
            return found
        return (
            {k: t.to(self._dtype) if t.is_floating_point() else t for k, t in b.items()}
            for b in found
        )


def _as_stored(plan: Plan) -> Plan:
    """Return the plan of batches that hold what is stored, to be finished on a device."""
    outputs = tuple(Output(name, shape, dtype) for name, (shape, dtype) in plan.stored.items())
    return replace(plan, outputs=outputs)
