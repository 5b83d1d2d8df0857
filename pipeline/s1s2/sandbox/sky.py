"""Clouds: how much of them, by latitude, season and weather; where they are; their shadows."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from s1s2.sandbox.between import advance, between, phases
from s1s2.sandbox.net import Net, Patch, add_octaves, octaves, refine
from s1s2.sandbox.noise import EARTH_M, Floats, Singles, kernel, key_of, on_sphere

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
    waves = ((_WEATHER_M, 1.0),)
    systems = octaves(on_sphere(lon, lat), waves, key_of(datatake, "weather")).astype(float)
    # logit: symmetrical, never beyond 0 and 1
    odds = np.log(mean / (1 - mean)) + 12.0 * systems
    return np.asarray(1 / (1 + np.exp(-odds)))


COARSE_WAVES = ((90_000, 1.0), (28_000, 0.8), (9_000, 0.6), (3_000, 0.4))
FINE_WAVES = ((1_000, 0.34), (350, 0.2))
"""Wavelength in metres and amplitude of the octaves of a cloud field."""
_COARSE = len(COARSE_WAVES)
_SPREAD = 0.29  # deviation of their sum
_SOFT = 0.12  # how much of the field lies between clear and opaque
_FINE_REACH = 0.44  # the most that the fine octaves add
CLOUD_TOP_M = (700.0, 2_600.0)
_LONGEST_SHADOW_M = 4_500.0
_F = np.float32
_ONE = np.array([[0, 0]])


@dataclass(frozen=True)
class Weather:
    """The field of clouds at coarse nodes, without its fine octaves; float32, shape (R, C)."""

    level: Singles
    """What lifts it above 0 where there are clouds."""
    field: Singles
    """Of what is right overhead."""

    @property
    def overcast(self) -> bool:
        """Whether clouds are opaque all over the net."""
        return bool(self.field.min() > _SOFT + _FINE_REACH)


@dataclass(frozen=True)
class Clouds:
    """Clouds over a patch; arrays of uint8, shape (size, size), 0 clear to 255 opaque."""

    opacity: NDArray[np.uint8]
    shadow: NDArray[np.uint8]
    """How much of the sun is covered, seen from the ground."""


def weather(net: Net, day_of_year: int, datatake: int) -> Weather:
    """Return the weather of a datatake (a key: it goes on over borders of tiles and zones)."""
    lon, lat = net.degrees
    cover = cloud_cover(lon, lat, day_of_year, datatake)
    # normal quantile of the cover, by the logistic curve that is close to it
    lifted = _SPREAD * np.log(cover / (1 - cover)) / 1.702 + 0.4 * _SOFT
    level = np.asarray(lifted, dtype=np.float32)
    return Weather(level, level + octaves(net.coarse, COARSE_WAVES, *_keys(datatake)[:_COARSE]))


def clouds(
    patch: Patch, net: Net, weather: Weather, datatake: int, azimuth: float, zenith: float
) -> Clouds | None:
    """Return the clouds of a datatake over a patch; None where the sky is clear.

    Args:
        patch: Which pixels.
        net: Its nodes.
        weather: Of the datatake, at the net's nodes.
        datatake: Its key.
        azimuth: Of the sun, degrees clockwise from north.
        zenith: Of the sun, degrees.
    """
    low, high = CLOUD_TOP_M
    top = low + (high - low) * key_of(datatake, "cloud top") / 2**32
    away = min(top * np.tan(np.radians(zenith)), _LONGEST_SHADOW_M)
    towards_sun = moved(net.coarse, away, azimuth)
    field = weather.level + octaves(towards_sun, COARSE_WAVES, *_keys(datatake)[:_COARSE])
    if max(weather.field.max(), field.max()) < -_FINE_REACH:
        return None
    return Clouds(
        _opacity(patch, net, weather.field, net.fine, datatake),
        _opacity(patch, net, field, refine(towards_sun), datatake),
    )


def _opacity(
    patch: Patch, net: Net, field: Singles, places: Floats, datatake: int
) -> NDArray[np.uint8]:
    """Turn a field at coarse nodes into opacity at the pixels, with detail at fine places."""
    out = np.zeros((patch.size, patch.size), np.uint8)
    if field.max() >= -_FINE_REACH:
        fine = refine(field[np.newaxis])
        add_octaves(fine, places, FINE_WAVES, *_keys(datatake)[_COARSE:])
        step = patch.gsd / net.node_m
        columns = phases((patch.left - net.x) / net.node_m, step)
        _cover(fine, columns, (net.y - patch.top) / net.node_m, step, out)
    return out


@lru_cache(maxsize=512)
def _keys(datatake: int) -> tuple[int, ...]:
    return tuple(key_of(datatake, "cloud", n) for n in range(len(COARSE_WAVES) + len(FINE_WAVES)))


def moved(places: Floats, metres: float, azimuth: float) -> Floats:
    """Move unit vectors, shape (3, ...), over the ground towards an azimuth (clockwise degrees)."""
    east = metres * np.sin(np.radians(azimuth)) / EARTH_M
    north = metres * np.cos(np.radians(azimuth)) / EARTH_M
    x, y, z = places
    c = np.sqrt(x * x + y * y)
    return np.stack([
        x - east * y / c - north * z * x / c,
        y + east * x / c - north * z * y / c,
        z + north * c,
    ])  # fmt: skip


@kernel
def _cover(field, columns, top, step, out):
    """Interpolate a field at the pixels and turn it into opacity, 0 to 255."""
    size = out.shape[0]
    j, first, u, _ = columns
    rows = np.empty((2, 1, size + u.size), np.float32)
    line = np.empty((1, size), np.float32)
    i = np.int64(-2)  # see `classify`
    for r in range(size):
        y = top + (r + 0.5) * step
        advance(field, i, int(y), j, u, rows)
        i = np.int64(y)
        between(rows, first, _F(y - i), line, _ONE)
        for c in range(size):
            value = line[0, c] * _F(1.0 / _SOFT)
            out[r, c] = np.int32(_F(255.0) * min(max(value, _F(0.0)), _F(1.0)))
