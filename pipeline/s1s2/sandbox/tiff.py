"""The layout of a cloud optimized GeoTIFF as arithmetic: files that exist nowhere, byte for byte.

A file is laid out as GDAL's COG driver does it: header, ghost area, all IFDs from the full image
to the smallest overview, then the blocks, the smallest overview's first. Every block is of one size
(see `blocks`), so where each lies is known before a single pixel is.

One liberty: between two blocks lies a gap of at least 16,384 bytes, the steps in which GDAL asks
over HTTP, and blocks start on such steps. GDAL asks for a block from the 4 bytes before it to the
start of the next; without gaps that would reach into the pixels of its neighbours, and whole blocks
would be computed for the sake of a few bytes. With them it reaches into fixed bytes.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from s1s2.errors import ContractError
from s1s2.sandbox.blocks import BLOCK_PX, SAMPLES, STEP, SampleName, padded

_LIMIT = 1 << 32
"""Offsets in a classic TIFF are of 32 bits; beyond, files are BigTIFF."""
_OPENING = 32_768
"""What readers fetch when they open a file: no pixels should be in it."""
_CLAIMS = (
    b"LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"
    b"BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n "
)
_GHOST = b"GDAL_STRUCTURAL_METADATA_SIZE=%06d bytes\n%s" % (len(_CLAIMS), _CLAIMS)
_ZONES = ((32601, 32660, "N"), (32701, 32760, "S"))


@dataclass(frozen=True)
class Raster:
    """What a file holds: one band on a grid of a UTM zone.

    Raises:
        ContractError: If the zone, the sizes or a tag cannot be written.
    """

    epsg: int
    """Of a zone of WGS 84 / UTM."""
    left: float
    """Easting of the upper left corner, metres."""
    top: float
    gsd: float
    """Pixel spacing, metres."""
    width: int
    height: int
    sample: SampleName
    nodata: float | None = None
    """What the file declares; Planetary Computer's Sentinel-2 files declare nothing."""
    tags: tuple[tuple[str, str], ...] = ()
    """Names and values of GDAL's dataset metadata."""

    def __post_init__(self) -> None:
        if not any(first <= self.epsg <= last for first, last, _ in _ZONES):
            msg = f"EPSG:{self.epsg}: expected a zone of WGS 84 / UTM, 32601-32660 or 32701-32760"
            raise ContractError(msg)
        if min(self.width, self.height) < 1 or not self.gsd > 0 or self.sample not in SAMPLES:
            msg = (
                f"a raster of {self.width} x {self.height} pixels of {self.gsd:g} m and sample "
                f"{self.sample!r}: expected positive sizes and one of {', '.join(SAMPLES)}"
            )
            raise ContractError(msg)
        if not "".join(f"{name}{value}" for name, value in self.tags).isascii():
            msg = f"dataset tags {self.tags}: expected ASCII only"
            raise ContractError(msg)


@dataclass(frozen=True)
class Level:
    """The full image (level 0) or one of its overviews."""

    width: int
    height: int
    gsd: float
    """Pixel spacing, metres; the last row and column may cover less ground."""
    across: int
    """Blocks in a row of blocks."""
    down: int
    offset: int
    """Where in the file the first block starts."""
    slot_bytes: int
    """From one block to the next: the block, and the gap behind it."""


class Piece(NamedTuple):
    """A part of a file's bytes: `[lo, hi)` of an encoded block, or of the layout's fixed bytes."""

    block: tuple[int, int, int] | None
    """Level, row and column; none for fixed bytes."""
    lo: int
    hi: int


class _Form(NamedTuple):
    """The two forms of TIFF: classic, and BigTIFF with offsets of 64 bits."""

    opening: bytes
    link: int
    """Where the place of the first IFD is written."""
    number: str
    """Struct format of an IFD's number of entries."""
    entry: str
    """Of an entry's tag, type and count."""
    place: str
    """Of an offset."""
    offsets: str
    """Type of TileOffsets, a key of `_TYPES`."""


_CLASSIC = _Form(b"II*\0\0\0\0\0", 4, "<H", "<HHI", "<I", "I")
_BIG = _Form(b"II+\0\x08\0\0\0" + bytes(8), 8, "<Q", "<HHQ", "<Q", "Q")


