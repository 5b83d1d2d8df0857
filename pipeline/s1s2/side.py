"""One sensor's scenes as columns, and those of them that lie near some points. Pure.

A footprint is kept as bytes and becomes a polygon where it is needed: as objects those of a year
would take gigabytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from s1s2.bands import Sensor
from s1s2.scene import Scene, edge_sagittas_m

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Texts = NDArray[np.object_]

TURNS = (0.0, 360.0, -360.0)
"""Ways round the Earth that a footprint may be written."""


@dataclass(frozen=True)
class Side:
    """One sensor's scenes as columns, sorted by id and catalog."""

    id: pa.Array
    catalog: pa.Array
    same_id: Ints
    """Number of the id: scenes of one id in two catalogs share it; in the order of the ids."""
    recording: Ints
    """Number of the datatake."""
    feet: pa.Array
    """Footprints in degrees, WKB."""
    box: Floats
    """Of the footprint: west, south, east, north."""
    complete: Bools
    cloud: Floats
    """Of the whole scene, 0 to 1; NaN where the catalog states none."""
    seconds: Floats
    epsg: Ints
    bounds: Floats
    """Left, bottom, right, top of the files; NaN where the item states none."""

    @classmethod
    def from_columns(  # noqa: PLR0913  # columns, by their names
        cls,
        *,
        id: pa.Array,  # noqa: A002  # as the field
        catalog: pa.Array,
        recording: pa.Array,
        feet: pa.Array,
        box: Floats,
        complete: Bools,
        cloud: Floats,
        seconds: Floats,
        epsg: Ints,
        bounds: Floats,
    ) -> "Side":
        """Take columns in any order; the recording by its name."""
        keys = pa.table({"id": id, "catalog": catalog})
        ascending = [("id", "ascending"), ("catalog", "ascending")]
        order = pc.sort_indices(keys, sort_keys=ascending).to_numpy().astype(np.int64)
        ids, names = id.take(pa.array(order)), recording.dictionary_encode()
        return cls(
            id=ids,
            catalog=catalog.take(pa.array(order)),
            same_id=np.cumsum(_differs(ids)),
            recording=names.indices.to_numpy().astype(np.int64)[order],
            feet=feet.take(pa.array(order)),
            box=box[order],
            complete=complete[order],
            cloud=cloud[order],
            seconds=seconds[order],
            epsg=epsg[order],
            bounds=bounds[order],
        )

    @classmethod
    def of(cls, scenes: Sequence[Scene], sensor: Sensor) -> "Side":
        """Take one sensor's scenes out of many."""
        ours = [s for s in scenes if s.sensor is sensor]
        feet = np.array([s.footprint for s in ours], dtype=object)
        unknown = (np.nan,) * 4
        return cls.from_columns(
            id=pa.array([s.id for s in ours], pa.string()),
            catalog=pa.array([s.catalog for s in ours], pa.string()),
            recording=pa.array([s.acquisition for s in ours], pa.string()),
            feet=pa.array(shapely.to_wkb(feet), pa.binary()),
            box=shapely.bounds(feet).reshape(-1, 4),
            complete=np.array([not s.missing_bands for s in ours], dtype=bool),
            cloud=np.array([s.cloud_fraction for s in ours], dtype=float),
            seconds=np.array([s.sensed_at.timestamp() for s in ours], dtype=float),
            epsg=np.array([s.epsg for s in ours], dtype=np.int64),
            bounds=np.array([s.bounds or unknown for s in ours], dtype=float).reshape(-1, 4),
        )

    def near(self, lon: Floats, lat: Floats) -> "Near":
        """Take the scenes whose box meets that of some points, however they are turned."""
        west, south, east, north = self.box.T
        meets = np.zeros(len(west), dtype=bool)
        if len(lon):
            for turn in TURNS:
                meets |= (west <= lon.max() + turn) & (east >= lon.min() + turn)
            meets &= (south <= lat.max()) & (north >= lat.min())
        return Near(self, np.flatnonzero(meets))


def _differs(values: pa.Array) -> Bools:
    """Say which of sorted values is another one than the one before it; the first is not."""
    differs = np.zeros(len(values), dtype=bool)
    if len(values) > 1:
        differs[1:] = pc.not_equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False)
    return differs


@dataclass(frozen=True)
class Near:
    """Some scenes of a side, with footprints as polygons; hits number scenes as the side does."""

    side: Side
    rows: Ints
    """Which they are, ascending."""

    @cached_property
    def feet(self) -> Texts:
        """Footprints as prepared polygons."""
        feet = np.asarray(
            shapely.from_wkb(
                self.side.feet.take(pa.array(self.rows)).to_numpy(zero_copy_only=False)
            ),
            dtype=object,
        )
        shapely.prepare(feet)
        return feet

    @cached_property
    def margin_m(self) -> Floats:
        """How far the true edge of a footprint may lie inside the stated one."""
        return edge_sagittas_m(self.feet)

    @cached_property
    def centre(self) -> Floats:
        """Longitude of the footprint's middle."""
        return np.asarray(shapely.get_x(shapely.centroid(self.feet)), dtype=np.float64)

    @cached_property
    def edges(self) -> tuple[Floats, Ints]:
        """Ends of all edges, degrees, shape (n, 4), and the first of each scene, one more."""
        parts, owner = shapely.get_parts(self.feet, return_index=True)
        rings, part = shapely.get_rings(parts, return_index=True)
        places, ring = shapely.get_coordinates(rings, return_index=True)
        edge = ring[1:] == ring[:-1]  # from the last place of a ring to the next ring is none
        ends = np.hstack([places[:-1], places[1:]])[edge]
        scene = owner[part[ring[1:][edge]]]
        return ends, np.searchsorted(scene, np.arange(len(self.rows) + 1))

    def local(self, scene: Ints) -> Ints:
        """Return which of these some scenes of the side are."""
        return np.searchsorted(self.rows, scene)
