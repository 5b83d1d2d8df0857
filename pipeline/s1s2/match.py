"""Which radar scene goes with which optical one, for every point, and why not. Pure, vectorised.

Work goes over arrays of (point, scene) hits and (point, optical, radar) pairs, never over a Python
loop of them. A hit is first a bounding question (does the footprint hold the point?), then the
exact one: does the whole chip, on the grid it would get, lie inside with its margin? That one is
asked only where an edge of the footprint comes near.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from s1s2 import grid
from s1s2.cover import (
    Chips,
    Hits,
    far_from_zone,
    find_hits,
    inside_files,
    inside_footprint,
    near_edge,
    place_chips,
)
from s1s2.errors import RecipeError
from s1s2.side import Bools, Floats, Ints, Near, Side

REASONS = {
    "no_s2": "no Sentinel-2 scene of the period covers the point",
    "no_s1": "no Sentinel-1 scene of the period covers the point",
    "s2_bands": "every Sentinel-2 scene there lacks a band",
    "s1_polarisation": "every Sentinel-1 scene there lacks VV or VH",
    "s2_cloud": "every Sentinel-2 scene there is cloudier than the gate for whole scenes",
    "s2_coverage": "no Sentinel-2 scene holds the whole chip",
    "lag": "no two scenes lie close enough in time",
    "s1_coverage": "no Sentinel-1 scene near enough in time holds the whole chip",
}
"""Why a point has no matchup, in the order they are asked."""

NAMES = tuple(REASONS)
NO_REASON = -1
"""Stands for a reason where there is a pair."""
_HOUR_S, _MS = 3600, 1000


@dataclass(frozen=True)
class MatchRules:
    """What two scenes must share to be paired."""

    max_lag_hours: float = 72.0
    """Greatest |S1 time - S2 time|, hours."""
    max_scene_cloud_fraction: float = 0.8
    """Greatest cloud fraction of a whole Sentinel-2 scene; a clear chip may lie in a cloudy one."""
    max_candidates: int = 8
    """Pairs kept for each point, best first; one that fails on its pixels gives way to the next."""
    exclude: tuple[str, ...] = ()
    """Ids of scenes never to be used."""

    def __post_init__(self) -> None:
        if not self.max_lag_hours > 0:
            msg = f"max_lag_hours {self.max_lag_hours}: expected more than 0"
            raise RecipeError(msg)
        if not 0 <= self.max_scene_cloud_fraction <= 1:
            msg = f"max_scene_cloud_fraction {self.max_scene_cloud_fraction}: expected 0 to 1"
            raise RecipeError(msg)
        if self.max_candidates < 1:
            msg = f"max_candidates {self.max_candidates}: expected 1 or more"
            raise RecipeError(msg)


@dataclass(frozen=True)
class Pairs:
    """Pairs of scenes, as columns."""

    row: Ints
    """Of the point."""
    s2: Ints
    """Row of the optical scene."""
    s1: Ints
    """Row of the radar scene."""
    lag_hours: Floats
    """S1 minus S2."""
    rank: Ints
    """Among the point's; 0 is best."""
    left: Floats
    top: Floats
    epsg: Ints

    def take(self, rows: Ints) -> "Pairs":
        """Take some of them."""
        return Pairs(*(column[rows] for column in vars(self).values()))

    @classmethod
    def together(cls, parts: "list[Pairs]") -> "Pairs":
        """Join several, one after the other."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


@dataclass(frozen=True)
class Outcome:
    """What became of some points."""

    pairs: Pairs
    """Sorted by point and rank."""
    reason: Ints
    """Number of each point's reason in `NAMES`; `NO_REASON` where it has a pair."""
    nearest_h: Floats
    """How far the nearest two scenes are apart, hours, where `lag` is the reason."""


