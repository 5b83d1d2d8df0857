"""Headers written by strangers: read as GDAL reads them, or refused in one line."""

import struct
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import example, given
from hypothesis import strategies as st
from rasterio.transform import from_origin

from s1s2 import geotiff
from s1s2.errors import ContractError, ReadError
from s1s2.geotiff import Header, parse
from s1s2.tiff import MoreNeeded, count_directories


def written(path: Path, *, side: int = 96, **profile: object) -> bytes:
    usual = {
        "driver": "GTiff",
        "width": side,
        "height": side,
        "count": 1,
        "dtype": "uint16",
        "crs": "EPSG:32631",
        "transform": from_origin(300_000, 5_000_000, 10, 10),
        "tiled": True,
        "blockxsize": 32,
        "blockysize": 32,
        "compress": "deflate",
    }
    with rasterio.open(path, "w", **(usual | profile)) as file:
        file.write(np.ones((file.count, file.height, file.width), file.dtypes[0]))
    return path.read_bytes()


def header(content: bytes) -> Header:
    return parse([(0, content)], len(content))


@pytest.mark.parametrize(
    ("profile", "found"),
    [
        ({}, ("uint16", 16, 1, True, 32, 32)),
        ({"nbits": 15}, ("uint16", 15, 1, True, 32, 32)),
        ({"predictor": 2, "bigtiff": "YES"}, ("uint16", 16, 2, True, 32, 32)),
        ({"dtype": "uint8", "compress": None}, ("uint8", 8, 1, False, 32, 32)),
        ({"compress": None, "predictor": 2}, ("uint16", 16, 1, False, 32, 32)),
        ({"dtype": "float32", "predictor": 3}, ("float32", 32, 3, True, 32, 32)),
        ({"tiled": False, "blockysize": 7}, ("uint16", 16, 1, True, 96, 7)),
    ],
)
def test_what_is_read_here_is_told_by_the_header(
    tmp_path: Path, profile: dict, found: tuple
) -> None:
    own = header(written(tmp_path / "a.tif", **profile))
    seen = (own.dtype, own.bits, own.predictor, own.deflated, own.block_width, own.block_height)
    assert seen == found
    assert (own.odd, own.epsg) == ("", 32631)
    with rasterio.open(tmp_path / "a.tif") as file:
        assert own.transform == file.transform


@pytest.mark.parametrize(
    ("profile", "odd"),
    [
        ({"compress": "lzw"}, "compression 5"),
        ({"compress": "zstd"}, "compression 50000"),
        ({"nbits": 12}, "12 bits of uint16"),
        ({"nbits": 15, "tiled": False, "blockysize": 7}, "15 bits in rows"),
        ({"endianness": "big"}, "the other byte order"),
        ({"photometric": "miniswhite"}, "photometry"),
        (
            {"crs": "+proj=tmerc +lon_0=3 +k=0.99 +x_0=500000 +datum=WGS84"},
            "a CRS given by its parameters",
        ),
        ({"dtype": "float32", "nbits": 16}, "16 bits of float32"),
    ],
)
def test_what_only_gdal_can_read_is_named(tmp_path: Path, profile: dict, odd: str) -> None:
    assert odd in header(written(tmp_path / "a.tif", **profile)).odd


def test_points_are_half_a_pixel_off_areas(tmp_path: Path) -> None:
    path = tmp_path / "point.tif"
    written(path)
    with rasterio.open(path, "r+") as file:
        file.update_tags(AREA_OR_POINT="Point")
    with rasterio.open(path) as file:
        assert header(path.read_bytes()).transform == file.transform


@pytest.mark.parametrize("bigtiff", ["YES", "NO"])
def test_a_header_is_read_from_as_few_bytes_as_it_takes(tmp_path: Path, bigtiff: str) -> None:
    content = written(tmp_path / "a.tif", side=2048, bigtiff=bigtiff)
    parts, asked = [(0, content[:64])], 0
    while True:
        try:
            own = parse(parts, len(content))
            break
        except MoreNeeded as needed:
            parts.append((needed.start, content[needed.start : needed.stop]))
            asked += needed.stop - needed.start
    assert len(own.offsets) == 64 * 64
    assert asked < len(own.offsets) * 16 + 2000
    assert own.offsets[0] == header(content).offsets[0]


