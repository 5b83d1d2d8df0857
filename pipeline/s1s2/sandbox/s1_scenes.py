"""Scenes of the simulated Sentinel-1 archive: slices of the plan, dated and numbered."""

import re
from datetime import datetime
from typing import NamedTuple

import numpy as np
import shapely

from s1s2.sandbox.area import Area, Bools
from s1s2.sandbox.kept import Kept
from s1s2.sandbox.noise import key_of
from s1s2.sandbox.orbits import (
    S1_UNITS,
    SECOND,
    SENTINEL_1,
    Ints,
    Unit,
    compact,
    microseconds,
    moment,
)
from s1s2.sandbox.scenes import RadarScene
from s1s2.sandbox.slices import (
    BOTH,
    FIRST_PLACE,
    PER_ORBIT,
    SECOND_PLACE,
    Shape,
    Shapes,
    find_slices,
)

_ID = re.compile(r"(S1[ABC])_IW_GRDH_1S[DS][VH]_(\d{8}T\d{6})_\d{8}T\d{6}_(\d{6})_[0-9A-F]{6}_rtc")
_KEPT = 1_500
_TAKES_PER_ORBIT = 16  # room for the datatakes of an orbit in the number of a datatake

_Key = tuple[int, int, int]
"""A recording: which unit, slice and cycle."""


class RadarScenes:
    """Finds scenes by place and time."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._slices = find_slices(seed)
        self._shapes = Shapes(self._slices)
        self._tree = shapely.STRtree(shapely.box(*self._slices.box.T))
        line = (self._slices.relative_orbit - 1) * PER_ORBIT + self._slices.number
        # whole microseconds of the cycle: a slice ends at the very moment the next one starts
        self._begins, self._ends = _line_time(line), _line_time(line + 1)
        self._kept = Kept(_KEPT, self._make)

    def near(self, area: Area | None) -> Ints:
        """Return the rows of slices near an area."""
        if area is None:
            return np.arange(len(self._slices.number))
        return area.candidates(self._tree)

    @staticmethod
    def per_day(rows: Ints) -> float:
        """Return about how many scenes a day some slices give."""
        return 2 * len(rows) / SENTINEL_1.days

    def named(self, identity: str) -> RadarScene | None:
        """Return the scene of an id, if there is one."""
        found = _ID.fullmatch(identity)
        if found is None:
            return None
        try:
            start = microseconds(datetime.strptime(found[2] + "Z", "%Y%m%dT%H%M%S%z"))
        except ValueError:
            return None
        relative = {u.relative_orbit(int(found[3])) for u in S1_UNITS if u.platform == found[1]}
        rows = np.flatnonzero(np.isin(self._slices.relative_orbit, list(relative)))
        there = self.between(rows, None, start, start + 20 * SECOND)
        return next((s for s in there if s.id == identity), None)

    def between(self, rows: Ints, area: Area | None, begins: int, ends: int) -> list[RadarScene]:
        """Return the scenes of some slices in a period, in no order.

        Args:
            rows: Which slices.
            area: What their data must meet; None for anything.
            begins: First microsecond of the middle of the slice.
            ends: Last one.
        """
        found: list[_Key] = []
        for number, unit in enumerate(S1_UNITS):
            middle = unit.epoch + (self._begins[rows] + self._ends[rows]) // 2
            index, cycle = unit.repeats(middle, begins, ends)
            times = middle[index] + cycle * SENTINEL_1.cycle_us
            ours = self._recorded(unit, rows[index], times)
            keys = zip(rows[index][ours].tolist(), cycle[ours].tolist(), strict=True)
            found += [(number, *key) for key in keys]
        if area is not None and found:
            shapes = self._shapes.of(sorted({row for _, row, _ in found}))
            outlines = np.array([s.footprint for s in shapes.values()], dtype=object)
            meets = dict(zip(shapes, area.meets(outlines).tolist(), strict=True))
            found = [key for key in found if meets[key[1]]]
        known = self._kept.of(found)
        return [known[key] for key in found]

    def _recorded(self, unit: Unit, rows: Ints, times: Ints) -> Bools:
        """Say which slices a unit records; S1A stands in where S1B's place is empty."""
        place = self._slices.unit[rows]
        if unit.epoch != S1_UNITS[0].epoch:
            return np.isin(place, (BOTH, SECOND_PLACE))
        alone = np.ones(len(rows), dtype=bool)
        for other in S1_UNITS[1:]:
            alone &= (times < other.begins) | (times >= other.ends)
        return np.isin(place, (BOTH, FIRST_PLACE)) | alone

    def _make(self, keys: list[_Key]) -> list[RadarScene]:
        """Work out scenes."""
        slices = self._slices
        unit, row, cycle = np.array(keys).T
        since = np.array([u.epoch for u in S1_UNITS])[unit] + cycle * SENTINEL_1.cycle_us
        relative = slices.relative_orbit[row]
        launched = np.array([u.revolution for u in S1_UNITS])[unit]
        absolute = launched + relative - 1 + cycle * SENTINEL_1.revolutions
        columns = (
            *(unit, row, since + self._begins[row], since + self._ends[row], relative, absolute),
            datatake_number(absolute, slices.datatake[row]),
            *(c[row] for c in (slices.number, slices.first, slices.count, slices.horizontal)),
        )
        recordings = [_Recording(*r) for r in zip(*(c.tolist() for c in columns), strict=True)]
        shapes = self._shapes.of([r.row for r in recordings])
        takes: dict[tuple[int, int], int] = {}
        for r in recordings:
            if (r.unit, r.take) not in takes:
                takes[r.unit, r.take] = key_of(self._seed, S1_UNITS[r.unit].platform, r.take)
        return [_scene(r, shapes[r.row], takes[r.unit, r.take]) for r in recordings]


