"""From the bytes of a block to pixels: inflate, unpack, undo differences. Only the rows wanted.

Planetary Computer's Sentinel-2 files hold 15 bits a number (async-tiff issue 334), which GDAL
unpacks bit by bit; two overlapping 64-bit words for every eight numbers are many times as fast.
libdeflate is the fastest at whole blocks; isal can stop at the last row wanted.
"""

from contextlib import suppress
from typing import Any

import deflate
import numpy as np
from isal import igzip_lib, isal_zlib
from numpy.typing import NDArray

from s1s2.errors import ReadError
from s1s2.geotiff import Header
from s1s2.spans import Block

_SAMPLES, _BYTES = 8, 15  # eight numbers of 15 bits fill fifteen bytes
_DIFFERENCES, _PLANES = 2, 3
_NEARLY_WHOLE = 0.8
"""Share of a block's rows from which on inflating all of it is faster (docs/performance.md)."""


def paste(
    out: NDArray[Any], block: Block, data: memoryview, header: Header, *, proven: bool
) -> None:
    """Decode what a window wants of a block, into its place.

    Args:
        out: The window, shape (y, x), of the file's own dtype.
        block: Which part of which block.
        data: The bytes `[block.start, block.stop)` of the file.
        header: Of the file.
        proven: Whether something else vouches for the bytes. Where nothing does, the block is
            inflated to its end, for only there is its checksum.

    Raises:
        ReadError: If the bytes are not a whole block.
    """
    raw = _inflated(data, block, header, proven=proven) if header.deflated else data
    first = block.rows.start - block.skipped
    begin, rows = first * header.row_bytes, len(block.rows)
    if len(raw) < begin + rows * header.row_bytes:
        raise _damaged()
    part = _numbers(raw, begin, rows, block.columns, header)
    out[block.top : block.top + rows, block.left : block.left + len(block.columns)] = part


def fill(out: NDArray[Any], block: Block, header: Header) -> None:
    """Write what stands for a block that the file leaves out."""
    rows, columns = len(block.rows), len(block.columns)
    out[block.top : block.top + rows, block.left : block.left + columns] = header.fill


def _inflated(data: memoryview, block: Block, header: Header, *, proven: bool) -> bytes | bytearray:
    whole = block.n_rows * header.row_bytes
    if not proven or block.rows.stop > _NEARLY_WHOLE * block.n_rows:
        # cut off, damaged, or longer than a block has to be: told apart below
        with suppress(deflate.DeflateError):
            found = deflate.zlib_decompress(data, whole)
            if len(found) == whole:
                return found
    stream = isal_zlib.decompressobj()
    try:
        if proven:
            return stream.decompress(data, block.rows.stop * header.row_bytes)
        raw = stream.decompress(data, whole + 1)  # one more, or it stops at the last
    except igzip_lib.IsalError:  # type: ignore[misc]  # its stub calls the class an instance
        raw = b""
    if len(raw) < whole or (len(raw) == whole and not stream.eof):
        raise _damaged()
    return raw


def _numbers(
    raw: bytes | bytearray | memoryview, begin: int, rows: int, columns: range, header: Header
) -> NDArray[Any]:
    """Return some columns of the rows that start at a byte of a block, shape (rows, columns)."""
    shape = (rows, header.row_bytes)
    if header.bits == 15:  # noqa: PLR2004  # packed
        return _unpacked(raw, begin, shape, columns)
    lines = np.ndarray(shape, np.uint8, raw, begin)
    if header.predictor == _PLANES:
        return _from_planes(lines, columns, header)
    kind = np.dtype(header.dtype)
    if header.predictor == _DIFFERENCES:
        counts = lines.view(f"<u{kind.itemsize}")
        summed = np.add.accumulate(
            counts[:, columns.start : columns.stop], axis=1, dtype=counts.dtype
        )
        summed += np.add.reduce(counts[:, : columns.start], axis=1, dtype=counts.dtype)[:, None]
        return summed.view(kind)
    return lines.view(kind.newbyteorder("<"))[:, columns.start : columns.stop]


def _unpacked(
    raw: bytes | bytearray | memoryview, begin: int, shape: tuple[int, int], columns: range
) -> NDArray[np.uint16]:
    """Unpack numbers of 15 bits, most significant bit first."""
    first, last = columns.start // _SAMPLES, -(-columns.stop // _SAMPLES)
    groups, strides = (shape[0], last - first), (shape[1], _BYTES)
    out = np.empty((*groups, _SAMPLES), dtype=np.uint16)
    for base, shift, k in ((0, 49, 0), (7, 45, 4)):
        words = np.ndarray(groups, ">u8", raw, begin + first * _BYTES + base, strides)
        own = words.astype(np.uint64)
        for n in range(4):
            out[:, :, k + n] = (own >> np.uint64(shift - 15 * n)) & np.uint64(0x7FFF)
    flat = out.reshape(shape[0], -1)
    return flat[:, columns.start - first * _SAMPLES : columns.stop - first * _SAMPLES]


def _from_planes(lines: NDArray[np.uint8], columns: range, header: Header) -> NDArray[Any]:
    """Undo the floating point predictor (Adobe's TIFF Technical Note 3).

    A row holds the first bytes of all its numbers, then the second ones and so on, as differences.
    What lies left and right of the columns wanted is only summed up.
    """
    kind = np.dtype(header.dtype)
    planes = lines.reshape(len(lines), kind.itemsize, header.block_width)
    within = np.add.accumulate(planes[:, :, columns.start : columns.stop], axis=2, dtype=np.uint8)
    before = np.add.reduce(planes[:, :, : columns.start], axis=2, dtype=np.uint8)
    after = np.add.reduce(planes[:, :, columns.stop :], axis=2, dtype=np.uint8)
    sums = np.add.accumulate(before + within[:, :, -1] + after, axis=1, dtype=np.uint8)
    before[:, 1:] += sums[:, :-1]
    within += before[:, :, None]
    numbers = within[:, 0].astype(f"u{kind.itemsize}")
    for plane in range(1, kind.itemsize):
        numbers <<= 8
        numbers |= within[:, plane]
    return numbers.view(kind)


def _damaged() -> ReadError:
    return ReadError("cannot be decoded: a block of it is damaged", "asset_corrupt")
