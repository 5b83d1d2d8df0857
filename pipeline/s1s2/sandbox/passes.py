"""When Sentinel-2 sees which tile, and which part of it: one repeat cycle, worked out once.

Every pass over a tile repeats exactly after a cycle, so that a scene is a pass and a time. What a
pass looks like in the tile's own grid is worked out when it is first asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from shapely.geometry import Polygon

from s1s2 import grid
from s1s2.sandbox.area import Bools
from s1s2.sandbox.cuts import Corners, area_of, clip
from s1s2.sandbox.kept import Kept
from s1s2.sandbox.orbits import (
    SENTINEL_2,
    Floats,
    Frame,
    Ints,
    abeam,
    descending_over,
    frame,
    ground,
    unit_vectors,
)
from s1s2.sandbox.scenes import S2_TILE_M, Edge
from s1s2.sandbox.tiles import Tiles

HALF_SWATH_M = 145_000.0
LEAST_DATA = 0.005
"""Passes with a smaller share of data are not delivered."""
SPAN_S = 8.0
"""A swath edge runs straight between its places this long before and after a tile's centre."""
LONGEST_DATATAKE_S = 900.0
_TILE_REACH_M = S2_TILE_M / 2**0.5
_STEP_S, _TILE_S, _GAP_STEPS = 10.0, 9.0, 3
_ORBITS_AT_ONCE = 11
_KEPT = 1_500


@dataclass(frozen=True)
class Passes:
    """Every pass of a cycle over every tile, as columns, sorted by tile."""

    tile: Ints
    relative_orbit: Ints
    seconds: Floats
    """When the tile's centre is abeam, since the ascending node."""
    starts: Floats
    """When the datatake starts, since the ascending node."""
    first: Ints
    """Row of every tile's first pass; one more than tiles."""

    def of_tiles(self, tiles: Ints) -> Ints:
        """Return the rows of some tiles' passes."""
        count = self.first[tiles + 1] - self.first[tiles]
        skip = np.repeat(self.first[tiles] - (np.cumsum(count) - count), count)
        return np.asarray(skip + np.arange(int(count.sum())))


def find_passes(tiles: Tiles) -> Passes:
    """Find which relative orbits see which tiles, and when."""
    orbit = SENTINEL_2
    guess = descending_over(orbit, tiles.lat)
    there = frame(orbit, guess)
    every = np.arange(1, orbit.revolutions + 1)
    # a few orbits at a time: all at once take 100 MB
    parts = [
        _over(tiles, guess, there, every[start : start + _ORBITS_AT_ONCE])
        for start in range(0, len(every), _ORBITS_AT_ONCE)
    ]
    tile, number, seconds = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.lexsort((number, tile))
    tile, number, seconds = tile[order], number[order], seconds[order]
    first = np.searchsorted(tile, np.arange(len(tiles.name) + 1))
    return Passes(tile, number, seconds, _datatakes(number, seconds), first)


def _over(tiles: Tiles, guess: Floats, there: Frame, relative: Ints) -> tuple[Ints, Ints, Floats]:
    """Return tile, relative orbit and seconds since the node of the passes of some orbits."""
    orbit = SENTINEL_2
    places = unit_vectors(tiles.lon, tiles.lat)
    nodes = np.radians(orbit.node_deg(relative))
    # the same guess serves every orbit, so the distance across is a sum of two outer products;
    # near the turning points the guess is poor, so more is let through
    x, y, z = places.T
    rx, ry, rz = there.right.T
    across = np.outer(np.cos(nodes), x * rx + y * ry) + np.outer(np.sin(nodes), y * rx - x * ry)
    ux, uy, uz = there.up.T
    above = np.outer(np.cos(nodes), x * ux + y * uy) + np.outer(np.sin(nodes), y * ux - x * uy)
    reach = np.where(np.abs(tiles.lat) > 76, 0.12, 0.05)  # noqa: PLR2004  # degrees
    near = (np.abs(across + z * rz) < reach) & (above + z * uz > 0.9)  # noqa: PLR2004
    index, tile = np.nonzero(near)
    turned = unit_vectors(tiles.lon[tile] - np.degrees(nodes)[index], tiles.lat[tile])
    seconds, right = abeam(orbit, turned, guess[tile])
    seen = np.abs(right) < HALF_SWATH_M + _TILE_REACH_M
    return tile[seen], relative[index[seen]], seconds[seen]


