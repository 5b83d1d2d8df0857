"""Blocks of a GeoTIFF: pixels in, bytes of a size known beforehand out.

DEFLATE of *stored* blocks (RFC 1951, 3.2.4): nothing is compressed, and any reader can read it.

Bits per sample and predictors are Planetary Computer's: Sentinel-2 packed to 15 bits without a
predictor (async-tiff issue 334; GDAL copies NBITS from the JPEG 2000 files), Sentinel-1 RTC as
float32 with the floating point predictor (Adobe's TIFF Technical Note 3).
"""

import struct
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from isal import isal_zlib
from numba import njit
from numpy.typing import NDArray

from s1s2.errors import ContractError

BLOCK_PX = 512
STEP = 16_384
"""Blocks start on these steps, those in which GDAL asks over HTTP."""
_STORED = 65_535
"""The most bytes one stored DEFLATE block can hold."""

Bytes = NDArray[np.uint8]
SampleName = Literal["u15", "u8", "f32"]


class Sample(NamedTuple):
    """How pixels of one kind lie in a file."""

    dtype: str
    bits: int
    format: int
    """1 unsigned, 3 floating point."""
    predictor: int
    pack: Callable[[NDArray[Any], Bytes], None]
    """Writes a block's pixels as bytes, before DEFLATE."""

    @property
    def raw_bytes(self) -> int:
        """Of a block's packed pixels."""
        return BLOCK_PX * BLOCK_PX * self.bits // 8

    @property
    def stream_bytes(self) -> int:
        """Of the zlib stream: header, 5 bytes before each stored block, checksum."""
        return 2 + 5 * -(-self.raw_bytes // _STORED) + self.raw_bytes + 4

    @property
    def body_bytes(self) -> int:
        """Of the stream and its last 4 bytes again, GDAL's trailer."""
        return self.stream_bytes + 4

    @property
    def slot_bytes(self) -> int:
        """From one block to the next."""
        return padded(self.body_bytes, STEP) + STEP


@njit(cache=True, nogil=True)
def _pack_u15(block: NDArray[np.uint16], out: Bytes) -> None:
    """Pack 8 samples to 15 bytes, most significant bit first; larger numbers become 32,767."""
    flat = block.reshape(-1, 8)
    groups = out.reshape(-1, 15)
    for n in range(flat.shape[0]):
        left = min(flat[n, 0], np.uint16(0x7FFF))
        for i in range(7):
            right = min(flat[n, i + 1], np.uint16(0x7FFF))
            groups[n, 2 * i] = left >> (7 - i)
            groups[n, 2 * i + 1] = (left << (i + 1)) | (right >> (14 - i))
            left = right
        groups[n, 14] = left


@njit(cache=True, nogil=True)
def _pack_f32(block: NDArray[np.float32], out: Bytes) -> None:
    """Split each row into four planes of bytes, most significant first, and keep differences."""
    words = block.view(np.uint32)
    height, width = words.shape
    rows = out.reshape(height, 4, width)
    for y in range(height):
        for plane in range(4):
            shift = np.uint32(24 - 8 * plane)
            last = words[y, width - 1] >> (shift + np.uint32(8)) if plane else np.uint32(0)
            rows[y, plane, 0] = (words[y, 0] >> shift) - last
            for x in range(1, width):
                rows[y, plane, x] = (words[y, x] >> shift) - (words[y, x - 1] >> shift)


def _pack_u8(block: NDArray[np.uint8], out: Bytes) -> None:
    out[:] = block.ravel()


SAMPLES = {
    "u15": Sample("uint16", 15, 1, 1, _pack_u15),
    "u8": Sample("uint8", 8, 1, 1, _pack_u8),
    "f32": Sample("float32", 32, 3, 3, _pack_f32),
}


def encode(sample: SampleName, block: NDArray[Any]) -> bytes:
    """Return a block as it lies in the file: a zlib stream, and its last 4 bytes again.

    Args:
        sample: Kind of the pixels.
        block: Pixels, shape (512, 512): uint16 for `u15`, uint8 for `u8`, float32 for `f32`.

    Raises:
        ContractError: If the array is of another shape or type.
    """
    kind = SAMPLES[sample]
    if block.shape != (BLOCK_PX, BLOCK_PX) or block.dtype != kind.dtype:
        msg = f"a block of {block.dtype} {block.shape}: expected {kind.dtype} (512, 512)"
        raise ContractError(msg)
    raw = np.empty(kind.raw_bytes, np.uint8)
    kind.pack(np.ascontiguousarray(block), raw)
    parts: list[bytes | memoryview] = [b"\x78\x01"]
    for at in range(0, raw.size, _STORED):
        stored = raw[at : at + _STORED].data
        final = at + _STORED >= raw.size
        parts += [struct.pack("<BHH", final, len(stored), len(stored) ^ 0xFFFF), stored]
    parts += [struct.pack(">I", isal_zlib.adler32(raw.data))] * 2
    return b"".join(parts)


def padded(n: int, step: int) -> int:
    """Return the least multiple of a step that holds n."""
    return -(-n // step) * step
