"""Ask the catalogs for every scene over the points: grouped, bounded, checkpointed."""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from s1s2 import tables
from s1s2.bands import Sensor, bands_of
from s1s2.catalog import Budget, Catalog
from s1s2.errors import CatalogError
from s1s2.items import ItemRefused, deduplicate, scene_from_item
from s1s2.scene import Scene
from s1s2.search import Query, SearchSpec, Source, open_source

# A query should stay far from a server's time limit and give about a page of items: sixteen places
# of one neighbourhood for sixteen days, fewer places for longer.
_SQUARE_DEGREES, _SQUARES_AROUND = 10, 36
_PLACES_A_QUERY, _SLICE_DAYS = 16, 16
_OFFSET_WORDS = {
    "baseline": "removed by processing baseline (-1000 from 04.00 on)",
    "applied": "removed by the provider",
}


@dataclass(frozen=True)
class Part:
    """One job of an array: it does every n-th piece of work."""

    index: int = 0
    """From 0."""
    count: int = 1

    def owns(self, number: int) -> bool:
        """Say whether a piece of work is this job's."""
        return number % self.count == self.index


def check(catalogs: Mapping[Sensor, Catalog]) -> None:
    """Make sure that every catalog answers, before anything is written.

    Raises:
        CatalogError: If one cannot be reached or read.
    """
    for catalog in {c.name: c for c in catalogs.values()}.values():
        open_source(catalog)


def _able(catalogs: Mapping[Sensor, Catalog]) -> dict[Sensor, Catalog]:
    """Leave out sensors whose catalog has no such product; `match` says so."""
    return {s: c for s, c in catalogs.items() if c.product(s).collection}


def count(points: pd.DataFrame, spec: SearchSpec, catalogs: Mapping[Sensor, Catalog]) -> int:
    """Return how many queries the points need."""
    return sum(len(queries(points, spec, s, c)) for s, c in _able(catalogs).items())


def together(earlier: Sequence[Scene], found: Sequence[Scene]) -> list[Scene]:
    """Add scenes to those found before, one version of each recording."""
    return deduplicate({(s.catalog, s.id): s for s in (*earlier, *found)}.values())


def check_bands(
    scenes: Sequence[Scene], refused: Mapping[str, int], catalogs: Mapping[Sensor, Catalog]
) -> None:
    """Stop where a catalog's description cannot be right.

    Raises:
        CatalogError: If no scene at all has some band.
    """
    for sensor, catalog in _able(catalogs).items():
        ours = [s for s in scenes if s.sensor is sensor]
        lacking = set.intersection(*(set(s.missing_bands) for s in ours)) if ours else set()
        if not ours and refused.get("no_assets"):
            lacking = set(bands_of(sensor))
        if lacking:
            keys = ", ".join(catalog.product(sensor).assets[b] for b in sorted(lacking))
            msg = (
                f"catalog {catalog.name}: none of its {sensor.title} scenes has "
                f"{', '.join(sorted(lacking))} (asset keys {keys}); correct [{sensor}.assets] in "
                "the catalog's TOML"
            )
            raise CatalogError(msg)


def summary(
    scenes: Sequence[Scene],
    refused: Mapping[str, int],
    spec: SearchSpec,
    catalogs: Mapping[Sensor, Catalog],
) -> str:
    """Say in one line what was found, when, what was refused, and which offset rule holds."""
    counts = Counter(s.sensor for s in scenes)
    unusable = "".join(f" · refused {k} {v:,}" for k, v in sorted(refused.items()))
    return (
        f"search  {counts[Sensor.S2]:,} Sentinel-2 · {counts[Sensor.S1]:,} Sentinel-1 scenes, "
        f"{spec.start} to {spec.end} · S2 offset "
        f"{_OFFSET_WORDS[catalogs[Sensor.S2].s2.offset]}{unusable}"
    )


