"""The charts of a report: what is drawn of the index, and what is said below each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from s1s2.report import facts, figures, world
from s1s2.report.facts import Bars, percent
from s1s2.report.figures import Drawn

_ENTIRE = 100


@dataclass(frozen=True)
class Chart:
    """A figure with its title and a line below it."""

    title: str
    drawn: Drawn
    note: str


def charts(index: pd.DataFrame, recipe: Mapping[str, Any]) -> list[Chart]:
    """Return every chart of a corpus that has chips.

    Args:
        index: One row a chip, as in `chips.parquet`.
        recipe: The resolved recipe, as its TOML reads.
    """
    rules = recipe["chip"]
    return [
        _lag(index["lag_hours"], float(recipe["match"]["max_lag_hours"])),
        _latitudes(index["lat"], recipe["sample"]),
        _when(index["s2_time"]),
        *_shares(index, rules),
        _orbits(index),
        _zones(index),
    ]


def _lag(hours: "pd.Series[float]", most: float) -> Chart:
    median = f"{hours.abs().median():.1f} h"
    drawn = figures.histogram(
        "lag",
        f"Histogram of the signed lag; the median of its size is {median}",
        facts.bars(hours, -most, most),
        "hours, Sentinel-1 minus Sentinel-2",
    )
    note = f"Median |lag| {median}; at most {most:g} h allowed."
    return Chart("Time between the sensors", drawn, note)


def _shares(index: pd.DataFrame, rules: Mapping[str, Any]) -> Iterator[Chart]:
    """Draw the shares of a chip that are cloud, shadow, water, or have no value."""
    for name, title, key in (
        ("cloud", "Cloud on the chip", "max_cloud_fraction"),
        ("shadow", "Cloud shadow on the chip", "max_shadow_fraction"),
        ("water", "Water on the chip", ""),
    ):
        yield _share(name, title, index[f"{name}_fraction"], rules.get(key))
    invalid = 1 - index[["s1_valid_fraction", "s2_valid_fraction"]].min(axis=1)
    if (invalid > 0).any():
        yield _share("valid", "Pixels without a value", invalid, None)


def _share(name: str, title: str, shares: "pd.Series[float]", most: float | None) -> Chart:
    """Draw the chips that have some; the others, most of them, would flatten the picture."""
    some = 100 * shares[shares > 0]
    top = max(float(some.max()) if len(some) else 0.0, 100 * (most or 0), 0.1)
    drawn = figures.histogram(
        name,
        f"Histogram: {title.lower()}, where there is any; mean {percent(shares.mean())}",
        facts.bars(some, 0, top),
        "% of the chip, where there is any",
        limit=None if most is None else 100 * most,
    )
    none = percent((shares == 0).mean())
    return Chart(
        title, drawn, f"{none} of the chips have none; the mean of all is {percent(shares.mean())}."
    )


def _latitudes(lat: "pd.Series[float]", sample: Mapping[str, Any]) -> Chart:
    shares = facts.latitudes(lat)
    ideal, note = (
        None,
        "The points are your own, or of a region: land has no share to compare with.",
    )
    if not (sample["within"] or sample["points"]):
        ideal = world.land_by_latitude(shares.edges, sample["south"], sample["north"])
        off = percent(np.abs(shares.counts - ideal).sum() / 2)
        note = f"{off} of the pairs lie elsewhere than in proportion to land."
    words = "Share of the pairs by latitude, beside land's own share"
    drawn = figures.against_ideal("latitude", words, shares, ideal, "latitude, degrees")
    return Chart("Latitude", drawn, note)


def _when(times: "pd.Series[pd.Timestamp]") -> Chart:
    words = "Pairs by date of the optical scene"
    drawn = figures.columns("season", words, facts.when(times), "date of the optical scene")
    return Chart("Season", drawn, f"{times.min():%Y-%m-%d} to {times.max():%Y-%m-%d} UTC.")


def _orbits(index: pd.DataFrame) -> Chart:
    words = "Pairs by radar platform and direction of flight"
    drawn = figures.rows("orbits", words, facts.orbits(index), "pairs")
    tracks = index["s1_relative_orbit"].nunique(), index["s2_relative_orbit"].nunique()
    return Chart("Orbits", drawn, f"{tracks[0]} tracks of Sentinel-1, {tracks[1]} of Sentinel-2.")


def _zones(index: pd.DataFrame) -> Chart:
    zones = np.bincount(index["epsg"].to_numpy(np.int64) % _ENTIRE, minlength=61)[1:61]
    bars = Bars(np.arange(0.5, 61), zones.astype(np.float64))
    drawn = figures.histogram("zones", "Histogram of UTM zones", bars, "UTM zone")
    warped = percent(index["s1_warped"].mean())
    return Chart(
        "Zones", drawn, f"Radar is warped in {warped} of the chips, as it was in the rest."
    )
