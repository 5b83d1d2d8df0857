"""Where land is: a 1 km mask that travels with the package as run lengths. No download, 3 MB."""

from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

_PER_DEGREE = 120


class LandMask:
    """Land or sea on a grid of degrees, kept as the positions where one turns into the other."""

    def __init__(self, runs: NDArray[np.uint32], per_degree: int = _PER_DEGREE) -> None:
        self._edges = np.cumsum(runs, dtype=np.int64)
        self._per_degree = per_degree

    @property
    def edges(self) -> NDArray[np.int64]:
        """Cells, counted row by row from north-west, at which land starts and ends in turn."""
        return self._edges

    def __call__(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Say which places (degrees, WGS 84) are on land; lakes count as land.

        Examples:
            >>> land_mask()(np.array([10.45, -30.0]), np.array([51.16, 30.0]))
            array([ True, False])
        """
        rows, columns = 180 * self._per_degree, 360 * self._per_degree
        row = np.clip(np.floor((90 - lat) * self._per_degree), 0, rows - 1)
        column = np.mod(np.floor((lon + 180) * self._per_degree), columns)
        flat = (row * columns + column).astype(np.int64)
        return np.asarray(np.searchsorted(self._edges, flat, side="right") % 2 == 1)


def pack(land: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Turn a mask (row, column), True on land, into the lengths of its runs, sea first.

    Examples:
        >>> pack(np.array([[False, False, True], [True, False, False]]))
        array([2, 2], dtype=uint32)
        >>> pack(np.array([[False, True, True], [False, False, True]]))
        array([1, 2, 2], dtype=uint32)
    """
    flat = land.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat[0]:
        edges = np.concatenate([[0], edges])
    return np.diff(edges, prepend=0).astype(np.uint32)


@lru_cache(maxsize=1)
def land_mask() -> LandMask:
    """Load the mask that ships with the package."""
    with files("s1s2").joinpath("data/land.npz").open("rb") as file, np.load(file) as packed:
        return LandMask(packed["runs"])
