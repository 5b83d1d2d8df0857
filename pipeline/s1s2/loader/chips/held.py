"""Chips that are on their way, or here, still encoded; whoever uses it holds its reader's lock."""

from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from s1s2.loader.chips.objects import Object

Chunk = tuple[Object, memoryview]
"""Where it lay, and as it is stored."""
Awaited = Future[Chunk]


@dataclass
class Chip:
    """One chip, on its way or here."""

    chunks: dict[str, Awaited]
    """By array."""
    started: set[str] = field(default_factory=set)
    """Arrays that are on their way, or here."""
    nbytes: int = 0
    uses: int = 0
    """How often it was asked for and not read yet."""
    reads: int = 0
    """How many of these are being read."""

    @property
    def failed(self) -> bool:
        """Whether a part of it did not come."""
        return any(f.done() and f.exception() is not None for f in self.chunks.values())


class Held:
    """The chips, by number, and how many bytes all of them have."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        """The arrays that are read of each."""
        self.nbytes = 0
        self._chips: dict[int, Chip] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._chips

    def __getitem__(self, number: int) -> Chip:
        return self._chips[number]

    def chip(self, number: int) -> Chip:
        """Return a chip; one that nobody had asked for yet is begun."""
        found = self._chips.get(number)
        if found is None:
            found = self._chips[number] = Chip({name: Future() for name in self.names})
        return found

    def awaits(self, number: int, names: Collection[str]) -> bool:
        """Say whether a chip was asked for with these arrays, and take one of its uses to read."""
        found = self._chips.get(number)
        if found is None or found.uses <= found.reads or not found.chunks.keys() >= set(names):
            return False
        found.reads += 1
        return True

    def ask(self, number: int) -> bool:
        """Count one more use of a chip, and say whether any of it is still to be begun."""
        known = self._chips.get(number)
        whole = known is not None and known.chunks.keys() >= set(self.names)
        if known is not None and (known.failed or not whole):
            self.forget(number)
        chip = self.chip(number)
        if known is not None:
            chip.uses, chip.reads = known.uses, known.reads
        chip.uses += 1
        return not chip.started >= set(self.names)

    def unread(self) -> list[int]:
        """Return the chips that were asked for and not read yet."""
        return [number for number, chip in self._chips.items() if chip.uses]

    def has_begun(self, number: int, name: str) -> bool:
        """Say whether a part of a chip is on its way, or here."""
        return number in self._chips and name in self._chips[number].started

    def begin(self, number: int, name: str, nbytes: int) -> Awaited:
        """Note that a part of a chip is on its way."""
        chip = self.chip(number)
        chip.started.add(name)
        chip.nbytes += nbytes
        self.nbytes += nbytes
        return chip.chunks[name]

    def forget(self, number: int) -> None:
        """Let go of a chip."""
        chip = self._chips.pop(number, None)
        self.nbytes -= 0 if chip is None else chip.nbytes

    def keep(self, coming: Callable[[int], bool]) -> None:
        """Let go of what nobody asked for, and nobody will: it is of a pass that was left."""
        for number in [n for n, chip in self._chips.items() if not chip.uses and not coming(n)]:
            self.forget(number)

    def fail(self, numbers: Iterable[int], error: Exception) -> None:
        """Tell whoever waits for some chips that they do not come."""
        for number in numbers:
            if number in self._chips:
                fail(self._chips[number].chunks.values(), error)

    def fail_all(self, error: Exception) -> None:
        """Tell whoever waits for any."""
        self.fail(list(self._chips), error)


def give(awaited: Sequence[Awaited], found: Object, chunks: Sequence[memoryview]) -> None:
    """Hand out chunks that came to those who wait for them, and have not given up."""
    for future, chunk in zip(awaited, chunks, strict=True):
        if not future.done():
            future.set_result((found, chunk))


def fail(awaited: Iterable[Awaited], error: Exception) -> None:
    """Tell those who wait for some chunks, and have not given up, that they do not come."""
    for future in awaited:
        if not future.done():
            future.set_exception(error)
