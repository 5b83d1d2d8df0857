"""The policy on chip grids: which UTM square a chip is, as an odc-geo `GeoBox`.

A chip lies in the UTM zone of its Sentinel-2 tile and starts on the 60 m lattice of that scene's
own files, so that 10, 20 and 60 m bands are plain window reads. The lattice is an argument and
never a constant: its y phase is 0 modulo 60 m north of the equator and 40 south of it.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from pyproj import Transformer

from s1s2.errors import ContractError, RecipeError

if TYPE_CHECKING:  # odc-geo brings dask along: 12 MB for a server that cuts no chips
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

GSD_M = 10
"""Pixel spacing of the finest bands and of the chip grid, in metres."""
LATTICE_M = 60
"""Pixel spacing of the coarsest bands, which chips must start on, in metres."""
_SMALLEST_PX, _LARGEST_PX = 64, 1024


@dataclass(frozen=True)
class GridSpec:
    """The size of a chip."""

    size_px: int = 256
    """Side of a chip in 10 m pixels: even, 64 to 1,024."""

    def __post_init__(self) -> None:
        size = self.size_px
        if size % 2 or not _SMALLEST_PX <= size <= _LARGEST_PX:
            msg = (
                f"chip size {size} px: expected an even number from {_SMALLEST_PX} to {_LARGEST_PX}"
            )
            raise RecipeError(msg)

    @property
    def size_m(self) -> int:
        """Side of a chip in metres."""
        return self.size_px * GSD_M

    @property
    def clearance_km(self) -> float:
        """Least distance of two points whose chips, however turned and snapped, cannot overlap."""
        return (self.size_m * 2**0.5 + 2 * LATTICE_M) / 1000

    @property
    def coverage_m(self) -> int:
        """Side in metres of the whole 60 m pixels that a chip touches (2,580 for 256 px)."""
        return ceil(self.size_m / LATTICE_M) * LATTICE_M


@lru_cache(maxsize=256)
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def to_utm(
    lon: "NDArray[np.float64]", lat: "NDArray[np.float64]", epsg: int
) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """Project longitudes and latitudes (degrees, WGS 84) to eastings and northings (metres)."""
    x, y = _transformer("EPSG:4326", f"EPSG:{epsg}").transform(lon, lat)
    return np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)


def to_lonlat(
    x: "NDArray[np.float64]", y: "NDArray[np.float64]", epsg: int
) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """Unproject eastings and northings (metres) to longitudes and latitudes (degrees, WGS 84)."""
    lon, lat = _transformer(f"EPSG:{epsg}", "EPSG:4326").transform(x, y)
    return np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)


def snap(
    x: "NDArray[np.float64]",
    y: "NDArray[np.float64]",
    origin_x: "NDArray[np.float64] | float",
    origin_y: "NDArray[np.float64] | float",
    spec: GridSpec,
) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """Place chips around centres, with their upper left corner on a scene's 60 m lattice.

    Args:
        x: Eastings of the wanted centres, metres.
        y: Northings of the wanted centres, metres.
        origin_x: Easting of the upper left corner of the scene's files.
        origin_y: Northing of the same corner.
        spec: The size of a chip.

    Returns:
        Eastings and northings of the upper left corners: the chip's whole 60 m pixels
        (`spec.coverage_m`) are centred within 30 m of the wanted centre on each axis.

    Examples:
        >>> snap(np.array([501_300.0]), np.array([2_001_290.0]), 499_980.0, 2_000_040.0, GridSpec())
        (array([500040.]), array([2002560.]))
    """
    half = spec.coverage_m / 2
    left = origin_x + LATTICE_M * np.floor((x - half - origin_x) / LATTICE_M + 0.5)
    top = origin_y + LATTICE_M * np.floor((y + half - origin_y) / LATTICE_M + 0.5)
    return left, top


def chip_geobox(epsg: int, left: float, top: float, spec: GridSpec) -> "GeoBox":
    """Return the 10 m grid of a chip from its upper left corner (metres, UTM)."""
    from odc.geo.geobox import GeoBox  # noqa: PLC0415

    transform = Affine(GSD_M, 0, left, 0, -GSD_M, top)
    return GeoBox((spec.size_px, spec.size_px), transform, f"EPSG:{epsg}")


def epsg_of(geobox: "GeoBox") -> int:
    """Return the EPSG code of a grid.

    Raises:
        ContractError: If its CRS has none.
    """
    code = geobox.crs.epsg if geobox.crs is not None else None
    if code is None:
        msg = f"CRS {geobox.crs}: expected a UTM zone with an EPSG code"
        raise ContractError(msg)
    return int(code)


def at_gsd(geobox: "GeoBox", gsd_m: int) -> "GeoBox":
    """Return a chip's grid at another pixel spacing: same corner, as many pixels as cover it.

    Examples:
        >>> at_gsd(chip_geobox(32631, 500_040, 2_002_560, GridSpec()), 60).shape
        Shape2d(x=43, y=43)
    """
    from odc.geo.geobox import GeoBox  # noqa: PLC0415

    height, width = (ceil(n * GSD_M / gsd_m) for n in geobox.shape)
    corner = geobox.affine
    return GeoBox((height, width), Affine(gsd_m, 0, corner.c, 0, -gsd_m, corner.f), geobox.crs)
