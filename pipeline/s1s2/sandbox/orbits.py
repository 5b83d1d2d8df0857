"""Where the satellites are: circular sun-synchronous orbits over a rotating Earth. Vectorised.

One orbit is worked out once, in a frame whose longitudes count from its ascending node; every
other relative orbit is the same track, turned. The anchors (node of relative orbit 1, hours) were
fitted to recorded Planetary Computer items, of which they meet swath edges within about 5 km and
times within about 10 s. Latitudes are geodetic; tracks turn in geocentric ones.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from s1s2.scene import EARTH_RADIUS_M

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SECOND, DAY = 1_000_000, 86_400_000_000
"""Times are whole microseconds since 1970, so that repeats are exact."""

_EARTH_RATE = 2 * np.pi / 86_400
"""Radians a second, against the plane of a sun-synchronous orbit: one turn a mean solar day."""
_FLATTENING = 1 - 0.00669437999014
"""Squared axis ratio of WGS 84: tangent of geocentric latitude over that of geodetic latitude."""


@dataclass(frozen=True)
class Orbit:
    """The ground track a mission repeats."""

    inclination_deg: float
    revolutions: int
    """Orbits in a repeat cycle, which are the relative orbits."""
    days: int
    """Length of the cycle."""
    first_node_deg: float
    """Longitude of the ascending node of relative orbit 1."""

    @property
    def period_s(self) -> float:
        """Time from one ascending node to the next."""
        return self.days * 86_400 / self.revolutions

    @property
    def cycle_us(self) -> int:
        """Length of the cycle in microseconds."""
        return self.days * DAY

    def node_deg(self, relative_orbit: Ints) -> Floats:
        """Return longitudes of ascending nodes: each lies one period of rotation further west."""
        step = 360 * self.days / self.revolutions
        return np.asarray(
            (self.first_node_deg - (relative_orbit - 1) * step + 180) % 360 - 180, dtype=float
        )


SENTINEL_2 = Orbit(98.62, 143, 10, 0.95)
SENTINEL_1 = Orbit(98.18, 175, 12, 0.15)


@dataclass(frozen=True)
class Unit:
    """One satellite in one place of the constellation, for a time."""

    platform: str
    orbit: Orbit
    epoch: int
    """When relative orbit 1 of cycle 0 crosses its ascending node, microseconds."""
    revolution: int
    """Absolute number of that orbit."""
    begins: int
    """First and (exclusive) last moment of its service, microseconds."""
    ends: int

    def node_time(self, relative_orbit: Ints) -> Ints:
        """Return when relative orbits of cycle 0 cross the ascending node, microseconds."""
        turn = (relative_orbit - 1) * self.orbit.cycle_us
        return np.asarray(self.epoch + turn // self.orbit.revolutions, dtype=np.int64)

    def absolute_orbit(self, relative_orbit: int, cycle: int) -> int:
        """Return the number of an orbit since launch."""
        return self.revolution + relative_orbit - 1 + cycle * self.orbit.revolutions

    def relative_orbit(self, absolute_orbit: int) -> int:
        """Return which of the orbits of a cycle one since launch is."""
        return (absolute_orbit - self.revolution) % self.orbit.revolutions + 1

    def repeats(self, first: Ints, begins: int, ends: int) -> tuple[Ints, Ints]:
        """Find the cycles in which something happens in a period (both ends inclusive).

        Args:
            first: When it happens in cycle 0, microseconds.
            begins: Start of the period.
            ends: End of the period.

        Returns:
            Row numbers into `first` and cycle numbers, one pair for each time it happens.
        """
        begins, ends = max(begins, self.begins), min(ends, self.ends - 1)
        low = -((first - begins) // self.orbit.cycle_us)
        count = np.maximum((ends - first) // self.orbit.cycle_us - low + 1, 0)
        row = np.repeat(np.arange(len(first)), count)
        within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        return row, np.repeat(low, count) + within


def microseconds(moment: datetime) -> int:
    """Return whole microseconds since 1970; a naive time is taken as UTC."""
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def moment(us: int) -> datetime:
    """Return the aware UTC time of microseconds since 1970."""
    return _EPOCH + int(us) * _MICROSECOND


def compact(moment: datetime) -> str:
    """Write a time to the second as product names do; faster than `strftime`.

    Examples:
        >>> compact(datetime(2019, 8, 1, 10, 20, 30, tzinfo=UTC))
        '20190801T102030'
    """
    text = moment.isoformat()
    return f"{text[:4]}{text[5:7]}{text[8:13]}{text[14:16]}{text[17:19]}"


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _at(text: str) -> int:
    return microseconds(datetime.fromisoformat(text))


END_OF_ARCHIVE = _at("2026-06-25T00:00:00Z")
"""The last day of Planetary Computer's radar collection; nothing is recorded later."""


