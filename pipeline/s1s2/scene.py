"""The values everything speaks of: a `Scene`, and a footprint that does not jump at 180 degrees."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from s1s2.bands import Band, Sensor, bands_of
from s1s2.errors import ContractError

EARTH_RADIUS_M = 6_371_000.0
_LEAST_PLACES = 4  # of a closed ring
_HALF_TURN = 180.0


@dataclass(frozen=True, slots=True)
class Scene:
    """One STAC item, parsed: one sensor, one time, one footprint. Hrefs are never signed."""

    id: str
    catalog: str
    """Name of the catalog it came from, which says how its files are opened."""
    collection: str
    sensor: Sensor
    platform: str
    """Lower case, as `sentinel-2a`."""
    sensed_at: datetime
    """Aware UTC. Sentinel-1: mid-slice. Sentinel-2: the best known time of sensing."""
    footprint: BaseGeometry
    """Valid data in degrees, WGS 84; continuous, so it may go past 180."""
    epsg: int
    """UTM zone of the files according to the item; the file's own CRS decides."""
    hrefs: Mapping[Band, str]
    """Unsigned href of every band the item has."""
    acquisition: str
    """What two versions, or two tiles, of one recording share: the datatake."""
    relative_orbit: int | None = None
    orbit_state: str | None = None
    tile: str | None = None
    """MGRS tile, as `43RCP`."""
    cloud_fraction: float | None = None
    """Cloud in the whole scene according to the catalog, 0 to 1."""
    processing_baseline: str | None = None
    """Sentinel-2's, as `05.09`; decides the radiometric offset."""
    version: str = ""
    """Sorts the reprocessed versions of one recording: the greatest is the one to use."""
    bounds: tuple[float, float, float, float] | None = None
    """Left, bottom, right, top of the files in metres according to the item, where it says so."""

    def __post_init__(self) -> None:
        if self.sensed_at.tzinfo is None:
            msg = f"scene {self.id}: sensed_at must be aware UTC, got the naive {self.sensed_at}"
            raise ContractError(msg)

    @property
    def missing_bands(self) -> tuple[Band, ...]:
        """Bands a chip needs and this scene lacks."""
        return tuple(b for b in bands_of(self.sensor) if b not in self.hrefs)

    @property
    def margin_m(self) -> float:
        """How far the true edge of the footprint may lie inside the stated one, in metres.

        An edge is stated as a straight line in degrees; the recording's own edge runs straight
        over the ground. Over an edge of length L at latitude phi the two part by up to
        L^2 tan|phi| / 8R (sagitta of the parallel against the great circle).
        """
        return edge_sagitta_m(self.footprint)


def edge_sagitta_m(geometry: BaseGeometry) -> float:
    """Return the greatest L^2 tan|phi| / 8R over the edges of a polygon in degrees, in metres.

    Examples:
        >>> from shapely import box
        >>> round(edge_sagitta_m(box(10, 59.9, 14.47, 60.0)), -2)
        2100.0
        >>> round(edge_sagitta_m(box(10, 30.0, 10.02, 30.02)), 3)
        0.056
    """
    return float(edge_sagittas_m(np.array([geometry], dtype=object))[0])


