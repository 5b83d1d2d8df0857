"""The one door to pixels: what it asks for, what it keeps, and what it lets nobody do."""

import logging
import struct
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from fakes import Scenes, _Quiet, optical_dn, radar_power, serving
from rasterio.windows import Window

from s1s2 import reader as door
from s1s2.bands import OPTICAL, RADAR, Band, Sensor
from s1s2.catalog import PLANETARY_COMPUTER_S1, PLANETARY_COMPUTER_S2, Catalog
from s1s2.errors import ContractError, ReadError
from s1s2.grid import GridSpec, at_gsd, chip_geobox
from s1s2.items import scene_from_item
from s1s2.reader import CogReader
from s1s2.scene import Scene

CHIP = chip_geobox(32631, 501_000, 4_999_080, GridSpec(128))
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64}


@dataclass
class Server:
    """Serves a folder by ranges, and counts."""

    folder: Path
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and range."""
    most: int = 0
    """Requests that were ever under way at once."""
    wait: threading.Event | None = None
    damaged: int = 0
    """So many of the next answers lose their first bytes."""
    moved: bytes = b""
    """The next answer with these bytes has others in their place."""
    url: str = ""

    @contextmanager
    def running(self) -> Iterator["Server"]:
        server, lock, now = self, threading.Lock(), [0]

        class Handler(_Quiet):
            def do_HEAD(self) -> None:
                server.asked.append(("HEAD", self.path, ""))
                self.send(405, b"")

            def do_GET(self) -> None:
                with lock:
                    now[0] += 1
                    server.most = max(server.most, now[0])
                    server.asked.append(("GET", self.path, self.headers["Range"]))
                if server.wait is not None:
                    server.wait.wait(5)
                with lock:
                    now[0] -= 1
                content = (server.folder / self.path.lstrip("/")).read_bytes()
                first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
                body = content[first : last + 1]
                if server.damaged:
                    server.damaged -= 1
                    body = b"XX" + body[2:]
                if server.moved and server.moved in body:
                    flipped = bytes([*server.moved[:-1], server.moved[-1] ^ 0xFF])
                    body, server.moved = body.replace(server.moved, flipped), b""
                if not body:
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Length", str(len(body)))
                stop = first + len(body) - 1
                self.send_header("Content-Range", f"bytes {first}-{stop}/{len(content)}")
                self.end_headers()
                self.wfile.write(body)

        with serving(Handler) as self.url:
            yield self


@dataclass
class Archive:
    """A pair of fake scenes behind a server, and a reader of them."""

    server: Server
    s2: Scene
    s1: Scene
    reader: CogReader

    def path(self, band: Band) -> Path:
        scene = self.s1 if band in RADAR else self.s2
        return self.server.folder / scene.hrefs[band].removeprefix(self.server.url + "/")


@contextmanager
def opened(scenes: Scenes, **layout: object) -> Iterator[Archive]:
    scenes.s2(tif={**TILED, **layout})
    scenes.s1()
    with Server(scenes.folder).running() as server:
        for item in scenes.items:
            for asset in item["assets"].values():
                asset["href"] = f"{server.url}/{asset['href']}"
        host = server.url.removeprefix("http://")
        catalog = Catalog(
            name="own",
            s1=PLANETARY_COMPUTER_S1,
            s2=PLANETARY_COMPUTER_S2,
            items="x",
            own_hosts=(host,),
        )
        s2 = scene_from_item(scenes.items[0], catalog, Sensor.S2)
        s1 = scene_from_item(scenes.items[1], catalog, Sensor.S1)
        with CogReader({"own": catalog}) as reader:
            yield Archive(server, s2, s1, reader)


@pytest.fixture
def archive(scenes: Scenes) -> Iterator[Archive]:
    with opened(scenes) as running:
        yield running


def grids(bands: tuple[Band, ...]) -> dict:
    return {b: at_gsd(CHIP, b.gsd_m) for b in bands}


def truth(band: Band) -> np.ndarray:
    box = at_gsd(CHIP, band.gsd_m)
    rows, columns = np.mgrid[: box.shape.y, : box.shape.x] + 0.5
    x, y = box.affine @ (columns, rows)
    return radar_power(band, x, y) if band in RADAR else optical_dn(band, x, y)


def test_every_band_is_the_files(archive: Archive) -> None:
    found = archive.reader.read(archive.s2, grids(OPTICAL))
    found |= archive.reader.read(archive.s1, grids(RADAR))
    for band, pixels in found.items():
        assert np.array_equal(pixels.data, truth(band)), band
        assert pixels.valid.all()
        assert not pixels.warped


def test_a_header_is_asked_for_once_by_however_many_chips(archive: Archive) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: archive.reader.read(archive.s2, grids(OPTICAL)), range(6)))
    assert {method for method, _, _ in archive.server.asked} == {"GET"}, "and no HEAD"
    openings = [p for _, p, span in archive.server.asked if span.startswith("bytes=0-")]
    assert len(openings) == len(set(openings)) == len(OPTICAL)


def test_all_bands_are_under_way_at_once(archive: Archive) -> None:
    archive.reader.grids(archive.s2, OPTICAL)
    archive.server.most, archive.server.wait = 0, threading.Event()
    later = threading.Timer(0.5, archive.server.wait.set)
    later.start()
    archive.reader.read(archive.s2, grids(OPTICAL))
    later.cancel()
    assert archive.server.most >= len(OPTICAL)


def test_requests_are_bounded(scenes: Scenes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "IN_FLIGHT", 3)
    with opened(scenes) as archive, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: archive.reader.read(archive.s2, grids(OPTICAL)), range(4)))
        assert archive.server.most <= 3


def test_bytes_at_hand_are_bounded_and_nobody_waits_for_ever(
    scenes: Scenes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for one span at a time, and eight readers who want it."""
    monkeypatch.setattr(door, "MOST_BYTES", 1)
    with opened(scenes) as archive, ThreadPoolExecutor(8) as pool:
        archive.reader.grids(archive.s2, OPTICAL)
        archive.server.most = 0
        found = list(pool.map(lambda _: archive.reader.read(archive.s2, grids(OPTICAL)), range(8)))
        assert archive.server.most == 1
    assert all(np.array_equal(f[Band.B04].data, truth(Band.B04)) for f in found)


