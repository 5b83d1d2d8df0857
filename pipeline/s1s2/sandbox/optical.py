"""What Sentinel-2 measures: sunlight on the ground, clouds and their shadows, noise, and the SCL.

Bottom-of-atmosphere reflectance x 10,000 as Level-2A products have it, the offset of later
baselines really added.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from s1s2.bands import OPTICAL, Band
from s1s2.sandbox.covers import Cover, reflectance
from s1s2.sandbox.noise import hash_row, kernel, key_of
from s1s2.sandbox.planet import Ground
from s1s2.sandbox.rules import PARTS
from s1s2.sandbox.sky import Clouds

CLOUD = np.array([
    6200, 6300, 6200, 6300, 6350, 6400, 6450, 6500, 6500, 6000, 4600, 3600,
], dtype=np.float64)  # fmt: skip
"""Reflectance x 10,000 of an opaque cloud, by band."""
HAZE = np.array([60, 45, 28, 18, 14, 11, 9, 7, 6, 6, 2, 1], dtype=np.float64)
"""What the aerosol that correction left adds at most, by band."""
NOISE = np.array([9, 11, 10, 10, 9, 9, 9, 12, 9, 10, 8, 8], dtype=np.float64)
"""Half width of the sensor's noise over dark ground, reflectance x 10,000."""
LARGEST_DN = 32_767  # 15 bits
_U, _F = np.uint32, np.float32
THIN, MEDIUM, HIGH = np.uint8(38), np.uint8(115), np.uint8(190)
"""From which opacity (of 255) the SCL says thin cirrus, cloud of medium, of high probability."""
DARK = 0.35
"""Below which relative illumination the SCL says dark area."""
LEAST_NDVI = 0.4
"""Above which normalised difference the SCL says vegetation."""
DARK_AREA, SHADOW, VEGETATION, BARE, WATER = (np.uint8(code) for code in range(2, 7))
CLOUD_MEDIUM, CLOUD_HIGH, CIRRUS, SNOW_OR_ICE = (np.uint8(code) for code in range(8, 12))
_NO_SKY = np.empty((0, 0), np.uint8)


@dataclass(frozen=True)
class View:
    """What one datatake sees of a patch, shared by its bands; arrays of shape (size, size)."""

    cover: NDArray[np.uint8]
    """A `Cover` each."""
    green: NDArray[np.uint8]
    """0 dry to 255 lush."""
    gain: NDArray[np.uint16]
    """Brightness relative to the cover's mean, sunlight on the slope included, in 1 / `PARTS`."""
    dark: NDArray[np.bool_]
    """True on slopes that the sun hardly reaches."""
    clouds: Clouds | None
    outside: NDArray[np.bool_] | None
    """True where the swath does not reach; None where it covers all."""


def view_of(
    ground: Ground,
    clouds: Clouds | None,
    outside: NDArray[np.bool_] | None,
    azimuth: float,
    zenith: float,
) -> View:
    """Put sunlight on the ground.

    Args:
        ground: What lies there.
        clouds: What lies above it.
        outside: Where the swath does not reach.
        azimuth: Of the sun, degrees clockwise from north.
        zenith: Of the sun, degrees; taken as 75 at most.
    """
    zenith, azimuth = np.radians(min(zenith, 75.0)), np.radians(azimuth)
    sun = (np.sin(zenith) * np.sin(azimuth), np.sin(zenith) * np.cos(azimuth), np.cos(zenith))
    gain, dark = np.empty_like(ground.tone), np.empty(ground.tone.shape, np.bool_)
    _lit(ground.east, ground.north, ground.tone, sun, gain, dark)
    return View(ground.cover, ground.green, gain, dark, clouds, outside)


@kernel
def _lit(east, north, tone, sun, gain, dark):
    sx, sy, sz = _F(sun[0]), _F(sun[1]), _F(sun[2])
    for r in range(gain.shape[0]):
        for c in range(gain.shape[1]):
            e, n = _F(east[r, c]) * _F(1 / PARTS), _F(north[r, c]) * _F(1 / PARTS)
            light = (sz - sx * e - sy * n) / (sz * np.sqrt(_F(1.0) + e * e + n * n))
            bright = _F(tone[r, c]) * (_F(0.3) + _F(0.7) * min(max(light, _F(0.1)), _F(2.0)))
            gain[r, c] = np.int32(min(bright, _F(65_535.0)))
            dark[r, c] = light < _F(DARK)