class _Recording(NamedTuple):
    """A slice as one unit recorded it in one cycle."""

    unit: int
    row: int
    begins: int
    """Microseconds."""
    ends: int
    relative_orbit: int
    absolute_orbit: int
    take: int
    number: int
    first: int
    slices: int
    horizontal: int


def _scene(recording: _Recording, shape: Shape, datatake: int) -> RadarScene:
    unit, number, horizontal = S1_UNITS[recording.unit], recording.number, recording.horizontal
    starts, ends = moment(recording.begins), moment(recording.ends)
    kind = "1SDH" if horizontal else "1SDV"
    northward = number < PER_ORBIT / 4 or number >= 3 * PER_ORBIT / 4
    return RadarScene(
        id=f"{unit.platform}_IW_GRDH_{kind}_{compact(starts)}_{compact(ends)}_"
        f"{recording.absolute_orbit:06d}_{recording.take:06X}_rtc",
        epsg=shape.epsg,
        left=shape.left,
        top=shape.top,
        width=shape.width,
        height=shape.height,
        platform=unit.platform,
        relative_orbit=recording.relative_orbit,
        absolute_orbit=recording.absolute_orbit,
        orbit_state="ascending" if northward else "descending",
        starts=starts,
        ends=ends,
        slice_number=number - recording.first + 1,
        total_slices=recording.slices,
        polarisations=("HH", "HV") if horizontal else ("VV", "VH"),
        edges=shape.edges,
        footprint=shape.footprint,
        look=shape.look,
        datatake=datatake,
        recording=key_of(datatake, number),
    )


def datatake_number(absolute_orbit: Ints, index: Ints) -> Ints:
    """Return mission-wide numbers of datatakes, six hexadecimal digits in ids."""
    return absolute_orbit * _TAKES_PER_ORBIT + index


def _line_time(line: Ints) -> Ints:
    """Return when slices of a cycle start, microseconds since the cycle's first node."""
    lines = SENTINEL_1.revolutions * PER_ORBIT
    return np.asarray(line * SENTINEL_1.cycle_us // lines, dtype=np.int64)