@pytest.mark.hostile
@given(st.data())
def test_any_damage_is_refused_in_words(small: bytes, data: st.DataObject) -> None:
    """Bytes changed at random, or cut off: a header, or one of our own errors; nothing else."""
    content = bytearray(small[: data.draw(st.integers(0, len(small)))])
    for place in data.draw(st.lists(st.integers(0, 700), max_size=6)):
        if place < len(content):
            content[place] = data.draw(st.integers(0, 255))
    try:
        own = header(bytes(content))
    except (ContractError, ReadError):
        pass
    else:
        assert len(own.offsets) == len(own.sizes)
        assert own.row_bytes * own.block_height <= 2 * geotiff.LARGEST_BLOCK


@pytest.mark.hostile
@given(st.binary(max_size=400), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]))
@example(b"", b"")
def test_noise_is_refused_in_words(noise: bytes, magic: bytes) -> None:
    with pytest.raises((ContractError, ReadError)):
        header(magic + noise)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(tmp_path_factory.mktemp("geotiff") / "small.tif", nodata=3)


def entry(tag: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack("<HHII", tag, kind, count, value)


def tiff(*entries: bytes, following: int = 0) -> bytes:
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", following)
    return b"II*\0\x08\0\0\0" + directory + bytes(64)


SIZES = [entry(256, 4, 1, 64), entry(257, 4, 1, 64), entry(258, 3, 1, 8), entry(259, 3, 1, 8)]
PLACES = [entry(324, 4, 1, 8), entry(325, 4, 1, 8)]


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<VRTDataset></VRTDataset>", "not a GeoTIFF"),
        (b"<html>", "not a GeoTIFF"),
        (b"", "not a GeoTIFF"),
        (b"II*\0", "is cut off"),
        (tiff(), "a directory of 0 entries"),
        (
            tiff(*SIZES, entry(322, 4, 1, 16_384), entry(323, 4, 1, 16_384), *PLACES),
            "blocks of 16384 x 16384 pixels of 8 bits, more than 16 MB each",
        ),
        (
            tiff(entry(256, 4, 1, 10**6), entry(257, 4, 1, 10**6), *SIZES[2:]),
            "1000000 x 1000000 pixels, more than 100000 a side",
        ),
        (
            tiff(
                *(entry(256, 4, 1, 99_999), entry(257, 4, 1, 99_999), *SIZES[2:]),
                *(entry(322, 4, 1, 16), entry(323, 4, 1, 16), *PLACES),
            ),
            "39062500 blocks, more than 65536",
        ),
        (
            tiff(*SIZES, entry(322, 4, 1, 64), entry(323, 4, 1, 64), entry(324, 16, 1 << 28, 8)),
            "268435456 values under tag 324",
        ),
        (tiff(*SIZES, entry(322, 4, 1, 0), entry(323, 4, 1, 64), *PLACES), "a size of nothing"),
        (tiff(*SIZES, entry(322, 4, 1, 16), entry(323, 4, 1, 16), *PLACES), "fewer than its 16"),
        (tiff(*SIZES[2:]), "no number under tag 256"),
        (tiff(entry(256, 2, 4, 64), *SIZES[1:]), "no number under tag 256"),
    ],
)
def test_attacks_are_refused_from_the_header(content: bytes, words: str) -> None:
    with pytest.raises((ContractError, ReadError), match=words):
        header(content)


@pytest.mark.hostile
def test_the_decompression_bomb_of_a_real_writer(tmp_path: Path) -> None:
    """One tile of 16,384 pixels a side in a few hundred kilobytes, and a sparse million squared."""
    side = 16_384
    big = written(tmp_path / "a.tif", side=side, dtype="uint8", blockxsize=side, blockysize=side)
    assert len(big) < 1 << 20
    with pytest.raises(ContractError, match="blocks of 16384 x 16384"):
        header(big)


@pytest.mark.hostile
def test_a_chain_of_directories_is_bounded() -> None:
    """Overviews are ignored, so that a loop harms nobody; those who follow it are stopped."""
    loop = tiff(*SIZES, entry(322, 4, 1, 64), entry(323, 4, 1, 64), *PLACES, following=8)
    assert header(loop).width == 64
    with pytest.raises(ContractError, match="lead back to one another"):
        count_directories([(0, loop)], len(loop))


def test_directories_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    written(path, side=512)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])
    content = path.read_bytes()
    assert count_directories([(0, content)], len(content)) == 3