def _unit(  # noqa: PLR0913, PLR0917  # the columns of a table
    platform: str, orbit: Orbit, epoch: str, days: int, revolution: int, begins: str, ends: str
) -> Unit:
    return Unit(
        platform, orbit, _at(epoch) + days * DAY, revolution, _at(begins), min(_at(ends), _LAST)
    )


_LAST = END_OF_ARCHIVE
_S2_EPOCH, _S1_EPOCH = "2018-12-23T22:26:10.825Z", "2024-04-15T18:00:43.428Z"
_EVER = "2100-01-01T00:00:00Z"

S2_UNITS = (
    _unit("S2A", SENTINEL_2, _S2_EPOCH, 0, 18_302, "2015-07-01T00:00:00Z", "2025-01-21T00:00:00Z"),
    _unit("S2B", SENTINEL_2, _S2_EPOCH, 5, 9_465, "2017-06-28T00:00:00Z", _EVER),
    # S2C took S2A's place on 2025-01-21; its absolute numbers are counted from launch alone
    _unit("S2C", SENTINEL_2, _S2_EPOCH, 0, -29_774, "2025-01-21T00:00:00Z", _EVER),
    # S2A goes on as a third unit, a tenth of an orbit from S2B, which is three days after it;
    # simplified: at once, everywhere, without the weeks of its manoeuvre
    _unit("S2A", SENTINEL_2, _S2_EPOCH, 8, 18_445, "2025-01-21T00:00:00Z", _EVER),
)
"""Sentinel-2: relative = (absolute + 2) mod 143 + 1 for S2A, (absolute - 27) mod 143 + 1 for S2B,
as in recorded items."""

S1_UNITS = (
    _unit("S1A", SENTINEL_1, _S1_EPOCH, 0, 53_448, "2014-10-10T00:00:00Z", _EVER),
    _unit("S1B", SENTINEL_1, _S1_EPOCH, 6, 42_552, "2016-09-26T00:00:00Z", "2021-12-23T06:54:00Z"),
    _unit("S1C", SENTINEL_1, _S1_EPOCH, 6, -3_328, "2025-03-26T00:00:00Z", _EVER),
)
"""Sentinel-1: relative = (absolute - 73, 27, 172) mod 175 + 1 for S1A, S1B, S1C. S1C flies in the
place of S1B, whose radar failed on 2021-12-23."""


@dataclass(frozen=True)
class Frame:
    """Unit vectors at places of the track; longitudes count from the ascending node."""

    up: Floats
    """Shape (..., 3): the sub-satellite point."""
    forward: Floats
    """Along the track over the turning ground, which the swath lies square to (yaw steering)."""
    right: Floats
    speed: Floats
    """Of the sub-satellite point, radians a second."""


