"""Which chips: filters over the index, fixed subsets, and pairs of chips for contrastive training.

All of it looks at the index alone. Pandas evaluates `where`, which may call functions: it is the
user's own code, never text from a corpus.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from s1s2.errors import ContractError
from s1s2.loader.order import Numbers

SEASONS = ("winter", "spring", "summer", "autumn")
"""In each hemisphere its own: December to February is winter north of the equator."""
_EARTH_KM = 6371.0
_CORNERS = 4


@dataclass(frozen=True)
class Filter:
    """Which rows of the index to keep; every condition must hold."""

    where: str | None = None
    """A condition on columns, as pandas' `query` takes it: `cloud_fraction < 0.1`."""
    bbox: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees; west above east crosses the antimeridian."""
    season: str | Sequence[int] | None = None
    """`winter` to `autumn` of the chip's own hemisphere, or months from 1 to 12."""
    fraction: float = 1.0
    """Share of the rows that are left, chosen once for all: a smaller one is part of a larger."""
    fraction_seed: int = 0
    """Another seed, another subset."""

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            msg = f"fraction {self.fraction}: expected above 0, at most 1"
            raise ContractError(msg)
        if self.bbox is not None and (
            len(self.bbox) != _CORNERS or not -90 <= self.bbox[1] < self.bbox[3] <= 90  # noqa: PLR2004
        ):
            msg = f"bbox {self.bbox}: expected west, south, east, north in degrees"
            raise ContractError(msg)
        season, months = self.season, range(1, 13)
        named = isinstance(season, str) and season in SEASONS
        listed = isinstance(season, Sequence) and all(month in months for month in season)
        if not (season is None or named or listed):
            msg = f"season {season!r}: expected one of {', '.join(SEASONS)}, or a list of months"
            raise ContractError(msg)


def kept(index: pd.DataFrame, wanted: Filter) -> pd.DataFrame:
    """Return the rows of an index that a filter keeps, in their order.

    Args:
        index: One row a chip: `chip`, `lon`, `lat`, `s2_time` (UTC) and whatever `where` names.
        wanted: What to keep.

    Raises:
        ContractError: If `where` is no condition on the index' columns.
    """
    rows = index
    if wanted.where is not None:
        rows = rows[_where(rows, wanted.where)]
    if wanted.bbox is not None:
        rows = rows[_inside(rows, wanted.bbox)]
    if wanted.season is not None:
        rows = rows[_in_season(rows, wanted.season)]
    if wanted.fraction < 1:
        rows = rows[_share(rows["chip"].to_numpy(np.int64), wanted.fraction, wanted.fraction_seed)]
    return rows


def _where(rows: pd.DataFrame, where: str) -> NDArray[np.bool_]:
    columns = [name for name in rows.columns if name != "geometry"]
    try:
        found = pd.DataFrame(rows[columns]).eval(where)
    except Exception as error:  # whatever the condition is made of
        msg = f"where {where!r}: {error}; the columns are {', '.join(columns)}"
        raise ContractError(msg) from error
    if not isinstance(found, pd.Series) or found.dtype != bool:
        msg = f"where {where!r}: expected a condition, such as 'cloud_fraction < 0.1'"
        raise ContractError(msg)
    return found.to_numpy(bool)


def _inside(rows: pd.DataFrame, bbox: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    west, south, east, north = bbox
    lon, lat = rows["lon"].to_numpy(), rows["lat"].to_numpy()
    across = (lon >= west) | (lon < east) if west > east else (lon >= west) & (lon < east)
    inside: NDArray[np.bool_] = across & (lat >= south) & (lat < north)
    return inside


def _in_season(rows: pd.DataFrame, season: str | Sequence[int]) -> NDArray[np.bool_]:
    months = rows["s2_time"].dt.month.to_numpy()
    if not isinstance(season, str):
        return np.isin(months, list(season))
    northern = np.where(rows["lat"].to_numpy() < 0, months + 6, months)
    return np.asarray((northern % 12) // 3 == SEASONS.index(season))


def _share(chips: Numbers, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Keep the chips whose hashes come first: a smaller share is then part of a larger one."""
    keys = [hashlib.sha256(f"{seed}/{chip}".encode()).digest() for chip in chips.tolist()]
    first = sorted(range(len(keys)), key=keys.__getitem__)[: ceil(fraction * len(keys))]
    keep = np.zeros(len(chips), dtype=bool)
    keep[first] = True
    return keep


def near_pairs(
    index: pd.DataFrame, within_km: float, *, apart_days: float = 0.0, beyond_km: float = 0.0
) -> Numbers:
    """Return pairs of chips that lie near each other: neighbours, or one place at several dates.

    `near_pairs(index, 40)` are neighbours; `near_pairs(index, 0.1, apart_days=30)` are places seen
    at two dates. For a pair of both sensors no partner is needed: a chip is one.

    Args:
        index: One row a chip: `chip`, `lon`, `lat` in degrees, `s2_time`.
        within_km: How far their centres may lie apart, along the ground.
        apart_days: How far apart they must have been seen by Sentinel-2.
        beyond_km: How far apart they must lie.

    Returns:
        Chips, shape (pairs, 2), the smaller first, each pair once, in order.

    Raises:
        ContractError: If there are none.
    """
    lon, lat = np.radians(index["lon"].to_numpy()), np.radians(index["lat"].to_numpy())
    xyz = np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    chord = 2 * np.sin(min(within_km / _EARTH_KM, np.pi) / 2)
    pairs = cKDTree(xyz).query_pairs(chord, output_type="ndarray")
    times = index["s2_time"].to_numpy("datetime64[ms]").astype(np.int64) / 86_400_000
    days = np.abs(times[pairs[:, 0]] - times[pairs[:, 1]])
    gap = np.linalg.norm(xyz[pairs[:, 0]] - xyz[pairs[:, 1]], axis=1)
    pairs = pairs[(days >= apart_days) & (gap >= 2 * np.sin(beyond_km / _EARTH_KM / 2))]
    if not len(pairs):
        msg = (
            f"no two of {len(index)} chips lie {beyond_km:g} to {within_km:g} km apart, seen "
            f"{apart_days:g} days apart or more; allow more, or fewer"
        )
        raise ContractError(msg)
    chips = np.sort(index["chip"].to_numpy(np.int64)[pairs], axis=1)
    return np.unique(chips, axis=0)