def match_some(  # noqa: PLR0913, PLR0917  # places, both sides, and the rules of three rooms
    lon: Floats,
    lat: Floats,
    optical: Side,
    radar: Side,
    rules: MatchRules,
    spec: grid.GridSpec,
) -> Outcome:
    """Ask one question after another; whoever is left with nothing has its reason.

    Args:
        lon: Longitudes of the points, degrees.
        lat: Latitudes of them. The nearer the points, the fewer scenes are looked at.
        optical: Sentinel-2 scenes.
        radar: Sentinel-1 scenes.
        rules: What two scenes must share.
        spec: The size of a chip.
    """
    seen, heard = optical.near(lon, lat), radar.near(lon, lat)
    stages = _Stages(len(lon))
    s2 = stages.keep("no_s2", _usable(find_hits(lon, lat, seen), optical, rules))
    s1 = stages.keep("no_s1", _usable(find_hits(lon, lat, heard), radar, rules))
    s2 = stages.keep("s2_bands", s2.where(optical.complete[s2.scene]))
    s1 = stages.keep("s1_polarisation", s1.where(radar.complete[s1.scene]))
    # a catalog that states no cloud refuses nothing here
    cloud = np.nan_to_num(optical.cloud[s2.scene], nan=0.0)
    s2 = stages.keep("s2_cloud", s2.where(cloud <= rules.max_scene_cloud_fraction))
    chips, chip = place_chips(lon, lat, s2, optical, spec)
    odd = far_from_zone(chips, lon)
    doubt = near_edge(lon, lat, s2, seen, spec) | odd[chip]
    held = inside_files(chips, spec)[chip] & _covered(chips, chip, s2, doubt, seen, spec.coverage_m)
    s2, chip = stages.keep("s2_coverage", s2.where(held)), chip[held]
    clock = _Clock(s2, s1, optical, radar)
    two, one = clock.within(rules.max_lag_hours)
    stages.keep("lag", s2.where(two))
    doubt = near_edge(lon, lat, s1, heard, spec)[one] | odd[chip[two]]
    held = _covered(chips, chip[two], s1.where(one), doubt, heard, spec.size_m)
    two, one = two[held], one[held]
    stages.keep("s1_coverage", s2.where(two))
    pairs = _ranked(s2.where(two), s1.where(one), chips.take(chip[two]), clock, rules)
    return Outcome(pairs, stages.reason, clock.nearest_h(len(lon)))


def _usable(hits: Hits, side: Side, rules: MatchRules) -> Hits:
    """Leave out scenes that are never to be used."""
    if not rules.exclude:
        return hits
    excluded = pc.is_in(side.id, pa.array(rules.exclude, pa.string()))
    return hits.where(~excluded.to_numpy(zero_copy_only=False)[hits.scene])


def _covered(  # noqa: PLR0913, PLR0917  # chips, hits and scenes, and what is asked of them
    chips: Chips, chip: Ints, hits: Hits, doubt: Bools, near: Near, size_m: float
) -> Bools:
    """Say in which hits a footprint holds the whole chip; asked where in doubt, once for equals."""
    n_scenes = max(len(near.side.id), 1)
    asked, which = np.unique(chip[doubt] * n_scenes + hits.scene[doubt], return_inverse=True)
    covered = np.ones(len(chip), dtype=bool)
    placed, scene = np.divmod(asked, n_scenes)
    covered[doubt] = inside_footprint(chips.take(placed), scene, near, size_m)[which]
    return covered


