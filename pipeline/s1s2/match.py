"""Which radar scene goes with which optical one, for every point, and why not. Pure, vectorised.

Work goes over arrays of (point, scene) hits and (point, optical, radar) pairs, never over a Python
loop of them. A hit is first a bounding question (does the footprint hold the point?), then the
exact one: does the whole chip, on the grid it would get, lie inside with its margin?
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from s1s2 import grid
from s1s2.cover import (
    Hits,
    Ints,
    Side,
    find_hits,
    inside_files,
    inside_footprint,
    place_chips,
)
from s1s2.errors import RecipeError

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

_BATCH = 20_000
_COLUMNS = ["point", "shard", "position", "rank", "s2_id", "s1_id", "s2_catalog", "s1_catalog"]


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


def match_scenes(
    points: pd.DataFrame, optical: Side, radar: Side, rules: MatchRules, spec: grid.GridSpec
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rank the pairs of scenes of every point, and say why a point has none.

    The order of points and scenes does not matter.

    Args:
        points: The points table: `point lon lat shard position`.
        optical: Sentinel-2 scenes.
        radar: Sentinel-1 scenes.
        rules: What two scenes must share.
        spec: The size of a chip.

    Returns:
        Candidates, `point shard position rank s2_id s1_id s2_catalog s1_catalog lag_hours left top
        epsg` sorted by shard, position and rank (0 is best: least |lag|, then least cloud, then
        ids); and refusals, `point shard position reason detail`.
    """
    results = [
        _match_some(points.iloc[start : start + _BATCH], optical, radar, rules, spec)
        for start in range(0, max(1, len(points)), _BATCH)
    ]
    candidates, refusals = (
        pd.concat(parts, ignore_index=True) for parts in zip(*results, strict=True)
    )
    order = ["shard", "position"]
    candidates = candidates.sort_values([*order, "rank"]).reset_index(drop=True)
    return candidates, refusals.sort_values(order).reset_index(drop=True)


