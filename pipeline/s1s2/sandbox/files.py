"""From a path in the simulated archive to a file whose blocks are rendered when asked for."""

import hashlib
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from s1s2.bands import OPTICAL, Band
from s1s2.sandbox import optical, radar, sky
from s1s2.sandbox.blocks import BLOCK_PX
from s1s2.sandbox.net import Patch, net_of
from s1s2.sandbox.planet import ground, land_cover
from s1s2.sandbox.scenes import S2_TILE_M, CoverTile, Edge, OpticalScene, RadarScene
from s1s2.sandbox.tiff import Raster

_RADAR = {"vv": Band.VV, "vh": Band.VH, "hh": Band.VV, "hv": Band.VH}
"""Polarisation of an asset; HH looks as VV, HV as VH."""
_VIEW_BYTES, _LEAST_BYTES = 48 << 20, 1 << 12
"""Views are of 1 to 2 MB: enough for those of eight chips that are read at once."""
_SHARERS = Counter(band.gsd_m for band in (*OPTICAL, Band.SCL))
"""How many files of an optical scene share a view, by pixel size."""
_FILES_KEPT = 4096

Block = tuple[int, int, int]
Find = Callable[[str, str, str], tuple[OpticalScene | RadarScene | CoverTile, str] | None]
"""Takes account, container and path; returns a scene and the asset's key."""


class _Views:
    """Keeps the last views, up to so many bytes; several readers of one wait for the first.

    The first to go are those that all their files have asked for: readers take one file of a scene
    after the other, and seldom come back.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Any, Future[Any]] = OrderedDict()
        self._asked: dict[Any, set[str]] = {}
        self._sizes: dict[Any, int] = {}
        self._total = 0
        self._lock = threading.Lock()

    def get(self, key: Any, file: str, n_files: int, make: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Return the view of a key for one of its so many files."""
        with self._lock:
            future = self._kept.get(key)
            mine = future is None
            if future is None:
                future = self._kept[key] = Future()
            asked = self._asked.setdefault(key, set())
            asked.add(file)
            self._kept.move_to_end(key, last=len(asked) < n_files)
        if mine:
            try:
                future.set_result(make())
            except BaseException as error:
                future.set_exception(error)
                with self._lock:
                    self._kept.pop(key, None)
                    self._asked.pop(key, None)
                raise
            self._note(key, _size(future.result()))
        return future.result()

    def _note(self, key: Any, size: int) -> None:  # noqa: ANN401  # any key
        with self._lock:
            self._sizes[key] = size
            self._total += size
            while self._total > _VIEW_BYTES:
                oldest = next(k for k in self._kept if k in self._sizes)
                self._total -= self._sizes.pop(oldest)
                del self._kept[oldest], self._asked[oldest]


def _size(view: object) -> int:
    """Return the bytes of a view's arrays."""
    if not isinstance(view, optical.View | radar.View):
        return _LEAST_BYTES
    arrays = [view, view.clouds] if isinstance(view, optical.View) else [view, view.ground]
    values = (value for part in arrays if part is not None for value in vars(part).values())
    return sum(value.nbytes for value in values if isinstance(value, np.ndarray))


class RenderedFiles:
    """The archive's files.

    Args:
        find: Finds the scene and the asset that a path stands for.
        seed: The planet's.
    """

    def __init__(self, find: Find, seed: int) -> None:
        self._seed, self._views = seed, _Views()
        self._find = find
        # a reader comes back to a file some five times for every chip
        self._file = lru_cache(_FILES_KEPT)(self._make)

    def find(self, account: str, container: str, path: str) -> "RenderedFile | None":
        """Return a file, or none where there is none."""
        return self._file(account, container, path)

    def _make(self, account: str, container: str, path: str) -> "RenderedFile | None":
        found = self._find(account, container, path)
        if found is None:
            return None
        scene, key = found
        tag = hashlib.sha256(repr((self._seed, account, container, path)).encode()).hexdigest()[:20]
        if isinstance(scene, RadarScene) and key in _RADAR:
            return RenderedFile(
                _radar_raster(scene), tag, _Radar(scene, key, self._seed, self._views)
            )
        if isinstance(scene, OpticalScene) and key in Band.__members__:
            band = Band(key)
            picture = _Optical(scene, band, self._seed, self._views)
            return RenderedFile(_optical_raster(scene, band), tag, picture)
        if isinstance(scene, CoverTile):
            return RenderedFile(_cover_raster(scene), tag, _Cover(scene, self._seed))
        return None


class _Picture(Protocol):
    def pixels(self, gsd: float, row: int, col: int) -> NDArray[Any]: ...


