"""How fast chips are cut, ours beside rasterio at its best, from the same files in one run.

Files in Planetary Computer's layout and full size (15-bit, 512 px blocks; radar as float32 with
predictor 3), of which only the blocks that are read exist, behind a server that waits 30 ms before
each answer. Every chip is of another scene, so that no header serves twice. Prints ratios, since
absolute times say more about the machine. Run it with `make bench`.
"""

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
import rasterio
import rasterio.shutil
from fakes import GDAL_SETTINGS
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin
from rasterio.windows import Window, from_bounds
from shapely import box

from s1s2.bands import RADAR, Band, Sensor, bands_of
from s1s2.catalog import PLANETARY_COMPUTER_S1, PLANETARY_COMPUTER_S2, Catalog
from s1s2.chip import Chip, ChipRules, Pair, cut
from s1s2.grid import GridSpec, to_lonlat
from s1s2.reader import CogReader, Pixels
from s1s2.scene import Scene
from s1s2.wire import Place

ROUNDS, CHIPS, THREADS, WAIT_MS = 5, 24, 16, 30
LEFT, TOP, EPSG = 499_980, 5_000_040, 32631
NAMES = count(1)


def write(path: Path, band: Band, places: Sequence[tuple[float, float]]) -> None:
    """Write a file of full size with pixels around the places, at most a chip's width away."""
    random, gsd = np.random.default_rng(len(band)), band.gsd_m
    radar, classes = band in RADAR, band is Band.SCL
    width, height = (28_236, 23_625) if radar else (109_800 // gsd, 109_800 // gsd)
    left, top = (LEFT - 9_000, TOP + 9_000) if radar else (LEFT, TOP)
    plain = path.with_suffix(".plain.tif")
    profile = {
        "driver": "GTiff",
        "width": width,
        "height": height,
        "count": 1,
        "dtype": "float32" if radar else "uint8" if classes else "uint16",
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
    predictor = {"predictor": "YES"} if radar else {}
    bits = {} if radar or classes else {"nbits": 15}
    form = {"compress": "deflate", "blocksize": 512, "overviews": "NONE", "sparse_ok": True}
    rasterio.shutil.copy(plain, path, driver="COG", **form, **predictor, **bits)
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
    """The same windows through rasterio with the settings measured best for this layout."""

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
def served(folder: Path) -> Iterator[str]:
    program = [sys.executable, str(Path(__file__).with_name("ranges.py")), folder, str(WAIT_MS)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(program, **pipes) as server:
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

    def rasterios(places: Places, into: Figures) -> list[str]:
        return measure(RasterioReader(), places, into)

    return {
        "rasterio": rasterios,
        "s1s2, checksums proven": ours,
        "s1s2, as over TLS": ours_over_tls,
    }


def run() -> None:
    random = np.random.default_rng(7)
    corners = [tuple(c) for c in random.uniform((506_000, 4_900_000), (600_000, 4_990_000), (4, 2))]
    near = [
        (x + dx, y + dy) for x, y in corners for dx, dy in random.uniform(-5_000, 5_000, (6, 2))
    ]
    with tempfile.TemporaryDirectory() as name:
        for band in Band:
            write(Path(name) / f"{band}.tif", band, corners)
        with served(Path(name)) as url:
            places, figures, seen = Places(url, near[:CHIPS]), {}, set()
            for _ in range(ROUNDS):
                for label, way in ways(url).items():
                    seen.add(tuple(way(places, figures.setdefault(label, Figures()))))
            assert len(seen) == 1, "all read the same pixels"
    table(figures)


def table(figures: Mapping[str, Figures]) -> None:
    base = figures["rasterio"]
    print(f"{CHIPS} chips, each of another scene, {WAIT_MS} ms a request, {THREADS} threads")
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
