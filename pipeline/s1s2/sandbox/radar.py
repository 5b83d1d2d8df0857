"""What Sentinel-1 measures: gamma nought in linear power, terrain corrected, with speckle."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from s1s2.bands import Band
from s1s2.sandbox.covers import Cover, backscatter
from s1s2.sandbox.noise import hash3, kernel, key_of
from s1s2.sandbox.planet import Ground

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
    """What one slice sees of a patch, shared by its polarisations; arrays of (size, size)."""

    cover: NDArray[np.uint8]
    """A `Cover` each."""
    green: NDArray[np.uint8]
    """0 dry to 255 lush."""
    tone: NDArray[np.float32]
    """Brightness relative to the cover's mean."""
    facing: NDArray[np.float32]
    """Rise per metre along the radar's look: positive slopes face it."""
    across: tuple[float, float, float]
    """Metres from the near edge at the first pixel's centre, and their change a column and a row
    further."""
    outside: NDArray[np.bool_] | None
    """True where the slice does not reach; None where it covers all."""


def view_of(
    ground: Ground,
    look: tuple[float, float],
    across: tuple[float, float, float],
    outside: NDArray[np.bool_] | None,
) -> View:
    """Look at the ground along a unit vector (east, north)."""
    facing = np.float32(look[0]) * ground.east + np.float32(look[1]) * ground.north
    return View(ground.cover, ground.green, ground.tone, facing, across, outside)


@lru_cache(maxsize=1)
def powers() -> NDArray[np.float32]:
    """Return linear power for every hundredth of a dB from -45 to 45, shape (9001,)."""
    return (10 ** ((np.arange(9001) / 100 - 45) / 10)).astype(np.float32)


@lru_cache(maxsize=1)
def speckle() -> NDArray[np.float32]:
    """Return equally likely values of speckle, mean 1: gamma distributed, shape (4096,)."""
    chances = (np.arange(_STEPS) + 0.5) / _STEPS
    values = gammaincinv(LOOKS, chances)
    return np.asarray(values / values.mean(), dtype=np.float32)


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
    out = np.empty(view.cover.shape, np.float32)
    _power(
        view.cover, view.green, view.tone, view.facing, levels.astype(np.float32).ravel(),
        falls.astype(np.float32), view.across, powers(), speckle(),
        key_of(recording, band.value), corner, out,
    )  # fmt: skip
    if view.outside is not None:
        out[view.outside] = NODATA
    return out


@kernel
def _power(cover, green, tone, facing, levels, falls, across, powers_, speckle_, key, corner, out):
    """Work row by row in single precision, one short loop a step: those the compiler vectorises."""
    columns = out.shape[1]
    v, part = np.empty(columns, np.float32), np.empty(columns, np.float32)
    for r in range(out.shape[0]):
        for c in range(columns):
            v[c] = levels[_U(cover[r, c]) * _U(256) + _U(green[r, c])]
        for c in range(columns):
            metres = _F(across[0] + c * across[1] + r * across[2])
            part[c] = min(max(metres * _F(1.0 / SWATH_M), _F(0.0)), _F(1.0))
        for c in range(columns):
            v[c] += falls[_U(cover[r, c])] * (part[c] - _F(0.5))
        for c in range(columns):
            # tangent of the incidence, near enough to a straight line between its ends
            steepest = _F(NEAR_TANGENT) + _F(FAR_TANGENT - NEAR_TANGENT) * part[c]
            # what terrain correction leaves: slopes that face the radar stay brighter; in layover
            # several slopes are in one place, from shadow nothing comes back
            level = v[c] + (_F(5.0) if facing[r, c] > steepest else _F(3.5) * facing[r, c])
            v[c] = _F(SHADOW_DB) if facing[r, c] * steepest < _F(-1.0) else level
        for c in range(columns):
            step = (min(max(v[c], _F(-45.0)), _F(45.0)) + _F(45.0)) * _F(100.0)
            v[c] = powers_[_U(np.int32(step))]
        for c in range(columns):
            bright = _F(1.0) + _F(0.8) * (tone[r, c] - _F(1.0))
            v[c] *= min(max(bright, _F(0.3)), _F(2.0))
        for c in range(columns):
            h = hash3(corner[0] + c, corner[1] + r, key)
            out[r, c] = v[c] * speckle_[h >> _U(20)]