def test_room_is_given_back_when_reading_fails(
    scenes: Scenes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "MOST_BYTES", 50_000)
    with opened(scenes) as archive:
        spoil(archive.path(Band.B02))
        for _ in range(5):
            with pytest.raises(ReadError):
                archive.reader.read(archive.s2, grids(OPTICAL))
        assert archive.reader._room._left == 50_000


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4_000:] = b"\xff" * len(content[4_000:])
    path.write_bytes(content)


def test_what_is_damaged_is_looked_at_twice_header_and_all(archive: Archive) -> None:
    """A file that was replaced since its header was read is no damaged file."""
    archive.reader.read(archive.s2, grids((Band.B04,)))
    path = archive.path(Band.B04)
    with rasterio.open(path) as file:
        data, profile = file.read(1), file.profile
    with rasterio.open(path, "w", **{**profile, "blockxsize": 32, "blockysize": 32}) as file:
        file.write(data, 1)
    found = archive.reader.read(archive.s2, grids((Band.B04,)))
    assert np.array_equal(found[Band.B04].data, truth(Band.B04))
    spoil(path)
    with pytest.raises(ReadError, match="band B04: cannot be decoded") as caught:
        archive.reader.read(archive.s2, grids((Band.B04,)))
    assert caught.value.reason == "asset_corrupt"


def test_the_first_problem_in_the_order_asked_for_is_told(archive: Archive) -> None:
    """Whichever comes first over the wire: what is recorded must not depend on it."""
    for band in (Band.B03, Band.B05, Band.B12):
        spoil(archive.path(band))
    for _ in range(5):
        with pytest.raises(ReadError, match="band B03"):
            archive.reader.read(archive.s2, grids(OPTICAL))


@pytest.mark.parametrize("cut", [1000, 3000])
def test_a_file_that_ends_too_early_is_final(archive: Archive, cut: int) -> None:
    path = archive.path(Band.B04)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ReadError, match="band B04: is cut off") as caught:
        archive.reader.read(archive.s2, grids((Band.B04,)))
    assert caught.value.reason == "asset_corrupt"


