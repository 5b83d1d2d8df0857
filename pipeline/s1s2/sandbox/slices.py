"""Which slices of land Sentinel-1 records, and where they lie: one repeat cycle, worked out once.

An orbit is cut into equal slices of about 25 s from its ascending node on. A plan of acquisitions
in the manner of the real one (plausible, not exact) says which of them are recorded by whom: Europe
in both directions by both units, other land in one direction by one unit, some of it in more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, hypot

import numpy as np
import shapely
from shapely.geometry import Polygon

from s1s2 import grid
from s1s2.sandbox.coasts import COARSE, NORTH, SOUTH, near_land
from s1s2.sandbox.cuts import edge_of
from s1s2.sandbox.kept import Kept
from s1s2.sandbox.noise import key_of
from s1s2.sandbox.orbits import SENTINEL_1, Floats, Ints, ground
from s1s2.sandbox.passes import by_zone
from s1s2.sandbox.scenes import Edge

NEAR_M, FAR_M = 366_600.0, 617_300.0
"""Distance of an IW swath's edges from the ground track, as fitted to recorded items: incidence
30.7 to 46 degrees."""
PER_ORBIT = 237
"""Slices in an orbit, so that each is 24.998 s long."""
_ALONG, _ACROSS = 8, 11  # places at which a slice is looked at for land, at most 26 km apart
_EUROPE, _ORIGIN = (-12, 35, 45, 72), (180, 90, 180, 90)
_MIXED = (-125, -15)  # longitudes of the Arctic that is partly seen with HH and HV
_NORTHWARD, _SOUTHWARD, _EUROPEAN = 1, 2, 4
_BLOCK_LON, _BLOCK_LAT = 30, 20
_BOTH_WAYS, _BOTH_UNITS, _HORIZONTAL = 25, 30, 25  # percent of relative orbits
_ACROSS_PARTS, _ALONG_PARTS = 8, 5
_PIXEL_M = 10
_KEPT = 1_500

BOTH, FIRST_PLACE, SECOND_PLACE = 0, 1, 2
"""Which place of the constellation records a slice: either, S1A's only, or S1B's only."""


def slice_seconds(number: Floats | Ints) -> Floats:
    """Return when slices, and shares of them, start, seconds since the ascending node."""
    return np.asarray(number * (SENTINEL_1.period_s / PER_ORBIT))


@dataclass(frozen=True)
class Slices:
    """Every recorded slice of a cycle, as columns, in order of time."""

    relative_orbit: Ints
    number: Ints
    """Which of the `PER_ORBIT` slices of its orbit."""
    unit: Ints
    """`BOTH`, `FIRST_PLACE` or `SECOND_PLACE`."""
    horizontal: Ints
    """1 where recorded as HH and HV."""
    first: Ints
    """Number of the first slice of its datatake."""
    count: Ints
    """Slices in its datatake."""
    datatake: Ints
    """Which datatake of its orbit."""
    box: Floats
    """West, south, east, north in degrees, shape (n, 4), rather too large; may pass 180."""


def find_slices(seed: int) -> Slices:
    """Draw up the plan of acquisitions."""
    code = _plan(seed)
    relative, number, first, count, datatake = [], [], [], [], []
    for orbit, codes in enumerate(code, start=1):
        cuts = np.flatnonzero(np.diff(codes)) + 1
        runs = [r for r in np.split(np.arange(PER_ORBIT), cuts) if codes[r[0]]]
        for index, run in enumerate(runs):
            relative += [orbit] * len(run)
            number += run.tolist()
            first += [run[0]] * len(run)
            count += [len(run)] * len(run)
            datatake += [index] * len(run)
    r, n = np.array(relative), np.array(number)
    chosen = code[r - 1, n] - 1
    return Slices(
        r,
        n,
        chosen // 2,
        chosen % 2,
        np.array(first),
        np.array(count),
        np.array(datatake),
        _boxes(r, n),
    )


def _corners(number: Ints) -> tuple[Floats, Floats]:
    """Return corners, shape (n, 4): near start, far start, far end, near end; from the node."""
    seconds = slice_seconds(number[:, None] + np.array([0, 0, 1, 1]))
    return ground(SENTINEL_1, seconds, np.array([NEAR_M, FAR_M, FAR_M, NEAR_M]))


def _boxes(relative_orbit: Ints, number: Ints) -> Floats:
    lon, lat = _corners(number)
    lon = SENTINEL_1.node_deg(relative_orbit)[:, None] + np.unwrap(lon, period=360, axis=1)
    lon -= 360 * np.round(lon.mean(axis=1, keepdims=True) / 360)
    room = 0.1  # degrees; long edges bend by up to 4 km
    wide = room / np.cos(np.radians(np.minimum(np.abs(lat).max(axis=1), 87.0)))
    return np.column_stack(
        [
            lon.min(axis=1) - wide,
            lat.min(axis=1) - room,
            lon.max(axis=1) + wide,
            lat.max(axis=1) + room,
        ]
    )


def _plan(seed: int) -> Ints:
    """Return 0 for slices not recorded, else 1 + 2 unit + horizontal; shape (orbits, slices)."""
    n = np.arange(PER_ORBIT)
    along = slice_seconds(n[:, None, None] + np.linspace(0, 1, _ALONG)[:, None])
    across = np.linspace(NEAR_M, FAR_M, _ACROSS)
    lon, lat = (a.reshape(PER_ORBIT, -1) for a in ground(SENTINEL_1, along + 0 * across, across))
    reachable = (lat.max(axis=1) < NORTH + 1) & (lat.min(axis=1) > SOUTH - 1)
    northward = (n < PER_ORBIT / 4) | (n >= 3 * PER_ORBIT / 4)
    wishes = _wishes(seed).ravel()
    columns = 360 * COARSE
    start = ((90 - lat) * COARSE).astype(np.int64) * columns
    arctic = lat.mean(axis=1) > 67  # noqa: PLR2004  # degrees
    code = np.zeros((SENTINEL_1.revolutions, PER_ORBIT), dtype=np.int64)
    for relative, node in enumerate(SENTINEL_1.node_deg(np.arange(1, 176)), start=1):
        draw = [key_of(seed, "s1 plan", relative, word) % 100 for word in ("ways", "units", "pol")]
        column = ((lon + (node + 360)) * COARSE).astype(np.int64) % columns
        wish = np.bitwise_or.reduce(wishes[start + column], axis=1)
        ours = np.where(northward, _NORTHWARD, _SOUTHWARD) | _EUROPEAN
        recorded = (wish & (ours if draw[0] >= _BOTH_WAYS else 0xFF)) > 0
        alone = FIRST_PLACE if relative % 2 else SECOND_PLACE
        unit = BOTH if draw[1] < _BOTH_UNITS else alone
        units = np.where(wish & _EUROPEAN, BOTH, unit)
        middle = (lon[:, lon.shape[1] // 2] + node + 180) % 360 - 180
        west, east = _MIXED
        horizontal = arctic & (middle > west) & (middle < east) & (draw[2] < _HORIZONTAL)
        code[relative - 1] = (recorded & reachable) * (1 + 2 * units + horizontal)
    return code


def _wishes(seed: int) -> Ints:
    """Return which directions each cell of `near_land` is to be seen in, as flags; from 0 E."""
    rows, columns = 180 // _BLOCK_LAT, 360 // _BLOCK_LON
    ways = [_NORTHWARD, _SOUTHWARD]
    blocks = np.array(
        [[ways[key_of(seed, "s1 way", r, c) % 2] for c in range(columns)] for r in range(rows)],
        dtype=np.uint8,
    )
    size = (_BLOCK_LAT * COARSE, _BLOCK_LON * COARSE)
    wishes = blocks.repeat(size[0], axis=0).repeat(size[1], axis=1)
    west, south, east, north = ((d + o) * COARSE for d, o in zip(_EUROPE, _ORIGIN, strict=True))
    top, bottom = 180 * COARSE - north, 180 * COARSE - south
    wishes[top:bottom, west:east] |= _EUROPEAN
    return np.roll(np.where(near_land(), wishes, 0), -180 * COARSE, axis=1)


@dataclass(frozen=True)
class Shape:
    """Where one slice lies on the ground."""

    epsg: int
    left: float
    top: float
    width: int
    height: int
    edges: tuple[Edge, Edge, Edge, Edge]
    footprint: Polygon
    look: tuple[float, float]


class Shapes:
    """Works out slices' shapes when they are asked for, many at a time; keeps the last of them."""

    def __init__(self, slices: Slices) -> None:
        self._slices = slices
        self._kept = Kept[int, Shape](_KEPT, lambda rows: self._make(np.array(rows)))

    def of(self, rows: Sequence[int]) -> dict[int, Shape]:
        """Return the shapes of slices."""
        known = self._kept.of(rows)
        return {row: known[row] for row in rows}

    def _make(self, rows: Ints) -> list[Shape]:
        lon, lat = _corners(self._slices.number[rows])
        node = SENTINEL_1.node_deg(self._slices.relative_orbit[rows])
        lon = node[:, None] + np.unwrap(lon, period=360, axis=1)
        lon -= 360 * np.round(lon.mean(axis=1, keepdims=True) / 360)
        zone = ((lon.mean(axis=1) + 180) // 6).astype(np.int64) % 60 + 1
        epsg = np.where(lat.mean(axis=1) >= 0, 32600, 32700) + zone
        x, y = by_zone(grid.to_utm, lon, lat, epsg)
        outlines = _outlines(lon, lat, x, y, epsg)
        corners = zip(epsg.tolist(), x.tolist(), y.tolist(), outlines, strict=True)
        return [_shape(*corner) for corner in corners]


def _shape(epsg: int, x: list[float], y: list[float], footprint: Polygon) -> Shape:
    """Lay a slice of four corners (near start, far start, far end, near end) on its UTM grid."""
    left, bottom = (floor(min(a) / _PIXEL_M) * _PIXEL_M for a in (x, y))
    right, top = (ceil(max(a) / _PIXEL_M) * _PIXEL_M for a in (x, y))
    near_start, far_start, far_end, near_end = zip(x, y, strict=True)
    inward = ((x[1] + x[2] - x[0] - x[3]) / 2, (y[1] + y[2] - y[0] - y[3]) / 2)
    length = hypot(*inward)
    # the radar looks right: going with the flight, the swath lies right of its near edge
    edges = (
        edge_of(*near_start, *near_end, left=False),
        edge_of(*far_start, *far_end, left=True),
        edge_of(*near_start, *far_start, left=True),
        edge_of(*near_end, *far_end, left=False),
    )
    size = (right - left) // _PIXEL_M, (top - bottom) // _PIXEL_M
    look = (inward[0] / length, inward[1] / length)
    return Shape(epsg, float(left), float(top), *size, edges, footprint, look)


def _outlines(lon: Floats, lat: Floats, x: Floats, y: Floats, epsg: Ints) -> list[Polygon]:
    """Return outlines in degrees, with places along their edges, which are straight in UTM.

    A piece of 33 km bends away from the straight line in degrees by 100 m at 78 degrees.
    """
    parts = (_ACROSS_PARTS, _ALONG_PARTS, _ACROSS_PARTS, _ALONG_PARTS)
    share = np.concatenate([np.arange(n) / n for n in parts])
    this = np.repeat(np.arange(4), parts)
    after = (this + 1) % 4
    east, north = by_zone(
        grid.to_lonlat,
        x[:, this] * (1 - share) + x[:, after] * share,
        y[:, this] * (1 - share) + y[:, after] * share,
        epsg,
    )
    east = lon[:, :1] + (east - lon[:, :1] + 180) % 360 - 180
    corners = np.cumsum([0, *parts[:-1]])
    east[:, corners], north[:, corners] = lon, lat  # neighbours share them to the last digit
    return list(shapely.polygons(np.stack([east, north], axis=-1)))
