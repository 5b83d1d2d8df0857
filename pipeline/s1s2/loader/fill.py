"""Filling a slot with chips, by some threads; the same in this process and in a reading one."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import local
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s1s2.errors import StoreError
from s1s2.loader.chips import Reading
from s1s2.loader.finish import Plan, finish
from s1s2.loader.ring import Slots
from s1s2.loader.shards import Scratch

Failures = list[tuple[int, str]]
"""Rows that could not be read, and why."""

_TASKS_A_THREAD = 4
"""So that one slow chip keeps no thread idle for long."""


class Row:
    """What one thread needs to fill rows: memory for encoded and for decoded chips."""

    def __init__(self, reading: Reading, plan: Plan) -> None:
        self._reading, self._plan, self._scratch = reading, plan, Scratch()
        plain = {o.key for o in plan.outputs if not o.planes}
        self._own = {
            name: np.empty(shape, dtype)
            for name, (shape, dtype) in plan.stored.items()
            if name not in plain
        }

    def expect(self, chips: Sequence[int]) -> None:
        """Say which chips will be read."""
        self._reading.expect(chips, (), self._plan.stored)

    def forgo(self, chips: Sequence[int]) -> None:
        """Say which of them will not be read after all."""
        self._reading.forgo(chips)

    def fill(self, chip: int, out: dict[str, NDArray[Any]]) -> None:
        """Read one chip into one row of a batch.

        Raises:
            StoreError: If it is missing or damaged; the row then holds anything.
            UnreachableError: If it lies in a store that does not answer, or refuses.
        """
        chunks = {name: self._own.get(name, out.get(name)) for name in self._plan.stored}
        stored = {name: array for name, array in chunks.items() if array is not None}
        self._reading.read(chip, stored, self._scratch)
        finish(self._plan, stored, out)


class Filler:
    """Fills slots.

    Args:
        reading: What reads a chip.
        plan: What becomes of it.
        slots: Where to.
        threads: How many chips at a time.
    """

    def __init__(self, reading: Reading, plan: Plan, slots: Slots, threads: int) -> None:
        self._reading, self._plan, self._threads = reading, plan, threads
        self._views = [slots.views(k) for k in range(slots.count)]
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="s1s2-read")
        self._mine = local()

    def start(
        self, slot: int, chips: Sequence[int], coming: Sequence[int] = ()
    ) -> "list[Future[Failures]]":
        """Begin to fill the first rows of a slot; one result a task.

        Args:
            slot: Which.
            chips: One a row.
            coming: Those that will be asked for later, in that order, as far as is known.
        """
        self._reading.expect(chips, coming, self._plan.stored)
        step = max(1, -(-len(chips) // (self._threads * _TASKS_A_THREAD)))
        return [
            self._pool.submit(self._rows, slot, first, chips[first : first + step])
            for first in range(0, len(chips), step)
        ]

    def close(self) -> None:
        """Let the threads end."""
        self._reading.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _rows(self, slot: int, first: int, chips: Sequence[int]) -> Failures:
        if not hasattr(self._mine, "row"):
            self._mine.row = Row(self._reading, self._plan)
        views, failures = self._views[slot], []
        for number, chip in enumerate(chips, first):
            try:
                self._mine.row.fill(chip, {key: array[number] for key, array in views.items()})
            except StoreError as error:
                failures.append((number, str(error)))
        return failures
