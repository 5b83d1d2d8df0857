"""Headers of files, each read once and kept, whoever asks for it and how often."""

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor, Future
from threading import Lock
from typing import TypeVar

from s1s2 import fallback, geotiff
from s1s2.errors import ContractError
from s1s2.geotiff import Header
from s1s2.tiff import MoreNeeded, count_directories
from s1s2.wire import Part, Place, Wire

T = TypeVar("T")

logger = logging.getLogger(__name__)

_KEPT_BYTES = 64 << 20
_MOST_FETCHES = 16
_AROUND = 32_768
"""Bytes fetched where a header lies elsewhere than at the start."""


class Headers:
    """A bounded memory of headers by unsigned href. Thread-safe.

    Attributes:
        through_gdal: Files that only GDAL can read, counted by what is odd about them.
    """

    def __init__(self, wire: Wire, pool: Executor) -> None:
        self._wire, self._pool, self._lock = wire, pool, Lock()
        self._known: OrderedDict[str, Future[Header]] = OrderedDict()
        self._bytes = 0
        self.through_gdal: Counter[str] = Counter()

    def get(self, place: Place) -> "Future[Header]":
        """Return a file's header, now or when it has come; who asks meanwhile waits for the same.

        A failure is not kept: the next one to ask tries again.
        """
        with self._lock:
            known = self._known.get(place.href)
            if known is not None:
                self._known.move_to_end(place.href)
                return known
            asked = self._known[place.href] = self._pool.submit(self._read, place)
        asked.add_done_callback(lambda done: self._keep(place.href, done))
        return asked

    def forget(self, place: Place) -> None:
        """Read a file's header anew the next time."""
        with self._lock:
            known = self._known.pop(place.href, None)
            if known is not None:
                self._bytes -= _bytes_of(known)

    def _keep(self, href: str, done: "Future[Header]") -> None:
        """Count a header that has come, and let go of those not asked for longest."""
        with self._lock:
            if self._known.get(href) is not done:
                return
            self._bytes += _bytes_of(done)
            if done.cancelled() or done.exception() is not None:
                del self._known[href]
            while self._bytes > _KEPT_BYTES and len(self._known) > 1:
                _, oldest = self._known.popitem(last=False)
                self._bytes -= _bytes_of(oldest)

    def _read(self, place: Place) -> Header:
        def fetch(start: int, stop: int) -> Part:
            return self._wire.fetch(place, start, stop)

        header = read_header(fetch)
        if not header.odd:
            return header
        with self._lock:
            first = not self.through_gdal[header.odd]
            self.through_gdal[header.odd] += 1
        if first:
            logger.warning("files of %s are read by GDAL, which takes longer", header.odd)
        return fallback.completed(header, fetch)


def read_header(fetch: fallback.Fetch) -> Header:
    """Fetch as much of a file as its header takes; one request for nearly every file in use.

    Raises:
        ReadError: If it cannot be read, or is damaged.
        ContractError: If the file is no GeoTIFF, or its header is beyond any limit.
    """
    opening = fetch(0, geotiff.OPENING)
    parts = [(0, opening.data)]
    header = _grown(parts, opening.size, fetch, geotiff.parse)
    if header.odd:
        _grown(parts, opening.size, fetch, count_directories)
    return header


def _grown(
    parts: list[tuple[int, bytes]],
    size: int,
    fetch: fallback.Fetch,
    work: Callable[[list[tuple[int, bytes]], int], T],
) -> T:
    """Work on a file's bytes, fetching those that turn out to be missing."""
    for _ in range(_MOST_FETCHES):
        try:
            return work(parts, size)
        except MoreNeeded as needed:
            start, stop = needed.start, min(size, max(needed.stop, needed.start + _AROUND))
        parts.append((start, fetch(start, stop).data))
    msg = f"has a header scattered over more than {_MOST_FETCHES} places"
    raise ContractError(msg)


def _bytes_of(asked: "Future[Header]") -> int:
    if not asked.done() or asked.cancelled() or asked.exception() is not None:
        return 0
    header = asked.result()
    return header.offsets.nbytes + header.sizes.nbytes + 1024
