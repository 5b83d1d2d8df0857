"""Stored integers to what a network sees, in batches on the device they lie on.

`raw` is what a corpus stores: optical uint16 (B, 12, y, x), reflectance x 10,000, 0 = nodata; radar
int16 (B, 2, y, x), dB x 100, -32768 = invalid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from s1s2.bands import OPTICAL, RADAR, Band, Sensor
from s1s2.errors import ContractError
from s1s2.radiometry import DB_INVALID, DB_PER_COUNT, DN_PER_REFLECTANCE

BANDS: dict[Sensor, tuple[Band, ...]] = {Sensor.S1: RADAR, Sensor.S2: OPTICAL}
"""Channels of a batch, in order, by sensor."""
_SMALLEST_POWER = 1e-8  # -80 dB, far below any sensor's noise


@dataclass(frozen=True)
class Scaling:
    """What normalising subtracts and divides by, for one sensor: reflectance or dB, by band."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def of_corpus(cls, about: Mapping[str, Any], sensor: Sensor) -> Self:
        """Return that of a corpus' train split, from its `corpus.json`.

        Raises:
            ContractError: If no chip is in the train split.
        """
        unit = DB_PER_COUNT if sensor is Sensor.S1 else 1 / DN_PER_REFLECTANCE
        found = [about["statistics"].get(str(band)) for band in BANDS[sensor]]
        if not all(found):
            msg = "no chip is in the train split, so there are no statistics to normalise by"
            raise ContractError(msg)
        deviations = (max(s["std"] * unit, unit) for s in found)
        return cls(tuple(s["mean"] * unit for s in found), tuple(deviations))

    def apply(self, values: Tensor, valid: Tensor) -> Tensor:
        """Return `values` (B, band, y, x) of zero mean and unit deviation; 0 where not `valid`."""
        mean, deviation = (_by_band(v, values) for v in (self.mean, self.deviation))
        return torch.where(valid, (values - mean) / deviation, 0.0)


def _by_band(numbers: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(numbers, dtype=like.dtype, device=like.device)[:, None, None]


def to_reflectance(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Return reflectance (B, 12, y, x) float32 and what is valid in all bands, (B, 1, y, x)."""
    numbers = raw.to(torch.float32)
    return numbers / DN_PER_REFLECTANCE, (numbers > 0).all(dim=1, keepdim=True)


def to_power(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Return linear gamma nought (B, 2, y, x) float32 and what is valid in both polarisations."""
    valid = (raw != DB_INVALID).all(dim=1, keepdim=True)
    return torch.pow(10.0, raw.to(torch.float32) * (DB_PER_COUNT / 10)), valid


def to_decibels(power: Tensor) -> Tensor:
    """Return linear power in dB."""
    return 10 * torch.log10(power.clamp(min=_SMALLEST_POWER))


def normalised(raw: Tensor, sensor: Sensor, scaling: Scaling) -> Tensor:
    """Return a stored batch as a network sees it when nothing is augmented: float32."""
    if sensor is Sensor.S2:
        return scaling.apply(*to_reflectance(raw))
    power, valid = to_power(raw)
    return scaling.apply(to_decibels(power), valid)
