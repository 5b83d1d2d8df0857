"""Which footprints hold a point, and a whole chip around it. Pure, vectorised."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely

from s1s2 import grid
from s1s2.side import TURNS, Bools, Floats, Ints, Near, Side

_TOLERANCE_M = 1.0
"""Footprints are rounded to about this much; the pixels themselves are tested later."""
_EDGE = np.array([0.0, 0.5, 1.0])
_EDGES_AT_ONCE = 1 << 16
"""Edges measured at once: their numbers then stay in the processor's cache."""
# what "well inside" is measured with: too short a degree, and a chip larger than any UTM makes it
_DEGREE_M, _LARGER, _SNAP_M = 110_500.0, 1.05, 60.0
_PLAIN_LAT, _PLAIN_LON = 84.0, 8.0
"""So far from the equator, and from a zone's middle, that holds."""


@dataclass(frozen=True)
class Hits:
    """Pairs of (point, scene) as row numbers into both, sorted by point and scene."""

    point: Ints
    scene: Ints

    def where(self, keep: Bools | Ints) -> "Hits":
        """Take some of the pairs, or some several times."""
        return Hits(self.point[keep], self.scene[keep])


def find_hits(lon: Floats, lat: Floats, near: Near) -> Hits:
    """Find the footprints that hold each point, whichever way round the Earth they are written.

    The points are the tree and the footprints ask it: a footprint that is prepared once answers
    for all its points.
    """
    west, _, east, _ = near.side.box[near.rows].T
    found = [np.empty((2, 0), dtype=np.int64)]
    for turn in TURNS if len(lon) else ():
        turned = lon + turn
        asked = np.flatnonzero((west <= turned.max()) & (east >= turned.min()))
        if len(asked):
            tree = shapely.STRtree(shapely.points(turned, lat))
            scene, point = tree.query(near.feet[asked], predicate="intersects")
            found.append(np.stack([point, near.rows[asked[scene]]]))
    point, scene = np.concatenate(found, axis=1).astype(np.int64)
    n_scenes = len(near.side.id)
    point, scene = np.divmod(np.unique(point * n_scenes + scene), max(n_scenes, 1))
    return Hits(point, scene)


@dataclass(frozen=True)
class Chips:
    """Chips placed on lattices, as columns."""

    point: Ints
    epsg: Ints
    bounds: Floats
    """Of the files, shape (n, 4)."""
    left: Floats
    top: Floats
    off_centre_m: Floats
    """From the middle of the files."""

    def take(self, rows: Ints) -> "Chips":
        """Take some of them, or some several times."""
        return Chips(*(column[rows] for column in vars(self).values()))


def place_chips(
    lon: Floats, lat: Floats, hits: Hits, side: Side, spec: grid.GridSpec
) -> tuple[Chips, Ints]:
    """Place the chips of points on the lattices of optical scenes, one for all scenes of a lattice.

    Where the item does not state its files' bounds, the lattice is unknown until they are opened:
    the chip is then placed around the point itself, to be snapped when it is cut.

    Returns:
        The chips, and which of them each hit has.
    """
    scenes, scene = np.unique(hits.scene, return_inverse=True)
    stated = np.column_stack([side.epsg[scenes], side.bounds[scenes]])
    # one number that is no bound stands for NaN, which differs from itself
    _, which = np.unique(np.nan_to_num(stated, nan=np.inf), axis=0, return_inverse=True)
    lattices = int(which.max(initial=0)) + 1
    key = hits.point * lattices + which[scene]
    _, first, chip = np.unique(key, return_index=True, return_inverse=True)
    point, scene = hits.point[first], hits.scene[first]
    epsg, bounds = side.epsg[scene], side.bounds[scene]
    left, top, distance = np.empty(len(epsg)), np.empty(len(epsg)), np.zeros(len(epsg))
    for zone, rows in _zones(epsg):
        x, y = grid.to_utm(lon[point[rows]], lat[point[rows]], zone)
        known = np.isfinite(bounds[rows, 0])
        origin_x = np.where(known, bounds[rows, 0], x - spec.coverage_m / 2)
        origin_y = np.where(known, bounds[rows, 3], y + spec.coverage_m / 2)
        left[rows], top[rows] = grid.snap(x, y, origin_x, origin_y, spec)
        middle = (bounds[rows, :2] + bounds[rows, 2:]) / 2
        distance[rows] = np.nan_to_num(np.hypot(x - middle[:, 0], y - middle[:, 1]), nan=0.0)
    return Chips(point, epsg, bounds, left, top, distance), chip


def _zones(epsg: Ints) -> Iterator[tuple[int, Ints]]:
    """Yield every zone and its rows."""
    order = np.argsort(epsg, kind="stable")
    zones, first = np.unique(epsg[order], return_index=True)
    for zone, (start, stop) in zip(zones.tolist(), pairwise([*first, len(epsg)]), strict=True):
        yield zone, order[start:stop]


