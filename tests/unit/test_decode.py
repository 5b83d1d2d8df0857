"""Windows of every variant that is decoded here: the same pixels as GDAL's, bit for bit."""

import zlib
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import from_origin
from rasterio.windows import Window as Part

from s1s2 import decode
from s1s2.errors import ReadError
from s1s2.geotiff import Header, parse
from s1s2.spans import Window, blocks_of, spans_of

HEIGHT, WIDTH = 331, 407
KINDS = {
    "uint8": (8, (1, 2)),
    "u15": (15, (1,)),
    "uint16": (16, (1, 2)),
    "float32": (32, (1, 2, 3)),
}
LAYOUTS = {
    "tiles": {"tiled": True, "blockxsize": 128, "blockysize": 128},
    "oblong tiles": {"tiled": True, "blockxsize": 64, "blockysize": 160},
    "big": {"tiled": True, "blockxsize": 512, "blockysize": 512, "bigtiff": "YES"},
    "1024": {"tiled": True, "blockxsize": 1024, "blockysize": 1024},
    "strips": {"tiled": False, "blockysize": 13},
    "sparse": {"tiled": True, "blockxsize": 64, "blockysize": 64, "sparse_ok": True, "nodata": 7},
}
VARIANTS = [
    (kind, predictor, layout, compress)
    for kind, (_, predictors) in KINDS.items()
    for predictor, layout, compress in product(predictors, LAYOUTS, ("deflate", None))
    if not (kind == "u15" and layout == "strips") and (compress or predictor == 1)
]


def pixels(kind: str) -> np.ndarray:
    random = np.random.default_rng(5)
    dtype = "uint16" if kind == "u15" else kind
    if kind == "float32":
        values = random.lognormal(-3, 2, (HEIGHT, WIDTH)).astype(dtype)
        values[10:20, 10:40] = np.nan
        values[30, 30] = -32768
        return values
    most = 1 << KINDS[kind][0]
    return random.integers(0, most, (HEIGHT, WIDTH)).astype(dtype)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("variants")
    return [write(folder / f"{number}.tif", *v) for number, v in enumerate(VARIANTS)]


def write(path: Path, kind: str, predictor: int, layout: str, compress: str | None) -> Path:
    values = pixels(kind)
    profile = {
        "driver": "GTiff",
        "width": WIDTH,
        "height": HEIGHT,
        "count": 1,
        "dtype": values.dtype,
        "crs": "EPSG:32631",
        "transform": from_origin(300_000, 5_000_000, 10, 10),
        "compress": compress,
        **LAYOUTS[layout],
    }
    if compress:
        profile["predictor"] = predictor
    if kind == "u15":
        profile["nbits"] = 15
    with rasterio.open(path, "w", **profile) as file:
        if layout == "sparse":
            file.write(values[128:256, 64:192], 1, window=Part(64, 128, 128, 128))
        else:
            file.write(values, 1)
    return path


def opened(path: Path) -> tuple[Header, bytes]:
    content = path.read_bytes()
    return parse([(0, content)], len(content)), content


def read(path: Path, window: Window, *, proven: bool) -> np.ndarray:
    header, content = opened(path)
    assert header.odd == ""
    out = np.zeros((window.height, window.width), header.dtype)
    blocks = blocks_of(header, window)
    for block in blocks:
        if block.start == block.stop:
            decode.fill(out, block, header)
    for span in spans_of(blocks):
        for block in span.blocks:
            data = memoryview(content)[block.start : block.stop]
            decode.paste(out, block, data, header, proven=proven)
    return out


def gdals(path: Path, window: Window) -> np.ndarray:
    inside = window.inside(opened(path)[0])
    with rasterio.open(path) as file:
        out = np.zeros((window.height, window.width), file.dtypes[0])
        part = Part(inside.column, inside.row, inside.width, inside.height)
        if inside.height and inside.width:
            top, left = inside.row - window.row, inside.column - window.column
            out[top : top + inside.height, left : left + inside.width] = file.read(1, window=part)
    return out


