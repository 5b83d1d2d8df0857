"""The land mask made coarse, for questions about whole tiles and slices. No islet gets lost."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s1s2.land import land_mask

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SOUTH, NORTH = -60.0, 84.0
"""Land is recorded between these latitudes: Antarctica is left out, and nothing lies beyond."""
REACH_KM = 20.0
"""How far around itself a cell of `near_land` looks."""
COARSE = 4
"""Cells a degree of `near_land`."""
_FINE = 10
_PAD = 20  # degrees that `LandRows` goes on beyond 180, as tiles do
_PER_DEGREE = 120
_RUNS_AT_ONCE = 20_000


def _cells() -> Bools:
    """Return which cells of 0.1 degree hold any land of the mask, from north-west."""
    edges = land_mask().edges
    runs = edges[: len(edges) // 2 * 2].reshape(-1, 2)
    change = np.zeros((180 * _FINE, 360 * _FINE + 1), dtype=np.int16)
    for start in range(0, len(runs), _RUNS_AT_ONCE):  # all at once take 150 MB
        _mark(runs[start : start + _RUNS_AT_ONCE], change)
    np.cumsum(change, axis=1, out=change)
    cells = change[:, :-1] > 0
    cells[: int((90 - NORTH) * _FINE)] = False
    cells[int((90 - SOUTH) * _FINE) :] = False
    return np.asarray(cells)


def _mark(runs: Ints, change: NDArray[np.int16]) -> None:
    """Count where runs of land start in each row of cells, and where they have ended."""
    columns = 360 * _PER_DEGREE
    starts, ends = runs.T
    rows = ends // columns - starts // columns + 1  # runs go on over the ends of rows
    row = np.repeat(starts // columns, rows)
    row += np.arange(len(row)) - np.repeat(np.cumsum(rows) - rows, rows)
    first = np.maximum(np.repeat(starts, rows), row * columns) - row * columns
    last = np.minimum(np.repeat(ends, rows), (row + 1) * columns) - row * columns - 1
    keep = last >= first
    row, first, last = row[keep], first[keep], last[keep]
    step = _PER_DEGREE // _FINE
    np.add.at(change, (row // step, first // step), 1)
    np.add.at(change, (row // step, last // step + 1), -1)


class LandRows:
    """Says whether stretches of parallels cross land, by running totals."""

    def __init__(self) -> None:
        cells, pad = _cells(), _PAD * _FINE
        wide = np.hstack([cells[:, -pad:], cells, cells[:, :pad]])
        self._total = np.zeros((wide.shape[0], wide.shape[1] + 1), dtype=np.int16)
        np.cumsum(wide, axis=1, dtype=np.int16, out=self._total[:, 1:])

    def stretches(self, west: Floats, east: Floats, lat: Floats) -> "Stretches":
        """Note where stretches of parallels lie, in degrees from a meridian yet to be named."""
        row = np.clip(((90 - lat) * _FINE).astype(np.int64), 0, 180 * _FINE - 1)
        start = row * self._total.shape[1] + (180 + _PAD) * _FINE
        left = np.floor(west * _FINE).astype(np.int64)
        right = np.floor(east * _FINE).astype(np.int64) + 1
        return Stretches(self._total.ravel(), start + left, start + right)


@dataclass(frozen=True)
class Stretches:
    """Stretches of parallels, as positions in the running totals."""

    total: NDArray[np.int16]
    first: Ints
    last: Ints

    def cross_land(self, meridian: int, rows: Ints) -> Bools:
        """Say which squares (first axis, those in `rows`) have a stretch with land."""
        move = meridian * _FINE
        found = self.total[self.last[rows] + move] > self.total[self.first[rows] + move]
        return np.asarray(found.any(axis=tuple(range(1, found.ndim))))


def near_land() -> Bools:
    """Return which cells of 0.25 degree, from north-west, have land within `REACH_KM`."""
    # a cell of 0.25 degree is 2.5 of the fine ones and touches three
    cells = _cells()
    down, across = (np.arange(degrees * COARSE) * _FINE // COARSE for degrees in (180, 360))
    cells = cells[down] | cells[down + 1] | cells[down + 2]
    blocks: Bools = cells[:, across] | cells[:, across + 1] | cells[:, across + 2]
    tall = blocks.copy()
    tall[1:] |= blocks[:-1]
    tall[:-1] |= blocks[1:]
    near = tall.copy()
    for row, flags in enumerate(tall):
        poleward = max(abs(90 - row / COARSE), abs(90 - (row + 1) / COARSE))
        cell_km = 111.2 / COARSE * np.cos(np.radians(min(poleward, 88.0)))
        for shift in range(1, int(np.ceil(REACH_KM / cell_km)) + 1):
            near[row] |= np.roll(flags, shift) | np.roll(flags, -shift)
    return near
