"""The Earth as a report draws it: land in equal areas, and how much of it at which latitude."""

from functools import lru_cache

import contourpy
import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from s1s2.land import land_mask

Floats = NDArray[np.float64]

_PER_DEGREE = 2
_LEAST_DEGREES = 1.2
"""Islands with a shorter coast on the map's grid than this are left out of the picture."""
_SOUTH, _NORTH = -60.0, 84.0


@lru_cache(maxsize=1)
def _equal_earth() -> Transformer:
    return Transformer.from_crs(4326, "+proj=eqearth", always_xy=True)


def project(lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
    """Place longitudes and latitudes (degrees, WGS 84) on the Equal Earth map, in megametres."""
    x, y = _equal_earth().transform(lon, lat)
    return np.asarray(x) / 1e6, np.asarray(y) / 1e6


def frame() -> tuple[Floats, Floats]:
    """Return the outline of the map."""
    steps = np.linspace(_SOUTH, _NORTH, 60)
    across = np.linspace(-180, 180, 60)
    lon = np.concatenate([np.full(60, -180.0), across, np.full(60, 180.0), across[::-1]])
    lat = np.concatenate([steps, np.full(60, _NORTH), steps[::-1], np.full(60, _SOUTH)])
    return project(lon, lat)


@lru_cache(maxsize=1)
def coasts() -> tuple[tuple[Floats, Floats], ...]:
    """Return the coasts as closed lines on the map: outer ones and lakes alike, even-odd."""
    lon = np.arange(-180, 180 + 1 / _PER_DEGREE, 1 / _PER_DEGREE)
    lat = np.arange(_SOUTH, _NORTH + 1 / _PER_DEGREE, 1 / _PER_DEGREE)
    share = np.pad(_share(lon, lat)[1:-1, 1:-1], 1)  # the map's edge closes every coast
    lines = _lines(lon, lat, share)
    long = [line for line in lines if np.abs(np.diff(line, axis=0)).sum() > _LEAST_DEGREES]
    return tuple(project(line[:, 0], line[:, 1]) for line in long)


def _lines(lon: Floats, lat: Floats, share: Floats) -> list[Floats]:
    """Return the lines along which half of the ground is land."""
    kind = contourpy.LineType.Separate
    found = contourpy.contour_generator(lon, lat, share, line_type=kind).lines(0.5)
    return [np.asarray(line, dtype=np.float64) for line in found]


def _share(lon: Floats, lat: Floats) -> Floats:
    """Return the share of land around places, row by row: the mean of nine looks at the mask."""
    steps = np.array([-1, 0, 1]) / (3 * _PER_DEGREE)
    looks = [
        land_mask()(*(g.ravel() for g in np.meshgrid(lon + dx, np.clip(lat + dy, -90, 89.9))))
        for dx in steps
        for dy in steps
    ]
    return np.asarray(np.mean(looks, axis=0).reshape(len(lat), len(lon)), dtype=np.float64)


def land_by_latitude(edges: Floats, south: float, north: float) -> Floats:
    """Return which share of the land between two latitudes lies in each band of latitude.

    That is where chips would lie if every square kilometre of land were as likely as any other.

    Args:
        edges: Bounds of the bands, degrees, ascending.
        south: No land south of it counts.
        north: No land north of it counts.
    """
    lat = np.arange(-89.875, 90, 0.25)
    lon = np.arange(-179.75, 180, 0.5)
    share = land_mask()(*(g.ravel() for g in np.meshgrid(lon, lat))).reshape(len(lat), -1)
    area = share.mean(axis=1) * np.cos(np.radians(lat)) * ((lat > south) & (lat < north))
    by_band = np.histogram(lat, edges, weights=area)[0]
    return np.asarray(by_band / max(by_band.sum(), 1e-12), dtype=np.float64)