@pytest.mark.parametrize("layout", [{"compress": "lzw"}, {"compress": "zstd", "predictor": 2}])
def test_other_variants_go_to_gdal_once_said_and_counted(
    scenes: Scenes, layout: dict, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with opened(scenes, **layout) as archive:
        for _ in range(2):
            found = archive.reader.read(archive.s2, grids(OPTICAL))
        for band, pixels in found.items():
            assert np.array_equal(pixels.data, truth(band)), band
        (odd,) = archive.reader.through_gdal
        assert archive.reader.through_gdal[odd] == len(OPTICAL)
    assert [r.message for r in caplog.records] == [
        f"files of {odd} are read by GDAL, which takes longer"
    ]
    assert {method for method, _, _ in archive.server.asked} == {"GET"}


def test_gdal_says_nothing_final_of_what_did_not_come(
    scenes: Scenes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s1s2.wire._WAITS_S", ())
    with opened(scenes, compress="lzw") as archive:
        archive.reader.grids(archive.s2, (Band.B02,))
        fetch = archive.reader._wire.fetch

        def failing(place: object, start: int, stop: int) -> object:
            if start > 0:
                msg = "cannot be read now"
                raise ReadError(msg, "unreachable")
            return fetch(place, start, min(stop, 3000))

        monkeypatch.setattr(archive.reader._wire, "fetch", failing)
        with pytest.raises(ReadError) as caught:
            archive.reader.read(archive.s2, grids((Band.B02,)))
    assert caught.value.reason == "unreachable"


def test_windows_that_stick_out_are_invalid_there(archive: Archive) -> None:
    outside = chip_geobox(32631, 499_980 - 600, 5_000_040 + 600, GridSpec(128))
    pixels = archive.reader.read(archive.s2, {Band.B04: outside})[Band.B04]
    assert not pixels.valid[:60].any()
    assert not pixels.valid[:, :60].any()
    assert pixels.valid[60:, 60:].all()
    far = chip_geobox(32631, 600_000, 5_000_040, GridSpec(128))
    assert not archive.reader.read(archive.s2, {Band.B04: far})[Band.B04].valid.any()


def bomb(path: Path) -> None:
    """One tile of 16,384 pixels a side: 268 MB out of a few hundred kilobytes."""
    tile = zlib.compress(bytes(16_384 * 16_384), 9)
    entries = [(256, 4, 16_384), (257, 4, 16_384), (258, 3, 8), (259, 3, 8), (262, 3, 1)]
    entries += [(277, 3, 1), (322, 4, 16_384), (323, 4, 16_384), (324, 4, 200), (325, 4, len(tile))]
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory + bytes(4)
    path.write_bytes(head.ljust(200, b"\0") + tile)


def sparse(path: Path) -> None:
    """A million pixels a side, of which nothing is written."""
    entries = [(256, 4, 10**6), (257, 4, 10**6), (258, 3, 16), (259, 3, 8), (262, 3, 1)]
    entries += [(277, 3, 1), (322, 4, 512), (323, 4, 512), (324, 16, 1954**2), (325, 4, 1954**2)]
    directory = b"".join(
        struct.pack("<HHII", tag, kind, *((value, 200) if tag in (324, 325) else (1, value)))
        for tag, kind, value in entries
    )
    path.write_bytes(
        (b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory + bytes(4)).ljust(4096)
    )


def vrt(path: Path) -> None:
    path.write_text(
        '<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1">'
        "<SimpleSource><SourceFilename>/etc/passwd</SourceFilename></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (bomb, "blocks of 16384 x 16384 pixels"),
        (sparse, "3818116 values under tag 324"),
        (vrt, "not a GeoTIFF"),
    ],
)
def test_attacks_end_at_the_header(archive: Archive, attack: object, words: str) -> None:
    attack(archive.path(Band.B04))
    archive.server.asked.clear()
    with pytest.raises(ContractError, match=f"band B04: .*{words}"):
        archive.reader.read(archive.s2, grids((Band.B04,)))
    assert [span for *_, span in archive.server.asked] == 5 * ["bytes=0-32767"]


@pytest.mark.parametrize("times", [1, 4])
def test_header_damaged_on_its_way_is_asked_for_again(archive: Archive, times: int) -> None:
    archive.server.damaged = times
    found = archive.reader.read(archive.s2, grids((Band.B04,)))
    assert np.array_equal(found[Band.B04].data, truth(Band.B04))
    assert not archive.server.damaged


def test_a_header_that_was_moved_on_its_way_is_not_believed(archive: Archive) -> None:
    """All its numbers are possible ones: only the item tells that the file lies elsewhere."""
    with rasterio.open(archive.path(Band.VV)) as file:
        s1 = replace(archive.s1, bounds=tuple(file.bounds))
        archive.server.moved = struct.pack("<d", file.transform.c)
    found = archive.reader.read(s1, grids((Band.VV,)))
    assert not archive.server.moved, "it was damaged"
    assert np.array_equal(found[Band.VV].data, truth(Band.VV))


def test_an_item_that_is_wrong_about_its_file_is_outvoted(archive: Archive) -> None:
    s1 = replace(archive.s1, bounds=(0.0, 0.0, 9.0, 9.0))
    found = archive.reader.read(s1, grids((Band.VV,)))
    assert np.array_equal(found[Band.VV].data, truth(Band.VV))
    headers = [span for *_, span in archive.server.asked if span == "bytes=0-32767"]
    assert len(headers) == 2, "the second time it is the same"


def test_real_scenes_equal_rasterios(real: Path) -> None:
    """Windows of every file, edges and corners included."""
    from s1s2 import decode
    from s1s2.geotiff import parse
    from s1s2.spans import Window as Own
    from s1s2.spans import blocks_of

    random, files = np.random.default_rng(3), sorted((real / "scenes").rglob("*.tif*"))
    for path in files:
        content = path.read_bytes()
        header = parse([(0, content)], len(content))
        for _ in range(4):
            row, column = random.integers(0, header.height), random.integers(0, header.width)
            height = random.integers(1, header.height - row + 1)
            width = random.integers(1, header.width - column + 1)
            window = Own(int(row), int(column), int(height), int(width))
            out = np.zeros((height, width), header.dtype)
            for block in blocks_of(header, window):
                own = memoryview(content)[block.start : block.stop]
                decode.paste(out, block, own, header, proven=bool(random.integers(2)))
            with rasterio.open(path) as file:
                gdals = file.read(1, window=Window(column, row, width, height))
            np.testing.assert_array_equal(out, gdals, err_msg=str(path))
    assert len(files) > 70
