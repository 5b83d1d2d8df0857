"""Ask the catalogs for every scene over the points: grouped, bounded, checkpointed."""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pandas as pd
import pyarrow as pa

from s1s2.answers import Answer, Answers
from s1s2.bands import Sensor, bands_of
from s1s2.catalog import Catalog
from s1s2.errors import CatalogError
from s1s2.items import scenes_from_items
from s1s2.scene_tables import count as count_of
from s1s2.scene_tables import lacking, last_of_each, latest, table_of
from s1s2.search import Query, SearchSpec, Source, open_source
from s1s2.transport import Pace

# A query should stay far from a server's time limit and give about a page of items: sixteen places
# of one neighbourhood for sixteen days, fewer places for longer.
_SQUARE_DEGREES, _SQUARES_AROUND = 10, 36
_PLACES_A_QUERY, _SLICE_DAYS = 16, 16
_ITEMS_AT_ONCE = 1000
_MOST_UNKEPT, _MOST_UNKEPT_S = 64, 10.0
"""Answers, and seconds of work, that who is stopped may lose."""
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


def check(catalogs: Mapping[Sensor, Catalog], say: Callable[[str], None]) -> None:
    """Make sure that every catalog answers, before anything is written.

    Args:
        catalogs: Whom to ask.
        say: Told why it takes long.

    Raises:
        UnreachableError: If one cannot be reached now.
        CatalogError: If one cannot be read.
    """
    for catalog in {c.name: c for c in catalogs.values()}.values():
        open_source(catalog, Pace(catalog.budget, say))


def _able(catalogs: Mapping[Sensor, Catalog]) -> dict[Sensor, Catalog]:
    """Leave out sensors whose catalog has no such product; `match` says so."""
    return {s: c for s, c in catalogs.items() if c.product(s).collection}


def count(points: pd.DataFrame, spec: SearchSpec, catalogs: Mapping[Sensor, Catalog]) -> int:
    """Return how many queries the points need."""
    return sum(len(queries(points, spec, s, c)) for s, c in _able(catalogs).items())


def together(earlier: pa.Table, found: pa.Table) -> pa.Table:
    """Add scenes to those found before, one version of each recording."""
    return latest(pa.concat_tables([earlier, found]))


def check_bands(
    scenes: pa.Table, refused: Mapping[str, int], catalogs: Mapping[Sensor, Catalog]
) -> None:
    """Stop where a catalog's description cannot be right.

    Raises:
        CatalogError: If no scene at all has some band.
    """
    for sensor, catalog in _able(catalogs).items():
        lacks = lacking(scenes, sensor)
        if not count_of(scenes, sensor) and refused.get("no_assets"):
            lacks = set(bands_of(sensor))
        if lacks:
            keys = ", ".join(catalog.product(sensor).assets[b] for b in sorted(lacks))
            msg = (
                f"catalog {catalog.name}: none of its {sensor.title} scenes has "
                f"{', '.join(sorted(lacks))} (asset keys {keys}); correct [{sensor}.assets] in "
                "the catalog's TOML"
            )
            raise CatalogError(msg)


