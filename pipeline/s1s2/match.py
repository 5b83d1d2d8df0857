"""Which radar scene goes with which optical one, for every point, and why not. Pure, vectorised.

Work goes over arrays of (point, scene) hits and (point, optical, radar) pairs, never over a Python
loop of them. A hit is first a bounding question (does the footprint hold the point?), then the
exact one: does the whole chip, on the grid it would get, lie inside with its margin?
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import shapely

from s1s2 import grid
from s1s2.bands import Sensor
from s1s2.errors import RecipeError
from s1s2.scene import Scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

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

_TOLERANCE_M = 1.0
"""Footprints are rounded to about this much; the pixels themselves are tested later."""
_EDGE = np.array([0.0, 0.5, 1.0])
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


@dataclass(frozen=True)
class _Hits:
    """Pairs of (point, scene) as row numbers into both."""

    point: "Ints"
    scene: "Ints"

    def where(self, keep: "Bools") -> "_Hits":
        return _Hits(self.point[keep], self.scene[keep])


def match_scenes(
    points: pd.DataFrame, scenes: Sequence[Scene], rules: MatchRules, spec: grid.GridSpec
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rank the pairs of scenes of every point, and say why a point has none.

    The order of points and scenes does not matter.

    Args:
        points: The points table: `point lon lat shard position`.
        scenes: Scenes of both sensors.
        rules: What two scenes must share.
        spec: The size of a chip.

    Returns:
        Candidates, `point shard position rank s2_id s1_id s2_catalog s1_catalog lag_hours left top
        epsg` sorted by shard, position and rank (0 is best: least |lag|, then least cloud, then
        ids); and refusals, `point shard position reason detail`.
    """
    scenes = [s for s in scenes if s.id not in rules.exclude]
    optical = sorted((s for s in scenes if s.sensor is Sensor.S2), key=_order)
    radar = sorted((s for s in scenes if s.sensor is Sensor.S1), key=_order)
    lon, lat = points["lon"].to_numpy(float), points["lat"].to_numpy(float)
    stage = _Stages(len(points))

    s2 = stage.keep("no_s2", _hits(lon, lat, optical))
    s1 = stage.keep("no_s1", _hits(lon, lat, radar))
    s2 = stage.keep("s2_bands", s2.where(_complete(optical)[s2.scene]))
    s1 = stage.keep("s1_polarisation", s1.where(_complete(radar)[s1.scene]))
    s2 = stage.keep("s2_cloud", s2.where(_clear(optical, rules)[s2.scene]))
    chips = _chips(lon, lat, s2, optical, spec)
    held = _holds_tile(chips, s2, optical, spec) & _holds(chips, s2, optical, spec.coverage_m)
    s2 = stage.keep("s2_coverage", s2.where(held))
    chips = chips[held].reset_index(drop=True)

    pairs = _pairs(s2, s1, chips, optical, radar)
    stage.note_lag(pairs)
    pairs = stage.keep_pairs("lag", pairs[pairs["lag_hours"].abs() <= rules.max_lag_hours])
    on_radar = _Hits(pairs["row"].to_numpy(np.int64), pairs["s1"].to_numpy(np.int64))
    pairs = stage.keep_pairs("s1_coverage", pairs[_holds(pairs, on_radar, radar, spec.size_m)])

    candidates = _rank(pairs, points, optical, radar, rules)
    return candidates, stage.refusals(points, rules)


def summary(points: pd.DataFrame, candidates: pd.DataFrame, refusals: pd.DataFrame) -> str:
    """Say in one line how many points have a pair, and why the others have none."""
    reasons = refusals["reason"].value_counts()
    why = "".join(f" · {reason} {count:,}" for reason, count in reasons.items())
    return f"match   {candidates['point'].nunique():,} of {len(points):,} points have a pair{why}"


def _order(scene: Scene) -> tuple[str, str]:
    return scene.id, scene.catalog


