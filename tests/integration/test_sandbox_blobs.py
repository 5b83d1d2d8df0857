"""The blob server over loopback, read as readers of Planetary Computer's archive read it."""

import http.client
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from urllib.parse import quote, urlsplit

import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
import requests
import rioxarray
import uvicorn
from affine import Affine
from fakes import GDAL_SETTINGS
from odc.geo.geobox import GeoBox
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from shapely.geometry import box, mapping
from starlette.applications import Starlette

from s1s2.sandbox.blobs import routes
from s1s2.sandbox.tiff import Raster, layout_of
from s1s2.sandbox.tokens import Tokens

OPTICAL = Raster(32631, 499_980, 5_000_040, 10, 10_980, 10_980, "u15")
CLASSES = Raster(32631, 499_980, 5_000_040, 20, 5490, 5490, "u8")
RADAR = Raster(32631, 499_000, 5_001_000, 10, 28_236, 23_625, "f32", nodata=-32768)
SMALL = Raster(32631, 499_980, 5_000_040, 20, 1000, 700, "u15")
FILES = {"b/S.tif": SMALL, "b/B02.tif": OPTICAL, "b/SCL.tif": CLASSES, "r/vv.rtc.tiff": RADAR}
ACCOUNT, CONTAINER = "account01", "con-tainer"
DTYPES = {"u15": np.uint16, "u8": np.uint8, "f32": np.float32}


