"""Clouds: how much of them, by latitude, season and weather; where they are; their shadows."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from s1s2.sandbox.net import Net, Patch, octaves, refine
from s1s2.sandbox.noise import EARTH_M, Floats, add_octave, kernel, key_of, on_sphere

_LATITUDES = np.array([-90, -60, -45, -25, -10, 5, 20, 35, 50, 65, 75, 90.0])
_JANUARY = np.array([0.6, 0.7, 0.55, 0.35, 0.65, 0.55, 0.2, 0.4, 0.65, 0.65, 0.55, 0.5])
_JULY = np.array([0.5, 0.7, 0.6, 0.2, 0.35, 0.65, 0.45, 0.25, 0.45, 0.6, 0.65, 0.65])
_WEATHER_M = 700_000.0


def cloud_cover(lon: Floats, lat: Floats, day_of_year: int, datatake: int) -> Floats:
    """Return the expected share of cloud at places, shape as given, 0 to 1.

    Monthly means by latitude follow the zonal means of cloud climatologies (the tropical belt that
    moves with the sun, clear subtropics, cloudy middle latitudes in winter); around them weather
    systems of about 700 km, so that most scenes are rather clear or rather overcast.
    """
    lon, lat = np.broadcast_arrays(np.asarray(lon, float), np.asarray(lat, float))
    summer = 0.5 - 0.5 * np.cos(2 * np.pi * (day_of_year - 15) / 365.25)
    mean = (1 - summer) * np.interp(lat, _LATITUDES, _JANUARY)
    mean += summer * np.interp(lat, _LATITUDES, _JULY)
    weather = np.zeros(lat.size)
    x, y, z = (p.ravel() for p in on_sphere(lon, lat))
    add_octave(x, y, z, _WEATHER_M, 1.0, key_of(datatake, "weather"), weather)
    # logit: symmetrical, never beyond 0 and 1
    odds = np.log(mean / (1 - mean)) + 12.0 * weather.reshape(lat.shape)
    return np.asarray(1 / (1 + np.exp(-odds)))


COARSE_WAVES = ((90_000, 1.0), (28_000, 0.8), (9_000, 0.6), (3_000, 0.4))
FINE_WAVES = ((1_000, 0.34), (350, 0.2))
"""Wavelength in metres and amplitude of the octaves of a cloud field."""
_SPREAD = 0.29  # deviation of their sum
_SOFT = 0.12  # how much of the field lies between clear and opaque
_FINE_REACH = 0.44  # the most that the fine octaves add
CLOUD_TOP_M = (700.0, 2_600.0)
_LONGEST_SHADOW_M = 4_500.0


@dataclass(frozen=True)
class Clouds:
    """Clouds over a patch; arrays of uint8, shape (size, size), 0 clear to 255 opaque."""

    opacity: NDArray[np.uint8]
    shadow: NDArray[np.uint8]
    """How much of the sun is covered, seen from the ground."""


def clouds(
    patch: Patch, net: Net, day_of_year: int, datatake: int, azimuth: float, zenith: float
) -> Clouds | None:
    """Return the clouds of a datatake over a patch; None where the sky is clear.

    Args:
        patch: Which pixels.
        net: Its nodes.
        day_of_year: 1 to 366.
        datatake: Its key: the field of clouds goes on over the borders of tiles and zones.
        azimuth: Of the sun, degrees clockwise from north.
        zenith: Of the sun, degrees.
    """
    level = _level(net, day_of_year, datatake)
    keys = _keys(datatake)
    low, high = CLOUD_TOP_M
    top = low + (high - low) * key_of(datatake, "cloud top") / 2**32
    away = min(top * np.tan(np.radians(zenith)), _LONGEST_SHADOW_M)
    fields: list[Floats | None] = []
    for metres in (0.0, away):
        field = level + octaves(
            moved(net.coarse, metres, azimuth), COARSE_WAVES, *keys[: len(COARSE_WAVES)]
        )
        if field.max() < -_FINE_REACH:
            fields.append(None)
            continue
        fine = refine(field[np.newaxis])[0]
        fine += octaves(moved(net.fine, metres, azimuth), FINE_WAVES, *keys[len(COARSE_WAVES) :])
        fields.append(fine)
    if fields[0] is None and fields[1] is None:
        return None
    start = ((patch.left - net.x) / net.node_m, (net.y - patch.top) / net.node_m)
    clear = np.zeros((patch.size, patch.size), np.uint8)
    opacity, shadow = (
        clear if f is None else _opacity(f, start, patch.gsd / net.node_m, patch.size, 1 / _SOFT)
        for f in fields
    )
    return Clouds(opacity, shadow)


def overcast(net: Net, day_of_year: int, datatake: int) -> bool:
    """Say whether clouds are opaque all over a patch, from the coarse nodes alone."""
    field = _level(net, day_of_year, datatake)
    field += octaves(net.coarse, COARSE_WAVES, *_keys(datatake)[: len(COARSE_WAVES)])
    return bool(field.min() > _SOFT + _FINE_REACH)


def _level(net: Net, day_of_year: int, datatake: int) -> Floats:
    """Return what lifts the field of clouds above 0 where there are some, at coarse nodes."""
    cover = cloud_cover(net.lon, net.lat, day_of_year, datatake)
    # normal quantile of the cover, by the logistic curve that is close to it
    return np.asarray(_SPREAD * np.log(cover / (1 - cover)) / 1.702 + 0.4 * _SOFT)


@lru_cache(maxsize=512)
def _keys(datatake: int) -> tuple[int, ...]:
    return tuple(key_of(datatake, "cloud", n) for n in range(len(COARSE_WAVES) + len(FINE_WAVES)))


def moved(
    places: tuple[Floats, Floats, Floats], metres: float, azimuth: float
) -> tuple[Floats, Floats, Floats]:
    """Move unit vectors over the ground towards an azimuth (degrees clockwise from north)."""
    if not metres:
        return places
    east = metres * np.sin(np.radians(azimuth)) / EARTH_M
    north = metres * np.cos(np.radians(azimuth)) / EARTH_M
    x, y, z = (np.empty(p.shape) for p in places)
    from_x, from_y, from_z = (p.ravel() for p in places)
    _move(from_x, from_y, from_z, east, north, x.ravel(), y.ravel(), z.ravel())
    return x, y, z


@kernel
def _move(x, y, z, east, north, to_x, to_y, to_z):
    for n in range(x.size):
        c = np.sqrt(x[n] * x[n] + y[n] * y[n])
        to_x[n] = x[n] - east * y[n] / c - north * z[n] * x[n] / c
        to_y[n] = y[n] + east * x[n] / c - north * z[n] * y[n] / c
        to_z[n] = z[n] + north * c


@kernel
def _opacity(field, start, step, size, gain):
    """Interpolate a field at the pixels and turn it into opacity, 0 to 255."""
    out = np.empty((size, size), np.uint8)
    line = np.empty(field.shape[1])
    for r in range(size):
        fy = start[1] + (r + 0.5) * step
        i = int(fy)
        v = fy - i
        for c in range(line.shape[0]):
            line[c] = field[i, c] + v * (field[i + 1, c] - field[i, c])
        for c in range(size):
            fx = start[0] + (c + 0.5) * step
            j = int(fx)
            value = gain * (line[j] + (fx - j) * (line[j + 1] - line[j]))
            out[r, c] = int(255.0 * min(max(value, 0.0), 1.0))
    return out
