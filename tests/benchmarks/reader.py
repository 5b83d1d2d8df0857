"""How fast chips are cut: ours beside rasterio, rioxarray and odc-stac, from the same files.

Files of full size, of which only the blocks that are read exist, behind a server that waits before
each answer: `15-bit` as on Planetary Computer (512 px blocks), `predictor` as on Earth Search
(16 bit, predictor 2, 1,024 px blocks); radar is float32 with predictor 3 in both. Every chip is of
another scene, so that no header serves twice. All ways take turns, this process on one processor,
and must cut the same pixels. Ratios tell more than times, which are the machine's.

Run it with `make bench SUITE=reader` (a quarter of an hour of two idle processors); it prints a
table and writes `build/bench.json`.
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import odc.stac
import pystac
import rasterio
import rasterio.shutil
import rioxarray
from fakes import GDAL_SETTINGS
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin
from rasterio.windows import Window, from_bounds
from shapely import box
from table import keep

from s1s2.bands import RADAR, Band, Sensor, bands_of
from s1s2.catalog import PLANETARY_COMPUTER_S1, PLANETARY_COMPUTER_S2, Catalog
from s1s2.chip import Chip, ChipRules, Pair, cut
from s1s2.grid import GridSpec, to_lonlat
from s1s2.reader import CogReader, Pixels
from s1s2.scene import Scene
from s1s2.wire import Place

ROUNDS, CHIPS, THREADS = 3, 24, 16
LAYOUTS = {"15-bit": (512, {"nbits": 15}), "predictor": (1024, {"predictor": "YES"})}
"""Blocks of optical files, pixels, and how they are written."""
SETTINGS = (("15-bit", 0), ("15-bit", 30), ("15-bit", 80), ("predictor", 30))
"""Layout, and how long each request waits, milliseconds."""
LEFT, TOP, EPSG = 499_980, 5_000_040, 32631
NAMES = count(1)
PROCESSORS = os.sched_getaffinity(0)
OURS = max(PROCESSORS)


def size_of(band: Band) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return a file's shape, and where it begins, metres."""
    if band in RADAR:
        return (23_625, 28_236), (LEFT - 9_000, TOP + 9_000)
    return (109_800 // band.gsd_m,) * 2, (LEFT, TOP)


def dtype_of(band: Band) -> str:
    return "float32" if band in RADAR else "uint8" if band is Band.SCL else "uint16"


def write(path: Path, band: Band, places: Sequence[tuple[float, float]], layout: str) -> None:
    """Write a file of full size with pixels around the places, at most a chip's width away."""
    block, form = LAYOUTS[layout]
    random, gsd = np.random.default_rng(len(band)), band.gsd_m
    radar, classes = band in RADAR, band is Band.SCL
    (height, width), (left, top) = size_of(band)
    plain = path.with_suffix(".plain.tif")
    profile = {
        "driver": "GTiff",
        "width": width,
        "height": height,
        "count": 1,
        "dtype": dtype_of(band),
        "crs": f"EPSG:{EPSG}",
        "transform": from_origin(left, top, gsd, gsd),
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "sparse_ok": True,
        "bigtiff": "YES",
    }
    with rasterio.open(plain, "w", **profile) as file:
        for x, y in places:
            row = max(0, int((top - y) / gsd) - 7000 // gsd) // 512 * 512
            column = max(0, int((x - left) / gsd) - 7000 // gsd) // 512 * 512
            shape = min(2048, height - row), min(2048, width - column)
            if radar:
                pixels = random.gamma(4, 0.03, shape).astype(np.float32)
            else:
                waves = np.add.outer(*(np.sin(np.arange(n) / 40) for n in shape))
                pixels = np.rint(1500 + 400 * waves + random.normal(0, 25, shape))
                pixels = np.full(shape, 4) if classes else pixels
            file.write(pixels.astype(file.dtypes[0]), 1, window=Window(column, row, *shape[::-1]))
    form = {"predictor": "YES"} if radar else {} if classes else form
    block = 512 if radar else block
    every = {"compress": "deflate", "blocksize": block, "overviews": "NONE", "sparse_ok": True}
    rasterio.shutil.copy(plain, path, driver="COG", **every, **form)
    plain.unlink()


@dataclass
class Places:
    """Chips to cut, each from a scene that nobody has opened yet."""

    url: str
    corners: Sequence[tuple[float, float]]

    def pairs(self) -> list[Pair]:
        lon, lat = to_lonlat(*np.array(self.corners, float).T, EPSG)
        return [
            Pair(n, *place, self.scene(Sensor.S2), self.scene(Sensor.S1), 0)
            for n, place in enumerate(zip(lon, lat, strict=True))
        ]

    def scene(self, sensor: Sensor) -> Scene:
        name = next(NAMES)
        hrefs = {b: f"{self.url}/{name}/{b}.tif" for b in bands_of(sensor)}
        when = datetime(2024, 6, 1, tzinfo=UTC)
        return Scene(
            f"scene-{name}", "bench", "c", sensor, "x", when, box(0, 0, 9, 9), EPSG, hrefs, "a"
        )


class RasterioReader:
    """The same windows through rasterio with the settings measured best for these layouts."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(4 * THREADS)

    def grids(self, scene: Scene, bands: Sequence[Band]) -> dict[Band, GeoBox]:
        def grid(band: Band) -> GeoBox:
            with rasterio.Env(**GDAL_SETTINGS), self._opened(scene, band) as file:
                return GeoBox(file.shape, file.transform, f"EPSG:{file.crs.to_epsg()}")

        return {band: grid(band) for band in bands[:1]}

    def read(self, scene: Scene, geoboxes: Mapping[Band, GeoBox]) -> dict[Band, Pixels]:
        def read(band: Band) -> Pixels:
            with rasterio.Env(**GDAL_SETTINGS), self._opened(scene, band) as file:
                bounds = tuple(geoboxes[band].boundingbox)
                data = file.read(1, window=from_bounds(*bounds, transform=file.transform))
                return Pixels(data, data > 0)

        return dict(zip(geoboxes, self._pool.map(read, geoboxes), strict=True))

    @staticmethod
    def _opened(scene: Scene, band: Band) -> rasterio.DatasetReader:
        return rasterio.open(f"/vsicurl/{scene.hrefs[band]}", driver="GTiff")


class RioxarrayReader(RasterioReader):
    """The same windows through rioxarray, with the same settings."""

    def read(self, scene: Scene, geoboxes: Mapping[Band, GeoBox]) -> dict[Band, Pixels]:
        def read(band: Band) -> Pixels:
            with rasterio.Env(**GDAL_SETTINGS):
                href = f"/vsicurl/{scene.hrefs[band]}"
                with rioxarray.open_rasterio(href, lock=False, driver="GTiff") as opened:  # noqa: TID251  # a peer
                    bounds = tuple(geoboxes[band].boundingbox)
                    window = from_bounds(*bounds, transform=opened.rio.transform())
                    data = opened.rio.isel_window(window.round()).to_numpy()[0]
                    return Pixels(data, data > 0)

        return dict(zip(geoboxes, self._pool.map(read, geoboxes), strict=True))


class OdcReader(RasterioReader):
    """The same windows through odc-stac: bands of one pixel size at a time, as it works."""

    def read(self, scene: Scene, geoboxes: Mapping[Band, GeoBox]) -> dict[Band, Pixels]:
        item = self._item(scene)
        found = {}
        for gsd in sorted({band.gsd_m for band in geoboxes}):
            bands = [band for band in geoboxes if band.gsd_m == gsd]
            grid = geoboxes[bands[0]]
            names = [str(b) for b in bands]
            loaded = odc.stac.load([item], bands=names, geobox=grid, pool=len(bands))
            arrays = {band: loaded[str(band)].to_numpy()[0] for band in bands}
            found |= {band: Pixels(data, data > 0) for band, data in arrays.items()}
        return {band: found[band] for band in geoboxes}

    @staticmethod
    def _item(scene: Scene) -> pystac.Item:
        item = pystac.Item(
            scene.id,
            {"type": "Point", "coordinates": [3, 45]},
            [2.9, 44.9, 3.1, 45.1],
            scene.sensed_at,
            {"proj:code": f"EPSG:{EPSG}"},
            stac_extensions=[
                "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
                "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
            ],
        )
        for band, href in scene.hrefs.items():
            shape, (left, top) = size_of(band)
            asset = pystac.Asset(
                href,
                media_type=pystac.MediaType.COG,
                roles=["data"],
                extra_fields={
                    "proj:shape": list(shape),
                    "proj:transform": [band.gsd_m, 0, left, 0, -band.gsd_m, top],
                    "raster:bands": [{"data_type": dtype_of(band), "nodata": 0}],
                },
            )
            item.add_asset(str(band), asset)
        return item


@dataclass
class Figures:
    """What a round took, for each way to read."""

    seconds: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)


def measure(reader: object, places: Places, into: Figures) -> list[str]:
    """Cut all chips; return the hashes of their pixels."""
    counts(places.url)
    pairs = places.pairs()
    begun, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(THREADS) as pool:
        chips = list(pool.map(lambda p: cut(p, reader, GridSpec(), ChipRules()), pairs))
    into.seconds.append(time.perf_counter() - begun)
    into.cpu_ms.append((time.process_time() - cpu) / len(pairs) * 1000)
    requests, n_bytes = counts(places.url)
    into.requests.append(requests / len(pairs))
    into.megabytes.append(n_bytes / len(pairs) / 1e6)
    assert all(isinstance(chip, Chip) for chip in chips), "a chip was refused"
    return [chip.row["sha256"] for chip in chips]


def counts(url: str) -> tuple[int, int]:
    with urllib.request.urlopen(f"{url}/-/counts") as answer:  # noqa: S310  # our own server
        requests, n_bytes = map(int, answer.read().split())
    return requests, n_bytes


@contextmanager
def served(folder: Path, wait_ms: int) -> Iterator[str]:
    program = [sys.executable, str(Path(__file__).with_name("ranges.py")), folder, str(wait_ms)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(program, **pipes) as server:
        if len(PROCESSORS) > 1:
            os.sched_setaffinity(server.pid, PROCESSORS - {OURS})
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.stdin.close()


@contextmanager
def as_over_tls() -> Iterator[None]:
    """Take loopback for TLS, which vouches for bytes: no checksum needs to be reached."""
    with mock.patch.object(Place, "proven", True):
        yield


def ways(url: str) -> dict[str, Callable[[Places, Figures], list[str]]]:
    products = {"s1": PLANETARY_COMPUTER_S1, "s2": PLANETARY_COMPUTER_S2}
    host = url.removeprefix("http://")
    catalog = Catalog(name="bench", items="x", own_hosts=(host,), **products)

    def ours(places: Places, into: Figures) -> list[str]:
        with CogReader({"bench": catalog}) as reader:
            return measure(reader, places, into)

    def ours_over_tls(places: Places, into: Figures) -> list[str]:
        with as_over_tls():
            return ours(places, into)

    def through(reader: type[RasterioReader]) -> Callable[[Places, Figures], list[str]]:
        return lambda places, into: measure(reader(), places, into)

    return {
        "rasterio": through(RasterioReader),
        "rioxarray": through(RioxarrayReader),
        "odc-stac": through(OdcReader),
        "s1s2, checksums proven": ours,
        "s1s2": ours_over_tls,
    }


def compare(layout: str, waits_ms: Sequence[int]) -> Iterator[tuple[int, dict[str, Figures]]]:
    """Let all ways cut the same chips in turn; yield what they took, for each wait."""
    random = np.random.default_rng(7)
    corners = [tuple(c) for c in random.uniform((506_000, 4_900_000), (600_000, 4_990_000), (4, 2))]
    near = [
        (x + dx, y + dy) for x, y in corners for dx, dy in random.uniform(-5_000, 5_000, (6, 2))
    ]
    with tempfile.TemporaryDirectory() as name:
        for band in Band:
            write(Path(name) / f"{band}.tif", band, corners, layout)
        for wait_ms in waits_ms:
            with served(Path(name), wait_ms) as url:
                places, figures, seen = Places(url, near[:CHIPS]), {}, set()
                for _ in range(ROUNDS):
                    for label, way in ways(url).items():
                        seen.add(tuple(way(places, figures.setdefault(label, Figures()))))
                assert len(seen) == 1, "all read the same pixels"
            yield wait_ms, figures


def run() -> None:
    os.sched_setaffinity(0, {OURS})
    odc.stac.configure_rio(**GDAL_SETTINGS)
    rows = []
    for layout in LAYOUTS:
        waits = [wait for name, wait in SETTINGS if name == layout]
        for wait_ms, figures in compare(layout, waits):
            setting = f"{layout}, {wait_ms} ms"
            table(setting, figures)
            rows += [row(setting, who, own) for who, own in figures.items()]
    keep("reader", rows)


def row(setting: str, who: str, own: Figures) -> dict[str, object]:
    return {
        "setting": setting,
        "who": who,
        "rate": CHIPS / statistics.median(own.seconds),
        "cpu_ms": statistics.median(own.cpu_ms),
        "requests": own.requests[0],
        "bytes": own.megabytes[0] * 1e6,
    }


def table(setting: str, figures: Mapping[str, Figures]) -> None:
    base = figures["rasterio"]
    versions = f"rasterio {rasterio.__version__}, odc-stac {odc.stac.__version__}"
    print(
        f"\n{setting} a request · {CHIPS} chips, each of another scene, {THREADS} threads, one "
        f"processor · {datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {versions}"
    )
    for label, own in figures.items():
        speed = statistics.median(base.seconds) / statistics.median(own.seconds)
        effort = statistics.median(own.cpu_ms) / statistics.median(base.cpu_ms)
        rates = sorted(CHIPS / s for s in own.seconds)
        print(
            f"{label:24} {speed:5.2f} x rasterio's rate · {effort:5.2f} x its processor time   "
            f"({rates[0]:.1f} to {rates[-1]:.1f} chips/s, {statistics.median(own.cpu_ms):.0f} ms, "
            f"{own.requests[0]:.1f} requests, {own.megabytes[0]:.2f} MB a chip)"
        )


if __name__ == "__main__":
    run()
