"""Where the sun stands. Vectorised."""

import numpy as np

from s1s2.sandbox.orbits import SECOND, Floats, Ints

_J2000_US = 946_728_000 * SECOND
_DAY_US = 86_400 * SECOND


def sun_position(us: Ints, lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
    """Return the sun's zenith angle and azimuth (clockwise from north), degrees.

    The low precision formulas of the Astronomical Almanac, good to about 0.01 degree.

    Args:
        us: Microseconds since 1970, shape (n,).
        lon: Longitudes, degrees.
        lat: Latitudes, degrees.

    Examples:
        >>> noon_at_summer_solstice = np.array([1_561_118_400 * SECOND])  # 2019-06-21T12:00Z
        >>> zenith, azimuth = sun_position(noon_at_summer_solstice, np.zeros(1), np.full(1, 51.5))
        >>> zenith.round(), azimuth.round()
        (array([28.]), array([179.]))
    """
    days = (us - _J2000_US) / _DAY_US
    anomaly = np.radians(357.528 + 0.985_600_3 * days)
    longitude = 280.460 + 0.985_647_4 * days
    longitude += 1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly)
    ecliptic, tilt = np.radians(longitude), np.radians(23.439 - 4e-7 * days)
    ascension = np.arctan2(np.cos(tilt) * np.sin(ecliptic), np.cos(ecliptic))
    declination = np.arcsin(np.sin(tilt) * np.sin(ecliptic))
    sidereal = np.radians(280.460_618 + 360.985_647_37 * days + lon)
    hour, north = sidereal - ascension, np.radians(lat)
    height = np.sin(north) * np.sin(declination)
    height += np.cos(north) * np.cos(declination) * np.cos(hour)
    east = -np.cos(declination) * np.sin(hour)
    ahead = np.sin(declination) * np.cos(north)
    ahead -= np.cos(declination) * np.sin(north) * np.cos(hour)
    zenith = np.degrees(np.arccos(np.clip(height, -1, 1)))
    return zenith, np.degrees(np.arctan2(east, ahead)) % 360
