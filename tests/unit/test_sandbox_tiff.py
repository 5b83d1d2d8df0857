"""Virtual files against GDAL: written out whole, they read as the pixels they were made of."""

import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile
from rasterio.transform import from_origin
from rasterio.windows import Window

from s1s2.errors import ContractError
from s1s2.sandbox import tiff
from s1s2.sandbox.blocks import SAMPLES, encode
from s1s2.sandbox.tiff import Layout, Raster, layout_of

U15 = Raster(32631, 499_980, 5_000_040, 10, 1300, 1100, "u15")
U8 = Raster(32733, 300_000, 8_000_000, 20, 915, 1030, "u8", nodata=0)
F32 = Raster(
    32614, 499_990, 4_000_010, 10, 1537, 600, "f32", nodata=-32768, tags=(("LOOK", 'a < b & "c"'),)
)
RASTERS = [U15, U8, F32]
RADAR = Raster(32614, 500_000, 4_000_000, 10, 30_000, 24_000, "f32", nodata=-32768)


@cache
def image(raster: Raster, level: int) -> np.ndarray:
    """Pixels of any value the sample can hold; the nodata value stays out, and so does NaN."""
    shape = layout_of(raster).levels[level]
    rng = np.random.default_rng(level)
    if raster.sample == "f32":
        return rng.normal(0, 1e3, (shape.height, shape.width)).astype(np.float32)
    top = 32_768 if raster.sample == "u15" else 256
    return rng.integers(0, top, (shape.height, shape.width)).astype(SAMPLES[raster.sample].dtype)


@cache
def whole(raster: Raster) -> bytes:
    """Write a file out, every byte of it."""
    layout = layout_of(raster)
    return b"".join(
        (layout.fixed if piece.block is None else slot(raster, piece.block))[piece.lo : piece.hi]
        for piece in layout.pieces(0, layout.size)
    )


@cache
def slot(raster: Raster, block: tuple[int, int, int]) -> bytes:
    level, row, col = block
    pixels = image(raster, level)[row * 512 :, col * 512 :][:512, :512]
    padding = [(0, 512 - n) for n in pixels.shape]
    return encode(raster.sample, np.pad(pixels, padding, constant_values=raster.nodata or 0))


def fields(content: bytes) -> list[dict[int, tuple[int, Any]]]:
    """Read type and value of every field of every IFD of a little-endian TIFF."""
    ifds, (at,) = [], struct.unpack_from("<I", content, 4)
    while at:
        (n,) = struct.unpack_from("<H", content, at)
        ifd = {}
        for entry in range(at + 2, at + 2 + 12 * n, 12):
            tag, kind, count, place = struct.unpack_from("<HHII", content, entry)
            code = f"{count}s" if kind == 2 else f"{count}{ {3: 'H', 4: 'I', 12: 'd'}[kind] }"
            short = struct.calcsize(code) <= 4
            ifd[tag] = kind, struct.unpack_from(f"<{code}", content, entry + 8 if short else place)
        assert list(ifd) == sorted(ifd)
        ifds.append({"at": at, **ifd})
        (at,) = struct.unpack_from("<I", content, at + 2 + 12 * n)
    return ifds


def by_gdal(raster: Raster, path: Path) -> Path:
    options = {"u15": {"NBITS": 15}, "u8": {}, "f32": {"PREDICTOR": "FLOATING_POINT"}}
    pixels = image(raster, 0)
    with rasterio.open(
        path,
        "w",
        driver="COG",
        width=raster.width,
        height=raster.height,
        count=1,
        dtype=pixels.dtype,
        crs=f"EPSG:{raster.epsg}",
        transform=from_origin(raster.left, raster.top, raster.gsd, raster.gsd),
        nodata=raster.nodata,
        compress="deflate",
        blocksize=512,
        **options[raster.sample],
    ) as file:
        file.update_tags(**dict(raster.tags))
        file.write(pixels, 1)
    return path


