"""Chips of a corpus, read directly into memory of the caller; one reader serves many threads."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

from numpy.typing import NDArray

from s1s2.errors import StoreError
from s1s2.loader.shards import ArrayForm, DamagedError, Scratch, Shard

Said = Mapping[str, tuple[str, int]]
"""Of one shard, by array: its file, and how many bytes that has."""
Into = Mapping[str, NDArray[Any]]
"""Of one chip, by array: where to write it."""

BEGUN_AHEAD = 128
"""Chips of a store that are fetched before anybody waits for them; neighbours come along."""
_FORESEEN = 64
"""So many batches are foreseen after a read that had to wait for its disk."""
_OPEN_AT_MOST = 256
"""Files held open: a process may by default hold 1,024, on some systems 256 of each kind."""


@dataclass(frozen=True)
class Remote:
    """What reading below a URL needs to know, beside the URL."""

    proofs: Mapping[int, str]
    """By shard the hash of its receipt, as `corpus.json` says."""
    hold_mb: int = 512
    """Megabytes of encoded chips fetched before they are asked for, at most."""
    requests: int = 64
    """Requests under way at once."""


class Reading(Protocol):
    """What reads a chip, whichever way; any thread may ask it."""

    def expect(self, chips: Sequence[int], coming: Sequence[int], arrays: Iterable[str]) -> None:
        """Hear which chips will be read now, and which later, in that order; and what of each."""
        ...

    def forgo(self, chips: Sequence[int]) -> None:
        """Hear that chips it was told of will not be read after all."""
        ...

    def close(self) -> None:
        """End whatever is under way; who waits for a chip then gets an error."""
        ...

    def read(self, chip: int, into: Into, scratch: Scratch) -> None:
        """Read some arrays of one chip.

        Raises:
            StoreError: If it is missing or damaged.
            UnreachableError: If it lies in a store that does not answer, or refuses.
        """
        ...


class AtOnce:
    """A reader that reads when it is asked to: nothing is under way beforehand."""

    def expect(self, chips: Sequence[int], coming: Sequence[int], arrays: Iterable[str]) -> None:
        """Do nothing."""

    def forgo(self, chips: Sequence[int]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class ChipReader(AtOnce):
    """Reads chips straight from their shards.

    While reads have to wait for a disk, the system is told of chips beforehand, so that it fetches
    many side by side, however few threads decode. While all lie in memory, and the file system can
    say so, that is spared.

    Args:
        forms: The arrays.
        said_of: Says of a shard what its receipt says of its files; any thread may ask.
        open_at_most: Files to hold open; no fewer than one shard has.
    """

    def __init__(
        self,
        forms: Sequence[ArrayForm],
        said_of: Callable[[int], Said],
        open_at_most: int = _OPEN_AT_MOST,
    ) -> None:
        self._forms, self._per_shard = tuple(forms), forms[0].per_shard
        self._said_of, self._open_at_most = said_of, open_at_most
        self._opened: dict[int, dict[str, Shard]] = {}
        self._recent: OrderedDict[tuple[int, str], Shard] = OrderedDict()
        self._lock = Lock()
        self._waited = _FORESEEN
        self._foreseeing = ThreadPoolExecutor(1, "s1s2-foresee")

    def expect(self, chips: Sequence[int], coming: Sequence[int], arrays: Iterable[str]) -> None:
        """Let the system fetch chips that will be read now, if disks had to be waited for lately.

        Args:
            chips: Which.
            coming: Those that will be read later; they are none of its concern.
            arrays: What of each.
        """
        del coming
        if self._waited:
            self._waited -= 1
            # not in the calling thread: a disk that hangs must not keep it from its limits; and it
            # is but advice: at the end of a program no thread can be begun
            with suppress(RuntimeError):
                self._foreseeing.submit(self._foresee, list(chips), list(arrays))

    def close(self) -> None:
        """Let the thread end."""
        self._foreseeing.shutdown(wait=False, cancel_futures=True)

    def _foresee(self, chips: Sequence[int], arrays: Sequence[str]) -> None:
        for chip in chips:
            number, place = divmod(chip, self._per_shard)
            with suppress(StoreError):  # whoever reads it will be told
                shards = self._shards(chip, number, arrays)
                for name in arrays:
                    shards[name].foresee(place)

    def read(self, chip: int, into: Into, scratch: Scratch) -> None:
        """Read some arrays of one chip.

        Args:
            chip: Which.
            into: By array where to, of its shape and dtype, contiguous.
            scratch: Memory of the calling thread.

        Raises:
            StoreError: If it is missing or damaged; `into` then holds anything.
        """
        number, place = divmod(chip, self._per_shard)
        try:
            shards = self._shards(chip, number, into)
            for name, out in into.items():
                if not shards[name].read(place, out, scratch):
                    self._waited = _FORESEEN
        except DamagedError as error:
            msg = (
                f"shard {number}: chip {chip} is damaged ({error}); s1s2 verify tells what else "
                "is, with --repair it mends it"
            )
            raise StoreError(msg) from error

    def _shards(self, chip: int, number: int, used: Iterable[str]) -> dict[str, Shard]:
        """Return the files of a shard, every one of which was looked at before any is read."""
        with self._lock:
            shards = self._opened.get(number)
        if shards is None:  # not under the lock: on slow storage threads open shards side by side
            said = said_for(chip, number, self._said_of)
            opened = {form.name: Shard(form, *said[form.name]) for form in self._forms}
            with self._lock:
                shards = self._opened.setdefault(number, opened)
                if shards is opened:  # else another thread was first
                    self._hold(number, opened)
        with self._lock:
            self._hold(number, {name: shards[name] for name in used})
        return shards

    def _hold(self, number: int, shards: Mapping[str, Shard]) -> None:
        """Hold the files of a shard open, and let go of those that were not used for longest."""
        for name, shard in shards.items():
            self._recent[number, name] = shard
            self._recent.move_to_end((number, name))
        while len(self._recent) > self._open_at_most:
            self._recent.popitem(last=False)[1].let_go()


def said_for(chip: int, shard: int, said_of: Callable[[int], Said]) -> Said:
    """Return what the receipt of a chip's shard says of its files.

    Raises:
        StoreError: If it is missing, or not the one the corpus was finished with.
    """
    try:
        return said_of(shard)
    except StoreError as error:
        msg = f"chip {chip} (shard {shard}) is not proven: {error}"
        raise StoreError(msg) from error