def edge_sagittas_m(geometries: NDArray[np.object_]) -> NDArray[np.float64]:
    """Return `edge_sagitta_m` of many geometries, shape (n,)."""
    parts, owner = shapely.get_parts(geometries, return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    places, ring = shapely.get_coordinates(rings, return_index=True)
    lon, lat = np.radians(places).T
    middle = np.minimum(np.abs(lat[1:] + lat[:-1]) / 2, np.radians(89.0))
    length = EARTH_RADIUS_M * np.hypot(np.diff(lat), np.diff(lon) * np.cos(middle))
    sagitta = length**2 * np.tan(middle) / (8 * EARTH_RADIUS_M)
    edge = ring[1:] == ring[:-1]  # from the last place of a ring to the next ring is none
    worst = np.zeros(len(geometries))
    np.maximum.at(worst, owner[part[ring[1:][edge]]], sagitta[edge])
    return worst


def continuous(geometry: BaseGeometry) -> BaseGeometry:
    """Rewrite a footprint so that it does not jump at the antimeridian; it may then pass 180.

    Takes all three habits in use: longitudes beyond 180 (Planetary Computer's), a ring that jumps
    from 180 to -180, and a MultiPolygon cut at the antimeridian (RFC 7946).

    Examples:
        >>> from shapely import Polygon
        >>> ring = Polygon([(179, 0), (-179, 0), (-179, 1), (179, 1)])
        >>> continuous(ring).bounds
        (179.0, 0.0, 181.0, 1.0)

    Raises:
        ValueError: If a place is not finite, or a ring goes round a pole, so that no way of
            writing it is free of a jump.
    """
    parts = [_whole(part) for part in shapely.get_parts(geometry) if not part.is_empty]
    if not parts:
        return geometry
    if len(parts) == 1:
        return parts[0]
    centres = np.array([shapely.centroid(p).x for p in parts])
    if np.ptp(centres) > _HALF_TURN:  # two halves of one footprint
        parts = [
            shapely.transform(p, _turn) if x < 0 else p for p, x in zip(parts, centres, strict=True)
        ]
    # a part that crosses itself cannot be put together with others
    return shapely.union_all([p if p.is_valid else shapely.make_valid(p) for p in parts])


def _whole(part: BaseGeometry) -> BaseGeometry:
    """Rewrite one part of a footprint so that it does not jump."""
    try:
        return shapely.transform(part, _unwrap)
    except shapely.errors.GEOSException as error:  # its end is a turn away from its beginning
        msg = "a ring that goes round a pole: expected a footprint that holds none"
        raise ValueError(msg) from error


def simple_footprints(documents: Sequence[object]) -> NDArray[np.object_]:
    """Take the GeoJSON geometries that nearly all items have, many at once.

    Returns:
        What `continuous` makes of a polygon of one ring that does not jump at the antimeridian, is
        valid and has an area; None in place of any other, shape (n,).
    """
    found = np.full(len(documents), None, dtype=object)
    rings = {n: ring for n, document in enumerate(documents) if (ring := _only_ring(document))}
    counts = [len(ring) for ring in rings.values()]
    try:
        places = np.array([place for ring in rings.values() for place in ring], dtype=float)
    except (TypeError, ValueError):  # one of them is malformed: which one is not asked here
        return found
    if places.ndim != 2 or places.shape[1] != 2:  # noqa: PLR2004  # longitude and latitude
        return found
    number = np.repeat(np.arange(len(counts)), counts)
    turns = np.abs(np.diff(places[:, 0])) > _HALF_TURN
    jumps = np.bincount(number[1:][turns & (number[1:] == number[:-1])], minlength=len(counts))
    places[:, 0] += 0.0
    polygons = shapely.polygons(shapely.linearrings(places, indices=number))
    usable = (jumps == 0) & shapely.is_valid(polygons) & (shapely.area(polygons) > 0)
    found[np.array([*rings], dtype=np.int64)[usable]] = polygons[usable]
    return found


def _only_ring(document: object) -> list[object] | None:
    """Return the ring of a GeoJSON polygon that has just one, closed, of three places or more."""
    if not isinstance(document, Mapping) or document.get("type") != "Polygon":
        return None
    rings = document.get("coordinates")
    if not isinstance(rings, list) or len(rings) != 1 or not isinstance(rings[0], list):
        return None
    ring = rings[0]
    return ring if len(ring) >= _LEAST_PLACES and ring[0] == ring[-1] else None


def _unwrap(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(xy).all():
        msg = "a place that is no place: expected finite degrees"
        raise ValueError(msg)
    step = np.diff(xy[:, 0])
    turns = -np.sign(step) * np.ceil(np.maximum(np.abs(step) - _HALF_TURN, 0) / 360)
    # whole turns, counted: what np.unwrap adds is rounded, and leaves one ring of four open
    turned = xy[:, 0] + 360 * np.concatenate([[0], np.cumsum(turns)])
    # minus nought becomes nought, as in `simple_footprints`
    return np.column_stack([turned + 0.0, xy[:, 1]])


def _turn(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([xy[:, 0] + 360.0, xy[:, 1]])
