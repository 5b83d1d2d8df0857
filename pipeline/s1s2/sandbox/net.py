"""Slow fields on a net of nodes: what varies over hundreds of metres is not worked out per pixel.

Nodes lie at whole multiples of their spacing in UTM, so that the two sensors, and tiles that
overlap, see the same values wherever they share a zone. Between nodes values are bilinear.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from s1s2.grid import to_lonlat
from s1s2.sandbox.noise import Floats, Singles, add_octave, kernel, on_sphere, part_of_kernel

Numbers = TypeVar("Numbers", Floats, Singles)

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
    degrees: Floats
    """Longitude, continuous over the antimeridian, and latitude of coarse nodes, (2, R, C)."""

    @cached_property
    def coarse(self) -> Floats:
        """Unit vectors of the coarse nodes, shape (3, R, C)."""
        return on_sphere(*self.degrees)

    @cached_property
    def fine(self) -> Floats:
        """Unit vectors of the fine nodes, shape (3, 4 R - 3, 4 C - 3)."""
        return refine(self.coarse)


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
    return Net(xs[0], ys[0], patch.node_m, np.stack([lon, lat]).reshape(2, *x.shape))


def refine(fields: Numbers, spare: int = 0) -> Numbers:
    """Put three nodes between any two, bilinearly: (F, R, C) to (F + spare, 4 R - 3, 4 C - 3).

    Args:
        fields: Values at coarse nodes, of either precision, in which they are worked out.
        spare: Fields to add behind them, 0 all over.
    """
    count, rows, columns = fields.shape
    out = np.empty((count + spare, 4 * rows - 3, 4 * columns - 3), fields.dtype)
    _refine(fields, (np.arange(4) / 4).astype(fields.dtype), out)
    out[count:] = 0
    return out


@kernel
def _refine(fields, quarters, out):
    """Refine along rows, then between each two of them."""
    rows, columns = fields.shape[1:]
    lines = np.empty((2, out.shape[2]), out.dtype)
    for f in range(fields.shape[0]):
        for r in range(rows):
            above, below = lines[1 - r % 2], lines[r % 2]
            for c in range(columns - 1):
                for k in range(4):
                    step = fields[f, r, c + 1] - fields[f, r, c]
                    below[4 * c + k] = fields[f, r, c] + quarters[k] * step
            below[4 * columns - 4] = fields[f, r, columns - 1]
            if r:
                for k in range(4):
                    _between(above, below, quarters[k], out[f, 4 * r - 4 + k])
        _between(below, below, quarters[0], out[f, 4 * rows - 4])


@part_of_kernel
def _between(above, below, t, out):
    for c in range(out.size):
        out[c] = above[c] + t * (below[c] - above[c])


def octaves(places: Floats, waves: tuple[tuple[float, float], ...], *keys: int) -> Singles:
    """Sum octaves of noise at places, float32, shape of one of their parts; see `add_octaves`."""
    out = np.zeros(places.shape[1:], np.float32)
    add_octaves(out, places, waves, *keys)
    return out


def add_octaves(
    out: Singles, places: Floats, waves: tuple[tuple[float, float], ...], *keys: int
) -> None:
    """Add octaves of noise at places.

    Args:
        out: Where to add them; contiguous.
        places: Unit vectors, shape (3, ...).
        waves: Wavelength in metres and amplitude of each octave.
        keys: Key of each octave.
    """
    x, y, z = places.reshape(3, -1)
    total = out.reshape(-1)
    for (wavelength, amplitude), key in zip(waves, keys, strict=True):
        add_octave(x, y, z, float(wavelength), amplitude, key, total)


def slopes(height: Singles, node_m: float, east: Singles, north: Singles) -> None:
    """Write rise per metre towards east and north at the nodes but those of the rim."""
    np.subtract(height[:, 2:], height[:, :-2], out=east[:, 1:-1])
    np.subtract(height[:-2, :], height[2:, :], out=north[1:-1, :])
    east /= np.float32(2 * node_m)
    north /= np.float32(2 * node_m)