EDGES = [
    Window(0, 0, HEIGHT, WIDTH),
    Window(0, 0, 1, 1),
    Window(HEIGHT - 1, WIDTH - 1, 1, 1),
    Window(-20, -30, 50, 60),
    Window(HEIGHT - 20, WIDTH - 30, 50, 60),
    Window(-5, WIDTH - 3, HEIGHT + 10, 9),
    Window(HEIGHT + 5, 0, 10, 10),
    Window(127, 127, 2, 2),
]


@pytest.mark.parametrize("number", range(len(VARIANTS)), ids=[str(v) for v in VARIANTS])
def test_edges_and_corners_equal_gdals(files: list[Path], number: int) -> None:
    for window, proven in product(EDGES, (True, False)):
        ours = read(files[number], window, proven=proven)
        np.testing.assert_array_equal(ours, gdals(files[number], window), err_msg=str(window))


@given(st.data())
def test_any_window_of_any_variant_equals_gdals(files: list[Path], data: st.DataObject) -> None:
    window = Window(
        data.draw(st.integers(-40, HEIGHT + 10)),
        data.draw(st.integers(-40, WIDTH + 10)),
        data.draw(st.integers(1, 280)),
        data.draw(st.integers(1, 280)),
    )
    path = files[data.draw(st.integers(0, len(files) - 1))]
    ours = read(path, window, proven=data.draw(st.booleans()))
    np.testing.assert_array_equal(ours, gdals(path, window))


def one_block(path: Path) -> tuple[Header, Window, memoryview]:
    header, content = opened(path)
    start = int(header.offsets[0])
    return header, Window(0, 0, 40, 50), memoryview(content)[start : start + int(header.sizes[0])]


@pytest.fixture(scope="module")
def fifteen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("block") / "a.tif", "u15", 1, "tiles", "deflate")


@pytest.mark.parametrize("proven", [True, False])
@pytest.mark.parametrize(
    "spoil",
    [lambda _: b"not deflate at all", lambda data: data[:100], lambda _: zlib.compress(bytes(50))],
    ids=["noise", "cut off", "short"],
)
def test_damaged_blocks_are_never_pixels(fifteen: Path, spoil: object, *, proven: bool) -> None:
    header, window, data = one_block(fifteen)
    (block,) = blocks_of(header, window)
    out = np.zeros((40, 50), np.uint16)
    with pytest.raises(ReadError, match="damaged") as caught:
        decode.paste(out, block, memoryview(spoil(bytes(data))), header, proven=proven)
    assert caught.value.reason == "asset_corrupt"
    assert not out.any()


def test_where_nothing_vouches_for_the_bytes_the_checksum_does(fifteen: Path) -> None:
    """A bit flipped behind the rows wanted, in numbers stored as they are: only the sum tells."""
    header, window, data = one_block(fifteen)
    (block,) = blocks_of(header, window)
    stored = bytearray(zlib.compress(zlib.decompress(data), 0))
    stored[300] ^= 4
    out = np.zeros((40, 50), np.uint16)
    with pytest.raises(ReadError, match="damaged"):
        decode.paste(out, block, memoryview(stored), header, proven=False)
    decode.paste(out, block, memoryview(stored), header, proven=True)


def test_no_more_rows_are_inflated_than_wanted(
    fifteen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header, window, data = one_block(fifteen)
    (block,) = blocks_of(header, window)
    asked = []

    class Stream:
        def decompress(self, data: memoryview, most: int) -> bytes:
            asked.append(most)
            return zlib.decompressobj().decompress(data, most)

    monkeypatch.setattr(decode.isal_zlib, "decompressobj", Stream)
    decode.paste(np.zeros((40, 50), np.uint16), block, data, header, proven=True)
    assert asked == [40 * 240]