def numbers(
    view: View, band: Band, offset: int, datatake: int, recording: int, corner: tuple[int, int]
) -> NDArray[np.uint16]:
    """Return a band's numbers as in the file, uint16, 0 where there are no data.

    Args:
        view: What is seen.
        band: One of the twelve.
        offset: Added to every number: 1000 from baseline 04.00 on.
        datatake: Its key: decides the haze.
        recording: Key of tile and datatake: decides the noise.
        corner: Column and row of the first pixel in the file.
    """
    b = OPTICAL.index(band)
    dry, lush = reflectance()[:, :, b]
    green = np.arange(256) / 255
    table = dry[:, np.newaxis] + green * (lush - dry)[:, np.newaxis]
    haze = HAZE[b] * key_of(datatake, "haze") / 2**32
    out = np.empty(view.gain.shape, np.uint16)
    sky = (_NO_SKY, _NO_SKY) if view.clouds is None else (view.clouds.opacity, view.clouds.shadow)
    _numbers(
        view.cover, view.green, view.gain, *sky, table.astype(np.float32).ravel(),
        tuple(np.float32(x) for x in (haze, CLOUD[b], NOISE[b])), offset,
        key_of(recording, band.value), corner, out,
    )  # fmt: skip
    if view.outside is not None:
        out[view.outside] = 0
    return out


@kernel
def _numbers(cover, green, gain, cloud, shadow, table, how, offset, key, corner, out):
    """Work row by row in single precision, in short loops: those the compiler vectorises."""
    haze, white, sigma = how
    most = _F(LARGEST_DN - offset)
    columns = out.shape[1]
    v, chance = np.empty(columns, np.float32), np.empty(columns, np.uint32)
    for r in range(out.shape[0]):
        for c in range(columns):
            v[c] = table[_U(cover[r, c]) * _U(256) + _U(green[r, c])]
        for c in range(columns):
            v[c] = v[c] * (_F(gain[r, c]) * _F(1 / PARTS)) + haze
        if cloud.size:
            for c in range(columns):
                v[c] *= _F(1.0) - _F(0.0025) * _F(shadow[r, c])
                v[c] += _F(cloud[r, c]) * _F(1.0 / 255.0) * (white - v[c])
        hash_row(corner[0], corner[1] + r, key, chance)
        for c in range(columns):
            # the sum of two uniform numbers: a triangle, near enough to a bell
            grain = _F(np.int32(chance[c] & _U(65535)) + np.int32(chance[c] >> _U(16)))
            noise = grain * _F(1.0 / 65535.0) - _F(1.0)
            noisy = v[c] + noise * (sigma + _F(0.006) * v[c])
            # rounded first, so that versions of one recording differ by the offset alone
            out[r, c] = np.int32(min(max(noisy + _F(0.5), _F(1.0)), most)) + np.int32(offset)


def scene_classification(view: View) -> NDArray[np.uint8]:
    """Return the SCL codes (0 to 11) of a view, uint8."""
    out = np.empty(view.cover.shape, np.uint8)
    sky = (_NO_SKY, _NO_SKY) if view.clouds is None else (view.clouds.opacity, view.clouds.shadow)
    _classes(view.cover, view.green, view.dark, *sky, _ground_codes().ravel(), out)
    if view.outside is not None:
        out[view.outside] = 0
    return out


@kernel
def _classes(cover, green, dark, cloud, shadow, codes, out):
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[r, c] = codes[_U(cover[r, c]) * _U(256) + _U(green[r, c])]
        for c in range(out.shape[1]):
            ground = (out[r, c] == VEGETATION) | (out[r, c] == BARE)
            out[r, c] = DARK_AREA if dark[r, c] & ground else out[r, c]
        if cloud.size:
            for c in range(out.shape[1]):
                code = SHADOW if shadow[r, c] >= MEDIUM else out[r, c]
                code = CIRRUS if cloud[r, c] >= THIN else code
                code = CLOUD_MEDIUM if cloud[r, c] >= MEDIUM else code
                out[r, c] = CLOUD_HIGH if cloud[r, c] >= HIGH else code


@lru_cache(maxsize=1)
def _ground_codes() -> NDArray[np.uint8]:
    """Return the code of clear ground by cover and green: plants where the index says so."""
    spectra = reflectance()[:, :, [OPTICAL.index(Band.B04), OPTICAL.index(Band.B08)]]
    lush = np.arange(256)[:, np.newaxis, np.newaxis] / 255
    both = spectra[0] + lush * (spectra[1] - spectra[0])  # (green, cover, red and infrared)
    index = (both[..., 1] - both[..., 0]) / (both[..., 1] + both[..., 0])
    codes = np.where(index > LEAST_NDVI, VEGETATION, BARE).astype(np.uint8).T
    codes[[Cover.SEA, Cover.LAKE, Cover.RIVER]] = WATER
    codes[Cover.SNOW] = SNOW_OR_ICE
    return np.ascontiguousarray(codes)
