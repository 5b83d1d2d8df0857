"""From a scene, its bands and a grid to pixels: the one door that opens files, as GeoTIFF only.

All bands asked for at once are under way at once. Threads of the reader's own wait for bytes; they
are decoded where they were asked for, as they come.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Condition
from typing import Protocol, Self, TypeVar

from odc.geo.geobox import GeoBox

from s1s2 import fallback
from s1s2.access import admit, may_be_private
from s1s2.bands import Band
from s1s2.catalog import Catalog
from s1s2.errors import ContractError, ReadError
from s1s2.geotiff import Header
from s1s2.headers import Headers
from s1s2.job import Job, Pixels, checked, grid_of, plan
from s1s2.scene import Scene
from s1s2.sign import renewer_for, signer_for
from s1s2.spans import Span
from s1s2.wire import Part, Place, Traffic, Wire

IN_FLIGHT = 64
"""Requests under way at once, of all files and chips together, unless more of us share a budget."""
MOST_BYTES = 256 << 20
"""Fetched and not yet decoded, of all files and chips together; what comes on top of it is one
inflated block (`geotiff.LARGEST_BLOCK`) for every chip being read."""
_TRIES, _TRIES_UNPROVEN = 2, 5
"""How often a band is read that does not come as it should be: over TLS and from disk, and over
plain HTTP, where nothing vouches for the bytes: it is final then, and another pair is taken."""
_SAME_PLACE_M = 1e-4
_Running = dict[Future[Part], tuple[Job, Span]]
_Problems = dict[Band, ReadError | ContractError]
T = TypeVar("T")


class Reader(Protocol):
    """Whatever turns a scene, its bands and grids into pixels."""

    def grids(self, scene: Scene, bands: Sequence[Band]) -> dict[Band, GeoBox]:
        """Return the files' own grids, from their headers."""
        ...

    def read(self, scene: Scene, geoboxes: Mapping[Band, GeoBox]) -> dict[Band, Pixels]:
        """Return bands, each on a grid."""
        ...