@pytest.mark.parametrize("raster", RASTERS, ids=lambda r: r.sample)
class TestAgainstGdal:
    def test_pixels_of_all_levels(self, raster: Raster) -> None:
        n_overviews = len(layout_of(raster).levels) - 1
        with MemoryFile(whole(raster)) as memory:
            for level in range(n_overviews + 1):
                options = {"overview_level": level - 1} if level else {}
                with memory.open(driver="GTiff", **options) as file:
                    np.testing.assert_array_equal(file.read(1), image(raster, level))

    def test_metadata_is_that_of_gdals_own_file(self, raster: Raster, tmp_path: Path) -> None:
        with (
            MemoryFile(whole(raster)) as memory,
            memory.open(driver="GTiff") as ours,
            rasterio.open(by_gdal(raster, tmp_path / "a.tif")) as theirs,
        ):
            assert ours.profile == theirs.profile
            assert ours.crs.to_epsg() == raster.epsg
            assert ours.tags() == theirs.tags() == {"AREA_OR_POINT": "Area", **dict(raster.tags)}
            for band in (0, 1):
                structure = ours.tags(band, ns="IMAGE_STRUCTURE")
                assert structure == theirs.tags(band, ns="IMAGE_STRUCTURE")
            assert ours.overviews(1) == theirs.overviews(1)
            assert ours.block_shapes == theirs.block_shapes == [(512, 512)]
            assert ours.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"

    def test_header_is_gdals_but_for_places_and_sizes(self, raster: Raster, tmp_path: Path) -> None:
        theirs = by_gdal(raster, tmp_path / "a.tif").read_bytes()
        assert whole(raster)[:192] == theirs[:192]
        for our, their in zip(fields(whole(raster)), fields(theirs), strict=True):
            assert list(our) == list(their)
            for tag in set(our) - {"at", 256, 257, 324, 325}:
                assert our[tag][1] == their[tag][1], tag
            # GDAL 3.10's COG driver halves odd sides rounding down, its other tools rounding up
            for tag in (256, 257):
                assert our[tag][1][0] - their[tag][1][0] in (0, 1)
            assert len(our[324][1]) == len(their[324][1])

    def test_packing_is_that_of_gdals_own_blocks(self, raster: Raster, tmp_path: Path) -> None:
        theirs = by_gdal(raster, tmp_path / "a.tif").read_bytes()
        our, their = fields(whole(raster))[0], fields(theirs)[0]
        mine, its = (
            zlib.decompress(content[ifd[324][1][0] :][: ifd[325][1][0]])
            for content, ifd in ((whole(raster), our), (theirs, their))
        )
        assert mine == its

    def test_is_a_valid_cog(self, raster: Raster) -> None:
        """Check what GDAL's validate_cloud_optimized_geotiff.py does."""
        content = whole(raster)
        ifds = fields(content)
        assert ifds[0]["at"] < 300
        places = [ifd["at"] for ifd in ifds]
        firsts = [ifd[324][1][0] for ifd in ifds]
        assert places == sorted(places)
        assert firsts == sorted(firsts, reverse=True)
        assert max(places) < min(firsts)
        for ifd in ifds:
            starts, sizes = ifd[324][1], ifd[325][1]
            assert list(starts) == sorted(starts)
            for start, size in zip(starts, sizes, strict=True):
                assert start % 16_384 == 0
                assert struct.unpack_from("<I", content, start - 4) == (size,)
                end = start + size
                assert content[end - 4 : end] == content[end : end + 4]


@pytest.mark.parametrize("raster", RASTERS, ids=lambda r: r.sample)
@settings(max_examples=20)
@given(data=st.data())
def test_any_window_reads_as_its_pixels(raster: Raster, data: st.DataObject) -> None:
    left = data.draw(st.integers(0, raster.width - 1))
    top = data.draw(st.integers(0, raster.height - 1))
    width = data.draw(st.integers(1, raster.width - left))
    height = data.draw(st.integers(1, raster.height - top))
    with MemoryFile(whole(raster)) as memory, memory.open(driver="GTiff") as file:
        pixels = file.read(1, window=Window(left, top, width, height))
    np.testing.assert_array_equal(pixels, image(raster, 0)[top : top + height, left : left + width])


