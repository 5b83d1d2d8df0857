"""From a scene, a band and a grid to pixels: the one door that opens files.

A catalog is not trusted. What may be opened is decided before GDAL sees a name: hosts and folders
that the catalog's own description allows, and as GeoTIFF only. Otherwise an item could make us
read any file of this machine, through a VRT that calls itself .tif (OSGeo/gdal#12645).
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.warp import Resampling, reproject, transform_bounds
from rasterio.windows import Window, from_bounds

from s1s2.bands import RADAR, Band
from s1s2.catalog import Catalog
from s1s2.errors import CatalogError, ContractError, ReadError
from s1s2.radiometry import valid_power
from s1s2.scene import Scene
from s1s2.sign import signer_for

GDAL_SETTINGS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif,.tiff",
    "GDAL_INGESTED_BYTES_AT_OPEN": 32_768,
    "CPL_VSIL_CURL_CACHE_SIZE": 200_000_000,
    "GDAL_CACHEMAX": 256,
    "GDAL_HTTP_MAX_RETRY": 4,
    "GDAL_HTTP_RETRY_DELAY": 0.5,
    "GDAL_HTTP_TIMEOUT": 60,
    "GDAL_HTTP_CONNECTTIMEOUT": 10,
}
"""No directory listings and no sidecar files; both suffixes in use; retries and timeouts."""

_HALO_PX = 16
_LARGEST_BLOCK = 64 << 20
_ALIGNED = 1e-6
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
_MISSING = re.compile(r"No such file|response code: 404|does not exist", re.IGNORECASE)
_UNREACHABLE = re.compile(
    r"response code: (?:40[138]|429|5\d\d)|CURL error|timed out|resolve|connect", re.IGNORECASE
)


@dataclass(frozen=True)
class Pixels:
    """One band on a chip's grid."""

    data: NDArray[Any]
    """Numbers as in the file, shape (y, x); linear power where radar."""
    valid: NDArray[np.bool_]
    """True where a measurement lies, shape (y, x)."""
    warped: bool = False
    """True where radar had to be resampled onto the grid."""


class Reader(Protocol):
    """Whatever turns a scene, a band and a grid into pixels."""

    def grid(self, scene: Scene, band: Band) -> GeoBox:
        """Return the file's own grid, from its header."""
        ...

    def read(self, scene: Scene, band: Band, geobox: GeoBox) -> Pixels:
        """Return one band on a grid."""
        ...


class RasterioReader:
    """Reads GeoTIFFs through rasterio: plain windows, and one warp where radar needs it.

    Thread-safe: every call opens and closes its own file.
    """

    def __init__(self, catalogs: Mapping[str, Catalog]) -> None:
        self._catalogs = catalogs

    def grid(self, scene: Scene, band: Band) -> GeoBox:
        """Return the file's own grid, from its header.

        Raises:
            ReadError: If the file cannot be opened.
            ContractError: If it is not the GeoTIFF its band promises.
        """
        with rasterio.Env(**GDAL_SETTINGS), _Open(self._catalogs, scene, band) as file:
            return _geobox(file)

    def read(self, scene: Scene, band: Band, geobox: GeoBox) -> Pixels:
        """Return one band on a grid of its own pixel spacing.

        A window of the file where zone and lattice agree. Radar elsewhere is resampled once,
        bilinearly, in linear power; invalid neighbours do not take part.

        Raises:
            ReadError: If the file cannot be opened or decoded.
            ContractError: If it is not the GeoTIFF its band promises, or an optical band that does
                not share the grid's lattice.
        """
        with rasterio.Env(**GDAL_SETTINGS), _Open(self._catalogs, scene, band) as file:
            own = _geobox(file)
            window = _window_of(own, geobox)
            try:
                if window is not None:
                    return _read_window(file, window, band)
                if band in RADAR:
                    return _warp(file, own, geobox)
            except RasterioError as error:
                raise _read_error(scene, band, error) from None
        msg = (
            f"scene {scene.id} band {band}: its pixels start at {own.affine.c:g}, "
            f"{own.affine.f:g} in {own.crs}, off the lattice of the chip at "
            f"{geobox.affine.c:g}, {geobox.affine.f:g} in {geobox.crs}; expected one lattice for "
            "all bands of a scene"
        )
        raise ContractError(msg)


