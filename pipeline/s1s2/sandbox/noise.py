"""Noise on the sphere: smooth, seedable, the same for every zone that looks at a place.

Gradient noise after Perlin (2002), in three dimensions, so that it has no seam and no pole. Its
gradients are drawn from a hash (Wellons' `lowbias32`) instead of a table. Compiled: a block of
pixels takes a hundred thousand calls.
"""

import hashlib

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
_U, _F = np.uint32, np.float32

kernel = njit(cache=True, nogil=True, error_model="numpy")
"""Compiles a function that Python calls, and keeps the result on disk."""
part_of_kernel = njit(nogil=True, error_model="numpy")
inlined = njit(inline="always")

EARTH_M = 6_371_000.0
_STRETCH = 256


@inlined
def mix(h):
    """Mix the bits of a 32-bit number; numba widens products, so each is cut to 32 bits again."""
    h = _U(h ^ (h >> _U(16)))
    h = _U(h * _U(0x7FEB352D))
    h = _U(h ^ (h >> _U(15)))
    h = _U(h * _U(0x846CA68B))
    return _U(h ^ (h >> _U(16)))


@inlined
def hash3(i, j, key):
    """Hash two whole numbers of 32 bits and a key to 32 bits."""
    a = _U(_U(i) * _U(0x8DA6B343))
    b = _U(_U(j) * _U(0xD8163841))
    return mix(_U(_U(a + b) ^ _U(key)))


@part_of_kernel
def hash_row(first, row, key, out):
    """Hash the places of a row of pixels, from a column on, to 32 bits each: `hash3` of them."""
    i = _U(_U(first) * _U(0x8DA6B343))
    j = _U(_U(row) * _U(0xD8163841))
    for c in range(out.size):
        # the product grows by as much from pixel to pixel: all of it fits 32 bits
        a = _U(i + _U(_U(c) * _U(0x8DA6B343)))
        out[c] = mix(_U(_U(a + j) ^ _U(key)))


@inlined
def _corner(h, x, y, z, less):
    """Dot product of the way from a lattice corner with that corner's gradient.

    Parts of gradients are 0 to 1023 less a half of that; `less` is that half of x + y + z.
    """
    h = mix(_U(h))
    gx = _F(np.int32(h & _U(1023)))
    gy = _F(np.int32((h >> _U(10)) & _U(1023)))
    gz = _F(np.int32((h >> _U(20)) & _U(1023)))
    return gx * x + gy * y + gz * z - less


@inlined
def _noise(i, j, k, x, y, z, key):
    """Gradient noise of lattice spacing 1: mean 0, deviation 0.19, within about 0.8.

    A place is given as the lattice cell it lies in, and how far into it, 0 to 1.
    """
    i, j = _U(i * _U(0x8DA6B343)), _U(j * _U(0xD8163841))
    k = _U(k * _U(0xCB1AB31F))
    i1, j1 = _U(i + _U(0x8DA6B343)), _U(j + _U(0xD8163841))
    k1 = _U(_U(k + _U(0xCB1AB31F)) ^ key)
    k = _U(k ^ key)
    one, half = _F(1.0), _F(511.5)
    x1, y1, z1 = x - one, y - one, z - one
    less = half * (x + y + z)
    less1, less2, less3 = less - half, less - _F(1023.0), less - _F(1534.5)
    u, v, w = _fade(x), _fade(y), _fade(z)
    a, b = _corner(i ^ j ^ k, x, y, z, less), _corner(i1 ^ j ^ k, x1, y, z, less1)
    c, d = _corner(i ^ j1 ^ k, x, y1, z, less1), _corner(i1 ^ j1 ^ k, x1, y1, z, less2)
    e, f = _corner(i ^ j ^ k1, x, y, z1, less1), _corner(i1 ^ j ^ k1, x1, y, z1, less2)
    g, h = _corner(i ^ j1 ^ k1, x, y1, z1, less2), _corner(i1 ^ j1 ^ k1, x1, y1, z1, less3)
    a, c, e, g = a + u * (b - a), c + u * (d - c), e + u * (f - e), g + u * (h - g)
    a, e = a + v * (c - a), e + v * (g - e)
    return (a + w * (e - a)) * _F(1.0 / 512.0)


@inlined
def _fade(t):
    """Ease from 0 to 1."""
    return t * t * t * (t * (t * _F(6.0) - _F(15.0)) + _F(10.0))


@kernel
def add_octave(
    x: Floats, y: Floats, z: Floats, wavelength_m: float, amplitude: float, key: int, out: Singles
) -> None:
    """Add one octave of noise to flat arrays of places on the unit sphere.

    A stretch at a time, in two steps: the lattice needs double precision, and what is without it
    is done for twice as many places at once.
    """
    scale = EARTH_M / wavelength_m
    cell, way = np.empty((3, _STRETCH), np.uint32), np.empty((3, _STRETCH), np.float32)
    for first in range(0, x.size, _STRETCH):
        last = min(x.size, first + _STRETCH)
        _enter(x[first:last], scale, cell[0], way[0])
        _enter(y[first:last], scale, cell[1], way[1])
        _enter(z[first:last], scale, cell[2], way[2])
        _add_noise(cell, way, _F(amplitude), _U(key), out[first:last])


@part_of_kernel
def _enter(x, scale, cell, way):
    """Say in which lattice cell places lie along one axis, and how far into it."""
    for n in range(x.size):
        place = x[n] * scale
        below = np.floor(place)
        cell[n] = _U(np.int32(below))
        way[n] = place - below


@part_of_kernel
def _add_noise(cell, way, amplitude, key, out):
    for n in range(out.size):
        out[n] += amplitude * _noise(
            cell[0, n], cell[1, n], cell[2, n], way[0, n], way[1, n], way[2, n], key
        )


def on_sphere(lon: Floats, lat: Floats) -> Floats:
    """Return unit vectors of places in degrees, shape (3, ...)."""
    east, north = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)])


def key_of(seed: int, *parts: int | str) -> int:
    """Return a 32-bit key of a seed and what it is for."""
    text = repr((seed, *parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4])
