"""Which chunks of a shard's file travel in one request. Pure.

A chunk is fetched with those around it that will be wanted soon. Runs begin at fixed places, so
that they fill a file without leaving odd ends; few bytes between them that nobody wants come along.
"""

from collections.abc import Callable
from itertools import pairwise, takewhile

import numpy as np
from numpy.typing import NDArray

MOST = 16
"""Chunks in one request, at most: some megabytes."""
_WASTE = 1 / 4
"""Bytes that nobody wants, for each that somebody does, at most: less than requests cost."""


class Lying:
    """Where the chunks of one file lie, in the order in which they lie there.

    Args:
        index: Offset and length of every chunk, shape (chunks, 2); -1 for one that is not there.
    """

    def __init__(self, index: NDArray[np.int64]) -> None:
        self.starts, self.lengths = index[:, 0], index[:, 1]
        there = self.lengths[self.lengths > 0]
        self.mean = float(there.mean()) if len(there) else 0.0
        """Bytes of a chunk, in the mean."""
        self._order = np.argsort(self.starts, kind="stable")
        self._rank = np.empty_like(self._order)
        self._rank[self._order] = np.arange(len(index))

    def run(self, place: int, wanted: Callable[[int], bool], room: int) -> list[int]:
        """Return which chunks to fetch with one, itself among them, as they lie in the file.

        Args:
            place: The chunk that is needed.
            wanted: Says of another chunk that is there whether it would be of use.
            room: How many bytes these others may have together.

        Examples:
            >>> four = Lying(np.array([[0, 10], [30, 10], [10, 20], [40, 10]]))
            >>> four.run(1, lambda place: True, room=100), four.run(1, {0, 3}.__contains__, 100)
            ([0, 2, 1, 3], [1, 3])
        """
        at = int(self._rank[place])
        first = at - at % MOST
        block: list[int] = self._order[first : first + MOST].tolist()
        useful = [one for one in block if one == place or wanted(one)]
        _, length = self.span(useful)
        many = int(self.lengths[useful].sum())
        if length - many <= _WASTE * many and many - self.lengths[place] <= room:
            return useful
        return self._touching(place, block[at - first :], block[at - first :: -1], useful, room)

    def _touching(
        self, place: int, after: list[int], before: list[int], useful: list[int], room: int
    ) -> list[int]:
        """Return a chunk and those useful that follow it, or come before it, without a gap."""
        found = [place]
        for side in (after, before):
            pairs = pairwise(side)
            near = takewhile(lambda pair: pair[1] in useful and self._touch(*pair), pairs)
            for _, one in near:
                room -= int(self.lengths[one])
                if room < 0:
                    break
                found.append(one)
        return sorted(found, key=lambda one: int(self._rank[one]))

    def _touch(self, one: int, other: int) -> bool:
        low, high = sorted((one, other), key=lambda chunk: int(self._rank[chunk]))
        return bool(self.starts[low] + self.lengths[low] == self.starts[high])

    def span(self, run: list[int]) -> tuple[int, int]:
        """Return where a run begins in the file, and how many bytes it has."""
        start = int(self.starts[run[0]])
        return start, int(self.starts[run[-1]] + self.lengths[run[-1]]) - start
