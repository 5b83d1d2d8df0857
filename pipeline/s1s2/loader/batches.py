"""Batches as NumPy arrays, in order, read ahead, with a limit to every wait."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from s1s2.errors import ContractError, StoreError
from s1s2.loader.fill import Failures
from s1s2.loader.finish import Plan
from s1s2.loader.hosts import Host, ProcessHost, Source, ThreadHost
from s1s2.loader.order import Numbers
from s1s2.loader.ring import Leases, Slots

Arrays = dict[str, NDArray[Any]]
Damaged = Literal["raise", "skip"]

_HELD_BY_A_LOOP = 2
"""Batches that a loop holds while it asks for another: the last one, and that which comes."""
_LONGEST_S = 86_400
"""Whoever waits longer waits for nothing."""
_HAS_PROCESSES = os.name == "posix"
"""Whether memory can be handed to a process by its descriptor."""


@dataclass(frozen=True)
class Feed:
    """How batches are read; no number here changes what is in them."""

    process: bool = _HAS_PROCESSES
    """Read in a process of its own; else in threads of this one."""
    threads: int = min(4, os.cpu_count() or 1)
    """Chips read and decoded side by side."""
    ahead: int = 2
    """Batches to read before they are asked for; the ring holds two more."""
    copy: bool = False
    """Give each batch memory of its own, rather than a slot of the ring while it is held."""
    timeout_s: float = 120.0
    """The longest wait for one batch; then an error says so."""
    damaged: Damaged = "raise"
    """What becomes of a chip that is missing or damaged; `skip` leaves it out and counts it."""
    requests: int = 64
    """Requests under way at once, where the corpus lies on object storage."""
    hold_mb: int = 512
    """Megabytes of encoded chips fetched before they are asked for, at most; from there, too."""

    def __post_init__(self) -> None:
        if self.threads < 1 or self.ahead < 1:
            msg = f"threads {self.threads}, ahead {self.ahead}: expected 1 or more of each"
            raise ContractError(msg)
        if self.requests < 1 or self.hold_mb < 1:
            msg = f"requests {self.requests}, hold_mb {self.hold_mb}: expected 1 or more of each"
            raise ContractError(msg)
        if not 0 < self.timeout_s <= _LONGEST_S:
            msg = f"timeout_s {self.timeout_s}: expected above 0, at most {_LONGEST_S:,}, a day"
            raise ContractError(msg)
        if self.damaged not in get_args(Damaged):
            msg = f"damaged {self.damaged!r}: expected one of {', '.join(get_args(Damaged))}"
            raise ContractError(msg)
        if self.process and not _HAS_PROCESSES:
            msg = "no process can read for this system: use Feed(process=False)"
            raise ContractError(msg)


class Batches:
    """Reads batches of chips into a ring, one pass after another.

    A batch may be held as long as one likes: its slot is used again when it is gone. Whoever holds
    so many that the ring runs dry is given copies instead.

    Args:
        source: The corpus.
        plan: What becomes of a chip.
        rows: Chips in a batch, at most.
        feed: How to read.
    """

    def __init__(self, source: Source, plan: Plan, rows: int, feed: Feed) -> None:
        self._source = source.fed(feed.hold_mb, feed.requests)
        self._plan, self._rows, self._feed = plan, rows, feed
        self._host: Host | None = None
        self._owner = 0
        self._asked: deque[Numbers] = deque()
        self._pass = 0
        self.skipped: dict[int, str] = {}
        """Chips left out because they could not be read, and why."""
        self._open()

    @property
    def slots(self) -> Slots:
        """The memory of the ring."""
        return self._slots

    def read(self, jobs: Iterable[Numbers]) -> Iterator[tuple[Numbers, Arrays]]:
        """Read batches in order; another call ends the iterators of earlier ones.

        Args:
            jobs: The chips of each batch, shape (items, chips of an item).

        Yields:
            The chips, and by key their rows, shape (chips of an item, items, ...).

        Raises:
            StoreError: If a chip cannot be read, or no batch comes in time.
            UnreachableError: If the store that it lies in does not answer, or refuses.
        """
        self._pass += 1
        mine = self._pass
        host = self._begin()
        waiting = _Foreseen(jobs, self._source.reach(self._plan))
        self._ask(host, waiting)
        while self._asked:
            batch = self._next(host)
            self._ask(host, waiting)  # before the loop works on this one
            yield batch
            del batch  # or its slot would stay in use
            if mine != self._pass or self._host is not host:
                msg = "another pass over this loader has begun, or it was closed: it serves one"
                raise ContractError(msg)
            self._ask(host, waiting)

    def close(self) -> None:
        """End the reading process, or threads; the next pass begins anew."""
        if self._host is not None and self._owner == os.getpid():
            self._host.close()
        self._host = None
        if self._asked:  # a thread may still be writing into their slots
            self._asked.clear()
            self._open()

    def _open(self) -> None:
        fields = {o.key: (o.shape, o.dtype) for o in self._plan.outputs}
        self._slots = Slots(fields, self._rows, self._feed.ahead + _HELD_BY_A_LOOP)
        self._leases = Leases(self._slots)

    def _begin(self) -> Host:
        """Return a host of this process with nothing left to do: a fork cannot use its parent's."""
        if self._host is not None and self._owner == os.getpid():
            self._drain(self._host)
            return self._host
        if self._owner not in {0, os.getpid()}:
            self._asked.clear()
            self._open()
        kind = ProcessHost if self._feed.process else ThreadHost
        self._host = kind(
            self._source, self._plan, self._slots, self._feed.threads, self._feed.timeout_s
        )
        self._owner = os.getpid()
        return self._host

    def _drain(self, host: Host) -> None:
        """Wait for the batches that an earlier pass asked for and left."""
        while self._asked:
            slot, _ = self._answer(host)
            self._asked.popleft()
            self._leases.give_back(slot)

    def _answer(self, host: Host) -> tuple[int, Failures]:
        try:
            return host.result()
        except BaseException:  # Ctrl-C too: nobody knows which answer would come next
            self.close()
            raise

    def _ask(self, host: Host, waiting: "_Foreseen") -> None:
        """Ask for batches until enough are on their way, or there is no slot."""
        while len(self._asked) < self._feed.ahead and len(self._leases):
            if (job := waiting.next()) is None:
                return
            self._asked.append(job)
            try:
                host.submit(self._leases.take(), _chips(job), waiting.chips())
            except BaseException:
                self.close()
                raise

    def _next(self, host: Host) -> tuple[Numbers, Arrays]:
        slot, failures = self._answer(host)
        job = self._asked.popleft()
        if failures and self._feed.damaged == "raise":
            self._leases.give_back(slot)
            raise StoreError(failures[0][1])
        # the loop may hold this batch and all others for good: one slot must stay in use
        last = not self._asked and not len(self._leases)
        rows = {
            key: array[: job.size].reshape(*job.T.shape, *array.shape[1:])
            for key, array in self._leases.hand_out(slot).items()
        }
        if failures:
            return self._without(job, rows, dict(failures))
        return job, _copied(rows) if last or self._feed.copy else rows

    def _without(
        self, job: Numbers, rows: Arrays, failures: dict[int, str]
    ) -> tuple[Numbers, Arrays]:
        """Leave out the items of which a chip could not be read."""
        chips = job.T.ravel()
        self.skipped |= {int(chips[row]): why for row, why in failures.items()}
        keep = np.ones(len(job), dtype=bool)
        keep[[row % len(job) for row in failures]] = False
        if not keep.any():
            first = next(iter(failures.values()))
            msg = f"no chip of a whole batch could be read; the first: {first}"
            raise StoreError(msg)
        return job[keep], {key: array[:, keep] for key, array in rows.items()}


class _Foreseen:
    """Batches in order, and the chips of some that come after the next.

    Args:
        jobs: The chips of each batch.
        reach: How many chips to look ahead.
    """

    def __init__(self, jobs: Iterable[Numbers], reach: int) -> None:
        self._jobs, self._reach = iter(jobs), reach
        self._later: deque[Numbers] = deque()
        self._many = 0

    def next(self) -> Numbers | None:
        """Return the next batch; None after the last."""
        while self._many <= self._reach and (job := next(self._jobs, None)) is not None:
            self._later.append(job)
            self._many += job.size
        if not self._later:
            return None
        first = self._later.popleft()
        self._many -= first.size
        return first

    def chips(self) -> list[int]:
        """Return the chips of the batches that come then."""
        return [chip for job in self._later for chip in _chips(job)]


def _chips(job: Numbers) -> list[int]:
    chips: list[int] = job.T.ravel().tolist()
    return chips


def _copied(rows: Arrays) -> Arrays:
    return {key: array.copy() for key, array in rows.items()}