def admit(href: str, catalog: Catalog) -> str:
    """Return what may be opened for an href, or refuse it.

    Args:
        href: As the item has it: http(s), file, or an absolute path.
        catalog: Whose hosts and folders decide.

    Raises:
        CatalogError: If its scheme, host or folder is not among those the catalog allows.
    """
    if not href.isprintable():
        msg = f"catalog {catalog.name}: href {href[:80]!r} refused: control characters"
        raise CatalogError(msg)
    parts = urlsplit(href)
    if parts.scheme in ("http", "https"):
        host = parts.hostname or ""
        secure = parts.scheme == "https" or host in _LOOPBACK
        if secure and not parts.username and catalog.allows_host(parts.netloc):
            return href
        allowed = ", ".join(catalog.hosts) or "none"
        msg = (
            f"catalog {catalog.name}: href on host {parts.netloc or '?'} ({parts.scheme}) refused; "
            f"allowed hosts, over https: {allowed}. Name a host you trust with --allow-host"
        )
        raise CatalogError(msg)
    if parts.scheme in ("", "file"):
        path = os.path.realpath(unquote(parts.path) if parts.scheme == "file" else href)
        roots = [os.path.realpath(folder) for folder in catalog.folders]
        if any(os.path.commonpath([path, root]) == root for root in roots):
            return path
        msg = (
            f"catalog {catalog.name}: local href {href[:200]} refused; allowed folders: "
            f"{', '.join(catalog.folders) or 'none'}"
        )
        raise CatalogError(msg)
    msg = f"catalog {catalog.name}: href {href[:200]} refused: scheme {parts.scheme} is not read"
    raise CatalogError(msg)


class _Open:
    """Opens one band's file and checks its header; every error names scene and band, unsigned."""

    def __init__(self, catalogs: Mapping[str, Catalog], scene: Scene, band: Band) -> None:
        self._catalogs, self._scene, self._band = catalogs, scene, band
        self._file: DatasetReader | None = None

    def __enter__(self) -> DatasetReader:
        scene, band = self._scene, self._band
        catalog = self._catalogs[scene.catalog]
        href = admit(scene.hrefs[band], catalog)
        sign = signer_for(catalog.signing)
        try:
            self._file = rasterio.open(sign(href), driver="GTiff")
        except RasterioError as error:
            raise _read_error(scene, band, error) from None
        try:
            _check_header(self._file, scene, band)
        except ContractError:
            self._file.close()
            raise
        return self._file

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _check_header(file: DatasetReader, scene: Scene, band: Band) -> None:
    wanted = "float32" if band in RADAR else "uint8" if band is Band.SCL else "uint16"
    block = file.block_shapes[0]
    step_x, step_y = file.transform.a, -file.transform.e
    problem = ""
    if file.count != 1 or file.dtypes[0] != wanted:
        problem = f"holds {file.count} band(s) of {file.dtypes[0]}, expected one of {wanted}"
    elif file.crs is None or not file.crs.is_projected or file.crs.to_epsg() is None:
        problem = "has no projected CRS with an EPSG code, expected UTM"
    elif file.transform.b or file.transform.d or step_x != band.gsd_m or step_y != band.gsd_m:
        problem = f"has pixels of {step_x:g} x {step_y:g} m, expected {band.gsd_m} m, north up"
    elif block[0] * block[1] * np.dtype(wanted).itemsize > _LARGEST_BLOCK:
        problem = f"has blocks of {block[0]} x {block[1]}, more than {_LARGEST_BLOCK >> 20} MB each"
    if problem:
        msg = f"scene {scene.id} band {band}: the file {problem}"
        raise ContractError(msg)


