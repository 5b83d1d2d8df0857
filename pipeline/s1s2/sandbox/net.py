"""Slow fields on a net of nodes: what varies over hundreds of metres is not worked out per pixel.

Nodes lie at whole multiples of their spacing in UTM, so that the two sensors, and tiles that
overlap, see the same values wherever they share a zone. Between nodes values are bilinear.
"""

from dataclasses import dataclass

import numpy as np

from s1s2.grid import to_lonlat
from s1s2.sandbox.noise import Floats, add_octave, kernel, on_sphere

_FINEST_NODE_M, _COARSE = 40.0, 4
_FINE_GSD_M = 20
_HALF = 180  # degrees


@dataclass(frozen=True)
class Patch:
    """A square of pixels in one UTM zone."""

    epsg: int
    left: float
    """Easting of its upper left corner, metres."""
    top: float
    """Northing of it."""
    gsd: float
    """Side of a pixel, metres."""
    size: int
    """Pixels along each side."""

    @property
    def node_m(self) -> float:
        """Spacing of the nodes: 40 m, or four pixels where those are larger than 20 m."""
        return _FINEST_NODE_M if self.gsd <= _FINE_GSD_M else 4 * self.gsd


@dataclass(frozen=True)
class Net:
    """Places of the nodes around a patch: coarse ones, and fine ones four times as close."""

    x: float
    """Easting of the first node."""
    y: float
    """Northing of it; rows go south."""
    node_m: float
    lon: Floats
    """Degrees at coarse nodes, continuous over the antimeridian, shape (R, C)."""
    lat: Floats
    coarse: tuple[Floats, Floats, Floats]
    """Unit vectors of the coarse nodes, each of shape (R, C)."""
    fine: tuple[Floats, Floats, Floats]
    """Unit vectors of the fine nodes, each of shape (4 R - 3, 4 C - 3)."""


def net_of(patch: Patch) -> Net:
    """Lay the net over a patch, with one fine node to spare on every side for slopes."""
    step = patch.node_m * _COARSE
    side = patch.gsd * patch.size
    first = np.floor((patch.left - patch.node_m) / step)
    last = np.ceil((patch.left + side + patch.node_m) / step)
    upper = np.ceil((patch.top + patch.node_m) / step)
    lower = np.floor((patch.top - side - patch.node_m) / step)
    xs = np.arange(first, last + 1) * step
    ys = np.arange(upper, lower - 1, -1) * step
    x, y = np.meshgrid(xs, ys)
    lon, lat = to_lonlat(x.ravel(), y.ravel(), patch.epsg)
    # around the zone's meridian, so that a node is the same number in every patch
    off = lon - (patch.epsg % 100 * 6 - 183)
    lon = lon - np.where(off > _HALF, 360, 0) + np.where(off < -_HALF, 360, 0)
    lon, lat = lon.reshape(x.shape), lat.reshape(x.shape)
    coarse = on_sphere(lon, lat)
    fine = refine(np.stack(coarse))
    return Net(xs[0], ys[0], patch.node_m, lon, lat, coarse, (fine[0], fine[1], fine[2]))


def refine(fields: Floats) -> Floats:
    """Put three nodes between any two, bilinearly: (F, R, C) to (F, 4 R - 3, 4 C - 3)."""
    count, rows, columns = fields.shape
    out = np.empty((count, 4 * rows - 3, 4 * columns - 3))
    refine_some(fields, np.arange(count), out)
    return out


@kernel
def refine_some(fields, which, out):
    """Refine some fields into an array of either precision: the same numbers, or rounded."""
    rows, columns = fields.shape[1:]
    line = np.empty(columns)
    for f in which:
        for r in range(4 * rows - 3):
            i = min(r // 4, rows - 2)
            v = (r - 4 * i) / 4.0
            for j in range(columns):
                line[j] = fields[f, i, j] + v * (fields[f, i + 1, j] - fields[f, i, j])
            for j in range(columns - 1):
                step = line[j + 1] - line[j]
                for k in range(4):
                    out[f, r, 4 * j + k] = line[j] + 0.25 * k * step
            out[f, r, 4 * columns - 4] = line[columns - 1]


def octaves(
    places: tuple[Floats, Floats, Floats], waves: tuple[tuple[float, float], ...], *keys: int
) -> Floats:
    """Sum octaves of noise at places, shape as theirs.

    Args:
        places: Unit vectors.
        waves: Wavelength in metres and amplitude of each octave.
        keys: Key of each octave.
    """
    total = np.zeros(places[0].size)
    x, y, z = (np.ravel(p) for p in places)
    for (wavelength, amplitude), key in zip(waves, keys, strict=True):
        add_octave(x, y, z, wavelength, amplitude, key, total)
    return total.reshape(places[0].shape)


def slopes(height: Floats, node_m: float) -> tuple[Floats, Floats]:
    """Return rise per metre towards east and north at the nodes, central differences."""
    east, north = np.zeros_like(height), np.zeros_like(height)
    east[:, 1:-1] = (height[:, 2:] - height[:, :-2]) / (2 * node_m)
    north[1:-1, :] = (height[:-2, :] - height[2:, :]) / (2 * node_m)
    return east, north
