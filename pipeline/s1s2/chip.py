"""Cut one chip from a pair of scenes and judge it on its pixels."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from s1s2 import grid, radiometry, store
from s1s2.bands import OPTICAL, RADAR, S2_10M, S2_20M, Band
from s1s2.errors import ContractError, ReadError, RecipeError
from s1s2.reader import Reader
from s1s2.scene import Scene


@dataclass(frozen=True)
class ChipRules:
    """What a chip's pixels must show."""

    max_cloud_fraction: float = 0.1
    """Greatest share of cloud in the chip, by the scene classification."""
    max_shadow_fraction: float = 0.1
    """Greatest share of cloud shadow in the chip."""
    min_s2_valid_fraction: float = 1.0
    """Least share of pixels with data in every optical band."""
    min_s1_valid_fraction: float = 0.999
    """Least share of pixels with a measurement in VV and VH."""
    bad_asset: Literal["stop", "refuse"] = "stop"
    """What a file does that is not what its catalog promises (not a GeoTIFF, wrong dtype, off the
    lattice): stop the run, or end that candidate with the reason `bad_asset`."""

    def __post_init__(self) -> None:
        for name in ("max_cloud", "max_shadow", "min_s2_valid", "min_s1_valid"):
            value = getattr(self, f"{name}_fraction")
            if not 0 <= value <= 1:
                msg = f"{name}_fraction {value}: expected 0 to 1"
                raise RecipeError(msg)
        if self.bad_asset not in ("stop", "refuse"):
            msg = f"bad_asset {self.bad_asset!r}: expected 'stop' or 'refuse'"
            raise RecipeError(msg)


@dataclass(frozen=True)
class Pair:
    """A point and the two scenes to cut a chip from."""

    point: int
    lon: float
    lat: float
    s2: Scene
    s1: Scene
    dn_offset: int
    """Added to the optical numbers: -1000 or 0."""