def _datatakes(relative_orbit: Ints, seconds: Floats) -> Floats:
    """Return when each pass's datatake starts: imaging goes on while there is land to see.

    It stops over gaps longer than `_GAP_STEPS` steps, and a datatake is `LONGEST_DATATAKE_S` long
    at most.
    """
    steps = int(SENTINEL_2.period_s / _STEP_S) + 2
    busy = np.zeros((SENTINEL_2.revolutions, steps), dtype=bool)
    for offset in (-_TILE_S, 0.0, _TILE_S):
        busy[relative_orbit - 1, ((seconds + offset) / _STEP_S).astype(np.int64)] = True
    starts = np.zeros(busy.shape)
    for row, flags in enumerate(busy):
        begin, last = 0, -steps
        for step in np.flatnonzero(flags).tolist():
            if step - last > _GAP_STEPS or (step - begin) * _STEP_S >= LONGEST_DATATAKE_S:
                begin = step
            last = step
            starts[row, step] = begin * _STEP_S
    # a tile starts with its northern edge; its centre names the datatake
    return np.asarray(starts[relative_orbit - 1, (seconds / _STEP_S).astype(np.int64)])


@dataclass(frozen=True)
class View:
    """What one pass shows of one tile."""

    edges: tuple[Edge, ...]
    footprint: Polygon
    valid_fraction: float
    corners: Floats
    """Of the tile, degrees, shape (4, 2), against the clock from the upper left."""
    shares: Floats
    """Up to nine places with data, as shares of the tile's sides rightwards and downwards."""

    @cached_property
    def places(self) -> Floats:
        """Longitudes and latitudes of the places, shape (2, n); bilinear, good to some 100 m."""
        whole = self.shares is _NINTHS
        return np.asarray(self.corners.T @ (_NINTHS_WEIGHTS if whole else _weights(self.shares)))


@dataclass(frozen=True)
class _Draft:
    """A cut tile in metres."""

    edges: tuple[Edge, ...]
    ring: Corners
    valid_fraction: float
    shares: Floats
    """See `View`."""