def frame(orbit: Orbit, seconds: Floats) -> Frame:
    """Return the track's frame at times since the ascending node, any shape."""
    rate, tilt = 2 * np.pi / orbit.period_s, np.radians(orbit.inclination_deg)
    u = np.asarray(rate * seconds, dtype=float)
    ct, st, zero = np.cos(tilt), np.sin(tilt), np.zeros_like(u)
    up = np.stack([np.cos(u), np.sin(u) * ct, np.sin(u) * st], axis=-1)
    flight = rate * np.stack([-np.sin(u), np.cos(u) * ct, np.cos(u) * st], axis=-1)
    flight -= _EARTH_RATE * np.stack([-up[..., 1], up[..., 0], zero], axis=-1)
    turned = _EARTH_RATE * np.asarray(seconds, dtype=float)
    up, flight = _turn(up, turned), _turn(flight, turned)
    speed = np.linalg.norm(flight, axis=-1)
    forward = flight / speed[..., None]
    return Frame(up, forward, np.cross(forward, up), speed)


def _turn(vectors: Floats, angle: Floats) -> Floats:
    """Turn vectors westwards, as the Earth does the ground eastwards under an orbit."""
    c, s = np.cos(angle), np.sin(angle)
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.stack([c * x + s * y, c * y - s * x, z], axis=-1)


def ground(orbit: Orbit, seconds: Floats, right_m: Floats | float) -> tuple[Floats, Floats]:
    """Return places beside the track.

    Args:
        orbit: Whose track.
        seconds: Since the ascending node, any shape.
        right_m: Distance to the right of the track, metres, broadcast against `seconds`.

    Returns:
        Longitudes (degrees from the node's, -180 to 180) and geodetic latitudes.
    """
    seconds, right = np.broadcast_arrays(np.asarray(seconds, float), np.asarray(right_m, float))
    there, angle = frame(orbit, seconds), right[..., None] / EARTH_RADIUS_M
    x, y, z = np.moveaxis(np.cos(angle) * there.up + np.sin(angle) * there.right, -1, 0)
    lat = np.arctan2(z, np.hypot(x, y) * _FLATTENING)
    return np.degrees(np.arctan2(y, x)), np.degrees(lat)


def unit_vectors(lon: Floats, lat: Floats) -> Floats:
    """Return geocentric unit vectors, shape (..., 3), of longitudes and geodetic latitudes."""
    east, north = np.radians(lon), np.arctan(_FLATTENING * np.tan(np.radians(lat)))
    return np.stack(
        [np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=-1
    )


def descending_over(orbit: Orbit, lat: Floats) -> Floats:
    """Return when the southbound half of the track is at latitudes, seconds since the node."""
    sine = unit_vectors(np.zeros_like(lat), lat)[..., 2] / np.sin(np.radians(orbit.inclination_deg))
    u = np.pi - np.arcsin(np.clip(sine, -1, 1))
    return np.asarray(u / (2 * np.pi) * orbit.period_s)


def abeam(orbit: Orbit, places: Floats, seconds: Floats) -> tuple[Floats, Floats]:
    """Find when a place is square to the track.

    Args:
        orbit: Whose track.
        places: Unit vectors, shape (n, 3), longitudes from the ascending node.
        seconds: A first guess for each, seconds since the node.

    Returns:
        Seconds since the node, and metres to the right of the track.
    """
    for _ in range(4):  # each turn leaves about a hundredth of the error
        there = frame(orbit, seconds)
        ahead = np.arcsin(np.clip(np.sum(places * there.forward, axis=-1), -1, 1))
        seconds = seconds + ahead / there.speed
    across = np.sum(places * frame(orbit, seconds).right, axis=-1)
    return seconds, EARTH_RADIUS_M * np.arcsin(np.clip(across, -1, 1))


def absolute_orbit(units: tuple[Unit, ...], platform: str, relative_orbit: int, us: int) -> int:
    """Return the absolute orbit in which a platform was at a time of one of its relative orbits."""
    unit = next(u for u in units if u.platform == platform and u.begins <= us < u.ends)
    node = int(unit.node_time(np.array([relative_orbit]))[0])
    return unit.absolute_orbit(relative_orbit, (us - node) // unit.orbit.cycle_us)
