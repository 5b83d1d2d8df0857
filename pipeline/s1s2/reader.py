"""From a scene, a band and a grid to pixels: the one door that opens files, as GeoTIFF only."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.warp import Resampling, reproject, transform_bounds
from rasterio.windows import Window, from_bounds

from s1s2.access import admit
from s1s2.bands import RADAR, Band
from s1s2.catalog import Catalog
from s1s2.errors import ContractError, ReadError
from s1s2.packed import read_packed
from s1s2.radiometry import valid_power
from s1s2.scene import Scene
from s1s2.sign import signer_for

T = TypeVar("T")

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
_MISSING = re.compile(r"response code: (?:404|410)")
_MISSING_HERE = re.compile(r"No such file|does not exist")
_UNDECODABLE = re.compile(r"decod|inflate|corrupt|IReadBlock", re.IGNORECASE)
_UNDELIVERED = re.compile(r"got \d+ bytes, expected \d+|Read error|response code|CURL|timed out")
"""What libtiff and curl say when bytes did not come: no proof against a remote file."""
_CODE = re.compile(r"HTTP response code: \d+|CURL error: [A-Za-z ]+")
_TRIES = count(1)
_WAITS_S = (0.5, 2.0)
"""Pauses before a remote file is opened again."""


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
        return self._opened(scene, band, _geobox)

    def read(self, scene: Scene, band: Band, geobox: GeoBox) -> Pixels:
        """Return one band on a grid of its own pixel spacing.

        A window of the file where zone and lattice agree. Radar elsewhere is resampled once,
        bilinearly, in linear power; invalid neighbours do not take part.

        Raises:
            ReadError: If the file cannot be opened or decoded.
            ContractError: If it is not the GeoTIFF its band promises, or an optical band that does
                not share the grid's lattice.
        """

        def pixels(file: DatasetReader) -> Pixels:
            own = _geobox(file)
            window = _window_of(own, geobox)
            if window is not None:
                return _read_window(file, window, band)
            if band in RADAR:
                return _warp(file, own, geobox)
            raise ContractError(_off_lattice(scene, band, own, geobox))

        return self._opened(scene, band, pixels)

    def _opened(self, scene: Scene, band: Band, work: Callable[[DatasetReader], T]) -> T:
        """Open a band's file and work on it; what did not come over the network is tried again.

        GDAL remembers failures by URL for as long as the process lives, so every further try opens
        the file under another name: a fragment, which is never sent.
        """
        catalog = self._catalogs[scene.catalog]
        href = admit(scene.hrefs[band], catalog)
        remote = urlsplit(href).scheme in ("http", "https")
        sign = signer_for(catalog)
        for attempt, wait in enumerate((*_WAITS_S, None) if remote else (None,)):
            try:
                with (
                    rasterio.Env(**GDAL_SETTINGS),
                    rasterio.open(_named(sign(href), attempt), driver="GTiff") as file,
                ):
                    _check_header(file, scene, band)
                    return work(file)
            except RasterioError as error:
                problem = _read_error(scene, band, error, remote=remote)
            if (
                wait is None
                or isinstance(problem, ContractError)
                or problem.reason != "unreachable"
            ):
                raise problem
            time.sleep(wait)
        raise AssertionError  # the last attempt returns or raises


def _named(url: str, attempt: int) -> str:
    """Return a name for a remote file; later attempts get names that GDAL has no memory of.

    Spelled out for GDAL, since rasterio drops fragments from URLs it translates itself.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        return url
    fragment = f"{'' if '?' in url else '?'}#{next(_TRIES)}" if attempt else ""
    return f"/vsicurl/{url}{fragment}"


def _off_lattice(scene: Scene, band: Band, own: GeoBox, geobox: GeoBox) -> str:
    return (
        f"scene {scene.id} band {band}: its pixels start at {own.affine.c:g}, {own.affine.f:g} in "
        f"{own.crs}, off the lattice of the chip at {geobox.affine.c:g}, {geobox.affine.f:g} in "
        f"{geobox.crs}; expected one lattice for all bands of a scene"
    )


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
        part = read_packed(file, inside)
        data[rows, columns] = file.read(1, window=inside) if part is None else part
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


def _read_error(
    scene: Scene, band: Band, error: RasterioError, *, remote: bool
) -> ReadError | ContractError:
    """Say in our own words what GDAL said, so that no signed URL travels on."""
    text = _chain(error)
    where = f"scene {scene.id} band {band}"
    if "not recognized as being in a supported file format" in text:
        return ContractError(f"{where}: not a GeoTIFF; assets are opened as nothing else")
    if (_MISSING if remote else _MISSING_HERE).search(text):
        return ReadError(f"{where}: the file does not exist", "asset_missing")
    if not remote or (_UNDECODABLE.search(text) and not _UNDELIVERED.search(text)):
        return ReadError(f"{where}: cannot be decoded", "asset_corrupt")
    code = _CODE.search(text)
    return ReadError(
        f"{where}: cannot be read now{f' ({code[0]})' if code else ''}; run again to go on, or "
        "name the scene under exclude in [match] if it never can",
        "unreachable",
    )


def _chain(error: BaseException) -> str:
    """Return the texts of an error and of all that led to it."""
    texts: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        texts.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    return " ".join(" ".join(texts).split())