def _hits(lon: "Floats", lat: "Floats", scenes: Sequence[Scene]) -> _Hits:
    """Find the footprints that hold each point, whichever way round the Earth they are written."""
    empty = np.array([], dtype=np.int64)
    if not scenes or not len(lon):
        return _Hits(empty, empty)
    tree = shapely.STRtree([s.footprint for s in scenes])
    found = [
        tree.query(shapely.points(lon + turn, lat), predicate="intersects").T
        for turn in (0.0, 360.0, -360.0)
    ]
    hits = np.unique(np.concatenate(found), axis=0).astype(np.int64)
    return _Hits(hits[:, 0], hits[:, 1])


def _complete(scenes: Sequence[Scene]) -> "Bools":
    return np.array([not s.missing_bands for s in scenes], dtype=bool)


def _clear(scenes: Sequence[Scene], rules: MatchRules) -> "Bools":
    """Say which scenes pass the loose gate; a catalog that states no cloud refuses nothing here."""
    cloud = np.array([s.cloud_fraction if s.cloud_fraction is not None else 0.0 for s in scenes])
    return cloud <= rules.max_scene_cloud_fraction


def _chips(
    lon: "Floats", lat: "Floats", hits: _Hits, scenes: Sequence[Scene], spec: grid.GridSpec
) -> pd.DataFrame:
    """Place the chip of every (point, optical scene) on that scene's lattice.

    Where the item does not state its files' bounds, the lattice is unknown until they are opened:
    the chip is then placed around the point itself, to be snapped when it is cut.
    """
    epsg = np.array([s.epsg for s in scenes], dtype=np.int64)[hits.scene]
    bounds = np.array([s.bounds or (np.nan,) * 4 for s in scenes]).reshape(-1, 4)[hits.scene]
    left, top = np.empty(len(epsg)), np.empty(len(epsg))
    distance = np.zeros(len(epsg))
    for zone in np.unique(epsg):
        rows = epsg == zone
        x, y = grid.to_utm(lon[hits.point[rows]], lat[hits.point[rows]], int(zone))
        known = ~np.isnan(bounds[rows, 0])
        origin_x = np.where(known, bounds[rows, 0], x - spec.coverage_m / 2)
        origin_y = np.where(known, bounds[rows, 3], y + spec.coverage_m / 2)
        left[rows], top[rows] = grid.snap(x, y, origin_x, origin_y, spec)
        middle = (bounds[rows, :2] + bounds[rows, 2:]) / 2
        distance[rows] = np.nan_to_num(np.hypot(x - middle[:, 0], y - middle[:, 1]))
    return pd.DataFrame(
        {"row": hits.point, "epsg": epsg, "left": left, "top": top, "off_centre_m": distance}
    )


def _holds_tile(
    chips: pd.DataFrame, hits: _Hits, scenes: Sequence[Scene], spec: grid.GridSpec
) -> "Bools":
    """Say which chips lie, with all their 60 m pixels, inside the files as the item states them."""
    everywhere = (-np.inf, -np.inf, np.inf, np.inf)
    west, south, east, north = (
        np.array([s.bounds or everywhere for s in scenes]).reshape(-1, 4)[hits.scene].T
    )
    left, top = chips["left"].to_numpy(), chips["top"].to_numpy()
    across = (left >= west) & (left + spec.coverage_m <= east)
    return np.asarray(across & (top <= north) & (top - spec.coverage_m >= south))


def _holds(chips: pd.DataFrame, hits: _Hits, scenes: Sequence[Scene], size_m: float) -> "Bools":
    """Say which chips lie inside a footprint by at least the margin of its edges.

    The chip is widened by the margin, unprojected, and tested in degrees, where footprints are
    stated. Its own edges bend by less than a metre over 2.6 km.
    """
    if not len(chips):
        return np.array([], dtype=bool)
    margin = np.array([s.margin_m for s in scenes])[hits.scene] - _TOLERANCE_M
    centre = np.array([s.footprint.centroid.x for s in scenes])[hits.scene]
    feet = np.array([s.footprint for s in scenes], dtype=object)
    epsg = chips["epsg"].to_numpy()
    left, top = chips["left"].to_numpy() - margin, chips["top"].to_numpy() + margin
    side = size_m + 2 * margin
    east, south = _outline()
    inside = np.zeros(len(chips), dtype=bool)
    shapely.prepare(feet)
    for zone in np.unique(epsg):
        rows = np.flatnonzero(epsg == zone)
        x = left[rows, None] + side[rows, None] * east
        y = top[rows, None] - side[rows, None] * south
        lon, lat = grid.to_lonlat(x, y, int(zone))
        lon = centre[rows, None] + (lon - centre[rows, None] + 180) % 360 - 180
        squares = shapely.polygons(np.stack([lon, lat], axis=-1))
        inside[rows] = shapely.covers(feet[hits.scene[rows]], squares)
    return inside