def _match_some(
    points: pd.DataFrame, optical: Side, radar: Side, rules: MatchRules, spec: grid.GridSpec
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ask one question after another; whoever is left with nothing has its reason."""
    lon, lat = points["lon"].to_numpy(float), points["lat"].to_numpy(float)
    stage = _Stages(len(points))
    s2 = stage.keep("no_s2", _usable(find_hits(lon, lat, optical), optical, rules))
    s1 = stage.keep("no_s1", _usable(find_hits(lon, lat, radar), radar, rules))
    s2 = stage.keep("s2_bands", s2.where(optical.complete[s2.scene]))
    s1 = stage.keep("s1_polarisation", s1.where(radar.complete[s1.scene]))
    # a catalog that states no cloud refuses nothing here
    clear = np.nan_to_num(optical.cloud, nan=0.0) <= rules.max_scene_cloud_fraction
    s2 = stage.keep("s2_cloud", s2.where(clear[s2.scene]))
    chips = place_chips(lon, lat, s2, optical, spec)
    held = inside_files(chips, s2, optical, spec) & inside_footprint(
        chips, s2.scene, optical, spec.coverage_m
    )
    s2 = stage.keep("s2_coverage", s2.where(held))
    pairs = _pairs(s2, s1, chips[held].reset_index(drop=True), optical, radar)
    stage.note_lag(pairs)
    pairs = stage.keep_pairs("lag", pairs[pairs["lag_hours"].abs() <= rules.max_lag_hours])
    on_radar = pairs["s1"].to_numpy(np.int64)
    pairs = stage.keep_pairs(
        "s1_coverage", pairs[inside_footprint(pairs, on_radar, radar, spec.size_m)]
    )
    return _rank(pairs, points, optical, radar, rules), stage.refusals(points, rules)


def summary(points: pd.DataFrame, candidates: pd.DataFrame, refusals: pd.DataFrame) -> str:
    """Say in one line how many points have a pair, and why the others have none."""
    reasons = refusals["reason"].value_counts()
    why = "".join(f" · {reason} {count:,}" for reason, count in reasons.items())
    return f"match   {candidates['point'].nunique():,} of {len(points):,} points have a pair{why}"


def _usable(hits: Hits, side: Side, rules: MatchRules) -> Hits:
    """Leave out scenes that are never to be used."""
    if not rules.exclude:
        return hits
    return hits.where(~np.isin(side.id[hits.scene], list(rules.exclude)))


def _pairs(s2: Hits, s1: Hits, chips: pd.DataFrame, optical: Side, radar: Side) -> pd.DataFrame:
    """Join both sensors' hits on the point; lag is S1 minus S2, hours."""
    left = chips.assign(s2=s2.scene)
    pairs = left.merge(pd.DataFrame({"row": s1.point, "s1": s1.scene}), on="row")
    radar_at = radar.seconds[pairs["s1"].to_numpy(np.int64)]
    return pairs.assign(
        lag_hours=(radar_at - optical.seconds[pairs["s2"].to_numpy(np.int64)]) / 3600
    )


def _rank(
    pairs: pd.DataFrame, points: pd.DataFrame, optical: Side, radar: Side, rules: MatchRules
) -> pd.DataFrame:
    """Order each point's pairs and number them; of one recording's tiles keep the most central."""
    s2, s1 = pairs["s2"].to_numpy(np.int64), pairs["s1"].to_numpy(np.int64)
    table = pairs.assign(
        recording=optical.recording[s2],
        s2_id=optical.id[s2],
        s1_id=radar.id[s1],
        s2_catalog=optical.catalog[s2],
        s1_catalog=radar.catalog[s1],
        cloud=np.nan_to_num(optical.cloud[s2], nan=1.0),
        size=pairs["lag_hours"].abs(),
    )
    table = table.sort_values(["row", "off_centre_m", "s2_id"], kind="stable")
    table = table.drop_duplicates(["row", "recording", "s1_id", "s1_catalog"])
    table = table.sort_values(["row", "size", "cloud", "s2_id", "s1_id", "s1_catalog"])
    table["rank"] = table.groupby("row").cumcount()
    table = table[table["rank"] < rules.max_candidates]
    where = points[["point", "shard", "position"]].reset_index(drop=True)
    return table.join(where, on="row")[[*_COLUMNS, "lag_hours", "left", "top", "epsg"]]


class _Stages:
    """Remembers, for each point, the first question that left it with nothing."""

    def __init__(self, n_points: int) -> None:
        self._reason = np.full(n_points, "", dtype=object)
        self._nearest = np.full(n_points, np.inf)

    def keep(self, reason: str, hits: Hits) -> Hits:
        self._note(reason, hits.point)
        return hits

    def keep_pairs(self, reason: str, pairs: pd.DataFrame) -> pd.DataFrame:
        self._note(reason, pairs["row"].to_numpy(np.int64))
        return pairs.reset_index(drop=True)

    def note_lag(self, pairs: pd.DataFrame) -> None:
        np.minimum.at(
            self._nearest, pairs["row"].to_numpy(np.int64), pairs["lag_hours"].abs().to_numpy()
        )

    def _note(self, reason: str, left: Ints) -> None:
        gone = np.ones(len(self._reason), dtype=bool)
        gone[left] = False
        self._reason[gone & (self._reason == "")] = reason

    def refusals(self, points: pd.DataFrame, rules: MatchRules) -> pd.DataFrame:
        rows = np.flatnonzero(self._reason != "")
        table = points[["point", "shard", "position"]].iloc[rows].reset_index(drop=True)
        details = [
            f"the nearest two are {self._nearest[r]:.1f} h apart, at most {rules.max_lag_hours:g} h"
            if self._reason[r] == "lag"
            else REASONS[self._reason[r]]
            for r in rows
        ]
        table = table.assign(reason=self._reason[rows], detail=details)
        return table.sort_values(["shard", "position"]).reset_index(drop=True)