class _Clock:
    """The hits of both sensors in time, those of a point beside each other."""

    def __init__(self, s2: Hits, s1: Hits, optical: Side, radar: Side) -> None:
        self.optical, self.radar = optical, radar
        self._s2, self._s1 = s2, s1
        at_s2, at_s1 = (
            np.rint(side.seconds[hits.scene] * _MS).astype(np.int64)
            for side, hits in ((optical, s2), (radar, s1))
        )
        begins = min((t.min() for t in (at_s2, at_s1) if len(t)), default=np.int64(0))
        ends = max((t.max() for t in (at_s2, at_s1) if len(t)), default=np.int64(0))
        # on one axis: a point's time ends before the next point's begins
        self._span = int(ends - begins) + 1
        self._when = at_s2 - begins
        self._base = s2.point * self._span
        axis = s1.point * self._span + (at_s1 - begins)
        self._order = np.argsort(axis, kind="stable")
        self._axis = axis[self._order]

    def within(self, hours: float) -> tuple[Ints, Ints]:
        """Return the rows of hits of both sensors that belong to one point and lie that close."""
        reach = int(min(hours * _HOUR_S * _MS, self._span)) + 2  # milliseconds were rounded
        last = self._base + np.minimum(self._when + reach, self._span - 1)
        start = np.searchsorted(self._axis, self._base + np.maximum(self._when - reach, 0))
        count = np.searchsorted(self._axis, last, side="right") - start
        two = np.repeat(np.arange(len(count)), count)
        skip = np.repeat(start - (np.cumsum(count) - count), count)
        one = self._order[skip + np.arange(len(two))]
        close = np.abs(self.lag_hours(two, one)) <= hours
        return two[close], one[close]

    def lag_hours(self, two: Ints, one: Ints) -> Floats:
        """Return S1 minus S2 of rows of hits."""
        at_s2 = self.optical.seconds[self._s2.scene[two]]
        lag: Floats = (self.radar.seconds[self._s1.scene[one]] - at_s2) / _HOUR_S
        return lag

    def nearest_h(self, n_points: int) -> Floats:
        """Return how far the nearest two scenes of every point are apart; infinite without any."""
        nearest = np.full(n_points, np.inf)
        after = np.searchsorted(self._axis, self._base + self._when)
        for row in (after - 1, after):
            there = np.flatnonzero((row >= 0) & (row < len(self._axis)))
            there = there[self._s1.point[self._order[row[there]]] == self._s2.point[there]]
            hours = np.abs(self.lag_hours(there, self._order[row[there]]))
            np.minimum.at(nearest, self._s2.point[there], hours)
        return nearest


def _ranked(s2: Hits, s1: Hits, chips: Chips, clock: _Clock, rules: MatchRules) -> Pairs:
    """Order each point's pairs and number them; of one recording's tiles keep the most central.

    Least |lag| first, then least cloud, then ids.
    """
    optical, radar = clock.optical, clock.radar
    lag = (radar.seconds[s1.scene] - optical.seconds[s2.scene]) / _HOUR_S
    recording, off = optical.recording[s2.scene], chips.off_centre_m
    order = np.lexsort((s2.scene, off, s1.scene, recording, s2.point))
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = False
    for column in (s2.point, recording, s1.scene):
        fresh[1:] |= np.diff(column[order]) != 0
    kept = order[fresh]
    cloud = np.nan_to_num(optical.cloud[s2.scene[kept]], nan=1.0)
    id_s2, size = optical.same_id[s2.scene[kept]], np.abs(lag[kept])
    ties = (s2.scene[kept], off[kept], s1.scene[kept])
    kept = kept[np.lexsort((*ties, id_s2, cloud, size, s2.point[kept]))]
    row = s2.point[kept]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    best = rank < rules.max_candidates
    kept = kept[best]
    return Pairs(
        row[best],
        s2.scene[kept],
        s1.scene[kept],
        lag[kept],
        rank[best],
        chips.left[kept],
        chips.top[kept],
        chips.epsg[kept],
    )


class _Stages:
    """Remembers, for each point, the first question that left it with nothing."""

    def __init__(self, n_points: int) -> None:
        self.reason: Ints = np.full(n_points, NO_REASON)

    def keep(self, reason: str, hits: Hits) -> Hits:
        gone = np.ones(len(self.reason), dtype=bool)
        gone[hits.point] = False
        self.reason[gone & (self.reason == NO_REASON)] = NAMES.index(reason)
        return hits
