"""Windows of 15-bit files, which GDAL unpacks bit by bit and so slowly that little else counts.

Planetary Computer's Sentinel-2 files are packed like this (async-tiff issue 334). GDAL says where a
block lies; fetching, inflating and unpacking it are done here. Whatever is not quite as expected
is left to GDAL, which then reads it or says what is wrong with it.
"""

import zlib
from functools import lru_cache

import numpy as np
import urllib3
from numpy.typing import NDArray
from rasterio.io import DatasetReader
from rasterio.windows import Window

_BITS = "15"
_SAMPLES, _BYTES = 8, 15  # eight samples fill fifteen bytes
_LARGEST_BLOCK_PX = 4096
_PARTIAL = 206
_TIMEOUT = urllib3.Timeout(connect=10, read=30)


def read_packed(file: DatasetReader, window: Window) -> NDArray[np.uint16] | None:
    """Read a window of a 15-bit file, or None if that is GDAL's affair.

    Args:
        file: Open, of one band, on disk or over HTTP.
        window: Whole pixels, inside the file.

    Returns:
        Numbers as in the file, shape (window.height, window.width).
    """
    if not _is_packed(file):
        return None
    out = np.empty((int(window.height), int(window.width)), dtype=np.uint16)
    side = file.block_shapes[0][0]
    first_row, first_col = int(window.row_off), int(window.col_off)
    for y in range(first_row // side, (first_row + out.shape[0] - 1) // side + 1):
        for x in range(first_col // side, (first_col + out.shape[1] - 1) // side + 1):
            rows = _overlap(y, side, first_row, out.shape[0])
            columns = _overlap(x, side, first_col, out.shape[1])
            block = _block(file, x, y)
            part = None if block is None else unpack(block, side, rows, columns)
            if part is None:
                return None
            top, left = y * side - first_row, x * side - first_col
            out[top + rows.start : top + rows.stop, left + columns.start : left + columns.stop] = (
                part
            )
    return out


def _is_packed(file: DatasetReader) -> bool:
    layout = file.tags(1, ns="IMAGE_STRUCTURE")
    height, width = file.block_shapes[0]
    return bool(
        file.count == 1
        and layout.get("NBITS") == _BITS
        and file.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION") == "DEFLATE"
        and height == width <= _LARGEST_BLOCK_PX
        and width % _SAMPLES == 0
    )


def _overlap(block: int, side: int, start: int, length: int) -> range:
    """Return which rows (or columns) of a block a window wants."""
    begin = block * side
    return range(max(start - begin, 0), min(start + length - begin, side))


def _block(file: DatasetReader, x: int, y: int) -> bytes | None:
    """Return a block's compressed bytes; None if it is absent, or does not come at once."""
    offset = file.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", dm="TIFF", bidx=1)
    size = file.get_tag_item(f"BLOCK_SIZE_{x}_{y}", dm="TIFF", bidx=1)
    if offset is None or size is None:
        return None
    start, length = int(offset), int(size)
    if not 0 < length <= 2 * _LARGEST_BLOCK_PX**2:
        return None
    url = file.name.removeprefix("/vsicurl/").partition("#")[0]
    try:
        data = _fetch(url, start, length) if url.startswith("http") else _pread(url, start, length)
    except (urllib3.exceptions.HTTPError, OSError):
        return None
    return data if len(data) == length else None


def _pread(path: str, start: int, length: int) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123  # also called with what GDAL takes for a path
        file.seek(start)
        return file.read(length)


def _fetch(url: str, start: int, length: int) -> bytes:
    span = {"Range": f"bytes={start}-{start + length - 1}"}
    answer = _pool().request(
        "GET", url, headers=span, timeout=_TIMEOUT, retries=False, redirect=False
    )
    return answer.data if answer.status == _PARTIAL else b""


@lru_cache(maxsize=1)
def _pool() -> urllib3.PoolManager:
    return urllib3.PoolManager(num_pools=16, maxsize=64)


def unpack(block: bytes, side: int, rows: range, columns: range) -> NDArray[np.uint16] | None:
    """Inflate and unpack part of a block; None if it is not a whole one.

    Args:
        block: DEFLATE stream of rows of 15-bit numbers, most significant bit first.
        side: Pixels in a row and in a column.
        rows: Which rows are wanted; what lies below them is not inflated.
        columns: Which columns.
    """
    row_bytes = side // _SAMPLES * _BYTES
    wanted = rows.stop * row_bytes
    try:
        raw = zlib.decompressobj().decompress(block, wanted)
    except zlib.error:
        return None
    if len(raw) < wanted:
        return None
    first, last = columns.start // _SAMPLES, -(-columns.stop // _SAMPLES)
    shape, strides = (len(rows), last - first), (row_bytes, _BYTES)
    start = rows.start * row_bytes + first * _BYTES
    out = np.empty((*shape, _SAMPLES), dtype=np.uint16)
    # two overlapping 64-bit numbers hold four samples each
    for base, shift, k in ((0, 49, 0), (7, 45, 4)):
        words = np.ndarray(shape, ">u8", raw, start + base, strides).astype(np.uint64)
        for n in range(4):
            out[:, :, k + n] = (words >> np.uint64(shift - 15 * n)) & np.uint64(0x7FFF)
    flat = out.reshape(len(rows), -1)
    return flat[:, columns.start - first * _SAMPLES : columns.stop - first * _SAMPLES]