def summary(
    scenes: pa.Table,
    refused: Mapping[str, int],
    spec: SearchSpec,
    catalogs: Mapping[Sensor, Catalog],
) -> str:
    """Say in one line what was found, when, what was refused, and which offset rule holds."""
    unusable = "".join(f" · refused {k} {v:,}" for k, v in sorted(refused.items()))
    return (
        f"search  {count_of(scenes, Sensor.S2):,} Sentinel-2 · {count_of(scenes, Sensor.S1):,} "
        f"Sentinel-1 scenes, {spec.start} to {spec.end} · S2 offset "
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
    say: Callable[[str], None],
) -> tuple[pa.Table, Counter[str]] | None:
    """Ask what has not been asked yet, and add up the answers.

    Answers are kept as they come in, so that a run that was stopped asks only for the rest.

    Args:
        points: The points table.
        spec: The period.
        catalogs: Whom to ask for each sensor.
        answers: Folder of the answers.
        part: Which of the queries are this job's.
        tick: Told of every query done.
        say: Told why the search waits.

    Returns:
        The scenes, one version of each recording, as `scene_tables` has them, and how many items
        were refused for which reason; None while answers of other jobs are missing.

    Raises:
        UnreachableError: If a catalog does not answer now.
        CatalogError: If it answers what is no answer.
    """
    catalogs = _able(catalogs)
    asked = [(s, q) for s, c in catalogs.items() for q in queries(points, spec, s, c)]
    keys = [_key(q, catalogs[s]) for s, q in asked]
    kept = Answers(answers)
    known = kept.known()
    tick(len(known.intersection(keys)))
    for sensor, catalog in catalogs.items():
        mine = [
            (query, key)
            for number, ((s, query), key) in enumerate(zip(asked, keys, strict=True))
            if s is sensor and part.owns(number) and key not in known
        ]
        with _Keeping(kept, tick) as keep:
            _ask(mine, sensor, catalog, Pace(catalog.budget.shared_by(part.count), say), keep)
    return kept.together(keys)


def _key(query: Query, catalog: Catalog) -> str:
    return hashlib.sha256(repr((query, catalog.search_key)).encode()).hexdigest()[:20]


class _Keeping:
    """Keeps answers a few at a time: a file for each takes longer than the search itself."""

    def __init__(self, kept: Answers, tick: Callable[[int], None]) -> None:
        self._kept, self._tick = kept, tick
        self._fresh: list[Answer] = []
        self._since = time.monotonic()

    def __enter__(self) -> Callable[[Answer], None]:
        return self._add

    def __exit__(self, *_: object) -> None:
        self._kept.keep(self._fresh)

    def _add(self, answer: Answer) -> None:
        self._fresh.append(answer)
        now = time.monotonic()
        if len(self._fresh) >= _MOST_UNKEPT or now - self._since > _MOST_UNKEPT_S:
            self._kept.keep(self._fresh)
            self._fresh, self._since = [], now
        self._tick(1)


def _ask(
    todo: Sequence[tuple[Query, str]],
    sensor: Sensor,
    catalog: Catalog,
    pace: Pace,
    keep: Callable[[Answer], None],
) -> None:
    """Put queries to one catalog within its budget; the first failure stops the rest."""
    if not todo:
        return
    local = threading.local()
    shared = open_source(catalog, pace) if catalog.items else None
    # in the order they ended: of several failures the first is the cause
    ended: SimpleQueue[Answer | Exception] = SimpleQueue()

    def one(query: Query, key: str) -> None:
        try:
            if not hasattr(local, "source"):
                # pystac-client's session is not documented as thread-safe: one client a thread
                local.source = shared or open_source(catalog, pace)
            ended.put(_answer(local.source, query, key, sensor, catalog))
        except Exception as error:  # noqa: BLE001  # it is raised where the answers are read
            ended.put(error)
            pace.stop()  # by then this thread would have asked the next query

    pool = ThreadPoolExecutor(min(pace.budget.in_flight, len(todo)))
    done = False
    try:
        for query, key in todo:
            pool.submit(one, query, key)
        for _ in todo:
            answer = ended.get()
            if isinstance(answer, Exception):
                raise answer
            keep(answer)
        done = True
    finally:
        pace.stop()
        # who stops in the middle does not wait for answers that may take a minute to time out
        pool.shutdown(wait=done, cancel_futures=True)


def _answer(source: Source, query: Query, key: str, sensor: Sensor, catalog: Catalog) -> Answer:
    parts = [table_of([])]
    refused: Counter[str] = Counter()
    items = source.items(query)
    while some := list(islice(items, _ITEMS_AT_ONCE)):
        scenes, reasons = scenes_from_items(some, catalog, sensor)
        # as a table at once: a year's scenes on disk are one answer
        parts.append(table_of([s for s in scenes if query.begins <= s.sensed_at < query.ends]))
        refused.update(reasons)
    return Answer(key, last_of_each(pa.concat_tables(parts)), refused)
