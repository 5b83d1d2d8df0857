"""Scenes of the simulated Sentinel-2 archive: passes, dated, processed and perhaps processed again.

Every tile with land is recorded on every pass by day of every unit.
"""

import re
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import shapely

from s1s2.sandbox.area import Area
from s1s2.sandbox.noise import key_of
from s1s2.sandbox.orbits import (
    DAY,
    S2_UNITS,
    SECOND,
    SENTINEL_2,
    Floats,
    Ints,
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


@dataclass(frozen=True)
class _Recordings:
    """Passes of one unit at known times, as columns."""

    unit: int
    row: Ints
    cycle: Ints
    starts: Ints
    """Microseconds: the datatake's start, the item's `datetime`."""


class OpticalScenes:
    """Finds scenes by place and time."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._tiles = land_tiles()
        self._passes = find_passes(self._tiles)
        self._views = Views(self._tiles, self._passes)
        self._tree = shapely.STRtree(self._tiles.outline)
        offset = np.rint(self._passes.starts * SECOND).astype(np.int64)
        orbits = self._passes.relative_orbit
        self._first = [
            (unit.node_time(orbits) + offset) // SECOND * SECOND + _MILLISECONDS
            for unit in S2_UNITS
        ]

    def near(self, area: Area | None) -> Ints:
        """Return the rows of passes over tiles near an area."""
        if area is None:
            return np.arange(len(self._passes.tile))
        return self._passes.of_tiles(area.candidates(self._tree))

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
        parts = []
        for number, unit in enumerate(S2_UNITS):
            first = self._first[number][rows]
            index, cycle = unit.repeats(first, begins, ends)
            starts = first[index] + cycle * SENTINEL_2.cycle_us
            parts.append(_Recordings(number, rows[index], cycle, starts))
        seen = self._seen(np.unique(np.concatenate([p.row for p in parts])), area)
        return [scene for part in parts for scene in self._scenes(part, seen)]

    def _seen(self, rows: Ints, area: Area | None) -> dict[int, View]:
        """Return the views of passes whose data meet an area."""
        known = zip(rows.tolist(), self._views.of(rows.tolist()), strict=True)
        views = {row: view for row, view in known if view is not None}
        if area is None or not views:
            return views
        meets = area.meets(np.array([v.footprint for v in views.values()], dtype=object))
        return {row: view for (row, view), m in zip(views.items(), meets, strict=True) if m}

    def _scenes(self, found: _Recordings, seen: dict[int, View]) -> list[OpticalScene]:
        unit = S2_UNITS[found.unit]
        good = np.array([row in seen for row in found.row.tolist()], dtype=bool)
        row, cycle, starts = (a[good] for a in (found.row, found.cycle, found.starts))
        tile, orbit = self._passes.tile[row], self._passes.relative_orbit[row]
        sensed = unit.node_time(orbit) + cycle * SENTINEL_2.cycle_us
        sensed += (self._passes.seconds[row] * SECOND).astype(np.int64)
        zenith, azimuth = sun_position(sensed, self._tiles.lon[tile], self._tiles.lat[tile])
        light = np.flatnonzero(zenith <= LOWEST_SUN_DEG)
        started = starts[light].tolist()
        keys = {t: key_of(self._seed, unit.platform, t) for t in set(started)}
        takes = [keys[t] for t in started]
        views = [seen[r] for r in row[light].tolist()]
        clouds = _clouds(views, takes, starts[light])
        scenes = []
        for n, take, view, cloud in zip(light.tolist(), takes, views, clouds, strict=True):
            t, started = int(tile[n]), int(starts[n])
            recording = key_of(take, self._tiles.name[t])
            start, stem = moment(started), f"R{orbit[n]:03d}_T{self._tiles.name[t]}"
            for baseline, generated in _versions(started, recording):
                scenes.append(
                    OpticalScene(
                        id=f"{unit.platform}_MSIL2A_{start:%Y%m%dT%H%M%S}_{stem}_"
                        f"{generated:%Y%m%dT%H%M%S}",
                        tile=self._tiles.name[t],
                        epsg=int(self._tiles.epsg[t]),
                        left=float(self._tiles.left[t]),
                        top=float(self._tiles.top[t]),
                        platform=unit.platform,
                        relative_orbit=int(orbit[n]),
                        datatake_starts=start,
                        sensed_at=moment(max(int(sensed[n]), started) // SECOND * SECOND),
                        generated_at=generated,
                        baseline=baseline,
                        edges=view.edges,
                        footprint=view.footprint,
                        sun_azimuth=float(azimuth[n]),
                        sun_zenith=float(zenith[n]),
                        cloud_fraction=cloud,
                        valid_fraction=view.valid_fraction,
                        datatake=take,
                        recording=recording,
                    )
                )
        return scenes


def _clouds(views: list[View], takes: list[int], starts: Ints) -> list[float]:
    """Return the mean cloud over the data of every scene; datatakes are asked once each."""
    clouds = [0.0] * len(views)
    groups: dict[int, list[int]] = {}
    for n, take in enumerate(takes):
        groups.setdefault(take, []).append(n)
    for take, members in groups.items():
        lon = np.concatenate([views[n].lon for n in members])
        lat = np.concatenate([views[n].lat for n in members])
        day = moment(int(starts[members[0]])).timetuple().tm_yday
        cover = cloud_cover(lon, lat, day, take)
        for n, part in zip(
            members, _split(cover, [len(views[n].lon) for n in members]), strict=True
        ):
            clouds[n] = part
    return clouds


def _split(values: Floats, lengths: list[int]) -> list[float]:
    """Return the means of consecutive parts."""
    counts = np.array(lengths)
    totals = np.add.reduceat(values, np.cumsum(counts) - counts)
    return [float(v) for v in totals / counts]


def _versions(started: int, recording: int) -> list[tuple[str, datetime]]:
    """Return the processing versions of a recording: baseline and when it was processed."""
    day = f"{moment(started):%Y-%m-%d}"
    baseline = next(b for until, b in _BASELINES if day < until)
    luck = key_of(recording, "processing")
    wait = luck // 100
    if started < _ESRI_SINCE:
        generated = _ESRI_SINCE + wait % (30 * 86_400) * SECOND
    else:
        generated = started + (3 * 3600 + wait % (20 * 3600)) * SECOND
    versions = [(baseline, moment(generated + luck % SECOND))]
    if baseline < _REPROCESSED and luck % 100 < _REPROCESSED_PERCENT:
        later = max(_AGAIN_SINCE, started + 30 * DAY) + wait % (120 * 86_400) * SECOND
        versions.append((_REPROCESSED, moment(later)))
    return versions


_ESRI_SINCE = microseconds(datetime.fromisoformat("2020-10-01T00:00:00Z"))
_AGAIN_SINCE = microseconds(datetime.fromisoformat("2023-03-01T00:00:00Z"))
