"""Files of a form that this package does not decode itself, read by GDAL: as GeoTIFF, and no other.

GDAL gets every byte through our own wire, so that what may be opened is decided in one place: it
follows no redirect, sees no signed URL and keeps no memory of failures.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import rasterio
import rasterio.windows
from numpy.typing import NDArray
from rasterio.errors import CRSError, RasterioError
from rasterio.io import DatasetReader

from s1s2.errors import ContractError, ReadError
from s1s2.geotiff import Header
from s1s2.spans import Window
from s1s2.wire import Part

Fetch = Callable[[int, int], Part]
"""Gets bytes `[start, stop)` of one file."""
_SETTINGS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_CACHEMAX": 64,
}
"""No directory listings, no sidecar files, and no more than 64 MB of blocks kept."""
_AHEAD = 65_536
_NAMES = count(1)


def completed(header: Header, fetch: Fetch) -> Header:
    """Return a header with GDAL's word on what the file holds and where it lies.

    Args:
        header: Of the file, with `odd` set.
        fetch: Gets its bytes.

    Raises:
        ReadError: If GDAL cannot open it.
    """
    with _opened(fetch) as file:
        epsg = file.crs.to_epsg() if file.crs is not None and file.crs.is_projected else None
        dtype = str(file.dtypes[0])
        return replace(header, bands=file.count, dtype=dtype, transform=file.transform, epsg=epsg)


def read(window: Window, fetch: Fetch) -> NDArray[Any]:
    """Return a window that lies in the file, shape (window.height, window.width).

    Raises:
        ReadError: If GDAL cannot decode it.
    """
    with _opened(fetch) as file:
        part = rasterio.windows.Window(window.column, window.row, window.width, window.height)
        pixels: NDArray[Any] = file.read(1, window=part)
        return pixels


@contextmanager
def _opened(fetch: Fetch) -> Iterator[DatasetReader]:
    """Open a file for GDAL; what went wrong on the wire is raised as such, not as GDAL puts it."""
    ours = _Bytes(fetch)
    name = f"{next(_NAMES)}.tif"

    def opener(path: str, _mode: str = "rb", **_: object) -> io.BufferedReader:
        if path != name:  # a sidecar
            raise FileNotFoundError(path)
        return io.BufferedReader(ours, _AHEAD)

    try:
        with (
            rasterio.Env(**_SETTINGS),
            rasterio.open(name, driver="GTiff", opener=opener) as file,
        ):
            yield file
    except (RasterioError, CRSError):
        problem = ours.problem or ReadError("cannot be decoded", "asset_corrupt")
    else:
        return
    raise problem


class _Bytes(io.RawIOBase):
    """A file that is fetched as it is read."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch, self._at = fetch, 0
        self.problem: ReadError | ContractError | None = None
        self._size = fetch(0, 1).size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  # whatever holds bytes
        stop = min(self._at + len(buffer), self._size)
        if stop <= self._at:
            return 0
        try:
            data = self._fetch(self._at, stop).data
        except (ReadError, ContractError) as error:
            self.problem = error
            return 0  # what GDAL makes of it does not matter any more
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
