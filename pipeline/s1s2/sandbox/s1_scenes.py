"""Scenes of the simulated Sentinel-1 archive: slices of the plan, dated and numbered."""

import re
from datetime import datetime

import numpy as np
import shapely

from s1s2.sandbox.area import Area, Bools
from s1s2.sandbox.noise import key_of
from s1s2.sandbox.orbits import S1_UNITS, SECOND, SENTINEL_1, Ints, Unit, microseconds, moment
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
_TAKES_PER_ORBIT = 16  # room for the datatakes of an orbit in the number of a datatake


class RadarScenes:
    """Finds scenes by place and time."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._slices = find_slices(seed)
        self._shapes = Shapes(self._slices)
        self._tree = shapely.STRtree(shapely.box(*self._slices.box.T))
        line = (self._slices.relative_orbit - 1) * PER_ORBIT + self._slices.number
        first = (self._slices.relative_orbit - 1) * PER_ORBIT + self._slices.first
        # whole microseconds of the cycle: a slice ends at the very moment the next one starts
        self._begins, self._ends, self._take = (_line_time(n) for n in (line, line + 1, first))

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
        try:
            text = found[2] + "Z" if found else ""
            start = microseconds(datetime.strptime(text, "%Y%m%dT%H%M%S%z"))
        except ValueError:
            return None
        there = self.between(self.near(None), None, start, start + 20 * SECOND)
        return next((s for s in there if s.id == identity), None)

    def between(self, rows: Ints, area: Area | None, begins: int, ends: int) -> list[RadarScene]:
        """Return the scenes of some slices in a period, in no order.

        Args:
            rows: Which slices.
            area: What their data must meet; None for anything.
            begins: First microsecond of the middle of the slice.
            ends: Last one.
        """
        if area is not None:
            rows = self._meeting(rows, area)
        scenes = []
        for unit in S1_UNITS:
            middle = unit.epoch + (self._begins[rows] + self._ends[rows]) // 2
            index, cycle = unit.repeats(middle, begins, ends)
            times = middle[index] + cycle * SENTINEL_1.cycle_us
            ours = self._recorded(unit, rows[index], times)
            found = rows[index][ours].tolist()
            parts = zip(found, self._shapes.of(found), cycle[ours].tolist(), strict=True)
            scenes += [self._scene(unit, *part) for part in parts]
        return scenes

    def _meeting(self, rows: Ints, area: Area) -> Ints:
        outlines = [shape.footprint for shape in self._shapes.of(rows.tolist())]
        return rows[area.meets(np.array(outlines, dtype=object))]

    def _recorded(self, unit: Unit, rows: Ints, times: Ints) -> Bools:
        """Say which slices a unit records; S1A stands in where S1B's place is empty."""
        place = self._slices.unit[rows]
        if unit.epoch != S1_UNITS[0].epoch:
            return np.isin(place, (BOTH, SECOND_PLACE))
        alone = np.ones(len(rows), dtype=bool)
        for other in S1_UNITS[1:]:
            alone &= (times < other.begins) | (times >= other.ends)
        return np.isin(place, (BOTH, FIRST_PLACE)) | alone

    def _scene(self, unit: Unit, row: int, shape: Shape, cycle: int) -> RadarScene:
        slices = self._slices
        since = unit.epoch + cycle * SENTINEL_1.cycle_us
        starts, ends = moment(since + self._begins[row]), moment(since + self._ends[row])
        relative, number = int(slices.relative_orbit[row]), int(slices.number[row])
        absolute = unit.absolute_orbit(relative, cycle)
        take = datatake_number(absolute, int(slices.datatake[row]))
        horizontal = bool(slices.horizontal[row])
        kind = "1SDH" if horizontal else "1SDV"
        northward = number < PER_ORBIT / 4 or number >= 3 * PER_ORBIT / 4
        datatake = key_of(self._seed, unit.platform, take)
        return RadarScene(
            id=f"{unit.platform}_IW_GRDH_{kind}_{starts:%Y%m%dT%H%M%S}_{ends:%Y%m%dT%H%M%S}_"
            f"{absolute:06d}_{take:06X}_rtc",
            epsg=shape.epsg,
            left=shape.left,
            top=shape.top,
            width=shape.width,
            height=shape.height,
            platform=unit.platform,
            relative_orbit=relative,
            absolute_orbit=absolute,
            orbit_state="ascending" if northward else "descending",
            starts=starts,
            ends=ends,
            slice_number=number - int(slices.first[row]) + 1,
            total_slices=int(slices.count[row]),
            polarisations=("HH", "HV") if horizontal else ("VV", "VH"),
            edges=shape.edges,
            footprint=shape.footprint,
            look=shape.look,
            datatake=datatake,
            recording=key_of(datatake, number),
        )


def datatake_number(absolute_orbit: int, index: int) -> int:
    """Return a mission-wide number of a datatake, six hexadecimal digits in ids."""
    return absolute_orbit * _TAKES_PER_ORBIT + index


def _line_time(line: Ints) -> Ints:
    """Return when slices of a cycle start, microseconds since the cycle's first node."""
    lines = SENTINEL_1.revolutions * PER_ORBIT
    return np.asarray(line * SENTINEL_1.cycle_us // lines, dtype=np.int64)
