"""A map-style dataset, for torch's own DataLoader and its processes."""

import os
from collections import deque
from threading import local
from typing import TYPE_CHECKING, Any

import numpy as np

from s1s2.loader.chips import Reading
from s1s2.loader.fill import Row
from s1s2.loader.finish import Plan
from s1s2.loader.hosts import Source
from s1s2.loader.order import Numbers

if TYPE_CHECKING:
    import torch


class _Mine(local):
    """What one thread fills rows with; threads share what reads chips, never their memory."""

    def __init__(self, reading: Reading, wanted: Plan) -> None:
        self.row = Row(reading, wanted)


class ChipDataset:
    """A map-style torch dataset over some chips of a corpus; `Corpus.dataset` makes it.

    It may be sent to other processes and be forked; each opens the shards for itself.
    """

    def __init__(self, source: Source, chips: Numbers, wanted: Plan) -> None:
        self._source, self.chips, self._plan = source, chips, wanted
        self._mine: tuple[int, _Mine] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_mine": None}

    def __len__(self) -> int:
        """Return how many chips there are."""
        return len(self.chips)

    def __getitem__(self, index: int) -> "dict[str, torch.Tensor | int]":
        """Return one chip: its tensors, and `chip`, its number.

        Raises:
            StoreError: If it, or the proof of it, is missing or damaged.
            UnreachableError: If it lies in a store that does not answer, or refuses.
        """
        import torch  # noqa: PLC0415  # a second to import

        chip = int(self.chips[index])
        out = {o.key: np.empty(o.shape, o.dtype) for o in self._plan.outputs}
        self._row().fill(chip, out)
        dtype = getattr(torch, self._plan.dtype)
        tensors = {key: torch.from_numpy(array) for key, array in out.items()}
        return {k: t.to(dtype) if t.is_floating_point() else t for k, t in tensors.items()} | {
            "chip": chip
        }

    def __getitems__(self, indices: "list[int]") -> "list[dict[str, torch.Tensor | int]]":
        """Return some chips, as torch asks for a batch: they are fetched side by side.

        Raises:
            StoreError, UnreachableError: As one chip.
        """
        row, left = self._row(), deque(self.chips[indices].tolist())
        row.expect(list(left))
        found = []
        try:
            for index in indices:
                left.popleft()
                found.append(self[index])
        finally:
            row.forgo(list(left))
        return found

    def _row(self) -> Row:
        """Return what reads a chip in this thread of this process."""
        mine = self._mine  # once: another thread may change it meanwhile
        if mine is None or mine[0] != os.getpid():
            mine = self._mine = os.getpid(), _Mine(self._source.reading(), self._plan)
        return mine[1].row
