"""The simulated archive: which scenes exist, found by place and time, or by id.

Nothing is stored: both missions repeat, so that a scene is one of some tens of thousands of passes
and slices and the number of a cycle. Looking is lazy, from the newest scene on.
"""

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache

from shapely.geometry.base import BaseGeometry

from s1s2.sandbox.area import Area
from s1s2.sandbox.land_covers import PERIOD, LandCovers
from s1s2.sandbox.orbits import (
    DAY,
    END_OF_ARCHIVE,
    S1_UNITS,
    S2_UNITS,
    microseconds,
)
from s1s2.sandbox.s1_scenes import RadarScenes
from s1s2.sandbox.s2_scenes import OpticalScenes
from s1s2.sandbox.scenes import (
    COVER_BEGINS,
    COVER_COLLECTION,
    S1_COLLECTION,
    S2_COLLECTION,
    CoverTile,
    OpticalScene,
    RadarScene,
)
from s1s2.sandbox.tiles import land_tiles

Scene = OpticalScene | RadarScene | CoverTile

_AT_ONCE, _KNOWN = 600, 1024
"""About how many scenes are looked at in one go, and how many are remembered by their ids."""


class Archive:
    """All scenes of a seed.

    Examples:
        >>> from datetime import UTC
        >>> from shapely import Point
        >>> at = datetime(2019, 8, 1, tzinfo=UTC), datetime(2019, 8, 11, tzinfo=UTC)
        >>> scenes = Archive().scenes("sentinel-2-l2a", Point(1.5, 43.6), *at)
        >>> sorted({(s.platform, s.relative_orbit, s.tile) for s in scenes})
        [('S2A', 51, '31TCJ'), ('S2B', 51, '31TCJ')]
    """

    def __init__(self, seed: int = 0) -> None:
        self._layers = LandCovers(land_tiles())
        self._shelves: dict[str, OpticalScenes | RadarScenes] = {
            S2_COLLECTION: OpticalScenes(seed),
            S1_COLLECTION: RadarScenes(seed),
        }
        # a file is read in many pieces, and every one names its scene
        self._known = lru_cache(maxsize=_KNOWN)(self._find)

    def scenes(
        self, collection: str, area: BaseGeometry | None, begins: datetime, ends: datetime
    ) -> Iterator[Scene]:
        """Yield the scenes of a collection, newest first.

        Args:
            collection: `sentinel-2-l2a`, `sentinel-1-rtc` or `sandbox-land-cover`, whose layers
                hold at any time: of the same time, they come by descending ids.
            area: Any geometry in degrees that the data must meet; None for the whole Earth.
            begins: Earliest STAC `datetime`: start of the datatake (Sentinel-2) or middle of the
                slice (Sentinel-1).
            ends: Latest one.

        Raises:
            KeyError: If there is no such collection.
        """
        place = None if area is None else Area.of(area)
        if collection == COVER_COLLECTION:
            yield from self._layers.between(place, microseconds(begins), microseconds(ends))
            return
        shelf = self._shelves[collection]
        rows = shelf.near(place)
        if not len(rows):
            return
        first, last = extent(collection)
        since, until = max(microseconds(begins), first), min(microseconds(ends), last)
        step = max(1, int(_AT_ONCE / shelf.per_day(rows) * DAY))
        while until >= since:
            start = max(since, until - step + 1)
            found: list[Scene] = [*shelf.between(rows, place, start, until)]
            yield from sorted(found, key=lambda s: (stac_time(s), s.id), reverse=True)
            until = start - 1

    def scene(self, collection: str, identity: str) -> Scene | None:
        """Return the scene of an id: the one that a search would give, or None."""
        return self._known(collection, identity)

    def _find(self, collection: str, identity: str) -> Scene | None:
        shelf = (self._shelves | {COVER_COLLECTION: self._layers}).get(collection)
        return shelf.named(identity) if shelf else None


def stac_time(scene: Scene) -> datetime:
    """Return what Planetary Computer gives as a scene's `datetime`."""
    if isinstance(scene, OpticalScene):
        return scene.datatake_starts
    if isinstance(scene, CoverTile):
        return COVER_BEGINS
    return scene.starts + (scene.ends - scene.starts) // 2  # to the microsecond, rounded down


def extent(collection: str) -> tuple[int, int]:
    """Return when a collection's first and last scenes can be, microseconds since 1970."""
    if collection == COVER_COLLECTION:
        return PERIOD
    units = S2_UNITS if collection == S2_COLLECTION else S1_UNITS
    return min(u.begins for u in units), END_OF_ARCHIVE