class Layout:
    """Where everything in a file lies. Get it from `layout_of`, which remembers.

    Attributes:
        raster: What the file holds.
        levels: The full image and its overviews by powers of 2.
        fixed: All bytes that need no pixels: the header, and what a gap between blocks holds.
        size: Bytes of the whole file; a BigTIFF where that does not fit into a classic one.
    """

    def __init__(self, raster: Raster) -> None:
        self.raster = raster
        slot = SAMPLES[raster.sample].slot_bytes
        shapes = _shapes(raster.width, raster.height)
        grids = [(_blocks(width), _blocks(height)) for width, height in shapes]
        # on disk the smallest overview comes first
        firsts = [0, *accumulate(across * down for across, down in reversed(grids))]
        self._firsts = firsts
        for form in (_CLASSIC, _BIG):
            length = len(_header(raster, shapes, grids, [0] * len(grids), form)) + 4
            n_header = padded(max(length, _OPENING), STEP)
            self.size = n_header + firsts[-1] * slot
            if self.size <= _LIMIT:
                break
        offsets = [n_header + first * slot for first in reversed(firsts[:-1])]
        self.levels = tuple(
            Level(*shape, raster.gsd * 2**k, *grid, offset, slot)
            for k, (shape, grid, offset) in enumerate(zip(shapes, grids, offsets, strict=True))
        )
        leader = struct.pack("<I", SAMPLES[raster.sample].stream_bytes)
        header = _header(raster, shapes, grids, offsets, form).ljust(n_header - 4, b"\0") + leader
        self._n_header, self._body = n_header, SAMPLES[raster.sample].body_bytes
        self.fixed = header + bytes(slot - self._body - 4) + leader

    @property
    def header(self) -> bytes:
        """The file's first bytes, up to the first block."""
        return self.fixed[: self._n_header]

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """Yield in order what bytes `[start, stop)` of the file are made of."""
        stop, n_header = min(stop, self.size), self._n_header
        if start < min(stop, n_header):
            yield Piece(None, start, min(stop, n_header))
        slot, body = self.levels[0].slot_bytes, self._body
        position = max(start, n_header)
        while position < stop:
            n, lo = divmod(position - n_header, slot)
            hi = min(slot, lo + stop - position)
            if lo < body:
                yield Piece(self._block(n), lo, min(hi, body))
            if hi > body:
                yield Piece(None, n_header + max(lo, body) - body, n_header + hi - body)
            position += hi - lo

    def _block(self, n: int) -> tuple[int, int, int]:
        """Return level, row and column of the nth slot on disk."""
        place = next(i for i, end in enumerate(self._firsts[1:]) if n < end)
        level = len(self.levels) - 1 - place
        return level, *divmod(n - self._firsts[place], self.levels[level].across)


@lru_cache(maxsize=512)
def layout_of(raster: Raster) -> Layout:
    """Return the layout of a file; the last 512 are remembered (some 35 MB)."""
    return Layout(raster)