def queries(
    points: pd.DataFrame, spec: SearchSpec, sensor: Sensor, catalog: Catalog
) -> list[Query]:
    """Group points into queries: by neighbourhood and time for an API, all at once on disk."""
    places = points.sort_values("point")[["lon", "lat"]]
    if catalog.items:
        every = tuple(zip(places["lon"], places["lat"], strict=True))
        return [Query(sensor, every, spec.begins, spec.ends)]
    square = np.floor((places["lat"] + 90) / _SQUARE_DEGREES) * _SQUARES_AROUND
    square += np.floor((places["lon"] + 180) / _SQUARE_DEGREES)
    found = []
    for _, group in places.groupby(square):
        for start in range(0, len(group), _PLACES_A_QUERY):
            part = group.iloc[start : start + _PLACES_A_QUERY]
            some = tuple(zip(part["lon"], part["lat"], strict=True))
            days = _SLICE_DAYS * (_PLACES_A_QUERY // len(some))
            found += [Query(sensor, some, *times) for times in _slices(spec, days)]
    return found


def _slices(spec: SearchSpec, days: int) -> Iterator[tuple[datetime, datetime]]:
    begins = spec.begins
    while begins < spec.ends:
        ends = min(begins + timedelta(days=days), spec.ends)
        yield begins, ends
        begins = ends


def gather(  # noqa: PLR0913  # what is asked, of whom, where to, and how
    points: pd.DataFrame,
    spec: SearchSpec,
    catalogs: Mapping[Sensor, Catalog],
    *,
    answers: Path,
    part: Part,
    tick: Callable[[int], None],
) -> tuple[list[Scene], Counter[str]] | None:
    """Ask what has not been asked yet, and add up the answers.

    Every answer is kept in a file of its own as soon as it is complete, so that a run that was
    stopped asks only for the rest.

    Args:
        points: The points table.
        spec: The period.
        catalogs: Whom to ask for each sensor.
        answers: Folder of the answers.
        part: Which of the queries are this job's.
        tick: Told of every query done.

    Returns:
        The scenes, one version of each recording, and how many items were refused for which
        reason; None while answers of other jobs are missing.
    """
    catalogs = _able(catalogs)
    asked = [(s, q) for s, c in catalogs.items() for q in queries(points, spec, s, c)]
    files = [answers / f"{_key(q, catalogs[s])}.parquet" for s, q in asked]
    for sensor, catalog in catalogs.items():
        mine = [
            (query, file)
            for number, ((s, query), file) in enumerate(zip(asked, files, strict=True))
            if s is sensor and part.owns(number) and not file.exists()
        ]
        _ask(mine, sensor, catalog, tick)
    if not all(f.exists() for f in files):
        return None
    scenes: dict[tuple[str, str], Scene] = {}
    refused: Counter[str] = Counter()
    for file in files:
        # queries overlap: keep each scene once while reading
        scenes.update({(s.catalog, s.id): s for s in tables.read_scenes(file)})
        for key, value in tables.notes_of(file).items():
            if key.startswith("refused:"):
                refused[key.removeprefix("refused:")] += int(value)
    return deduplicate(scenes.values()), refused


def _key(query: Query, catalog: Catalog) -> str:
    return hashlib.sha256(repr((query, catalog.search_key)).encode()).hexdigest()[:20]


def _ask(
    todo: Sequence[tuple[Query, Path]],
    sensor: Sensor,
    catalog: Catalog,
    tick: Callable[[int], None],
) -> None:
    """Put queries to one catalog within its budget; the first failure stops the rest."""
    if not todo:
        return
    pace = _Pace(catalog.budget)
    local = threading.local()
    shared = open_source(catalog) if catalog.items else None

    def one(query: Query, file: Path) -> None:
        if not hasattr(local, "source"):
            # pystac-client's session is not documented as thread-safe: one client a thread
            local.source = shared or open_source(catalog)
        pace.wait()
        _answer(local.source, query, sensor, catalog, file)

    with ThreadPoolExecutor(min(catalog.budget.in_flight, len(todo))) as pool:
        futures = [pool.submit(one, query, file) for query, file in todo]
        try:
            for future in as_completed(futures):
                future.result()
                tick(1)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _answer(source: Source, query: Query, sensor: Sensor, catalog: Catalog, file: Path) -> None:
    scenes: dict[str, Scene] = {}
    refused: Counter[str] = Counter()
    for item in source.items(query):
        try:
            scene = scene_from_item(item, catalog, sensor)
        except ItemRefused as refusal:
            refused[refusal.reason] += 1
            continue
        if query.begins <= scene.sensed_at < query.ends:
            scenes[scene.id] = scene
    ordered = [scenes[key] for key in sorted(scenes)]
    tables.write_scenes(file, ordered, {f"refused:{k}": str(v) for k, v in refused.items()})


class _Pace:
    """Lets at most so many requests start a second, over all threads."""

    def __init__(self, budget: Budget) -> None:
        self._step = 1 / budget.per_second
        self._next = time.monotonic()
        self._lock = threading.Lock()

    def wait(self) -> None:
        with self._lock:
            start = max(self._next, time.monotonic())
            self._next = start + self._step
        time.sleep(max(0.0, start - time.monotonic()))
