"""Where points come from: the land mask, a region of one's own, or one's own points."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from s1s2 import places, sample
from s1s2.grid import GridSpec
from s1s2.land import land_mask
from s1s2.sample import Accept, SampleSpec

Bounds = tuple[float, float, float, float]

_EARTH = (-180.0, -90.0, 180.0, 90.0)


def draw(  # noqa: PLR0913  # what, how large, which, for whom
    spec: SampleSpec,
    grid: GridSpec,
    seed: int,
    slots: Mapping[int, int],
    *,
    per_shard: int,
    more: Mapping[int, int] | None = None,
) -> pd.DataFrame:
    """Return the points of every shard: one's own, shared out, or drawn.

    Args:
        spec: Where points may lie.
        grid: The size of a chip; large ones keep drawn points further apart.
        seed: The recipe's seed.
        slots: Chips wanted in each shard.
        per_shard: Chips a full shard holds.
        more: How many points a shard needs at least, where that is more than the reserve.

    Returns:
        Columns `point lon lat cell split shard position`.
    """
    if spec.points:
        return sample.share_points(places.read_places(Path(spec.points)), slots, spec)
    spec = replace(spec, spacing_km=max(spec.spacing_km, grid.clearance_km))
    least = more or {}
    wanted = {k: max(least.get(k, 0), sample.wanted_points(n, spec)) for k, n in slots.items()}
    accept, bounds = _acceptable(spec)
    block = sample.wanted_points(per_shard, spec)
    return sample.draw_points(spec, seed, wanted, block=block, accept=accept, bounds=bounds)


def _acceptable(spec: SampleSpec) -> tuple[Accept, Bounds]:
    """Return what may be a point (land, and inside the region if there is one), and the bounds."""
    land = land_mask()
    if not spec.within:
        return land, _EARTH
    region = places.read_region(Path(spec.within))
    shapely.prepare(region)

    def inside(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray(land(lon, lat) & shapely.contains_xy(region, lon, lat))

    return inside, region.bounds