@pytest.mark.parametrize("raster", [U15, F32], ids=lambda r: r.sample)
@given(data=st.data())
def test_pieces_of_any_range_are_its_bytes(raster: Raster, data: st.DataObject) -> None:
    layout = layout_of(raster)
    start = data.draw(st.integers(0, layout.size))
    stop = data.draw(st.integers(start, layout.size + 100))
    pieces = list(layout.pieces(start, stop))
    assert all(piece.lo < piece.hi for piece in pieces)
    wanted = whole(raster)[start:stop]
    assert sum(piece.hi - piece.lo for piece in pieces) == len(wanted)
    at = 0
    for piece in pieces:
        source = layout.fixed if piece.block is None else slot(raster, piece.block)
        assert source[piece.lo : piece.hi] == wanted[at : at + piece.hi - piece.lo]
        at += piece.hi - piece.lo


def test_awkward_floats_survive() -> None:
    block = np.zeros((512, 512), np.float32)
    block[0, :6] = [np.nan, np.inf, -np.inf, -0.0, 1e-45, -32768]
    raster = Raster(32601, 0, 0, 10, 512, 512, "f32", nodata=-32768)
    layout = layout_of(raster)
    content = layout.header + encode("f32", block).ljust(layout.levels[0].slot_bytes) * 2
    with MemoryFile(content) as memory, memory.open(driver="GTiff") as file:
        assert file.read(1).tobytes() == block.tobytes()


def test_too_large_numbers_become_the_largest() -> None:
    block = np.zeros((512, 512), np.uint16)
    block[0, :3] = [65_535, 0, 32_768]
    raw = zlib.decompress(encode("u15", block)[: SAMPLES["u15"].stream_bytes])
    bits = "".join(f"{byte:08b}" for byte in raw[:6])
    assert [int(bits[n : n + 15], 2) for n in (0, 15, 30)] == [32_767, 0, 32_767]


def test_first_ifd_of_the_largest_radar_file_is_read_at_once() -> None:
    layout = layout_of(RADAR)
    (first, *_) = fields(layout.header)
    ends = struct.unpack_from("<I", layout.header, first["at"] + 2 + 12 * (len(first) - 1))[0]
    assert ends <= 32_768
    assert len(layout.header) <= 32_768
    assert layout.size < 2**32
    assert [level.width for level in layout.levels] == [30_000, 15_000, 7500, 3750, 1875, 938, 469]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Raster(4326, 0, 0, 10, 1, 1, "u8"), "UTM"),
        (lambda: Raster(32661, 0, 0, 10, 1, 1, "u8"), "UTM"),
        (lambda: Raster(32631, 0, 0, 10, 0, 1, "u8"), "positive"),
        (lambda: Raster(32631, 0, 0, 10, 1, 1, "i16"), "i16"),
        (lambda: Raster(32631, 0, 0, 10, 1, 1, "u8", tags=(("a", "ä"),)), "ASCII"),
        (lambda: encode("u8", np.zeros((512, 512), np.uint16)), "uint16"),
        (lambda: encode("u8", np.zeros((512, 500), np.uint8)), "500"),
    ],
)
def test_what_cannot_be_written_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ContractError, match=said):
        make()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (512, 512), (513, 1), (1, 5000)])
def test_odd_sizes(width: int, height: int) -> None:
    raster = Raster(32631, 0, 0, 60, width, height, "u8")
    assert isinstance(layout_of(raster), Layout)
    with MemoryFile(whole(raster)) as memory, memory.open(driver="GTiff") as file:
        np.testing.assert_array_equal(file.read(1), image(raster, 0))


def test_a_file_beyond_four_gigabytes_is_a_bigtiff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Radar scenes turned against their grid: at 81 degrees north they do not fit otherwise."""
    layout = layout_of(Raster(32628, 359_970, 9_238_060, 10, 30_023, 26_867, "f32"))
    assert layout.size > 2**32
    assert layout.header[:4] == b"II+\0"
    monkeypatch.setattr(tiff, "_LIMIT", 1 << 20)
    raster = Raster(32628, 359_970, 9_238_060, 10, 700, 1300, "f32", -32768.0)
    content = whole(raster)
    assert content[:4] == b"II+\0"
    with MemoryFile(content) as memory, memory.open() as file:
        assert file.crs.to_epsg() == 32628
        assert np.array_equal(file.read(1), image(raster, 0))
        assert file.overviews(1) == [2, 4]
    with MemoryFile(content) as memory, memory.open(overview_level=0) as file:
        assert np.array_equal(file.read(1), image(raster, 1))
