"""File numbers to physical ones: offset, reflectance, gamma nought and dB; what is valid. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s1s2.errors import ContractError

DB_PER_COUNT = 0.01
"""Step of the stored radar values in dB: two orders below speckle."""
DB_INVALID = -32768
"""Stored radar value of an invalid pixel."""
DN_PER_REFLECTANCE = 10_000
"""Harmonised digital numbers in a surface reflectance of 1."""

_OFFSET_SINCE = 4.0
_OFFSET = -1000
_CLOUD, _SHADOW, _WATER, _UNSEEN = (8, 9, 10), (3,), (6,), (0,)


def baseline_offset(processing_baseline: str) -> int:
    """Return ESA's BOA_ADD_OFFSET for a processing baseline.

    From baseline 04.00 on (January 2022) the digital numbers of Level-2A carry +1000. The baseline
    decides and never the date: old scenes are reprocessed.

    Examples:
        >>> baseline_offset("03.01"), baseline_offset("04.00"), baseline_offset("05.09")
        (0, -1000, -1000)
    """
    return _OFFSET if float(processing_baseline) >= _OFFSET_SINCE else 0


def harmonise(dn: NDArray[np.uint16], offset: int) -> NDArray[np.uint16]:
    """Remove the radiometric offset from Sentinel-2 digital numbers.

    A valid pixel stays valid: what would fall to 0 (nodata) or below becomes 1.

    Args:
        dn: Digital numbers as in the file, any shape; 0 is nodata.
        offset: 0 or -1000, of `baseline_offset`.

    Raises:
        ContractError: If `dn` is not uint16, so probably scaled already.

    Examples:
        >>> harmonise(np.array([0, 400, 1000, 4000], dtype="uint16"), -1000)
        array([   0,    1,    1, 3000], dtype=uint16)
    """
    if dn.dtype != np.uint16:
        msg = f"expected Sentinel-2 digital numbers as uint16, got {dn.dtype}: already scaled?"
        raise ContractError(msg)
    if offset == 0:
        return dn
    shifted = np.maximum(dn, 1 - offset) + np.int32(offset)
    return np.where(dn == 0, 0, shifted).astype(np.uint16)


def to_reflectance(dn: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Turn harmonised digital numbers into surface reflectance (unitless); nodata becomes NaN.

    Examples:
        >>> to_reflectance(np.array([0, 3000], dtype="uint16"))
        array([nan, 0.3], dtype=float32)
    """
    scaled = dn.astype(np.float32) / np.float32(DN_PER_REFLECTANCE)
    return np.where(dn == 0, np.float32(np.nan), scaled)


def valid_power(power: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Say which radar pixels are measurements: finite and above 0, so neither nodata nor zero fill.

    Planetary Computer's RTC scenes are known to hold zero-filled areas inside their footprint
    (microsoft/PlanetaryComputer issue 493).
    """
    return np.isfinite(power) & (power > 0)


def to_counts(power: NDArray[np.float32]) -> NDArray[np.int16]:
    """Turn linear power (gamma nought) into stored counts of 0.01 dB; invalid becomes -32768.

    Examples:
        >>> to_counts(np.array([1.0, 0.1, 0.0, -32768.0, np.nan], dtype="float32"))
        array([     0,  -1000, -32768, -32768, -32768], dtype=int16)
    """
    valid = valid_power(power)
    decibels = 10 * np.log10(np.where(valid, power, 1.0).astype(np.float64))
    counts = np.clip(np.rint(decibels / DB_PER_COUNT), DB_INVALID + 1, -DB_INVALID - 1)
    return np.where(valid, counts, DB_INVALID).astype(np.int16)


def to_decibels(counts: NDArray[np.int16]) -> NDArray[np.float32]:
    """Turn stored counts into gamma nought in dB; invalid becomes NaN.

    Examples:
        >>> to_decibels(np.array([-1250, -32768], dtype="int16"))
        array([-12.5,   nan], dtype=float32)
    """
    scaled = counts.astype(np.float32) * np.float32(DB_PER_COUNT)
    return np.where(counts == DB_INVALID, np.float32(np.nan), scaled)


@dataclass(frozen=True)
class Ground:
    """What Sen2Cor's scene classification says of a chip, as shares of its pixels."""

    cloud: float
    """Medium and high probability cloud, thin cirrus (classes 8, 9, 10)."""
    shadow: float
    """Cloud shadow (3)."""
    water: float
    """Water (6)."""
    unseen: float
    """No data (0)."""


def ground(scl: NDArray[np.uint8]) -> Ground:
    """Count the classes of a scene classification.

    Examples:
        >>> ground(np.array([[4, 9], [3, 6]], dtype="uint8"))
        Ground(cloud=0.25, shadow=0.25, water=0.25, unseen=0.0)
    """
    share = np.bincount(scl.ravel(), minlength=256) / scl.size
    return Ground(*(float(share[list(c)].sum()) for c in (_CLOUD, _SHADOW, _WATER, _UNSEEN)))
