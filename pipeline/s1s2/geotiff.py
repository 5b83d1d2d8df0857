"""What the header of a GeoTIFF says, from its first bytes: decided there, never assumed.

Only the first directory is read, so overviews and masks are ignored, and no chain of directories is
followed. Every count is bounded before anything of that size is asked for: a header is written by
strangers.
"""

from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from s1s2.errors import ContractError, ReadError
from s1s2.tiff import Parts, Values, read_directory

OPENING = 32_768
"""Bytes that hold the header of nearly every file in use: Sentinel-1's ends at 23 kB."""
LARGEST_BLOCK = 16 << 20
"""Most bytes of one block, inflated."""
_LARGEST_SIDE = 100_000
_MOST_BLOCKS = 1 << 16

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _STRIP_ROWS, _STRIP_BYTES = 273, 274, 277, 278, 279
_PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 317, 322, 323, 324, 325
_FORMAT, _SCALE, _TIE_POINTS, _TRANSFORM, _GEO_KEYS, _NODATA = (
    339,
    33550,
    33922,
    34264,
    34735,
    42113,
)
_WANTED = {
    *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER),
    *(_STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _STRIP_ROWS, _STRIP_BYTES),
    *(_PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES),
    *(_FORMAT, _SCALE, _TIE_POINTS, _TRANSFORM, _GEO_KEYS, _NODATA),
}
_MODEL, _RASTER, _PROJECTED, _UNITS = 1024, 1025, 3072, 3076  # GeoKeys (OGC 19-008r4)
_PROJECTED_MODEL, _POINT, _METRE, _LARGEST_CODE = 1, 2, 9001, 32766

_DTYPES = {1: ("uint8", "uint16", "uint32"), 2: ("int8", "int16", "int32"), 3: ("", "", "float32")}
_DEFLATED = (8, 32946)
_READ_HERE = {("uint8", 8), ("uint16", 15), ("uint16", 16), ("float32", 32)}