def formula(raster: Raster, level: int, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    values = (rows[:, None] * 7 + cols[None, :] * 3 + level * 1000) % 200 + 1
    return values.astype(DTYPES[raster.sample])


@dataclass
class Formula:
    """A file whose pixels are a formula of their place."""

    raster: Raster
    etag: str
    rendered: list[tuple[int, int, int]] = field(default_factory=list)
    fails: bool = False
    pause_s: float = 0

    def block(self, level: int, row: int, col: int) -> np.ndarray:
        self.rendered.append((level, row, col))
        time.sleep(self.pause_s)
        if self.fails:
            raise ArithmeticError
        steps = np.arange(512)
        return formula(self.raster, level, row * 512 + steps, col * 512 + steps)


class Folder:
    """Files by path."""

    def __init__(self) -> None:
        self.seeds = count()
        self.renew()

    def renew(self) -> None:
        """Give all files other entity tags, so that nothing kept of them serves any more."""
        self.files = {path: Formula(r, f"0x{next(self.seeds)}") for path, r in FILES.items()}

    def find(self, account: str, container: str, path: str) -> Formula | None:
        return self.files.get(path) if (account, container) == (ACCOUNT, CONTAINER) else None


@dataclass
class Archive:
    folder: Folder
    tokens: Tokens
    url: str = ""
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def href(self, path: str) -> str:
        return f"{self.url}/{ACCOUNT}/{CONTAINER}/{path}"

    def signed(self, path: str) -> str:
        return f"{self.href(path)}?{self.tokens.issue(ACCOUNT, CONTAINER, self.now)['token']}"

    @contextmanager
    def running(self) -> Iterator["Archive"]:
        places = [(ACCOUNT, CONTAINER)]
        app = Starlette(routes=routes(self.folder, self.tokens, places, clock=lambda: self.now))
        config = uvicorn.Config(app, http="httptools", lifespan="off", log_level="critical")
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            # asyncio only sees to it where it has opened the socket itself; 40 ms a request
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            thread.start()
            while not server.started:
                time.sleep(0.01)
            try:
                yield self
            finally:
                server.should_exit = server.force_exit = True
                thread.join()


@pytest.fixture(scope="module")
def server() -> Iterator[Archive]:
    with Archive(Folder(), Tokens(b"secret", 3600)).running() as running:
        yield running


@pytest.fixture
def archive(server: Archive) -> Archive:
    server.now = datetime(2026, 1, 1, tzinfo=UTC)
    server.folder.renew()
    return server


def pixels(raster: Raster, window: Window, level: int = 0) -> np.ndarray:
    rows = np.arange(window.row_off, window.row_off + window.height)
    cols = np.arange(window.col_off, window.col_off + window.width)
    return formula(raster, level, rows, cols)


def ask(url: str, method: str = "GET", **headers: str) -> requests.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.request(method, url, headers=names, timeout=20)


class TestReaders:
    @pytest.mark.parametrize("path", FILES)
    def test_rasterio(self, archive: Archive, path: str) -> None:
        raster = FILES[path]
        windows = [Window(0, 0, 10, 10), Window(400, 500, 300, 130)]
        windows.append(Window(raster.width - 70, raster.height - 80, 70, 80))
        with (
            rasterio.Env(**GDAL_SETTINGS),
            rasterio.open(f"/vsicurl/{archive.signed(path)}", driver="GTiff") as file,
        ):
            assert file.shape == (raster.height, raster.width)
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert file.overviews(1)[0] == 2
            for window in windows:
                np.testing.assert_array_equal(file.read(1, window=window), pixels(raster, window))

    @pytest.mark.parametrize("path", ["b/B02.tif", "b/SCL.tif", "r/vv.rtc.tiff"])
    def test_no_block_is_rendered_that_was_not_asked_for(self, archive: Archive, path: str) -> None:
        window = Window(1100, 1200, 700, 500)
        with (
            rasterio.Env(**GDAL_SETTINGS),
            rasterio.open(f"/vsicurl/{archive.signed(path)}") as file,
        ):
            file.read(1, window=window)
        rendered = archive.folder.files[path].rendered
        assert sorted(rendered) == [(0, row, col) for row in (2, 3) for col in (2, 3)]

    def test_overview(self, archive: Archive) -> None:
        with (
            rasterio.Env(**GDAL_SETTINGS),
            rasterio.open(f"/vsicurl/{archive.signed('r/vv.rtc.tiff')}", overview_level=5) as file,
        ):
            whole = Window(0, 0, 442, 370)
            np.testing.assert_array_equal(file.read(1), pixels(RADAR, whole, level=6))

    def test_warped(self, archive: Archive) -> None:
        with (
            rasterio.Env(**GDAL_SETTINGS),
            rasterio.open(f"/vsicurl/{archive.signed('r/vv.rtc.tiff')}") as file,
            WarpedVRT(file, crs="EPSG:32632") as warped,
        ):
            x, y = warped.width // 2, warped.height // 2
            values = warped.read(1, window=Window(x, y, 100, 100))
        assert values.min() >= 1
        assert values.max() <= 200
        assert len(np.unique(values)) > 100

    def test_rioxarray(self, archive: Archive) -> None:
        with rasterio.Env(**GDAL_SETTINGS):
            opened = rioxarray.open_rasterio(archive.signed("b/B02.tif"))  # noqa: TID251
            with opened:
                part = opened.isel(band=0, x=slice(600, 700), y=slice(40, 50)).load()
        np.testing.assert_array_equal(part.values, pixels(OPTICAL, Window(600, 40, 100, 10)))
        assert part.x.values[0] == 499_980 + 6005

    @pytest.mark.filterwarnings(
        "ignore::DeprecationWarning:odc", "ignore::DeprecationWarning:shapely"
    )
    @pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
    def test_odc_stac(self, archive: Archive) -> None:
        around = mapping(box(2, 44, 4, 46))
        item = pystac.Item("i", around, [2, 44, 4, 46], archive.now, {"proj:epsg": 32631})
        for key, path in {"B02": "b/B02.tif", "vv": "r/vv.rtc.tiff"}.items():
            item.add_asset(key, pystac.Asset(archive.signed(path), media_type="image/tiff"))
        geobox = GeoBox((128, 128), Affine(10, 0, 510_000, 0, -10, 4_991_280), 32631)
        config = {"*": {"assets": {"B02": {"data_type": "uint16"}, "vv": {"data_type": "float32"}}}}
        loaded = odc.stac.load([item], ["B02", "vv"], geobox=geobox, stac_cfg=config)
        optical = pixels(OPTICAL, Window(1002, 876, 128, 128))
        np.testing.assert_array_equal(loaded["B02"].values[0], optical)
        radar = pixels(RADAR, Window(1100, 972, 128, 128))
        np.testing.assert_array_equal(loaded["vv"].values[0], radar)

    def test_is_a_valid_cog(self, archive: Archive) -> None:
        """Check what GDAL's validate_cloud_optimized_geotiff.py does, over HTTP."""
        layout = layout_of(RADAR)
        first = ask(archive.signed("r/vv.rtc.tiff"), range="bytes=0-32767").content
        assert first == layout.header
        (at,) = struct.unpack_from("<I", first, 4)
        assert at < 300
        offsets = [level.offset for level in layout.levels]
        assert offsets == sorted(offsets, reverse=True)
        assert offsets[-1] == len(layout.header)


class TestTokens:
    def test_service(self, archive: Archive) -> None:
        answer = ask(f"{archive.url}/api/sas/v1/token/{ACCOUNT}/{CONTAINER}").json()
        assert answer["msft:expiry"] == "2026-01-01T01:00:00Z"
        assert ask(f"{archive.href('b/B02.tif')}?{answer['token']}", "HEAD").status_code == 200
        href = f"https://{ACCOUNT}.blob.core.windows.net/{CONTAINER}/b/B02.tif"
        for place in (href, archive.href("b/B02.tif")):
            signed = ask(f"{archive.url}/api/sas/v1/sign?href={quote(place)}").json()
            assert signed["msft:expiry"] == answer["msft:expiry"]
            assert signed["href"] == f"{place}?{answer['token']}"
            url = f"{archive.href('b/B02.tif')}?{urlsplit(signed['href']).query}"
            assert ask(url, "HEAD").status_code == 200
        for path in ("token/other/place", "sign?href=x", "sign"):
            refused = ask(f"{archive.url}/api/sas/v1/{path}")
            assert refused.status_code == 404
            assert "no container" in refused.json()["detail"]

    @pytest.mark.parametrize("spoil", ["expired", "early", "forged", "unsigned", "longer", "other"])
    def test_a_bad_token_opens_nothing(self, archive: Archive, spoil: str) -> None:
        url = archive.signed("b/B02.tif")
        if spoil == "expired":
            archive.now += timedelta(hours=1)
        elif spoil == "early":
            archive.now -= timedelta(days=2)
        elif spoil == "forged":
            token = Tokens(b"guess", 3600).issue(ACCOUNT, CONTAINER, archive.now)["token"]
            url = f"{archive.href('b/B02.tif')}?{token}"
        elif spoil == "unsigned":
            url = archive.href("b/B02.tif")
        elif spoil == "longer":
            url = url.replace("se=2026", "se=2036")
        else:
            url = url.replace(CONTAINER, "another")
        refused = ask(url)
        assert refused.status_code == 403
        assert refused.headers["x-ms-error-code"] == "AuthenticationFailed"
        assert "<Code>AuthenticationFailed</Code>" in refused.content.decode("utf-8-sig")
        assert archive.folder.files["b/B02.tif"].rendered == []

    def test_rasterio_cannot_open_with_an_expired_token(self, archive: Archive) -> None:
        url = archive.signed("b/B02.tif").replace("?", "?expired&")
        archive.now += timedelta(hours=2)
        with (
            rasterio.Env(**GDAL_SETTINGS),
            pytest.raises(rasterio.RasterioIOError, match="403"),
        ):
            rasterio.open(f"/vsicurl/{url}")


class TestHttp:
    @pytest.mark.parametrize(
        ("asked", "start", "stop"),
        [
            ("bytes=0-0", 0, 1),
            ("bytes=100-40000", 100, 40_001),
            ("bytes=1000000-3000000", 1_000_000, 3_000_001),
            ("bytes=-5000", -5000, None),
            ("Bytes={last}-", -1, None),
            ("bytes={last}-99999999999", -1, None),
        ],
    )
    def test_ranges(self, archive: Archive, asked: str, start: int, stop: int | None) -> None:
        layout = layout_of(SMALL)
        answer = ask(archive.signed("b/S.tif"), range=asked.format(last=layout.size - 1))
        assert answer.status_code == 206
        first, end, _ = slice(start, stop).indices(layout.size)
        assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/{layout.size}"
        whole = self.whole(archive)
        assert answer.content == whole[start:stop]

    def whole(self, archive: Archive) -> bytes:
        answer = ask(archive.signed("b/S.tif"))
        assert answer.status_code == 200
        assert len(answer.content) == layout_of(SMALL).size
        return answer.content

    @pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "bytes=9-3", "bytes=-", "lines=1-2"])
    def test_other_ranges_are_ignored(self, archive: Archive, asked: str) -> None:
        answer = ask(archive.signed("b/S.tif"), range=asked)
        assert answer.status_code == 200
        assert len(answer.content) == layout_of(SMALL).size

    @pytest.mark.parametrize("asked", ["bytes=99999999999-", "bytes=-0", f"bytes={'9' * 4000}-"])
    def test_ranges_beyond_the_file(self, archive: Archive, asked: str) -> None:
        answer = ask(archive.signed("b/S.tif"), range=asked)
        assert answer.status_code == 416
        assert answer.headers["content-range"] == f"bytes */{layout_of(SMALL).size}"
        assert "InvalidRange" in answer.text

    def test_a_missing_file(self, archive: Archive) -> None:
        answer = ask(archive.signed("b/B99.tif"))
        assert answer.status_code == 404
        assert "<Code>BlobNotFound</Code>" in answer.text
        assert ask(archive.signed("b/B99.tif"), "HEAD").status_code == 404

    def test_conditions(self, archive: Archive) -> None:
        url = archive.signed("b/S.tif")
        etag = ask(url, "HEAD").headers["etag"]
        some = {"range": "bytes=0-9"}
        for status, headers in [
            (304, {"if_none_match": etag}),
            (304, {"if_none_match": f'"a", W/{etag}'}),
            (206, {"if_none_match": '"a"', **some}),
            (412, {"if_match": '"a"'}),
            (206, {"if_match": etag, **some}),
            (206, {"if_match": "*", **some}),
            (206, {"if_range": etag, **some}),
        ]:
            answer = ask(url, **headers)
            assert answer.status_code == status, headers
            assert (len(answer.content) == 10) == (status == 206)
        assert ask(url, if_range='"a"', **some).status_code == 200

    def test_head_has_the_headers_of_get(self, archive: Archive) -> None:
        for path in FILES:
            with requests.get(archive.signed(path), stream=True, timeout=9) as got:
                head = ask(archive.signed(path), "HEAD")
                assert head.status_code == got.status_code == 200
                for name in ("date", "x-ms-request-id"):
                    assert head.headers.pop(name)
                    assert got.headers.pop(name)
                assert head.headers == got.headers
                assert head.content == b""
        assert archive.folder.files["b/B02.tif"].raster is OPTICAL
        assert got.headers["accept-ranges"] == "bytes"
        assert got.headers["x-ms-blob-type"] == "BlockBlob"
        assert got.headers["content-type"] == "image/tiff"
        assert int(got.headers["content-length"]) == layout_of(RADAR).size

    def test_a_failure_is_an_error_and_no_pixels(self, archive: Archive) -> None:
        archive.folder.files["b/S.tif"].fails = True
        assert ask(archive.signed("b/S.tif"), range="bytes=50000-60000").status_code == 500
        with pytest.raises(requests.RequestException):
            ask(archive.signed("b/S.tif"))


