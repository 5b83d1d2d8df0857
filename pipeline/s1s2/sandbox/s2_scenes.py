"""Scenes of the simulated Sentinel-2 archive: passes, dated, processed and perhaps processed again.

Every tile with land is recorded on every pass by day of every unit.
"""

import re
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from s1s2.sandbox.area import Area
from s1s2.sandbox.kept import Kept
from s1s2.sandbox.noise import key_of
from s1s2.sandbox.orbits import (
    DAY,
    S2_UNITS,
    SECOND,
    SENTINEL_2,
    Floats,
    Ints,
    Unit,
    compact,
    microseconds,
    moment,
)
from s1s2.sandbox.passes import View, Views, find_passes
from s1s2.sandbox.scenes import OpticalScene
from s1s2.sandbox.sky import cloud_cover
from s1s2.sandbox.sun import sun_position
from s1s2.sandbox.tiles import land_tiles

LOWEST_SUN_DEG = 87.0
"""Greatest zenith angle of the sun at which a tile is recorded."""
_MILLISECONDS = 24_000  # recorded datatakes start at whole seconds and 24 ms
_REPROCESSED_PERCENT = 3
_KEPT = 1_500
_REPROCESSED = "05.00"
_BASELINES = (  # as seen on Planetary Computer; the days of the later ones are approximate
    ("2021-01-01", "02.12"),
    ("2022-01-25", "03.00"),
    ("2023-07-01", "04.00"),
    ("2024-01-01", "05.09"),
    ("2024-07-23", "05.10"),
    ("9999-12-31", "05.11"),
)
_ID = re.compile(r"(S2[ABC])_MSIL2A_(\d{8}T\d{6})_R(\d{3})_T(\d{2}[A-Z]{3})_\d{8}T\d{6}")


_Key = tuple[int, int, int]
"""A recording: which unit, pass and cycle."""


@dataclass(frozen=True)
class _Take:
    """A datatake: what all its scenes have in common."""

    key: int
    relative_orbit: int
    starts: datetime
    us: int
    """The same moment in microseconds."""
    day_of_year: int
    name: str
    """Start of its scenes' ids, up to the tile."""
    baseline: str


