"""The tiling grid of Sentinel-2: 100 km squares of the MGRS, each widened to a tile of 109.8 km.

After the definition of the Military Grid Reference System (NGA.STND.0037, 2014) with its exceptions
for Norway and Svalbard; the corners on the lattice of 60 m were checked against recorded items.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import shapely
from numpy.typing import NDArray

from s1s2 import grid
from s1s2.sandbox.coasts import NORTH, LandRows, Stretches
from s1s2.sandbox.scenes import S2_TILE_M

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BANDS = "CDEFGHJKLMNPQRSTUVWX"
_COLUMNS = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")  # of zones 3n, 3n + 1, 3n + 2
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_SQUARE_M, _LATTICE_M, _SOUTH_PHASE_M = 100_000, 60, 40
_V, _X = _BANDS.index("V"), _BANDS.index("X")
_WIDTHS = {  # zone and band: degrees that a zone reaches to the west and east of its meridian
    (31, _V): (-3, 0),
    (32, _V): (-6, 3),
    (31, _X): (-3, 6),
    (32, _X): (1, -1),  # no such zone
    (33, _X): (-6, 6),
    (34, _X): (1, -1),
    (35, _X): (-6, 6),
    (36, _X): (1, -1),
    (37, _X): (-6, 3),
}
_ACROSS, _DOWN = 9, 23  # places at which a square is looked at; 5 km apart from north to south


@dataclass(frozen=True)
class Tiles:
    """Every tile with land, as columns."""

    name: tuple[str, ...]
    epsg: Ints
    left: Floats
    """Eastings of upper left corners, metres."""
    top: Floats
    lon: Floats
    """Longitudes of centres, degrees."""
    lat: Floats
    outline: NDArray[np.object_]
    """Polygons of the corners in degrees, continuous over the antimeridian."""

    @cached_property
    def corners(self) -> Floats:
        """Degrees of the corners, shape (n, 4, 2), against the clock from the upper left."""
        return np.asarray(shapely.get_coordinates(self.outline).reshape(-1, 5, 2)[:, :4])

    @cached_property
    def tree(self) -> shapely.STRtree:
        """Index of the outlines."""
        return shapely.STRtree(self.outline)

    @cached_property
    def number(self) -> dict[str, int]:
        """Row of every tile by its name."""
        return {name: row for row, name in enumerate(self.name)}


def band_of(lat: Floats) -> Ints:
    """Return the index of the latitude band, C is 0: 8 degrees each, X is 12 high.

    Examples:
        >>> [_BANDS[i] for i in band_of(np.array([-80.0, -0.1, 0.1, 63.9, 83.9]))]
        ['C', 'M', 'N', 'V', 'X']
    """
    return np.clip(np.floor((np.asarray(lat) + 80) / 8), 0, 19).astype(np.int64)


def corner(column: int, row: int, *, south: bool) -> tuple[int, int]:
    """Return the upper left corner of the tile of a 100 km square, metres.

    Args:
        column: Hundreds of kilometres of the square's easting.
        row: The same of its northing.
        south: Northings count from 10,000 km, which is 40 modulo 60 m.

    Examples:
        >>> corner(3, 48, south=False), corner(4, 91, south=True)
        ((300000, 4900020), (399960, 9200020))
    """
    phase = _SOUTH_PHASE_M if south else 0
    above = (row + 1) * _SQUARE_M - phase
    left = column * _SQUARE_M // _LATTICE_M * _LATTICE_M
    return left, -(-above // _LATTICE_M) * _LATTICE_M + phase


@dataclass(frozen=True)
class _Squares:
    """The squares of a zone before it is known which zone: longitudes from its meridian."""

    south: bool
    column: Ints
    row: Ints
    left: Floats
    top: Floats
    band: Ints
    lon: Floats
    """Shape (squares, down, across)."""
    lat: Floats
    own_band: Ints
    """Latitude band of every place of `lat`."""
    stretches: Stretches


def _squares(land: LandRows, *, south: bool) -> _Squares:
    rows = range(33, 100) if south else range(94)  # 60 S and 84 N
    column, row = (a.ravel() for a in np.meshgrid(np.arange(1, 9), np.array(rows)))
    corners = [corner(int(c), int(r), south=south) for c, r in zip(column, row, strict=True)]
    left, top = np.array(corners, dtype=float).T
    x = left[:, None, None] + np.linspace(0, S2_TILE_M, _ACROSS)
    y = top[:, None, None] - np.linspace(0, S2_TILE_M, _DOWN)[:, None]
    x, y = np.broadcast_arrays(x, y)
    epsg = 32731 if south else 32631
    lon, lat = grid.to_lonlat(x.ravel(), y.ravel(), epsg)
    centre_y = (row + 0.5) * _SQUARE_M
    _, middle = grid.to_lonlat((column + 0.5) * _SQUARE_M, centre_y, epsg)
    lon, lat = lon.reshape(x.shape) - 3, lat.reshape(x.shape)
    between = (lat[:, :, 1:] + lat[:, :, :-1]) / 2
    stretches = land.stretches(lon[:, :, :-1], lon[:, :, 1:], between)
    band = band_of(middle)
    return _Squares(south, column, row, left, top, band, lon, lat, band_of(lat), stretches)


def _touched(zone: int, squares: _Squares) -> Ints:
    """Choose the squares that touch a zone's own area."""
    widths = np.array([_WIDTHS.get((zone, b), (-3, 3)) for b in range(len(_BANDS))], dtype=float)
    west, east = widths[squares.own_band].transpose(3, 0, 1, 2)
    own = (squares.lon >= west) & (squares.lon <= east) & (squares.lat <= NORTH)
    own &= (squares.lat <= 0) if squares.south else (squares.lat >= 0)
    return np.flatnonzero(own.any(axis=(1, 2)))


