"""An area of search in degrees, found from both sides of the antimeridian."""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import affinity
from shapely.geometry.base import BaseGeometry

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Objects = NDArray[np.object_]

_WEST, _EAST = -200.0, 200.0  # outlines go on beyond 180 by less than this


@dataclass(frozen=True)
class Area:
    """A geometry and its turns by 360 degrees that can meet an outline."""

    turned: tuple[BaseGeometry, ...]

    @classmethod
    def of(cls, geometry: BaseGeometry) -> "Area":
        """Take a geometry in degrees, longitudes of -180 to 180 or beyond."""
        west, _, east, _ = geometry.bounds
        turns = [t for t in (0.0, 360.0, -360.0) if west + t < _EAST and east + t > _WEST]
        near = [affinity.translate(geometry, turn) if turn else geometry for turn in turns]
        shapely.prepare(near)
        return cls(tuple(near))

    def candidates(self, tree: shapely.STRtree) -> Ints:
        """Return which boxes of a tree may meet the area, sorted."""
        # the parts one by one: the box around scattered points holds half a continent
        parts = shapely.get_parts(list(self.turned))
        return np.unique(tree.query(parts)[1]).astype(np.int64)

    def meets(self, outlines: Objects) -> Bools:
        """Say which outlines meet the area."""
        found = np.zeros(len(outlines), dtype=bool)
        for geometry in self.turned:
            found |= shapely.intersects(geometry, outlines)
        return found