class TestBounds:
    def test_a_reader_that_goes_stops_the_rendering(self, archive: Archive) -> None:
        file = archive.folder.files["r/vv.rtc.tiff"]
        file.pause_s = 0.01
        with requests.get(archive.signed("r/vv.rtc.tiff"), stream=True, timeout=9) as answer:
            assert int(answer.headers["content-length"]) > 3_000_000_000
            start = answer.raw.read(4_000_000)
        assert start[: len(layout_of(RADAR).header)] == layout_of(RADAR).header
        time.sleep(0.2)
        rendered = len(file.rendered)
        assert rendered < 40
        time.sleep(0.3)
        assert len(file.rendered) == rendered

    def test_a_reader_that_does_not_read_is_waited_for(self, archive: Archive) -> None:
        file = archive.folder.files["r/vv.rtc.tiff"]
        url = urlsplit(archive.signed("r/vv.rtc.tiff"))
        connection = http.client.HTTPConnection(url.netloc)
        connection.request("GET", f"{url.path}?{url.query}")
        time.sleep(0.5)
        assert len(file.rendered) < 16
        connection.close()

    def test_memory_is_bounded(self, archive: Archive) -> None:
        def drain(n: int) -> int:
            begin = 40_000_000 * n
            headers = {"range": f"bytes={begin}-{begin + 8_388_607}"}
            buffer, total = bytearray(65_536), 0
            with requests.get(
                archive.signed("r/vv.rtc.tiff"), headers=headers, stream=True, timeout=60
            ) as answer:
                while read := answer.raw.readinto(buffer):
                    total += read
            return total

        drain(0)
        before, peak, done = _resident(), [0], threading.Event()

        def watch() -> None:
            while not done.wait(0.01):
                peak[0] = max(peak[0], _resident())

        watcher = threading.Thread(target=watch)
        watcher.start()
        with ThreadPoolExecutor(16) as readers:
            assert list(readers.map(drain, range(1, 33))) == [8_388_608] * 32
        done.set()
        watcher.join()
        assert peak[0] - before < 150_000_000


def _resident() -> int:
    """Return the bytes of memory this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