@dataclass(frozen=True, eq=False)
class Header:
    """Where a file's pixels lie on the ground and in the file."""

    width: int
    height: int
    bands: int
    dtype: str
    """Of its numbers, as numpy names it."""
    bits: int
    """Of one number in the file; 15 where numbers are packed."""
    block_width: int
    block_height: int
    """The last strip of a file in strips may be less high; tiles are always whole."""
    tiled: bool
    deflated: bool
    """False where blocks are not compressed."""
    predictor: int
    """1 none, 2 differences of numbers, 3 differences of bytes in planes."""
    fill: float
    """What a block holds that the file leaves out."""
    transform: Affine | None
    """From columns and rows to metres; None where the file does not say."""
    epsg: int | None
    """Of the projected CRS; None where there is none, or none with a code."""
    offsets: NDArray[np.uint64]
    """Where each block starts, row by row of blocks."""
    sizes: NDArray[np.uint64]
    """Bytes of each; 0 where the file leaves it out."""
    odd: str = ""
    """What only GDAL can read of it; empty where nothing is."""

    @property
    def across(self) -> int:
        """Blocks in a row of blocks."""
        return -(-self.width // self.block_width)

    @property
    def row_bytes(self) -> int:
        """Of one row of a block, inflated."""
        return -(-self.block_width * self.bits // 8)

    def rows_of(self, block_row: int) -> int:
        """Return how many rows the blocks of one row of blocks hold."""
        if self.tiled:
            return self.block_height
        return min(self.block_height, self.height - block_row * self.block_height)


def parse(parts: Parts, size: int) -> Header:
    """Read the header of a GeoTIFF.

    Args:
        parts: Bytes of the file at hand, each with where it starts.
        size: Bytes of the whole file.

    Raises:
        MoreNeeded: If the header refers to bytes that are not at hand.
        ContractError: If it is no TIFF, or claims sizes beyond any limit.
        ReadError: If it is damaged, or refers to bytes beyond the end of the file.
    """
    directory = read_directory(parts, size, _WANTED)
    return _header(directory.fields, big_endian=directory.big_endian)


def _header(fields: dict[int, Values], *, big_endian: bool) -> Header:
    width, height = _one(fields, _WIDTH), _one(fields, _HEIGHT)
    tiled = _TILE_OFFSETS in fields
    block_width = _one(fields, _TILE_WIDTH) if tiled else width
    block_height = _one(fields, _TILE_HEIGHT) if tiled else _one(fields, _STRIP_ROWS, height)
    bits, bands = _one(fields, _BITS, 1), _one(fields, _SAMPLES, 1)
    if not 0 < max(width, height) <= _LARGEST_SIDE or not min(width, height):
        msg = f"is {width} x {height} pixels, more than {_LARGEST_SIDE} a side"
        raise ContractError(msg)
    if not min(block_width, block_height, bits, bands):
        msg = "cannot be decoded: its header gives a size of nothing"
        raise ReadError(msg, "asset_corrupt")
    if not tiled:
        block_height = min(block_height, height)
    if block_width * block_height * bits // 8 > LARGEST_BLOCK:
        msg = (
            f"has blocks of {block_width} x {block_height} pixels of {bits} bits, more than "
            f"{LARGEST_BLOCK >> 20} MB each"
        )
        raise ContractError(msg)
    offsets = _places(fields, _TILE_OFFSETS if tiled else _STRIP_OFFSETS)
    sizes = _places(fields, _TILE_BYTES if tiled else _STRIP_BYTES)
    blocks = -(-width // block_width) * -(-height // block_height)
    if blocks > _MOST_BLOCKS:
        msg = f"has {blocks} blocks, more than {_MOST_BLOCKS}"
        raise ContractError(msg)
    if min(len(offsets), len(sizes)) < blocks:
        msg = f"cannot be decoded: its header names fewer than its {blocks} blocks"
        raise ReadError(msg, "asset_corrupt")
    dtype = _dtype(_one(fields, _FORMAT, 1), bits)
    holes = not sizes[:blocks].all()
    return Header(
        width=width,
        height=height,
        bands=bands,
        dtype=dtype,
        bits=bits,
        block_width=block_width,
        block_height=block_height,
        tiled=tiled,
        deflated=_one(fields, _COMPRESSION, 1) in _DEFLATED,
        predictor=_predictor(fields),
        fill=_fill(fields),
        transform=_transform(fields),
        epsg=_epsg(fields),
        offsets=offsets[:blocks],
        sizes=sizes[:blocks],
        odd=_odd_layout(fields, dtype, bits, block_width if tiled else 1, big_endian=big_endian)
        or _odd_values(fields, dtype, bits, holes=holes),
    )


def _one(fields: dict[int, Values], tag: int, default: int | None = None) -> int:
    values = fields.get(tag, ())
    if not len(values) and default is not None:
        return default
    if len(values) and isinstance(values[0], np.integer):
        return int(values[0])
    msg = f"cannot be decoded: its header has no number under tag {tag}"
    raise ReadError(msg, "asset_corrupt")


def _places(fields: dict[int, Values], tag: int) -> NDArray[np.uint64]:
    values = np.asarray(fields.get(tag, ()))
    if not np.issubdtype(values.dtype, np.unsignedinteger):
        return np.empty(0, np.uint64)
    return values.astype(np.uint64)


def _dtype(kind: int, bits: int) -> str:
    names = _DTYPES.get(kind, ())
    for name, most in zip(names, (8, 16, 32), strict=False):
        if name and bits <= most:
            return name
    return f"{bits} bits of format {kind}"


def _fill(fields: dict[int, Values]) -> float:
    """Return what GDAL fills a missing block with: nodata where the file names it, else 0."""
    try:
        return float(str(fields[_NODATA][0])) if len(fields.get(_NODATA, ())) else 0.0
    except ValueError:
        return 0.0


def _transform(fields: dict[int, Values]) -> Affine | None:
    """Return where pixels lie, as areas: of files that speak of points, half a pixel is taken."""
    scale, ties, matrix = (_reals(fields, tag) for tag in (_SCALE, _TIE_POINTS, _TRANSFORM))
    if len(scale) >= 2 and len(ties) >= 6:  # noqa: PLR2004  # x and y; pixel and place of a point
        a, e = scale[0], -abs(scale[1])
        b = d = 0.0
        c, f = ties[3] - ties[0] * a, ties[4] - ties[1] * e
    elif len(matrix) == 16:  # noqa: PLR2004  # 4 x 4, row by row
        a, b, _, c, d, e, _, f = matrix[:8]
    else:
        return None
    if _geo_key(fields, _RASTER) == _POINT:
        c, f = c - (a + b) / 2, f - (d + e) / 2
    return Affine(a, b, c, d, e, f)


def _reals(fields: dict[int, Values], tag: int) -> list[float]:
    """Return the real numbers under a tag; none where they are not, or not finite."""
    values = fields.get(tag, ())
    if not isinstance(values, np.ndarray) or not np.isfinite(values).all():
        return []
    return [float(value) for value in values]


def _epsg(fields: dict[int, Values]) -> int | None:
    code = _geo_key(fields, _PROJECTED)
    projected = _geo_key(fields, _MODEL) == _PROJECTED_MODEL
    return code if projected and code is not None and 0 < code <= _LARGEST_CODE else None


def _geo_key(fields: dict[int, Values], key: int) -> int | None:
    """Return a GeoKey's number, where it is written in place."""
    keys = _places(fields, _GEO_KEYS).tolist()
    for at in range(4, len(keys) - 3, 4):
        if keys[at : at + 2] == [key, 0]:
            return int(keys[at + 3])
    return None


def _predictor(fields: dict[int, Values]) -> int:
    """Return the predictor; blocks that are not compressed have none, whatever is written."""
    compressed = _one(fields, _COMPRESSION, 1) != 1
    return _one(fields, _PREDICTOR, 1) if compressed else 1


def _odd_layout(
    fields: dict[int, Values], dtype: str, bits: int, tile_width: int, *, big_endian: bool
) -> str:
    """Name the first thing about a file's blocks that is not decoded here."""
    compression, predictor = _one(fields, _COMPRESSION, 1), _predictor(fields)
    predictors = (1,) if bits % 8 else (1, 2, 3) if dtype == "float32" else (1, 2)
    oddities = {
        "numbers of the other byte order": big_endian,
        f"compression {compression}": compression not in (1, *_DEFLATED),
        f"{bits} bits of {dtype}": (dtype, bits) not in _READ_HERE,
        f"{bits} bits in rows that end amid a byte": bits % 8 and tile_width % 8,
        f"predictor {predictor} of {bits} bits of {dtype}": predictor not in predictors,
        "bits of the other order": _one(fields, _FILL_ORDER, 1) != 1,
    }
    return next((name for name, odd in oddities.items() if odd), "")


def _odd_values(fields: dict[int, Values], dtype: str, bits: int, *, holes: bool) -> str:
    """Name the first thing about what a file's numbers mean that is not handled here."""
    fill = _fill(fields)
    fits = dtype == "float32" or (0 <= fill < 1 << bits and fill % 1 == 0)
    oddities = {
        "another photometry": _one(fields, _PHOTOMETRIC, 1) != 1,
        "another orientation": _one(fields, _ORIENTATION, 1) != 1,
        f"missing blocks of nodata {fill:g}": holes and not fits,
        "a CRS given by its parameters": _epsg(fields) is None
        and _geo_key(fields, _MODEL) == _PROJECTED_MODEL,
        "a CRS in other units": _geo_key(fields, _UNITS) not in (None, _METRE),
    }
    return next((name for name, odd in oddities.items() if odd), "")