@dataclass(frozen=True)
class RenderedFile:
    """One file; see `render.File`."""

    raster: Raster
    etag: str
    _picture: _Picture

    def block(self, level: int, row: int, col: int) -> NDArray[Any]:
        """Return a block's pixels, shape (512, 512), nodata where it sticks out of the image."""
        gsd = self.raster.gsd * 2**level
        pixels = self._picture.pixels(gsd, row, col)
        width = -(-self.raster.width // 2**level) - col * BLOCK_PX
        height = -(-self.raster.height // 2**level) - row * BLOCK_PX
        pixels[:, max(width, 0) :] = self.raster.nodata or 0
        pixels[max(height, 0) :] = self.raster.nodata or 0
        return pixels


def _optical_raster(scene: OpticalScene, band: Band) -> Raster:
    size = S2_TILE_M // band.gsd_m
    sample = "u8" if band is Band.SCL else "u15"
    return Raster(scene.epsg, scene.left, scene.top, band.gsd_m, size, size, sample)  # type: ignore[arg-type]


def _radar_raster(scene: RadarScene) -> Raster:
    return Raster(
        scene.epsg, scene.left, scene.top, 10, scene.width, scene.height, "f32", radar.NODATA
    )


@dataclass(frozen=True)
class _Optical:
    scene: OpticalScene
    band: Band
    seed: int
    views: _Views

    def pixels(self, gsd: float, row: int, col: int) -> NDArray[Any]:
        scene = self.scene
        patch = _patch(scene, gsd, row, col)
        key = scene.recording, gsd, row, col
        asks = self.band.value, _SHARERS[self.band.gsd_m]
        view = self.views.get(
            key, *asks, lambda: self._view(patch, as_classes=self.band is Band.SCL)
        )
        if isinstance(view, _Overcast):
            if self.band is Band.SCL:
                return np.full((BLOCK_PX, BLOCK_PX), optical.CLOUD_HIGH, np.uint8)
            below = ("below", *key)
            view = self.views.get(below, *asks, lambda: self._view(patch, as_classes=False))
        if view is None:
            kind = np.uint8 if self.band is Band.SCL else np.uint16
            return np.zeros((BLOCK_PX, BLOCK_PX), kind)
        if self.band is Band.SCL:
            return optical.scene_classification(view)
        corner = (col * BLOCK_PX, row * BLOCK_PX)
        keys = scene.datatake, scene.recording
        return optical.numbers(view, self.band, scene.offset, *keys, corner)

    def _view(self, patch: Patch, *, as_classes: bool) -> "optical.View | _Overcast | None":
        """Look down; if only classes are asked for, on clouds alone where nothing else is seen."""
        scene = self.scene
        outside = outside_of(patch, scene.edges)
        if outside is not None and outside.all():
            return None
        day, net = scene.sensed_at.timetuple().tm_yday, net_of(patch)
        weather = sky.weather(net, day, scene.datatake)
        if as_classes and outside is None and weather.overcast:
            return _Overcast()
        azimuth, zenith = scene.sun_azimuth, scene.sun_zenith
        clouds = sky.clouds(patch, net, weather, scene.datatake, azimuth, zenith)
        there = ground(patch, net, day, self.seed)
        return optical.view_of(there, clouds, outside, azimuth, zenith)


@dataclass(frozen=True)
class _Overcast:
    """A patch of which nothing but opaque cloud is seen: of its chips nothing more is asked."""


@dataclass(frozen=True)
class _Radar:
    scene: RadarScene
    key: str
    seed: int
    views: _Views

    def pixels(self, gsd: float, row: int, col: int) -> NDArray[np.float32]:
        scene = self.scene
        patch = _patch(scene, gsd, row, col)
        key = scene.recording, gsd, row, col
        view = self.views.get(key, self.key, len(scene.polarisations), lambda: self._view(patch))
        if view is None:
            return np.full((BLOCK_PX, BLOCK_PX), radar.NODATA, np.float32)
        corner = (col * BLOCK_PX, row * BLOCK_PX)
        return radar.power(view, _RADAR[self.key], scene.datatake, scene.recording, corner)

    def _view(self, patch: Patch) -> radar.View | None:
        scene = self.scene
        outside = outside_of(patch, scene.edges)
        if outside is not None and outside.all():
            return None
        near, half = scene.edges[0], patch.gsd / 2
        first = near.a * (patch.left + half) + near.b * (patch.top - half) + near.c
        across = (first, near.a * patch.gsd, -near.b * patch.gsd)
        day = scene.starts.timetuple().tm_yday
        there = ground(patch, net_of(patch), day, self.seed)
        return radar.View(there, scene.look, across, outside)


def _patch(scene: OpticalScene | RadarScene | CoverTile, gsd: float, row: int, col: int) -> Patch:
    side = gsd * BLOCK_PX
    return Patch(scene.epsg, scene.left + col * side, scene.top - row * side, gsd, BLOCK_PX)


def outside_of(patch: Patch, edges: tuple[Edge, ...]) -> NDArray[np.bool_] | None:
    """Say which pixels' centres lie beyond an edge; None where none does."""
    x = patch.left + (np.arange(patch.size) + 0.5) * patch.gsd
    y = patch.top - (np.arange(patch.size) + 0.5) * patch.gsd
    outside: NDArray[np.bool_] | None = None
    for edge in edges:
        corners = edge.a * x[[0, -1]] + (edge.b * y[[0, -1]] + edge.c)[:, np.newaxis]
        if corners.min() >= 0:
            continue
        beyond = edge.a * x + (edge.b * y + edge.c)[:, np.newaxis] < 0
        outside = beyond if outside is None else outside | beyond
    return outside


def _cover_raster(scene: CoverTile) -> Raster:
    gsd = Band.B02.gsd_m
    size = S2_TILE_M // gsd
    return Raster(scene.epsg, scene.left, scene.top, gsd, size, size, "u8", 0)


@dataclass(frozen=True)
class _Cover:
    scene: CoverTile
    seed: int

    def pixels(self, gsd: float, row: int, col: int) -> NDArray[np.uint8]:
        return land_cover(_patch(self.scene, gsd, row, col), self.seed)
