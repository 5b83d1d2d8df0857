"""What Sentinel-1 measures: gamma nought in linear power, terrain corrected, with speckle."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from s1s2.bands import Band
from s1s2.sandbox.covers import Cover, backscatter
from s1s2.sandbox.noise import hash_row, kernel, key_of
from s1s2.sandbox.planet import Ground
from s1s2.sandbox.rules import PARTS

NODATA = -32_768.0
LOOKS = 4.5
"""Equivalent number of looks of IW GRD high resolution, the input of the corrected product."""
SWATH_M = 255_000.0
NEAR_DEGREES, FAR_DEGREES = 30.7, 46.0
"""Incidence at the near and the far edge of the swath, as in the tags of real files."""
SHADOW_DB = -27.0
"""What the noise of the instrument leaves in radar shadow."""
NEAR_TANGENT, FAR_TANGENT = (float(t) for t in np.tan(np.radians([NEAR_DEGREES, FAR_DEGREES])))
_U, _F = np.uint32, np.float32
_STEPS = 4096


@dataclass(frozen=True)
class View:
    """What one slice sees of a patch, shared by its polarisations."""

    ground: Ground
    look: tuple[float, float]
    """Unit vector (east, north) along which the radar looks over the ground."""
    across: tuple[float, float, float]
    """Metres from the near edge at the first pixel's centre, and their change a column and a row
    further."""
    outside: NDArray[np.bool_] | None
    """True where the slice does not reach, shape (size, size); None where it covers all."""


POWERS = (10 ** ((np.arange(9001) / 100 - 45) / 10)).astype(np.float32)
"""Linear power for every hundredth of a dB from -45 to 45."""


def _speckle() -> NDArray[np.float32]:
    chances = (np.arange(_STEPS) + 0.5) / _STEPS
    values = gammaincinv(LOOKS, chances)
    return np.asarray(values / values.mean(), dtype=np.float32)


SPECKLE = _speckle()
"""Equally likely values of speckle, mean 1: gamma distributed."""


def power(
    view: View,
    band: Band,
    datatake: int,
    recording: int,
    corner: tuple[int, int],
) -> NDArray[np.float32]:
    """Return gamma nought of one polarisation in linear power, float32, -32768 for no data.

    Args:
        view: What is seen.
        band: VV or VH.
        datatake: Its key: decides the wind over water and how wet the soil is.
        recording: Its key: decides the speckle.
        corner: Column and row of the first pixel in the file.
    """
    which = 0 if band is Band.VV else 1
    weather = np.full(len(Cover), (key_of(datatake, "soil") / 2**32 - 0.5) * 1.2)
    wind = key_of(datatake, "wind") / 2**32 - 0.5
    weather[[Cover.SEA, Cover.LAKE, Cover.RIVER]] = [9.0 * wind, 5.0 * wind, 4.0 * wind]
    table = backscatter()
    dry, lush = table[:, 2 * which, np.newaxis], table[:, 2 * which + 1, np.newaxis]
    levels = dry + np.arange(256) / 255 * (lush - dry) + weather[:, np.newaxis]
    falls = table[:, 4] * (table[:, 5] if which else 1.0)
    ground = view.ground
    out = np.empty(ground.cover.shape, np.float32)
    _power(
        (ground.cover, ground.green, ground.tone, ground.east, ground.north), view.look,
        levels.astype(np.float32).ravel(), falls.astype(np.float32), view.across,
        key_of(recording, band.value), corner, out,
    )  # fmt: skip
    if view.outside is not None:
        out[view.outside] = NODATA
    return out


@kernel
def _power(ground, look, levels, falls, across, key, corner, out):
    """Work row by row in single precision, in short loops: those the compiler vectorises."""
    cover, green, tone, east, north = ground
    to_east, to_north = _F(look[0]), _F(look[1])
    columns = out.shape[1]
    v, fall, part = np.empty((3, columns), np.float32)
    metres, chance = np.empty(columns), np.empty(columns, np.uint32)
    for r in range(out.shape[0]):
        for c in range(columns):
            v[c] = levels[_U(cover[r, c]) * _U(256) + _U(green[r, c])]
            fall[c] = falls[_U(cover[r, c])]
        for c in range(columns):
            metres[c] = across[0] + c * across[1] + r * across[2]
        for c in range(columns):
            part[c] = min(max(_F(metres[c]) * _F(1.0 / SWATH_M), _F(0.0)), _F(1.0))
        for c in range(columns):
            level = v[c] + fall[c] * (part[c] - _F(0.5))
            # tangent of the incidence, near enough to a straight line between its ends
            steepest = _F(NEAR_TANGENT) + _F(FAR_TANGENT - NEAR_TANGENT) * part[c]
            # what terrain correction leaves: slopes that face the radar stay brighter; in layover
            # several slopes are in one place, from shadow nothing comes back
            facing = (to_east * _F(east[r, c]) + to_north * _F(north[r, c])) * _F(1 / PARTS)
            lifted = _F(5.0) if facing > steepest else _F(3.5) * facing
            level = _F(SHADOW_DB) if facing * steepest < _F(-1.0) else level + lifted
            step = (min(max(level, _F(-45.0)), _F(45.0)) + _F(45.0)) * _F(100.0)
            v[c] = POWERS[_U(np.int32(step))]
        hash_row(corner[0], corner[1] + r, key, chance)
        for c in range(columns):
            bright = _F(1.0) + _F(0.8) * (_F(tone[r, c]) * _F(1 / PARTS) - _F(1.0))
            bright = v[c] * min(max(bright, _F(0.3)), _F(2.0))
            out[r, c] = bright * SPECKLE[chance[c] >> _U(20)]