def _geobox(file: DatasetReader) -> GeoBox:
    return GeoBox((file.height, file.width), file.transform, f"EPSG:{file.crs.to_epsg()}")


def _window_of(own: GeoBox, geobox: GeoBox) -> Window | None:
    """Return where a grid lies in a file as whole pixels, or None if it does not."""
    if own.crs != geobox.crs or own.affine.a != geobox.affine.a:
        return None
    column, row = ~own.affine @ (geobox.affine.c, geobox.affine.f)
    if abs(column - round(column)) > _ALIGNED or abs(row - round(row)) > _ALIGNED:
        return None
    height, width = geobox.shape
    return Window(round(column), round(row), width, height)


def _read_window(file: DatasetReader, window: Window, band: Band) -> Pixels:
    """Read a window that may stick out of the file; what lies outside is invalid."""
    shape = (int(window.height), int(window.width))
    data = np.zeros(shape, dtype=file.dtypes[0])
    inside = _clip(file, window)
    if inside is not None:
        top, left = int(inside.row_off - window.row_off), int(inside.col_off - window.col_off)
        rows = slice(top, top + int(inside.height))
        columns = slice(left, left + int(inside.width))
        data[rows, columns] = file.read(1, window=inside)
    return Pixels(data, valid_power(data) if band in RADAR else data != 0)


def _clip(file: DatasetReader, window: Window) -> Window | None:
    left, top = max(0, window.col_off), max(0, window.row_off)
    right = min(file.width, window.col_off + window.width)
    bottom = min(file.height, window.row_off + window.height)
    if right <= left or bottom <= top:
        return None
    return Window(left, top, right - left, bottom - top)


def _warp(file: DatasetReader, own: GeoBox, geobox: GeoBox) -> Pixels:
    """Resample linear power onto a grid, from a window with a halo around it.

    XSCALE=1, YSCALE=1: across zones GDAL takes the rotated window for a smaller scale, widens its
    kernel, and a pixel's value then depends on which window was asked for.
    """
    bounds = transform_bounds(str(geobox.crs), str(own.crs), *geobox.boundingbox, densify_pts=21)
    around = from_bounds(*bounds, transform=own.affine)
    left, top = int(np.floor(around.col_off)) - _HALO_PX, int(np.floor(around.row_off)) - _HALO_PX
    right = int(np.ceil(around.col_off + around.width)) + _HALO_PX
    bottom = int(np.ceil(around.row_off + around.height)) + _HALO_PX
    window = _clip(file, Window(left, top, right - left, bottom - top))
    target = np.full(geobox.shape, np.nan, dtype=np.float32)
    if window is not None:
        power = file.read(1, window=window)
        reproject(
            np.where(valid_power(power), power, np.float32(np.nan)),
            target,
            src_transform=file.window_transform(window),
            src_crs=str(own.crs),
            src_nodata=np.nan,
            dst_transform=geobox.affine,
            dst_crs=str(geobox.crs),
            dst_nodata=np.nan,
            resampling=Resampling.bilinear,
            XSCALE=1,
            YSCALE=1,
        )
    return Pixels(target, valid_power(target), warped=True)


def _read_error(scene: Scene, band: Band, error: RasterioError) -> ReadError | ContractError:
    """Say in our own words what GDAL said, so that no signed URL travels on."""
    text = " ".join(f"{error} {error.__cause__ or ''}".split())
    where = f"scene {scene.id} band {band}"
    if "not recognized as being in a supported file format" in text:
        return ContractError(f"{where}: not a GeoTIFF; assets are opened as nothing else")
    if _MISSING.search(text):
        return ReadError(f"{where}: the file does not exist", "asset_missing")
    if _UNREACHABLE.search(text):
        found = _UNREACHABLE.search(text)
        return ReadError(
            f"{where}: cannot be read now ({found[0] if found else ''})", "unreachable"
        )
    return ReadError(f"{where}: cannot be decoded", "asset_corrupt")
