"""How the numbers of each band are spread, by what could shift them: baseline, radar's platform."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s1s2.bands import OPTICAL, RADAR, S2_10M, S2_20M, Band
from s1s2.radiometry import DB_INVALID, DB_PER_COUNT, DN_PER_REFLECTANCE

Floats = NDArray[np.float64]

_MOST_GROUPS, _CHIPS_A_GROUP, _EVERY = 6, 40, 4
_REFLECTANCE = np.linspace(0.0, 1.0, 81)
_DECIBELS = np.linspace(-35.0, 10.0, 81)


@dataclass(frozen=True)
class Spread:
    """The values of one band by group, each as a share of its group's pixels."""

    band: Band
    unit: str
    edges: Floats
    shares: Mapping[str, Floats]


def sample(index: pd.DataFrame) -> list[int]:
    """Return the chips whose values are drawn: some of every baseline, spread over the corpus.

    Examples:
        >>> table = pd.DataFrame(
        ...     {"chip": range(9), "processing_baseline": ["02.13"] * 8 + ["05.00"]}
        ... )
        >>> sample(table) == list(range(9))
        True
    """
    common = index["processing_baseline"].value_counts().index[:_MOST_GROUPS]
    chosen: list[int] = []
    for baseline in common:
        there = index.loc[index["processing_baseline"] == baseline, "chip"].to_numpy(np.int64)
        rows = np.unique(np.linspace(0, len(there) - 1, _CHIPS_A_GROUP).round().astype(int))
        chosen += map(int, there[rows])
    return sorted(chosen)


def spreads(rows: pd.DataFrame, chips: Iterable[Mapping[str, NDArray[Any]]]) -> list[Spread]:
    """Count the values of some chips, band by band.

    Args:
        rows: `processing_baseline s1_platform` of the chips, in their order.
        chips: The chips as stored, one after another.

    Returns:
        Optical bands by processing baseline, then radar bands by platform.
    """
    counts: dict[Band, dict[str, Floats]] = {band: {} for band in (*OPTICAL, *RADAR)}
    groups = zip(rows["processing_baseline"], rows["s1_platform"], strict=True)
    for (baseline, platform), chip in zip(groups, chips, strict=True):
        for band, values, edges in _values(chip):
            group = str(platform if band in RADAR else f"baseline {baseline}")
            found = np.histogram(values, edges)[0].astype(np.float64)
            counts[band][group] = counts[band].get(group, 0.0) + found
    return [_spread(band, counts[band]) for band in (*OPTICAL, *RADAR)]


def _spread(band: Band, counts: Mapping[str, Floats]) -> Spread:
    shares = {name: counts[name] / max(1.0, counts[name].sum()) for name in sorted(counts)}
    if band in RADAR:
        return Spread(band, "dB", _DECIBELS, shares)
    return Spread(band, "reflectance", _REFLECTANCE, shares)


def _values(chip: Mapping[str, NDArray[Any]]) -> Iterator[tuple[Band, Floats, Floats]]:
    """Yield every band's valid values in physical units, of every so many pixels."""
    for name, bands in (("s2_10m", S2_10M), ("s2_20m", S2_20M)):
        for band, image in zip(bands, chip[name], strict=True):
            some = image[::_EVERY, ::_EVERY]
            inside = np.clip(some[some > 0] / DN_PER_REFLECTANCE, 0, _REFLECTANCE[-1])
            yield band, inside, _REFLECTANCE
    for band, image in zip(RADAR, chip["s1"], strict=True):
        some = image[::_EVERY, ::_EVERY]
        valid = some[some != DB_INVALID] * DB_PER_COUNT
        yield band, np.clip(valid, _DECIBELS[0], _DECIBELS[-1]), _DECIBELS
