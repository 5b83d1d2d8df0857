"""The matchups of all points, worked out a block of neighbours at a time. Pure, vectorised.

What a block takes does not grow with the number of points, and what is kept of it is numbers: ids
are looked up when the table is written.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import pandas as pd
import pyarrow as pa

from s1s2 import grid
from s1s2.match import NAMES, NO_REASON, REASONS, MatchRules, Pairs, match_some
from s1s2.side import Floats, Ints, Side

_POINTS_A_BLOCK, _POINTS_A_PART = 8_192, 16_384


@dataclass(frozen=True)
class Matched:
    """The ranked pairs of scenes of every point, and why a point has none."""

    points: pd.DataFrame
    """Sorted by shard and position; all below counts its rows."""
    optical: Side
    radar: Side
    rules: MatchRules
    pairs: Pairs
    """Sorted by point and rank."""
    reason: Ints
    """Number of each point's reason in `NAMES`; `NO_REASON` where it has a pair."""
    nearest_h: Floats
    """How far the nearest two scenes are apart, hours, where `lag` is the reason."""

    def parts(self) -> Iterator[pa.Table]:
        """Yield the table of matchups, some points at a time.

        Rows are pairs and refusals by shard, position and rank: `point shard position rank s2_id
        s1_id s2_catalog s1_catalog lag_hours left top epsg reason detail lon lat`. Of a refusal
        there is no scene, of a pair no reason; the rank of a refusal is -1.
        """
        for start in range(0, len(self.points), _POINTS_A_PART):
            yield self._part(start, min(start + _POINTS_A_PART, len(self.points)))

    def _part(self, start: int, stop: int) -> pa.Table:
        first, last = np.searchsorted(self.pairs.row, [start, stop])
        pairs = self.pairs.take(np.arange(first, last))
        refused = start + np.flatnonzero(self.reason[start:stop] != NO_REASON)
        of_point = np.concatenate([pairs.row, refused])
        order = np.argsort(of_point, kind="stable")
        point = of_point[order]
        # a row is either a pair or a refusal, and has nothing of the other
        pair = pa.array(order, mask=order >= len(pairs.row))
        refusal = pa.array(order - len(pairs.row), mask=order < len(pairs.row))
        s2, s1 = pa.array(pairs.s2).take(pair), pa.array(pairs.s1).take(pair)
        places = self.points.iloc[point]
        ranks = np.concatenate([pairs.rank, np.full(len(refused), -1)])
        reasons = [NAMES[number] for number in self.reason[refused]]
        return pa.table(
            {
                "point": places["point"].to_numpy(np.int64),
                "shard": places["shard"].to_numpy(np.int64),
                "position": places["position"].to_numpy(np.int64),
                "rank": ranks[order],
                "s2_id": self.optical.id.take(s2),
                "s1_id": self.radar.id.take(s1),
                "s2_catalog": self.optical.catalog.take(s2),
                "s1_catalog": self.radar.catalog.take(s1),
                "lag_hours": pa.array(pairs.lag_hours).take(pair),
                "left": pa.array(pairs.left).take(pair),
                "top": pa.array(pairs.top).take(pair),
                "epsg": pa.array(pairs.epsg).take(pair),
                "reason": pa.array(reasons, pa.string()).take(refusal),
                "detail": pa.array(map(self._detail, refused.tolist()), pa.string()).take(refusal),
                "lon": places["lon"].to_numpy(float),
                "lat": places["lat"].to_numpy(float),
            }
        )

    def _detail(self, row: int) -> str:
        reason = NAMES[self.reason[row]]
        if reason != "lag":
            return REASONS[reason]
        most = self.rules.max_lag_hours
        return f"the nearest two are {self.nearest_h[row]:.1f} h apart, at most {most:g} h"

    def summary(self) -> str:
        """Say in one line how many points have a pair, and why the others have none."""
        counts = np.bincount(self.reason - NO_REASON, minlength=1 + len(NAMES)).tolist()
        common = sorted(zip(NAMES, counts[1:], strict=True), key=lambda n: -n[1])
        why = "".join(f" · {name} {count:,}" for name, count in common if count)
        return f"match   {counts[0]:,} of {len(self.points):,} points have a pair{why}"


def match_scenes(
    points: pd.DataFrame, optical: Side, radar: Side, rules: MatchRules, spec: grid.GridSpec
) -> Matched:
    """Rank the pairs of scenes of every point, and say why a point has none.

    The order of points and scenes does not matter. Pairs are ranked by |lag|, then cloud, then ids.

    Args:
        points: The points table: `point lon lat shard position`.
        optical: Sentinel-2 scenes.
        radar: Sentinel-1 scenes.
        rules: What two scenes must share.
        spec: The size of a chip.
    """
    points = points.sort_values(["shard", "position"], ignore_index=True)
    lon, lat = points["lon"].to_numpy(float), points["lat"].to_numpy(float)
    reason, nearest_h = np.full(len(lon), NO_REASON), np.full(len(lon), np.inf)
    found = [match_some(lon[:0], lat[:0], optical, radar, rules, spec).pairs]
    for rows in _blocks(lon, lat):
        outcome = match_some(lon[rows], lat[rows], optical, radar, rules, spec)
        reason[rows], nearest_h[rows] = outcome.reason, outcome.nearest_h
        found.append(replace(outcome.pairs, row=rows[outcome.pairs.row]))
    pairs = Pairs.together(found)
    pairs = pairs.take(np.argsort(pairs.row, kind="stable"))  # a point is of one block
    return Matched(points, optical, radar, rules, pairs, reason, nearest_h)


def _blocks(lon: Floats, lat: Floats) -> Iterator[Ints]:
    """Cut points into blocks of neighbours: strips from west to east, each from south to north."""
    strips = ceil((len(lon) / _POINTS_A_BLOCK) ** 0.5)
    for strip in np.array_split(np.argsort(lon, kind="stable"), strips) if strips else ():
        yield from np.array_split(strip[np.argsort(lat[strip], kind="stable")], strips)
