"""Chips of a published corpus, fetched before they are decoded, with those near them.

Whoever reads says which chips come next; requests are always under way for those, as many as are
allowed, and what arrives is held, still encoded, until it is read. A chip that is wanted soon
travels with its neighbours in the file: so a group of shards that is mixed costs few requests.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

from numpy.typing import NDArray

from s1s2.errors import StoreError, UnreachableError
from s1s2.loader.chips import BEGUN_AHEAD, Into
from s1s2.loader.chips.held import Awaited, Held, fail, give
from s1s2.loader.chips.objects import Object, Published, UnprovenError
from s1s2.loader.shards import ArrayForm, DamagedError, Scratch, unpack

_Shard = dict[str, Object]


class AheadReader:
    """Reads chips below a URL.

    Held are, still encoded, the chips that were asked for, and others up to a number of bytes.

    Args:
        corpus: Its shards.
        forms: Its arrays.
        hold_bytes: Of chips that were not asked for yet, at most.
        requests: Under way at once.
        timeout_s: The longest wait for one chip.
    """

    def __init__(
        self,
        corpus: Published,
        forms: Sequence[ArrayForm],
        hold_bytes: int,
        requests: int,
        timeout_s: float,
    ) -> None:
        self._corpus, self._forms = corpus, {form.name: form for form in forms}
        self._per_shard = forms[0].per_shard
        self._hold_bytes, self._requests, self._timeout_s = hold_bytes, requests, timeout_s
        self._pool = ThreadPoolExecutor(requests, thread_name_prefix="s1s2-fetch")
        self._lock = Lock()  # of all below; whoever holds it waits for nothing
        self._held = Held()
        self._opened: dict[int, _Shard] = {}
        self._opening: dict[int, list[int]] = {}
        """By shard the chips that wait for its indices."""
        self._means: list[float] = []
        """Bytes of a chip, by shard that was opened."""
        self._asked: deque[int] = deque()
        self._ahead: deque[int] = deque()
        self._coming: frozenset[int] = frozenset()
        self._near: dict[int, set[int]] = {}
        """By shard the places of chips that are wanted now, or soon."""
        self._flying = 0
        self._closed = False

    def expect(self, chips: Sequence[int], coming: Sequence[int], arrays: Iterable[str]) -> None:
        """Begin to fetch chips that will be read, each once for every time it is named.

        Args:
            chips: Which.
            coming: Those that will be asked for after them, in that order.
            arrays: What is read of each.
        """
        with self._lock:
            self._held.names = tuple(arrays)
            self._asked.extend([number for number in chips if self._held.ask(number)])
            self._coming = frozenset(coming)
            self._ahead = deque(coming[: max(BEGUN_AHEAD, len(chips))])
            self._near = self._window(coming)
            self._held.keep(self._coming.__contains__)
            if self._closed:
                self._give_up(_ended())
            self._pump()

    def forgo(self, chips: Sequence[int]) -> None:
        """Hear that chips will not be read, each once for every time it is named."""
        with self._lock:
            for number in chips:
                if number in self._held and self._held[number].uses:
                    self._used(number)
            self._pump()

    def read(self, chip: int, into: Into, scratch: Scratch) -> None:
        """Read some arrays of one chip.

        Raises:
            StoreError: If it is missing or damaged; `into` then holds anything.
            UnreachableError: If the store does not answer, or refuses.
        """
        del scratch  # chunks lie in memory of their own
        with self._lock:
            awaited = self._held.awaits(chip, into)
        while not awaited:  # nobody asked for it, or others are reading it as often as was asked
            self.expect([chip], (), into)
            with self._lock:
                awaited = self._held.awaits(chip, into)
        number = chip // self._per_shard
        try:
            for name, out in into.items():
                self._decode(chip, name, out)
        except DamagedError as error:
            msg = (
                f"shard {number}: chip {chip} is damaged ({error}); s1s2 push, from where the "
                "corpus is whole, mends it"
            )
            raise StoreError(msg) from error
        except UnprovenError as error:
            msg = f"chip {chip} (shard {number}) is not proven: {error}"
            raise StoreError(msg) from error
        finally:
            self._had(chip)

    def close(self) -> None:
        """Let requests end, and whoever waits for one."""
        with self._lock:
            self._closed = True
            self._give_up(_ended())
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _window(self, coming: Sequence[int]) -> dict[int, set[int]]:
        """Return by shard the places of the chips that all could be held at once."""
        means = self._means or [sum(self._forms[name].nbytes for name in self._held.names)]
        many = int(self._hold_bytes / max(1, sum(means) / len(means)))
        near = defaultdict(set)
        for number in (*self._held.unread(), *coming[:many]):
            near[number // self._per_shard].add(number % self._per_shard)
        return near

    def _pump(self) -> None:
        """Begin as many requests as may be under way."""
        while self._flying < self._requests and not self._closed:
            if self._asked:
                number = self._asked.popleft()
            elif self._ahead and self._held.nbytes < self._hold_bytes:
                number = self._ahead.popleft()
                self._held.chip(number)
            else:
                return
            if number in self._held:  # else it is of a pass that was left
                self._start(number)

    def _start(self, number: int) -> None:
        names, shard = self._held.names, number // self._per_shard
        if self._held[number].started >= set(names):
            return
        opened = self._opened.get(shard, {})
        if opened.keys() >= set(names):
            self._fetch(number, opened)
        elif shard in self._opening:
            self._opening[shard].append(number)
        else:
            self._opening[shard] = [number]
            self._fly(lambda: self._open(shard, names))

    def _fetch(self, number: int, opened: _Shard) -> None:
        """Begin to fetch what was not begun yet of one chip, and of those near it."""
        shard, place = divmod(number, self._per_shard)
        for name in self._held.names:
            if self._held.has_begun(number, name):
                continue
            found = opened[name]
            run = self._run(found, shard, place) if found.has(place) else []
            first = shard * self._per_shard
            awaited = [self._held.begin(first + one, name, found.length(one)) for one in run]
            if run:
                self._bring(found, run, number, awaited)
                continue
            missing = self._corpus.damaged(found, place, "is missing")
            fail([self._held.begin(number, name, 0)], missing)

    def _run(self, found: Object, shard: int, place: int) -> list[int]:
        """Return which chunks of a file to fetch with one."""
        near, first, name = self._near.get(shard, set()), shard * self._per_shard, found.form.name

        def wanted(other: int) -> bool:
            known = other not in near or self._held.has_begun(first + other, name)
            return not known and found.has(other)

        return found.lying.run(place, wanted, self._hold_bytes - self._held.nbytes)

    def _fly(self, task: Callable[[], None]) -> None:
        self._flying += 1
        try:
            self._pool.submit(self._flown, task)
        except RuntimeError:  # the program ends, and nothing that is waited for will come
            self._closed = True
            self._give_up(_ended())

    def _flown(self, task: Callable[[], None]) -> None:
        try:
            task()
        finally:
            with self._lock:
                self._flying -= 1
                self._pump()

    def _open(self, shard: int, names: Sequence[str]) -> None:
        """Read the indices of a shard; those who wait for it are first in line then."""
        try:
            opened = self._corpus.objects(shard, names)
        except Exception as error:  # noqa: BLE001  # whoever waits must hear of it
            with self._lock:
                waiting = self._opening.pop(shard)
                self._held.fail(waiting, self._lost(waiting[0], error))
            return
        with self._lock:
            self._opened[shard] = opened
            self._means.append(sum(found.lying.mean for found in opened.values()))
            waiting = self._opening.pop(shard)
            for number in [n for n in reversed(waiting) if n in self._held]:
                line = self._asked if self._held[number].uses else self._ahead
                line.appendleft(number)

    def _bring(
        self, found: Object, run: Sequence[int], number: int, awaited: Sequence[Awaited]
    ) -> None:
        """Begin to fetch a run of chunks, for one chip, and for those who wait for the others."""

        def task() -> None:
            try:
                chunks = self._corpus.chunks(found, run)
            except Exception as error:  # noqa: BLE001  # whoever waits must hear of it
                with self._lock:
                    fail(awaited, self._lost(number, error))
                return
            with self._lock:
                give(awaited, found, chunks)

        self._fly(task)

    def _lost(self, number: int, error: Exception) -> Exception:
        """Return what to tell those who wait, with one of the chips that did not come.

        If it is no fault of a chip, all others are told too: each would wait as long, one by one.
        """
        if isinstance(error, DamagedError | UnprovenError):
            return error
        if isinstance(error, UnreachableError):
            error = self._unread(number, str(error))
        self._give_up(error)
        return error

    def _unread(self, number: int, why: str) -> UnreachableError:
        shard = number // self._per_shard
        return UnreachableError(f"shard {shard}: chip {number} cannot be read now: {why}")

    def _give_up(self, error: Exception) -> None:
        """Fail all that has not come."""
        self._asked.clear()
        self._ahead.clear()
        self._held.fail_all(error)

    def _decode(self, number: int, name: str, out: NDArray[Any]) -> None:
        with self._lock:
            awaited = self._held[number].chunks[name]
        try:
            found, chunk = awaited.result(self._timeout_s)
        except TimeoutError as error:
            raise self._unread(number, f"no answer within {self._timeout_s:g} s") from error
        try:
            unpack(found.form, chunk, out)
        except ValueError:
            # bytes may change on their way; those that are damaged there come again as they were
            self._decode_again(number, found, out)

    def _decode_again(self, number: int, found: Object, out: NDArray[Any]) -> None:
        place = number % self._per_shard
        try:
            (chunk,) = self._corpus.chunks(found, [place])
            unpack(found.form, chunk, out)
        except UnreachableError as error:
            raise self._unread(number, str(error)) from error
        except ValueError as error:
            raise self._corpus.damaged(found, place, str(error)) from error

    def _had(self, number: int) -> None:
        """Let go of a chip that was read, unless it is wanted again."""
        with self._lock:
            self._held[number].reads -= 1
            self._used(number)
            self._pump()

    def _used(self, number: int) -> None:
        """Count one use of a chip less; keep it only if it comes again soon, and there is room."""
        chip, (shard, place) = self._held[number], divmod(number, self._per_shard)
        chip.uses -= 1
        near = self._near.get(shard, set())
        soon = number in self._coming and place in near
        if chip.uses <= 0 and not (soon and self._held.nbytes <= self._hold_bytes):
            near.discard(place)
            self._held.forget(number)


def _ended() -> UnreachableError:
    return UnreachableError("the reading was ended")