def inside_files(chips: Chips, spec: grid.GridSpec) -> Bools:
    """Say which chips lie, with all their 60 m pixels, inside the files as the item states them."""
    west, south, east, north = chips.bounds.T
    across = (chips.left >= west) & (chips.left + spec.coverage_m <= east)
    inside = across & (chips.top <= north) & (chips.top - spec.coverage_m >= south)
    return np.asarray(inside | np.isnan(west))


def near_edge(lon: Floats, lat: Floats, hits: Hits, near: Near, spec: grid.GridSpec) -> Bools:
    """Say in which hits an edge of the footprint may come near the chip, however that is snapped.

    In all others a chip of a zone nearby lies inside with its margin: its corners are closer to the
    point than any edge. Distances are rough, and err towards an edge that is near.
    """
    scene = near.local(hits.scene)
    margin = np.maximum(near.margin_m[scene] - _TOLERANCE_M, 0)
    reach_m = _LARGER * 2**0.5 * (spec.coverage_m / 2 + _SNAP_M + margin)
    # the turn by which the point lies inside
    west = near.side.box[hits.scene, 0]
    turned = lon[hits.point] + np.ceil((west - lon[hits.point]) / 360) * 360
    ends, first = near.edges
    counts = first[scene + 1] - first[scene]
    close = np.abs(lat[hits.point]) > _PLAIN_LAT
    for start, stop in _pieces(counts):
        some = counts[start:stop]
        hit = np.repeat(np.arange(start, stop), some)
        edge = np.arange(len(hit)) - np.repeat(np.cumsum(some) - some, some) + first[scene[hit]]
        away = _distance_m(turned[hit], lat[hits.point[hit]], ends[edge])
        close[hit[away < reach_m[hit]]] = True
    return close


def _pieces(counts: Ints) -> Iterator[tuple[int, int]]:
    """Cut rows into runs of about `_EDGES_AT_ONCE` edges; yield first row and end of each."""
    last = np.cumsum(counts)
    total = int(last[-1]) if len(last) else 0
    starts = np.searchsorted(last, np.arange(0, total, _EDGES_AT_ONCE), side="right")
    edges = np.unique([0, *starts, len(counts)]).tolist()
    yield from pairwise(edges)


def far_from_zone(chips: Chips, lon: Floats) -> Bools:
    """Say which chips lie so far from the middle of their zone that metres there are none."""
    middle = chips.epsg % 100 * 6 - 183
    return np.asarray(np.abs((lon[chips.point] - middle + 180) % 360 - 180) > _PLAIN_LON)


def _distance_m(lon: Floats, lat: Floats, ends: Floats) -> Floats:
    """Return how far edges lie from places, on a plane that touches the Earth at the place."""
    east = _DEGREE_M * np.cos(np.radians(lat))
    x, y = (ends[:, 0] - lon) * east, (ends[:, 1] - lat) * _DEGREE_M
    dx, dy = (ends[:, 2] - ends[:, 0]) * east, (ends[:, 3] - ends[:, 1]) * _DEGREE_M
    along = -(x * dx + y * dy) / np.maximum(dx * dx + dy * dy, 1e-9)
    along = np.clip(along, 0, 1)
    return np.hypot(x + along * dx, y + along * dy)


def inside_footprint(chips: Chips, scene: Ints, near: Near, size_m: float) -> Bools:
    """Say which chips lie inside a footprint by at least the margin of its edges.

    The chip is widened by the margin, unprojected, and tested in degrees, where footprints are
    stated. Its own edges bend by less than a metre over 2.6 km.
    """
    rows = near.local(scene)
    inside = np.zeros(len(rows), dtype=bool)
    margin, centre = near.margin_m[rows] - _TOLERANCE_M, near.centre[rows]
    left, top = chips.left - margin, chips.top + margin
    width = size_m + 2 * margin
    east, south = _outline()
    for zone, here in _zones(chips.epsg):
        x = left[here, None] + width[here, None] * east
        y = top[here, None] - width[here, None] * south
        lon, lat = grid.to_lonlat(x, y, zone)
        lon = centre[here, None] + (lon - centre[here, None] + 180) % 360 - 180
        squares = shapely.polygons(np.stack([lon, lat], axis=-1))
        inside[here] = shapely.covers(near.feet[rows[here]], squares)
    return inside


def _outline() -> tuple[Floats, Floats]:
    """Return the unit square's boundary, from the upper left, with the middle of every side."""
    ones, zeros = np.ones(3), np.zeros(3)
    east = np.concatenate([_EDGE, ones, _EDGE[::-1], zeros])
    south = np.concatenate([zeros, _EDGE, ones, _EDGE[::-1]])
    return east, south
