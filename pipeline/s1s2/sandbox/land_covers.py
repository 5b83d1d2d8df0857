"""The known land cover as a collection: one layer of every tile with land, at all times."""

from collections.abc import Iterator

import numpy as np

from s1s2.sandbox.area import Area
from s1s2.sandbox.orbits import Ints, microseconds
from s1s2.sandbox.scenes import COVER_BEGINS, COVER_ENDS, CoverTile
from s1s2.sandbox.tiles import Tiles

_PREFIX = "land-cover_"
PERIOD = microseconds(COVER_BEGINS), microseconds(COVER_ENDS)
"""From when until when the layer holds, microseconds since 1970."""


class LandCovers:
    """Finds layers by place; they all hold at any time of the archive."""

    def __init__(self, tiles: Tiles) -> None:
        self._tiles = tiles

    def named(self, identity: str) -> CoverTile | None:
        """Return the layer of an id, if there is one."""
        row = self._tiles.number.get(identity.removeprefix(_PREFIX))
        return None if row is None or not identity.startswith(_PREFIX) else self._layer(row)

    def between(self, area: Area | None, begins: int, ends: int) -> Iterator[CoverTile]:
        """Yield the layers that meet an area, in descending order of their ids.

        Args:
            area: What they must meet; None for anything.
            begins: A layer that ends earlier (microseconds) is not wanted.
            ends: Nor one that begins later.
        """
        if ends < PERIOD[0] or begins > PERIOD[1]:
            return
        for row in reversed(self._near(area).tolist()):  # tiles are sorted by name
            yield self._layer(row)

    def _near(self, area: Area | None) -> Ints:
        if area is None:
            return np.arange(len(self._tiles.name))
        rows = area.candidates(self._tiles.tree)
        return rows[area.meets(self._tiles.outline[rows])]

    def _layer(self, row: int) -> CoverTile:
        tiles = self._tiles
        return CoverTile(
            id=f"{_PREFIX}{tiles.name[row]}",
            tile=tiles.name[row],
            epsg=int(tiles.epsg[row]),
            left=float(tiles.left[row]),
            top=float(tiles.top[row]),
            footprint=tiles.outline[row],
        )