def _names(zone: int, squares: _Squares) -> list[str]:
    shift = 0 if zone % 2 else 5
    parts = zip(squares.band, squares.column, squares.row, strict=True)
    return [
        f"{zone:02d}{_BANDS[b]}{_COLUMNS[zone % 3][c - 1]}{_ROWS[(r + shift) % 20]}"
        for b, c, r in parts
    ]


def _zones(squares: _Squares) -> Iterator[tuple[int, Ints]]:
    """Yield every zone with the squares that touch it; most zones are alike."""
    usual = _touched(1, squares)
    unusual = {zone for zone, _ in _WIDTHS}
    for zone in range(1, 61):
        yield zone, _touched(zone, squares) if zone in unusual else usual


@lru_cache(maxsize=1)
def land_tiles() -> Tiles:
    """Return every tile with land between 60 S and 84 N, sorted by name."""
    land = LandRows()
    names: list[str] = []
    found = []
    ring = ([0, -1, -1, 0, 0], [0, 0, -1, -1, 0])
    for south in (True, False):
        squares = _squares(land, south=south)
        corners = np.stack([squares.lon[:, *ring], squares.lat[:, *ring]], axis=-1)
        centre = np.stack([a[:, _DOWN // 2, _ACROSS // 2] for a in (squares.lon, squares.lat)], 1)
        for zone, touched in _zones(squares):
            meridian = 6 * zone - 183
            rows = touched[squares.stretches.cross_land(meridian, touched)]
            every = _names(zone, squares)
            names += [every[n] for n in rows]
            epsg = np.full(len(rows), (32700 if south else 32600) + zone)
            places = centre[rows] + [meridian, 0.0]
            outlines = shapely.polygons(corners[rows] + [meridian, 0.0])
            found.append((epsg, squares.left[rows], squares.top[rows], *places.T, outlines))
    order = np.argsort(names)
    columns = (np.concatenate(parts)[order] for parts in zip(*found, strict=True))
    return Tiles(tuple(names[n] for n in order), *columns)
