"""Scenes of full size on a far server: what chips are cut from where reading is measured.

Of each file only the blocks that are read exist. Every scene has a name of its own, so that no
header and no block serves two of them.
"""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from unittest import mock

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin
from rasterio.windows import Window
from shapely import box

from s1s2.bands import RADAR, Band, Sensor, bands_of
from s1s2.catalog import PLANETARY_COMPUTER_S1, PLANETARY_COMPUTER_S2, Catalog
from s1s2.chip import Pair
from s1s2.grid import at_gsd, to_lonlat
from s1s2.scene import Scene
from s1s2.wire import Place

LAYOUTS = {"15-bit": (512, {"nbits": 15}), "predictor": (1024, {"predictor": "YES"})}
"""Blocks of optical files, pixels, and how they are written."""
LEFT, TOP, EPSG = 499_980, 5_000_040, 32631
NAMES = count(1)
PROCESSORS = os.sched_getaffinity(0)
OURS = max(PROCESSORS)
"""The processor that readers have to themselves; the server has the others."""


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


@dataclass(frozen=True)
class Work:
    """One chip to be read: its two scenes, and every band's grid."""

    pair: Pair
    grids: dict[Band, GeoBox]

    def of(self, sensor: Sensor) -> dict[Band, GeoBox]:
        return {band: self.grids[band] for band in bands_of(sensor)}


@dataclass(frozen=True)
class Archive:
    """Files of one layout, and where chips are cut from them."""

    folder: Path
    corners: tuple[tuple[float, float], ...]
    """Left and top of each chip, metres."""

    def works(self, url: str, chips: int, often: int = 1, *, per_scene: int = 1) -> list[Work]:
        """Return chips, so many of one scene, and often the same places of further scenes."""
        found, scenes = [], ()
        for number, (x, y) in enumerate(self.corners[:chips] * often):
            if number % per_scene == 0:
                scenes = _scene(url, Sensor.S2), _scene(url, Sensor.S1)
            left, top = LEFT + (x - LEFT) // 60 * 60, TOP - (TOP - y) // 60 * 60
            grid = GeoBox((256, 256), Affine(10, 0, left, 0, -10, top), f"EPSG:{EPSG}")
            lon, lat = to_lonlat(np.array([left + 1280.0]), np.array([top - 1280.0]), EPSG)
            pair = Pair(number, float(lon[0]), float(lat[0]), *scenes, 0)
            found.append(Work(pair, {band: at_gsd(grid, band.gsd_m) for band in Band}))
        return found


def _scene(url: str, sensor: Sensor) -> Scene:
    name = next(NAMES)
    hrefs = {b: f"{url}/{name}/{b}.tif" for b in bands_of(sensor)}
    when = datetime(2024, 6, 1, tzinfo=UTC)
    return Scene(
        f"scene-{name}", "bench", "c", sensor, "x", when, box(0, 0, 9, 9), EPSG, hrefs, "a"
    )


def archive(folder: Path, layout: str) -> Archive:
    """Write the files of a layout."""
    random = np.random.default_rng(7)
    middles = [tuple(c) for c in random.uniform((506_000, 4_900_000), (600_000, 4_990_000), (4, 2))]
    offsets = random.uniform(-5_000, 5_000, (4, 6, 2))
    near = [
        (x + dx, y + dy) for (x, y), own in zip(middles, offsets, strict=True) for dx, dy in own
    ]
    for band in Band:
        write(folder / f"{band}.tif", band, middles, layout)
    return Archive(folder, tuple(near))


def catalog_of(url: str) -> Catalog:
    products = {"s1": PLANETARY_COMPUTER_S1, "s2": PLANETARY_COMPUTER_S2}
    return Catalog(name="bench", items="x", own_hosts=(url.removeprefix("http://"),), **products)


def counts(url: str) -> tuple[int, int]:
    """Return requests and bytes since the last time."""
    with urllib.request.urlopen(f"{url}/-/counts") as answer:  # noqa: S310  # our own server
        requests, n_bytes = map(int, answer.read().split())
    return requests, n_bytes


@contextmanager
def served(folder: Path, wait_ms: int, mbit: int = 0) -> Iterator[str]:
    """Serve files after a wait, over a line of so many Mbit/s (0: no limit)."""
    program = Path(__file__).with_name("ranges.py")
    command = [sys.executable, str(program), folder, str(wait_ms), str(mbit)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as server:
        if len(PROCESSORS) > 1:
            os.sched_setaffinity(server.pid, PROCESSORS - {OURS})
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.stdin.close()


@contextmanager
def as_over_tls() -> Iterator[None]:
    """Take loopback for TLS, which vouches for bytes: no checksum needs to be reached."""
    with mock.patch.object(Place, "proven", True):
        yield