class CogReader:
    """Reads windows of GeoTIFFs: plain ones, and one reprojection where radar needs it.

    Thread-safe; a context manager. What one thread has asked of a file's header serves all.
    """

    def __init__(self, catalogs: Mapping[str, Catalog], in_flight: int = IN_FLIGHT) -> None:
        """Open nothing yet.

        Args:
            catalogs: By name, as scenes have it; they decide what may be opened.
            in_flight: Requests under way at once.
        """
        self._catalogs = catalogs
        self._wire, self._room = Wire(in_flight), _Room(MOST_BYTES)
        self._pool = ThreadPoolExecutor(in_flight, "s1s2-read")
        self._headers = Headers(self._wire, self._pool)
        self._doubted: dict[str, tuple[float, ...]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop connections; what is under way ends by itself, and nobody waits for it."""
        self._wire.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def through_gdal(self) -> Counter[str]:
        """Files that were left to GDAL, counted by what is odd about them."""
        return self._headers.through_gdal

    @property
    def traffic(self) -> Traffic:
        """What was asked of servers so far."""
        return self._wire.traffic()

    def grids(self, scene: Scene, bands: Sequence[Band]) -> dict[Band, GeoBox]:
        """Return the files' own grids, from their headers.

        Raises:
            ReadError: If one cannot be read: the first of them, in the order asked for.
            ContractError: If one is not the GeoTIFF its band promises.
        """
        return self._patiently(scene, bands, lambda some: self._grids(scene, some))

    def read(self, scene: Scene, geoboxes: Mapping[Band, GeoBox]) -> dict[Band, Pixels]:
        """Return bands, each on a grid of its own pixel spacing.

        A window of the file where zone and lattice agree. Radar elsewhere is resampled once,
        bilinearly, in linear power; invalid neighbours do not take part. What cannot be decoded is
        fetched once more, header and all, before that is believed.

        Raises:
            ReadError: If a file cannot be read or decoded: the first of them, in the order asked
                for.
            ContractError: If one is not the GeoTIFF its band promises, or an optical band does not
                share the grid's lattice.
        """
        return self._patiently(
            scene, geoboxes, lambda some: self._read(scene, {b: geoboxes[b] for b in some})
        )

    def _patiently(
        self,
        scene: Scene,
        bands: Iterable[Band],
        work: Callable[[Sequence[Band]], tuple[dict[Band, T], _Problems]],
    ) -> dict[Band, T]:
        """Work on bands; again, from the header on, on those that came not as they should be.

        Over plain HTTP a header, or a block, may be damaged on its way, and the next one as well.
        """
        left = list(bands)
        places = {band: self._place(scene, band) for band in left}
        plain = any(place.remote and not place.proven for place in places.values())
        tries = _TRIES_UNPROVEN if plain else _TRIES
        found: dict[Band, T] = {}
        while left:
            done, problems = work(left)
            found |= done
            left = [band for band in left if band in problems]
            tries -= 1
            for band in left:
                if not tries or not _may_be_passing(problems[band]):
                    with _about(scene, band):
                        raise problems[band]
                self._headers.forget(places[band])
        return {band: found[band] for band in places}

    def _grids(self, scene: Scene, bands: Sequence[Band]) -> tuple[dict[Band, GeoBox], _Problems]:
        headers, problems = self._opened(scene, bands)
        return {band: grid_of(header) for band, (_, header) in headers.items()}, problems

    def _read(
        self, scene: Scene, geoboxes: Mapping[Band, GeoBox]
    ) -> tuple[dict[Band, Pixels], _Problems]:
        headers, problems = self._opened(scene, tuple(geoboxes))
        jobs = []
        for band, (place, header) in headers.items():
            try:
                jobs.append(plan(band, place, header, geoboxes[band]))
            except (ReadError, ContractError) as error:
                problems[band] = error
        problems |= self._fetch(jobs)
        found = {}
        for job in jobs:
            if job.band in problems:
                continue
            try:
                if job.header.odd:
                    self._through_gdal(job)
                found[job.band] = job.pixels()
            except (ReadError, ContractError) as error:
                problems[job.band] = error
        return found, problems

    def _opened(
        self, scene: Scene, bands: Sequence[Band]
    ) -> tuple[dict[Band, tuple[Place, Header]], _Problems]:
        """Return place and checked header of every band; all asked for before any is awaited."""
        places = {band: self._place(scene, band) for band in bands}
        asked = {band: self._headers.get(place) for band, place in places.items()}
        found: dict[Band, tuple[Place, Header]] = {}
        problems: _Problems = {}
        for band, header in asked.items():
            try:
                found[band] = places[band], self._believed(scene, band, places[band], header)
            except (ReadError, ContractError) as error:
                problems[band] = error
        return found, problems

    def _believed(self, scene: Scene, band: Band, place: Place, asked: Future[Header]) -> Header:
        """Return a header that is what its band promises; of one that may be damaged, the second.

        Nothing in a header tells that its numbers are as they were. Over plain HTTP one that says
        another place than its item is believed once it came twice.
        """
        header = checked(asked.result(), band)
        if place.proven or not place.remote or scene.bounds is None:
            return header
        own = tuple(grid_of(header).boundingbox)
        if max(abs(a - b) for a, b in zip(own, scene.bounds, strict=True)) <= _SAME_PLACE_M:
            return header
        before, self._doubted[place.href] = self._doubted.get(place.href), own
        if before != own:
            msg = f"says that it lies at {own}, its item {scene.bounds}"
            raise ReadError(msg, "asset_corrupt")
        return header

    def _place(self, scene: Scene, band: Band) -> Place:
        catalog = self._catalogs[scene.catalog]
        href = admit(scene.hrefs[band], catalog)
        private = may_be_private(href, catalog)
        return Place(href, signer_for(catalog), renewer_for(catalog), private)

    def _fetch(self, jobs: Sequence[Job]) -> _Problems:
        """Fetch and decode what jobs want; return what went wrong, by band: first in the file.

        Whoever holds bytes never waits for room, or all might wait for each other.
        """
        todo = deque((job, span) for job in jobs for span in job.spans)
        came: SimpleQueue[Future[Part]] = SimpleQueue()
        running: _Running = {}
        problems: dict[Band, tuple[int, ReadError | ContractError]] = {}
        try:
            while todo or running:
                while todo and self._room.take(todo[0][1].n_bytes, wait=not running):
                    job, span = todo.popleft()
                    future = self._pool.submit(self._wire.fetch, job.place, span.start, span.stop)
                    running[future] = job, span
                    future.add_done_callback(came.put)
                future = came.get()
                job, span = running.pop(future)
                try:
                    job.take(span, future.result())
                except (ReadError, ContractError) as error:
                    if span.start < problems.get(job.band, (span.stop,))[0]:
                        problems[job.band] = span.start, error
                finally:
                    self._room.give(span.n_bytes)
        finally:
            for future, (_, span) in running.items():
                future.cancel()
                future.add_done_callback(_giving(self._room, span.n_bytes))
        return {band: error for band, (_, error) in problems.items()}

    def _through_gdal(self, job: Job) -> None:
        def fetch(start: int, stop: int) -> Part:
            return self._wire.fetch(job.place, start, stop)

        inside = job.window.inside(job.header)
        if not inside.height or not inside.width:
            return
        top, left = inside.row - job.window.row, inside.column - job.window.column
        part = fallback.read(inside, fetch)
        job.out[top : top + inside.height, left : left + inside.width] = part


def _may_be_passing(problem: ReadError | ContractError) -> bool:
    """Say whether bytes that were damaged on their way would explain a problem."""
    return isinstance(problem, ContractError) or problem.reason == "asset_corrupt"


def _giving(room: "_Room", n_bytes: int) -> Callable[[object], None]:
    return lambda _: room.give(n_bytes)


class _Room:
    """How many bytes may be at hand; a single taker that finds it empty may have more."""

    def __init__(self, most: int) -> None:
        self._left, self._most, self._changed = most, most, Condition()

    def take(self, n_bytes: int, *, wait: bool) -> bool:
        """Take room for bytes; say False if there is none and nobody wants to wait."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._fits(n_bytes))
            elif not self._fits(n_bytes):
                return False
            self._left -= n_bytes
            return True

    def give(self, n_bytes: int) -> None:
        """Give room back."""
        with self._changed:
            self._left += n_bytes
            self._changed.notify_all()

    def _fits(self, n_bytes: int) -> bool:
        return n_bytes <= self._left or self._left == self._most


@contextmanager
def _about(scene: Scene, band: Band) -> Iterator[None]:
    """Say of which file of which scene a problem speaks."""
    where = f"scene {scene.id} band {band}"
    try:
        yield
    except ReadError as error:
        problem: ReadError | ContractError = ReadError(f"{where}: {error}", error.reason)
    except ContractError as error:
        problem = ContractError(f"{where}: {error}")
    else:
        return
    raise problem
