"""15-bit windows: the same pixels as GDAL's, and GDAL's affair whenever something is odd."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import urllib3
from fakes import file_server
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import from_origin
from rasterio.windows import Window

from s1s2 import packed
from s1s2.reader import GDAL_SETTINGS

HEIGHT, WIDTH = 700, 900
NUMBERS = np.random.default_rng(5).integers(0, 1 << 15, (HEIGHT, WIDTH)).astype(np.uint16)


def write(path: Path, **layout: object) -> Path:
    usual = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=WIDTH,
        height=HEIGHT,
        count=1,
        dtype="uint16",
        crs="EPSG:32631",
        transform=from_origin(300_000, 5_000_000, 10, 10),
        **(usual | layout),
    ) as file:
        file.write(NUMBERS, 1)
    return path


@pytest.fixture(scope="module")
def fifteen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("packed") / "fifteen.tif", nbits=15)


@given(st.data())
def test_any_window_equals_gdals(fifteen: Path, data: st.DataObject) -> None:
    top = data.draw(st.integers(0, HEIGHT - 1))
    left = data.draw(st.integers(0, WIDTH - 1))
    window = Window(
        left, top, data.draw(st.integers(1, WIDTH - left)), data.draw(st.integers(1, HEIGHT - top))
    )
    with rasterio.open(fifteen) as file:
        ours = packed.read_packed(file, window)
        assert ours is not None
        assert np.array_equal(ours, file.read(1, window=window))


@pytest.mark.parametrize(
    "layout",
    [{}, {"nbits": 12}, {"nbits": 15, "compress": "lzw"}, {"nbits": 15, "blockysize": 128}],
    ids=["16 bits", "12 bits", "another compression", "oblong blocks"],
)
def test_other_layouts_are_left_to_gdal(tmp_path: Path, layout: dict[str, object]) -> None:
    with rasterio.open(write(tmp_path / "other.tif", **layout)) as file:
        assert packed.read_packed(file, Window(0, 0, 64, 64)) is None


def test_over_http_with_ranges(fifteen: Path) -> None:
    with (
        file_server(fifteen.parent) as url,
        rasterio.Env(**GDAL_SETTINGS),
        rasterio.open(f"/vsicurl/{url}/fifteen.tif") as file,
    ):
        ours = packed.read_packed(file, Window(100, 200, 300, 256))
    assert np.array_equal(ours, NUMBERS[200:456, 100:400])


def test_what_does_not_come_at_once_is_left_to_gdal(
    fifteen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise urllib3.exceptions.ProtocolError

    monkeypatch.setattr(packed, "_pread", broken)
    with rasterio.open(fifteen) as file:
        assert packed.read_packed(file, Window(100, 200, 300, 256)) is None
    monkeypatch.setattr(packed, "_pread", lambda *_: b"cut off")
    with rasterio.open(fifteen) as file:
        assert packed.read_packed(file, Window(100, 200, 300, 256)) is None


def test_an_answer_without_range_is_not_taken(
    fifteen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "_PARTIAL", 299)  # whatever comes is then not a part
    with (
        file_server(fifteen.parent) as url,
        rasterio.Env(**GDAL_SETTINGS),
        rasterio.open(f"/vsicurl/{url}/fifteen.tif") as file,
    ):
        assert packed.read_packed(file, Window(0, 0, 64, 64)) is None


def test_damaged_and_short_blocks_are_left_to_gdal() -> None:
    rows, columns = range(256), range(256)
    assert packed.unpack(b"not deflate at all", 256, rows, columns) is None
    import zlib

    short = zlib.compress(bytes(100))
    assert packed.unpack(short, 256, rows, columns) is None
    whole = zlib.compress(bytes(256 * 480))
    unpacked = packed.unpack(whole, 256, rows, columns)
    assert unpacked is not None
    assert unpacked.shape == (256, 256)