class Views:
    """Works out views when they are asked for, many at a time, and keeps the last of them."""

    def __init__(self, tiles: Tiles, passes: Passes) -> None:
        self._tiles, self._passes = tiles, passes
        self._kept = Kept[int, View | None](_KEPT, lambda rows: self._make(np.array(rows)))

    def of(self, rows: Sequence[int]) -> dict[int, View]:
        """Return the views of passes, but for those with less than `LEAST_DATA` of the tile."""
        known = self._kept.of(rows)
        return {row: view for row in rows if (view := known[row]) is not None}

    def _make(self, rows: Ints) -> list[View | None]:
        """Work out views: most tiles lie wholly in the swath or wholly out of it."""
        tile = self._passes.tile[rows]
        a, b, c = self._edges(rows)
        left, top = self._tiles.left[tile, None, None], self._tiles.top[tile, None, None]
        corners, middles = (
            a[..., None] * (left + S2_TILE_M * shares[:, 0])
            + b[..., None] * (top - S2_TILE_M * shares[:, 1])
            + c[..., None]
            for shares in (_RING, _NINTHS)
        )
        cut, out = (corners < 0).any(axis=2), (corners < 0).all(axis=2).any(axis=1)
        inside = (middles >= 0).all(axis=1)
        drafts: dict[int, _Draft] = {}
        for n in np.flatnonzero(cut.any(axis=1) & ~out).tolist():
            edges = tuple(Edge(float(a[n, k]), float(b[n, k]), float(c[n, k])) for k in (0, 1))
            used = tuple(e for e, u in zip(edges, cut[n], strict=True) if u)
            draft = _draft(float(left[n, 0, 0]), float(top[n, 0, 0]), used, inside[n])
            if draft.valid_fraction >= LEAST_DATA:
                drafts[n] = draft
        outlines = self._outlines(drafts, tile)
        views: list[View | None] = []
        for n, t in enumerate(tile.tolist()):
            if n in drafts:
                views.append(self._cut_view(t, outlines[n], drafts[n]))
            else:
                views.append(None if out[n] or cut[n].any() else self._full_view(t))
        return views

    def _edges(self, rows: Ints) -> tuple[Floats, Floats, Floats]:
        """Return the coefficients of both edges of the swath, shape (n, 2), left one first."""
        node = SENTINEL_2.node_deg(self._passes.relative_orbit[rows])
        # rows, then left and right of the track, then before and after the centre
        seconds = self._passes.seconds[rows, None, None] + np.array([-SPAN_S, SPAN_S])
        side = np.array([-HALF_SWATH_M, HALF_SWATH_M])[:, None]
        lon, lat = ground(SENTINEL_2, seconds + 0 * side, side)
        epsg = self._tiles.epsg[self._passes.tile[rows]]
        x, y = by_zone(grid.to_utm, lon + node[:, None, None], lat, epsg)
        dx, dy = x[..., 1] - x[..., 0], y[..., 1] - y[..., 0]
        inward = np.hypot(dx, dy) * np.array([-1, 1])  # data right of the left edge
        a, b = -dy / inward, dx / inward
        return a, b, -(a * x[..., 0] + b * y[..., 0])

    def _outlines(self, drafts: dict[int, _Draft], tile: Ints) -> dict[int, Polygon]:
        """Unproject what is left of cut tiles."""
        if not drafts:
            return {}
        counts = [len(d.ring) for d in drafts.values()]
        tiles = np.repeat(tile[list(drafts)], counts)
        x, y = np.array([xy for d in drafts.values() for xy in d.ring]).T
        lon, lat = by_zone(grid.to_lonlat, x, y, self._tiles.epsg[tiles])
        middle = self._tiles.lon[tiles]
        lon = middle + (lon - middle + 180) % 360 - 180
        places, number = np.column_stack([lon, lat]), np.repeat(np.arange(len(counts)), counts)
        rings = shapely.linearrings(places, indices=number)
        return dict(zip(drafts, shapely.polygons(rings), strict=True))

    def _full_view(self, tile: int) -> View:
        return View((), self._tiles.outline[tile], 1.0, self._tiles.corners[tile], _NINTHS)

    def _cut_view(self, tile: int, outline: Polygon, draft: _Draft) -> View:
        corners = self._tiles.corners[tile]
        return View(draft.edges, outline, draft.valid_fraction, corners, draft.shares)


_RING = np.array([(0, 0), (0, 1), (1, 1), (1, 0)], dtype=float)  # rightwards and downwards
_NINTHS = np.array([(i / 6, j / 6) for j in (1, 3, 5) for i in (1, 3, 5)])


def _weights(shares: Floats) -> Floats:
    """Return how much each corner counts at places in a tile, shape (4, n)."""
    u, v = shares.T
    return np.stack([(1 - u) * (1 - v), (1 - u) * v, u * v, u * (1 - v)])


_NINTHS_WEIGHTS = _weights(_NINTHS)


def by_zone(
    project: Callable[[Floats, Floats, int], tuple[Floats, Floats]],
    first: Floats,
    second: Floats,
    epsg: Ints,
) -> tuple[Floats, Floats]:
    """Project places of several zones, one zone at a time; `epsg` goes along the first axis."""
    results = np.empty_like(first), np.empty_like(second)
    for zone in np.unique(epsg):
        rows = epsg == zone
        found = project(first[rows].ravel(), second[rows].ravel(), int(zone))
        for result, values in zip(results, found, strict=True):
            result[rows] = values.reshape(result[rows].shape)
    return results


def _draft(left: float, top: float, edges: tuple[Edge, ...], inside: Bools) -> _Draft:
    """Cut a tile's square by edges of a swath; `inside` says which of `_NINTHS` have data."""
    corners: Corners = [(left, top), (left, top - S2_TILE_M)]
    corners += [(left + S2_TILE_M, top - S2_TILE_M), (left + S2_TILE_M, top)]
    ring = corners
    for edge in edges:
        ring = clip(ring, edge)
    shares = _NINTHS[inside]
    if ring and not len(shares):
        x, y = (sum(values) / len(ring) for values in zip(*ring, strict=True))
        shares = np.array([((x - left) / S2_TILE_M, (top - y) / S2_TILE_M)])
    return _Draft(edges, ring, area_of(ring) / S2_TILE_M**2, shares)