class OpticalScenes:
    """Finds scenes by place and time."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._tiles = land_tiles()
        self._passes = find_passes(self._tiles)
        self._views = Views(self._tiles, self._passes)
        self._offset = np.rint(self._passes.starts * SECOND).astype(np.int64)
        self._kept = Kept(_KEPT, self._make)

    def near(self, area: Area | None) -> Ints:
        """Return the rows of passes over tiles near an area."""
        if area is None:
            return np.arange(len(self._passes.tile))
        return self._passes.of_tiles(area.candidates(self._tiles.tree))

    @staticmethod
    def per_day(rows: Ints) -> float:
        """Return about how many scenes a day some passes give."""
        return 2 * len(rows) / SENTINEL_2.days

    def named(self, identity: str) -> OpticalScene | None:
        """Return the scene of an id, if there is one."""
        found = _ID.fullmatch(identity)
        tile = self._tiles.number.get(found[4]) if found else None
        if found is None or tile is None:
            return None
        rows = self._passes.of_tiles(np.array([tile]))
        rows = rows[self._passes.relative_orbit[rows] == int(found[3])]
        try:
            start = microseconds(datetime.strptime(found[2] + "Z", "%Y%m%dT%H%M%S%z"))
        except ValueError:
            return None
        there = self.between(rows, None, start, start + SECOND - 1)
        return next((s for s in there if s.id == identity), None)

    def between(self, rows: Ints, area: Area | None, begins: int, ends: int) -> list[OpticalScene]:
        """Return the scenes of some passes in a period, in no order.

        Args:
            rows: Which passes.
            area: What their data must meet; None for anything.
            begins: First microsecond of the datatake's start.
            ends: Last one.
        """
        found: list[_Key] = []
        first = {}
        for number, unit in enumerate(S2_UNITS):
            if unit.epoch not in first:  # which several units have in common
                first[unit.epoch] = self._starts(unit, rows)
            index, cycle = unit.repeats(first[unit.epoch], begins, ends)
            keys = zip(rows[index].tolist(), cycle.tolist(), strict=True)
            found += [(number, *key) for key in keys]
        seen = self._views.of(sorted({row for _, row, _ in found}))
        if area is not None and seen:
            meets = area.meets(np.array([v.footprint for v in seen.values()], dtype=object))
            seen = {row: v for (row, v), m in zip(seen.items(), meets.tolist(), strict=True) if m}
        found = [key for key in found if key[1] in seen]
        known = self._kept.of(found)
        return [scene for key in found for scene in known[key]]

    def _starts(self, unit: Unit, rows: Ints) -> Ints:
        """Return when the datatakes of passes start in cycle 0, microseconds."""
        since = unit.node_time(self._passes.relative_orbit[rows]) + self._offset[rows]
        return np.asarray(since // SECOND * SECOND + _MILLISECONDS)

    def _make(self, keys: list[_Key]) -> list[tuple[OpticalScene, ...]]:
        """Work out the scenes of recordings: none in the dark, two if processed again."""
        unit, row, cycle = np.array(keys).T
        orbit, tile = self._passes.relative_orbit[row], self._passes.tile[row]
        turned = cycle * SENTINEL_2.cycle_us
        starts, sensed = turned.copy(), turned + (self._passes.seconds[row] * SECOND).astype(int)
        for number in np.unique(unit).tolist():
            ours = unit == number
            starts[ours] += self._starts(S2_UNITS[number], row[ours])
            sensed[ours] += S2_UNITS[number].node_time(orbit[ours])
        zenith, azimuth = sun_position(sensed, self._tiles.lon[tile], self._tiles.lat[tile])
        light = np.flatnonzero(zenith <= LOWEST_SUN_DEG)
        columns = (unit, orbit, starts, row, tile, sensed, azimuth, zenith)
        recorded = list(zip(*(column[light].tolist() for column in columns), strict=True))
        takes = self._takes({r[:3] for r in recorded})
        views = self._views.of([r[3] for r in recorded])
        clouds = _clouds([views[r[3]] for r in recorded], [takes[r[:3]] for r in recorded])
        scenes: list[tuple[OpticalScene, ...]] = [()] * len(keys)
        for n, r, cloud in zip(light.tolist(), recorded, clouds, strict=True):
            scenes[n] = self._scenes(takes[r[:3]], views[r[3]], r[4:], cloud)
        return scenes

    def _takes(self, keys: set[_Key]) -> dict[_Key, _Take]:
        """Return datatakes by unit, relative orbit and start."""
        found = {}
        for number, orbit, us in keys:
            platform, starts = S2_UNITS[number].platform, moment(us)
            day = starts.date().isoformat()
            found[number, orbit, us] = _Take(
                key=key_of(self._seed, platform, us),
                relative_orbit=orbit,
                starts=starts,
                us=us,
                day_of_year=starts.timetuple().tm_yday,
                name=f"{platform}_MSIL2A_{compact(starts)}_R{orbit:03d}_T",
                baseline=next(b for until, b in _BASELINES if day < until),
            )
        return found

    def _scenes(
        self, take: _Take, view: View, place: tuple[int, int, float, float], cloud: float
    ) -> tuple[OpticalScene, ...]:
        """Return the scenes of a recording; `place`: tile, when sensed, the sun's angles."""
        tile, sensed, azimuth, zenith = place
        name = self._tiles.name[tile]
        recording = key_of(take.key, name)
        sensed_at = moment(max(sensed, take.us) // SECOND * SECOND)
        return tuple(
            OpticalScene(
                id=f"{take.name}{name}_{compact(generated)}",
                tile=name,
                epsg=int(self._tiles.epsg[tile]),
                left=float(self._tiles.left[tile]),
                top=float(self._tiles.top[tile]),
                platform=take.name[:3],
                relative_orbit=take.relative_orbit,
                datatake_starts=take.starts,
                sensed_at=sensed_at,
                generated_at=generated,
                baseline=baseline,
                edges=view.edges,
                footprint=view.footprint,
                sun_azimuth=azimuth,
                sun_zenith=zenith,
                cloud_fraction=cloud,
                valid_fraction=view.valid_fraction,
                datatake=take.key,
                recording=recording,
            )
            for baseline, generated in _versions(take, recording)
        )


def _clouds(views: list[View], takes: list[_Take]) -> list[float]:
    """Return the mean cloud over the data of every scene; datatakes are asked once each."""
    clouds = [0.0] * len(views)
    groups: dict[int, list[int]] = {}
    for n, take in enumerate(takes):
        groups.setdefault(take.key, []).append(n)
    for key, members in groups.items():
        places = [views[n].places for n in members]
        lon, lat = np.concatenate(places, axis=1)
        cover = cloud_cover(lon, lat, takes[members[0]].day_of_year, key)
        means = _means(cover, [p.shape[1] for p in places])
        for n, mean in zip(members, means, strict=True):
            clouds[n] = mean
    return clouds


def _means(values: Floats, lengths: list[int]) -> list[float]:
    """Return the means of consecutive parts."""
    counts = np.array(lengths)
    totals = np.add.reduceat(values, np.cumsum(counts) - counts)
    return [float(v) for v in totals / counts]


def _versions(take: _Take, recording: int) -> list[tuple[str, datetime]]:
    """Return the processing versions of a recording: baseline and when it was processed."""
    luck = key_of(recording, "processing")
    wait = luck // 100
    if take.us < _ESRI_SINCE:
        generated = _ESRI_SINCE + wait % (30 * 86_400) * SECOND
    else:
        generated = take.us + (3 * 3600 + wait % (20 * 3600)) * SECOND
    versions = [(take.baseline, moment(generated + luck % SECOND))]
    if take.baseline < _REPROCESSED and luck % 100 < _REPROCESSED_PERCENT:
        later = max(_AGAIN_SINCE, take.us + 30 * DAY) + wait % (120 * 86_400) * SECOND
        versions.append((_REPROCESSED, moment(later)))
    return versions


_ESRI_SINCE = microseconds(datetime.fromisoformat("2020-10-01T00:00:00Z"))
_AGAIN_SINCE = microseconds(datetime.fromisoformat("2023-03-01T00:00:00Z"))