@dataclass(frozen=True)
class Refused:
    """A pair that did not make a chip, and why."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Chip:
    """One accepted chip: its arrays by name, and what the index says of it."""

    arrays: dict[str, NDArray[Any]]
    row: dict[str, Any]


def cut(pair: Pair, reader: Reader, spec: grid.GridSpec, rules: ChipRules) -> Chip | Refused:
    """Cut a chip, cheapest test first, so that a cloudy one costs one small read.

    Args:
        pair: The point and its scenes.
        reader: How pixels are read.
        spec: The size of a chip.
        rules: What its pixels must show.

    Raises:
        ReadError: If an asset cannot be read now, but perhaps another day.
        ContractError: If a file is not what its catalog promises and the rules say to stop.
    """
    try:
        return _cut(pair, reader, spec, rules)
    except ReadError as error:
        if error.reason == "unreachable":
            raise
        return Refused(error.reason, str(error))
    except ContractError as error:
        if rules.bad_asset == "refuse":
            return Refused("bad_asset", str(error))
        msg = f"{error}. To go on without such files set bad_asset = 'refuse' under [chip]"
        raise ContractError(msg) from error


def _cut(pair: Pair, reader: Reader, spec: grid.GridSpec, rules: ChipRules) -> Chip | Refused:
    geobox = place(pair, reader, spec)
    scl = reader.read(pair.s2, {Band.SCL: grid.at_gsd(geobox, 20)})[Band.SCL].data
    ground = radiometry.ground(scl)
    for gate in (
        ("s2_nodata", ground.unseen, 1 - rules.min_s2_valid_fraction),
        ("cloud", ground.cloud, rules.max_cloud_fraction),
        ("shadow", ground.shadow, rules.max_shadow_fraction),
    ):
        if gate[1] > gate[2]:
            return _too_much(*gate)
    radar = [*reader.read(pair.s1, dict.fromkeys(RADAR, geobox)).values()]
    s1_valid = np.all([p.valid for p in radar], axis=0).mean()
    if s1_valid < rules.min_s1_valid_fraction:
        return _too_much("s1_invalid", 1 - s1_valid, 1 - rules.min_s1_valid_fraction)
    optical = _optical(pair, reader, geobox)
    s2_valid = _valid(optical, scl, spec.size_px).mean()
    if s2_valid < rules.min_s2_valid_fraction:
        return _too_much("s2_nodata", 1 - s2_valid, 1 - rules.min_s2_valid_fraction)
    arrays = {
        "s2_10m": np.stack([optical[b] for b in S2_10M]),
        "s2_20m": np.stack([optical[b] for b in S2_20M]),
        "s1": np.stack([radiometry.to_counts(p.data) for p in radar]),
        "scl": scl,
    }
    measured = {
        "s2_valid_fraction": float(s2_valid),
        "s1_valid_fraction": float(s1_valid),
        "s1_warped": any(p.warped for p in radar),
    }
    return Chip(arrays, _row(pair, geobox, ground, arrays) | measured)


def place(pair: Pair, reader: Reader, spec: grid.GridSpec) -> GeoBox:
    """Return the chip's grid: around the point, on the 60 m lattice of the scene's own files.

    The file's header decides, not the item: items are known to be stale or wrong. SCL's is asked
    for with it, since it is read next.
    """
    file = reader.grids(pair.s2, (Band.B01, Band.SCL))[Band.B01]
    epsg = grid.epsg_of(file)
    x, y = grid.to_utm(np.array([pair.lon]), np.array([pair.lat]), epsg)
    left, top = grid.snap(x, y, file.affine.c, file.affine.f, spec)
    return grid.chip_geobox(epsg, float(left[0]), float(top[0]), spec)


def _too_much(reason: str, found: float, most: float) -> Refused:
    what = {
        "cloud": "cloud",
        "shadow": "cloud shadow",
        "s2_nodata": "pixels without optical data",
        "s1_invalid": "pixels without a radar measurement",
    }[reason]
    return Refused(reason, f"{found:.2%} {what}, at most {most:.2%}")


def _optical(pair: Pair, reader: Reader, geobox: GeoBox) -> dict[Band, NDArray[np.uint16]]:
    """Read the optical bands, offset removed; 60 m bands come back repeated onto the 20 m grid."""
    pixels = reader.read(pair.s2, {b: grid.at_gsd(geobox, b.gsd_m) for b in OPTICAL})
    bands = {b: radiometry.harmonise(p.data, pair.dn_offset) for b, p in pixels.items()}
    half = geobox.shape[0] // 2
    for band, dn in bands.items():
        if band.gsd_m == grid.LATTICE_M:
            bands[band] = np.repeat(np.repeat(dn, 3, axis=0), 3, axis=1)[:half, :half]
    return bands


def _valid(
    optical: dict[Band, NDArray[np.uint16]], scl: NDArray[np.uint8], size_px: int
) -> NDArray[np.bool_]:
    """Say where every optical band has data, on the 10 m grid."""
    fine = np.all([optical[b] > 0 for b in S2_10M], axis=0)
    coarse = np.all([optical[b] > 0 for b in S2_20M], axis=0) & (scl > 0)
    both: NDArray[np.bool_] = fine & np.repeat(np.repeat(coarse, 2, axis=0), 2, axis=1)
    return both[:size_px, :size_px]


def _row(
    pair: Pair, geobox: GeoBox, ground: radiometry.Ground, arrays: dict[str, NDArray[Any]]
) -> dict[str, Any]:
    s2, s1 = pair.s2, pair.s1
    lag = s1.sensed_at - s2.sensed_at
    return {
        "point": pair.point,
        "lon": pair.lon,
        "lat": pair.lat,
        "epsg": grid.epsg_of(geobox),
        "transform": list(geobox.affine)[:6],
        "s2_id": s2.id,
        "s1_id": s1.id,
        "s2_time": iso(s2.sensed_at),
        "s1_time": iso(s1.sensed_at),
        "lag_hours": lag.total_seconds() / 3600,
        "s2_platform": s2.platform,
        "s1_platform": s1.platform,
        "s1_orbit_state": s1.orbit_state,
        "s1_relative_orbit": s1.relative_orbit,
        "s2_relative_orbit": s2.relative_orbit,
        "processing_baseline": s2.processing_baseline,
        "dn_offset": pair.dn_offset,
        "cloud_fraction": ground.cloud,
        "shadow_fraction": ground.shadow,
        "water_fraction": ground.water,
        "catalog": s2.catalog,
        "s1_catalog": s1.catalog,
        "outline": _outline(geobox),
        "sha256": store.digest(arrays),
    }


def _outline(geobox: GeoBox) -> list[list[float]]:
    """Return a chip's corners in degrees, counter-clockwise, closed."""
    left, bottom, right, top = geobox.boundingbox
    x = np.array([left, left, right, right, left])
    y = np.array([top, bottom, bottom, top, top])
    lon, lat = grid.to_lonlat(x, y, grid.epsg_of(geobox))
    corners: list[list[float]] = np.column_stack([lon, lat]).tolist()
    return corners


def iso(moment: datetime) -> str:
    """Return a UTC time as ISO 8601 text with milliseconds."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
