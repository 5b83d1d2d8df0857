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
_U, _F = np.uint32, np.float32

kernel = njit(cache=True, nogil=True, error_model="numpy")
"""Compiles a function that Python calls, and keeps the result on disk."""
part_of_kernel = njit(nogil=True, error_model="numpy")
inlined = njit(inline="always")

EARTH_M = 6_371_000.0


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
    """Hash two whole numbers and a key to 32 bits."""
    a = _U(_U(i) * _U(0x8DA6B343))
    b = _U(_U(j) * _U(0xD8163841))
    return mix(_U(_U(a + b) ^ _U(key)))


@inlined
def _corner(h, x, y, z):
    """Dot product of the way from a lattice corner with that corner's gradient."""
    h = mix(_U(h))
    gx = _F(np.int32(h & _U(1023))) - _F(511.5)
    gy = _F(np.int32((h >> _U(10)) & _U(1023))) - _F(511.5)
    gz = _F(np.int32((h >> _U(20)) & _U(1023))) - _F(511.5)
    return gx * x + gy * y + gz * z


@inlined
def noise(x, y, z, key):
    """Gradient noise of lattice spacing 1: mean 0, deviation 0.19, within about 0.8."""
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    # the way into the cell is short: from here on single precision will do
    x, y, z = _F(x - fx), _F(y - fy), _F(z - fz)
    i = _U(_U(np.int32(fx)) * _U(0x8DA6B343))
    j = _U(_U(np.int32(fy)) * _U(0xD8163841))
    k = _U(_U(np.int32(fz)) * _U(0xCB1AB31F))
    i1, j1 = _U(i + _U(0x8DA6B343)), _U(j + _U(0xD8163841))
    k1 = _U(_U(k + _U(0xCB1AB31F)) ^ _U(key))
    k = _U(k ^ _U(key))
    one = _F(1.0)
    u, v, w = _fade(x), _fade(y), _fade(z)
    a, b = _corner(i ^ j ^ k, x, y, z), _corner(i1 ^ j ^ k, x - one, y, z)
    c, d = _corner(i ^ j1 ^ k, x, y - one, z), _corner(i1 ^ j1 ^ k, x - one, y - one, z)
    e, f = _corner(i ^ j ^ k1, x, y, z - one), _corner(i1 ^ j ^ k1, x - one, y, z - one)
    g = _corner(i ^ j1 ^ k1, x, y - one, z - one)
    h = _corner(i1 ^ j1 ^ k1, x - one, y - one, z - one)
    a, c, e, g = a + u * (b - a), c + u * (d - c), e + u * (f - e), g + u * (h - g)
    a, e = a + v * (c - a), e + v * (g - e)
    return (a + w * (e - a)) * _F(1.0 / 512.0)


@inlined
def _fade(t):
    """Ease from 0 to 1."""
    return t * t * t * (t * (t * _F(6.0) - _F(15.0)) + _F(10.0))


@kernel
def add_octave(
    x: Floats, y: Floats, z: Floats, wavelength_m: float, amplitude: float, key: int, out: Floats
) -> None:
    """Add one octave of noise to flat arrays of places on the unit sphere."""
    scale = EARTH_M / wavelength_m
    for n in range(x.size):
        out[n] += amplitude * noise(x[n] * scale, y[n] * scale, z[n] * scale, key)


def on_sphere(lon: Floats, lat: Floats) -> tuple[Floats, Floats, Floats]:
    """Return unit vectors of places in degrees."""
    east, north = np.radians(lon), np.radians(lat)
    return np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)


def key_of(seed: int, *parts: int | str) -> int:
    """Return a 32-bit key of a seed and what it is for."""
    text = repr((seed, *parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4])
