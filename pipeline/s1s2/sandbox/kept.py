"""What was worked out once, kept in memory up to a number."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Works out values many at a time, and forgets all of them when they become too many.

    Several threads may ask at once, without a lock: a dict that was handed out only ever grows.
    """

    def __init__(self, most: int, make: Callable[[list[K]], Iterable[V]]) -> None:
        self._most, self._make = most, make
        self._known: dict[K, V] = {}

    def of(self, keys: Sequence[K]) -> Mapping[K, V]:
        """Return values by their keys: those of `keys`, and perhaps others."""
        known = self._known
        missing = [k for k in dict.fromkeys(keys) if k not in known]
        if len(known) + len(missing) > self._most:
            known = self._known = {}
            missing = list(dict.fromkeys(keys))
        if missing:
            known.update(zip(missing, self._make(missing), strict=True))
        return known