def _outline() -> "tuple[Floats, Floats]":
    """Return the unit square's boundary, from the upper left, with the middle of every side."""
    ones, zeros = np.ones(3), np.zeros(3)
    east = np.concatenate([_EDGE, ones, _EDGE[::-1], zeros])
    south = np.concatenate([zeros, _EDGE, ones, _EDGE[::-1]])
    return east, south


def _pairs(
    s2: _Hits, s1: _Hits, chips: pd.DataFrame, optical: Sequence[Scene], radar: Sequence[Scene]
) -> pd.DataFrame:
    """Join both sensors' hits on the point; lag is S1 minus S2, hours."""
    left = chips.assign(s2=s2.scene)
    pairs = left.merge(pd.DataFrame({"row": s1.point, "s1": s1.scene}), on="row")
    seconds = [np.array([s.sensed_at.timestamp() for s in sensor]) for sensor in (radar, optical)]
    radar_at = seconds[0][pairs["s1"].to_numpy(np.int64)]
    return pairs.assign(lag_hours=(radar_at - seconds[1][pairs["s2"].to_numpy(np.int64)]) / 3600)


def _rank(
    pairs: pd.DataFrame,
    points: pd.DataFrame,
    optical: Sequence[Scene],
    radar: Sequence[Scene],
    rules: MatchRules,
) -> pd.DataFrame:
    """Order each point's pairs and number them; of one recording's tiles keep the most central."""
    s2 = pairs["s2"].to_numpy(np.int64)
    s1 = pairs["s1"].to_numpy(np.int64)
    cloud = np.array([s.cloud_fraction if s.cloud_fraction is not None else 1.0 for s in optical])
    table = pairs.assign(
        recording=_take([s.acquisition for s in optical], s2),
        s2_id=_take([s.id for s in optical], s2),
        s1_id=_take([s.id for s in radar], s1),
        s2_catalog=_take([s.catalog for s in optical], s2),
        s1_catalog=_take([s.catalog for s in radar], s1),
        cloud=cloud[s2],
        size=pairs["lag_hours"].abs(),
    )
    table = table.sort_values(["row", "off_centre_m", "s2_id"], kind="stable")
    table = table.drop_duplicates(["row", "recording", "s1_id", "s1_catalog"])
    table = table.sort_values(["row", "size", "cloud", "s2_id", "s1_id", "s1_catalog"])
    table["rank"] = table.groupby("row").cumcount()
    table = table[table["rank"] < rules.max_candidates]
    where = points[["point", "shard", "position"]].reset_index(drop=True)
    table = table.join(where, on="row").sort_values(["shard", "position", "rank"])
    columns = [*_COLUMNS, "lag_hours", "left", "top", "epsg"]
    return table[columns].reset_index(drop=True)


def _take(values: list[str], rows: "Ints") -> "NDArray[np.object_]":
    return np.array(values, dtype=object)[rows]


class _Stages:
    """Remembers, for each point, the first question that left it with nothing."""

    def __init__(self, n_points: int) -> None:
        self._reason = np.full(n_points, "", dtype=object)
        self._nearest = np.full(n_points, np.inf)

    def keep(self, reason: str, hits: _Hits) -> _Hits:
        self._note(reason, hits.point)
        return hits

    def keep_pairs(self, reason: str, pairs: pd.DataFrame) -> pd.DataFrame:
        self._note(reason, pairs["row"].to_numpy(np.int64))
        return pairs.reset_index(drop=True)

    def note_lag(self, pairs: pd.DataFrame) -> None:
        np.minimum.at(
            self._nearest, pairs["row"].to_numpy(np.int64), pairs["lag_hours"].abs().to_numpy()
        )

    def _note(self, reason: str, left: "Ints") -> None:
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