def _blocks(n_px: int) -> int:
    return -(-n_px // BLOCK_PX)


def _shapes(width: int, height: int) -> list[tuple[int, int]]:
    """Return (width, height) of all levels: halved, rounding up, until they fit one block."""
    shapes = [(width, height)]
    while len(shapes) == 1 or max(shapes[-1]) > BLOCK_PX:
        shapes.append((-(-shapes[-1][0] // 2), -(-shapes[-1][1] // 2)))
    return shapes


def _header(
    raster: Raster,
    shapes: list[tuple[int, int]],
    grids: list[tuple[int, int]],
    offsets: list[int],
    form: _Form,
) -> bytes:
    """Return all that comes before the blocks, given where each level's first slot starts."""
    out = bytearray(form.opening + _GHOST)
    link = form.link  # where the next IFD's place is to be written
    for level, (shape, (across, down), offset) in enumerate(
        zip(shapes, grids, offsets, strict=True)
    ):
        out += bytes(len(out) % 2)
        struct.pack_into(form.place, out, link, len(out))
        slots = np.arange(across * down, dtype=np.uint64)
        starts = slots * np.uint64(SAMPLES[raster.sample].slot_bytes) + np.uint64(offset)
        fields = _fields(raster, level, shape, (324, form.offsets, starts))
        link = len(out) + _entries_bytes(fields, form)
        out += _ifd(fields, len(out), form)
    return bytes(out)


_Field = tuple[int, str, Any]
"""Tag, type as in `_TYPES`, and value: text, or numbers."""
_TYPES = {"s": 2, "H": 3, "I": 4, "d": 12, "Q": 16}


def _fields(raster: Raster, level: int, shape: tuple[int, int], offsets: _Field) -> list[_Field]:
    """Return one IFD's fields in order of their tags, as GDAL writes them.

    Args:
        raster: What the file holds.
        level: 0 for the full image.
        shape: Its width and height.
        offsets: Where its blocks lie, as a field.
    """
    kind = SAMPLES[raster.sample]
    fields: list[_Field] = [
        *([(254, "I", [1])] if level else []),  # NewSubfileType: an overview
        (256, "H" if shape[0] < 1 << 16 else "I", [shape[0]]),
        (257, "H" if shape[1] < 1 << 16 else "I", [shape[1]]),
        (258, "H", [kind.bits]),
        (259, "H", [8]),  # Compression: DEFLATE
        (262, "H", [1]),  # PhotometricInterpretation: 0 is black
        (277, "H", [1]),  # SamplesPerPixel
        (284, "H", [1]),  # PlanarConfiguration
        (317, "H", [kind.predictor]),
        (322, "H", [BLOCK_PX]),
        (323, "H", [BLOCK_PX]),
        offsets,
        (325, "I", np.full(len(offsets[2]), kind.stream_bytes, "<u4")),
        (339, "H", [kind.format]),
    ]
    if not level:
        fields += _georeference(raster)
    if not level and raster.tags:
        fields.append((42112, "s", _metadata(raster.tags)))
    if raster.nodata is not None:
        fields.append((42113, "s", f"{raster.nodata:.17g}"))
    return fields


def _metadata(tags: tuple[tuple[str, str], ...]) -> str:
    """Return tags as GDAL's XML: it escapes values twice, and takes both off again."""
    quote = {'"': "&quot;"}
    items = (f"  <Item name={quoteattr(n)}>{escape(escape(v, quote))}</Item>\n" for n, v in tags)
    return f"<GDALMetadata>\n{''.join(items)}</GDALMetadata>\n"


def _georeference(raster: Raster) -> list[_Field]:
    """Return pixel scale, tie point and GeoKeys (OGC 19-008r4): pixels are areas."""
    hemisphere = next(letter for first, last, letter in _ZONES if first <= raster.epsg <= last)
    citation = f"WGS 84 / UTM zone {raster.epsg % 100}{hemisphere}|"
    n = len(citation)
    keys = [
        *(1, 1, 0, 7),
        *(1024, 0, 1, 1),  # GTModelType: projected
        *(1025, 0, 1, 1),  # GTRasterType: pixel is area
        *(1026, 34737, n, 0),  # GTCitation
        *(2049, 34737, 7, n),  # GeodeticCitation
        *(2054, 0, 1, 9102),  # GeogAngularUnits: degree
        *(3072, 0, 1, raster.epsg),  # ProjectedCRS
        *(3076, 0, 1, 9001),  # ProjLinearUnits: metre
    ]
    return [
        (33550, "d", [raster.gsd, raster.gsd, 0]),
        (33922, "d", [0, 0, 0, raster.left, raster.top, 0]),
        (34735, "H", keys),
        (34737, "s", f"{citation}WGS 84|"),
    ]


def _entries_bytes(fields: list[_Field], form: _Form) -> int:
    """Return how long an IFD is up to the place of the next one."""
    entry = struct.calcsize(form.entry) + struct.calcsize(form.place)
    return struct.calcsize(form.number) + entry * len(fields)


def _ifd(fields: list[_Field], at: int, form: _Form) -> bytes:
    """Return an IFD that starts at a place in the file, its values behind it."""
    entries, values = struct.pack(form.number, len(fields)), b""
    inline = struct.calcsize(form.place)
    behind = at + _entries_bytes(fields, form) + inline
    for tag, kind, value in fields:
        data = f"{value}\0".encode() if kind == "s" else np.asarray(value, f"<{kind}").tobytes()
        count = len(data) // struct.calcsize(kind)
        entries += struct.pack(form.entry, tag, _TYPES[kind], count)
        if len(data) <= inline:  # it fits where its place would be given
            entries += data.ljust(inline, b"\0")
        else:
            entries += struct.pack(form.place, behind + len(values))
            values += data + bytes(len(data) % 2)
    return entries + bytes(inline) + values
