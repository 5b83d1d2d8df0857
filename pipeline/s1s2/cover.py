"""Which footprints hold a point, and a whole chip around it. Pure, vectorised."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from s1s2 import grid
from s1s2.bands import Sensor
from s1s2.scene import Scene, edge_sagittas_m

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Texts = NDArray[np.object_]

_TOLERANCE_M = 1.0
"""Footprints are rounded to about this much; the pixels themselves are tested later."""
_EDGE = np.array([0.0, 0.5, 1.0])


@dataclass(frozen=True)
class Side:
    """One sensor's scenes as columns, sorted by id; worked out once for all points."""

    id: Texts
    catalog: Texts
    recording: Texts
    feet: Texts
    tree: shapely.STRtree
    complete: Bools
    cloud: Floats
    """Of the whole scene, 0 to 1; NaN where the catalog states none."""
    seconds: Floats
    epsg: Ints
    bounds: Floats
    """Left, bottom, right, top of the files; NaN where the item states none."""
    margin_m: Floats
    centre: Floats
    """Longitude of the footprint's middle."""

    @classmethod
    def from_columns(  # noqa: PLR0913  # columns, by their names
        cls,
        *,
        id: Texts,  # noqa: A002  # as the field
        catalog: Texts,
        recording: Texts,
        feet: Texts,
        complete: Bools,
        cloud: Floats,
        seconds: Floats,
        epsg: Ints,
        bounds: Floats,
    ) -> "Side":
        """Take columns in any order; what follows from footprints is worked out."""
        order = np.lexsort((catalog, id))
        feet = feet[order]
        shapely.prepare(feet)
        return cls(
            id=id[order],
            catalog=catalog[order],
            recording=recording[order],
            feet=feet,
            tree=shapely.STRtree(feet),
            complete=complete[order],
            cloud=cloud[order],
            seconds=seconds[order],
            epsg=epsg[order],
            bounds=bounds[order],
            margin_m=edge_sagittas_m(feet),
            centre=shapely.get_x(shapely.centroid(feet)),
        )

    @classmethod
    def of(cls, scenes: Sequence[Scene], sensor: Sensor) -> "Side":
        """Take one sensor's scenes out of many."""
        ours = [s for s in scenes if s.sensor is sensor]
        unknown = (np.nan,) * 4
        return cls.from_columns(
            id=_objects([s.id for s in ours]),
            catalog=_objects([s.catalog for s in ours]),
            recording=_objects([s.acquisition for s in ours]),
            feet=_objects([s.footprint for s in ours]),
            complete=np.array([not s.missing_bands for s in ours], dtype=bool),
            cloud=np.array([s.cloud_fraction for s in ours], dtype=float),
            seconds=np.array([s.sensed_at.timestamp() for s in ours], dtype=float),
            epsg=np.array([s.epsg for s in ours], dtype=np.int64),
            bounds=np.array([s.bounds or unknown for s in ours], dtype=float).reshape(-1, 4),
        )


def _objects(values: Sequence[object]) -> Texts:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


@dataclass(frozen=True)
class Hits:
    """Pairs of (point, scene) as row numbers into both."""

    point: Ints
    scene: Ints

    def where(self, keep: Bools) -> "Hits":
        """Keep some of the pairs."""
        return Hits(self.point[keep], self.scene[keep])


def find_hits(lon: Floats, lat: Floats, side: Side) -> Hits:
    """Find the footprints that hold each point, whichever way round the Earth they are written."""
    found = [
        side.tree.query(shapely.points(lon + turn, lat), predicate="intersects").T
        for turn in (0.0, 360.0, -360.0)
    ]
    hits = np.unique(np.concatenate(found), axis=0).astype(np.int64)
    return Hits(hits[:, 0], hits[:, 1])


def place_chips(
    lon: Floats, lat: Floats, hits: Hits, side: Side, spec: grid.GridSpec
) -> pd.DataFrame:
    """Place the chip of every (point, optical scene) on that scene's lattice.

    Where the item does not state its files' bounds, the lattice is unknown until they are opened:
    the chip is then placed around the point itself, to be snapped when it is cut.
    """
    epsg, bounds = side.epsg[hits.scene], side.bounds[hits.scene]
    left, top = np.empty(len(epsg)), np.empty(len(epsg))
    distance = np.zeros(len(epsg))
    for zone in np.unique(epsg):
        rows = epsg == zone
        x, y = grid.to_utm(lon[hits.point[rows]], lat[hits.point[rows]], int(zone))
        known = np.isfinite(bounds[rows, 0])
        origin_x = np.where(known, bounds[rows, 0], x - spec.coverage_m / 2)
        origin_y = np.where(known, bounds[rows, 3], y + spec.coverage_m / 2)
        left[rows], top[rows] = grid.snap(x, y, origin_x, origin_y, spec)
        middle = (bounds[rows, :2] + bounds[rows, 2:]) / 2
        distance[rows] = np.nan_to_num(np.hypot(x - middle[:, 0], y - middle[:, 1]), nan=0.0)
    return pd.DataFrame(
        {"row": hits.point, "epsg": epsg, "left": left, "top": top, "off_centre_m": distance}
    )


def inside_files(chips: pd.DataFrame, hits: Hits, side: Side, spec: grid.GridSpec) -> Bools:
    """Say which chips lie, with all their 60 m pixels, inside the files as the item states them."""
    bounds = side.bounds[hits.scene]
    west, south, east, north = bounds.T
    left, top = chips["left"].to_numpy(), chips["top"].to_numpy()
    across = (left >= west) & (left + spec.coverage_m <= east)
    inside = across & (top <= north) & (top - spec.coverage_m >= south)
    return np.asarray(inside | np.isnan(west))


def inside_footprint(chips: pd.DataFrame, scene: Ints, side: Side, size_m: float) -> Bools:
    """Say which chips lie inside a footprint by at least the margin of its edges.

    The chip is widened by the margin, unprojected, and tested in degrees, where footprints are
    stated. Its own edges bend by less than a metre over 2.6 km.
    """
    inside = np.zeros(len(chips), dtype=bool)
    margin, centre = side.margin_m[scene] - _TOLERANCE_M, side.centre[scene]
    epsg = chips["epsg"].to_numpy()
    left, top = chips["left"].to_numpy() - margin, chips["top"].to_numpy() + margin
    width = size_m + 2 * margin
    east, south = _outline()
    for zone in np.unique(epsg):
        rows = np.flatnonzero(epsg == zone)
        x = left[rows, None] + width[rows, None] * east
        y = top[rows, None] - width[rows, None] * south
        lon, lat = grid.to_lonlat(x, y, int(zone))
        lon = centre[rows, None] + (lon - centre[rows, None] + 180) % 360 - 180
        squares = shapely.polygons(np.stack([lon, lat], axis=-1))
        inside[rows] = shapely.covers(side.feet[scene[rows]], squares)
    return inside


def _outline() -> tuple[Floats, Floats]:
    """Return the unit square's boundary, from the upper left, with the middle of every side."""
    ones, zeros = np.ones(3), np.zeros(3)
    east = np.concatenate([_EDGE, ones, _EDGE[::-1], zeros])
    south = np.concatenate([zeros, _EDGE, ones, _EDGE[::-1]])
    return east, south
