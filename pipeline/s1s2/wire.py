"""How bytes of a file are got: over HTTP, or from this machine's disk, through one function.

No redirects; every wait bounded; what fails in passing is tried again, by its cause. Nothing that
is raised or logged here holds a signed URL, in its chain neither.
"""

import errno
import logging
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Lock, Thread
from typing import NamedTuple
from urllib.parse import urlsplit

import urllib3

from s1s2.connections import pool_of
from s1s2.errors import ContractError, ReadError, redact

_TIMEOUT = urllib3.Timeout(connect=10, read=30)
_LONGEST_S = 120.0
"""Of one answer, however steadily it trickles."""
_LOOK_S = 5.0
"""Between two looks for answers that take longer."""
_PATIENCE_S = 180.0
"""After which nothing is tried again."""
_WAITS_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Before each further try, give or take a half; longer if the server says so."""
_LONGEST_WAIT_S = 30.0
_WHOLE, _PART, _BEYOND = 200, 206, 416
_GONE = (404, 410)
_DENIED = (401, 403)
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_REDIRECTS = range(300, 400)
_SPAN = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_NUMBER = re.compile(r"\d{1,18}")
_SIZE = re.compile(r"bytes \*/(\d{1,18})")


@dataclass(frozen=True)
class Place:
    """Where a file lies, and how its URL is made at the moment it is asked for."""

    href: str
    """Unsigned: what it is known by. A path where it lies on this machine."""
    url: Callable[[str], str]
    """Makes what to ask for of the href: located and signed."""
    renew: Callable[[str], None]
    """Drops what a refused URL was signed with, so that the next one is signed anew."""
    private: bool = False
    """True where it may lie at an address of this machine or of its own network."""

    @property
    def remote(self) -> bool:
        """True where it is read over HTTP."""
        return self.href.startswith(("http:", "https:"))

    @property
    def proven(self) -> bool:
        """True where the transport vouches for every byte."""
        return self.href.startswith("https:")


class Part(NamedTuple):
    """Some of a file's bytes."""

    data: bytes
    size: int
    """Of the whole file."""


@dataclass
class Traffic:
    """What was asked of servers; what lies on this machine's disk does not count."""

    requests: int = 0
    n_bytes: int = 0
    """That came, and were asked for."""
    again: Counter[str] = field(default_factory=Counter)
    """Requests that were made once more, by what had become of the first."""


class _Failure(NamedTuple):
    """Why no bytes came, when another try may bring them."""

    cause: str
    wait_s: float = 0.0
    """Asked for by the server."""


class Wire:
    """Gets bytes of files. Thread-safe; connections are kept and used again."""

    def __init__(self, in_flight: int) -> None:
        """Open nothing yet.

        Args:
            in_flight: Connections kept to each host.
        """
        self._kept, self._lock = in_flight, Lock()
        self._pools: dict[tuple[str, str, bool], urllib3.HTTPConnectionPool] = {}
        self._closed = Event()
        self._watch = _Watch(self._closed)
        self._traffic = Traffic()
        logging.getLogger("urllib3.connectionpool").addFilter(_without_secrets)

    def close(self) -> None:
        """Close what is idle; those who wait for another try give up."""
        self._closed.set()
        with self._lock:
            for pool in self._pools.values():
                pool.close()

    def traffic(self) -> Traffic:
        """Return what has been asked so far."""
        with self._lock:
            return replace(self._traffic, again=self._traffic.again.copy())

    def fetch(self, place: Place, start: int, stop: int) -> Part:
        """Return bytes `[start, stop)` of a file; fewer only where it ends before.

        Raises:
            ReadError: `asset_missing` where there is no such file; `unreachable` where it cannot
                be read now.
            ContractError: Where its server redirects, ignores ranges, or lies at an address that
                a catalog must not lead to.
        """
        if not place.remote:
            return _from_disk(place.href, start, stop)
        begun = time.monotonic()
        found = self._ask(place, start, stop)
        for wait_s in _WAITS_S:
            if isinstance(found, Part):
                break
            spread = wait_s * random.uniform(0.5, 1.5)  # noqa: S311  # hides nothing
            stopped = self._closed.wait(min(max(spread, found.wait_s), _LONGEST_WAIT_S))
            if stopped or time.monotonic() - begun > _PATIENCE_S:
                break
            with self._lock:
                self._traffic.again[found.cause] += 1
            found = self._ask(place, start, stop)
        if isinstance(found, Part):
            return found
        raise _unreachable(found.cause)

    def _ask(self, place: Place, start: int, stop: int) -> Part | _Failure:
        """Ask once, and count it."""
        found = None
        try:
            found = self._request(place, start, stop)
        finally:
            with self._lock:
                self._traffic.requests += 1
                self._traffic.n_bytes += len(found.data) if isinstance(found, Part) else 0
        return found

    def _request(self, place: Place, start: int, stop: int) -> Part | _Failure:
        """Ask once; what signed a URL that is refused is dropped, so that the next one is new."""
        url = place.url(place.href)
        parts = urlsplit(url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        try:
            answer = self._pool(parts.scheme, parts.netloc, private=place.private).urlopen(
                "GET",
                target,
                headers=headers,
                timeout=_TIMEOUT,
                retries=False,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
                decode_content=False,  # a small answer could be made large
            )
            with self._watch.over(answer):
                if answer.status in _DENIED:
                    place.renew(url)
                return _part(answer, start, stop)
        except ReadError:  # an OSError too, but one that says what is the matter
            raise
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return _Failure(type(error).__name__)

    def _pool(self, scheme: str, netloc: str, *, private: bool) -> urllib3.HTTPConnectionPool:
        key = (scheme, netloc, private)
        with self._lock:
            if key not in self._pools:
                self._pools[key] = pool_of(scheme, netloc, self._kept, private=private)
            return self._pools[key]


def _unreachable(cause: str) -> ReadError:
    msg = (
        f"cannot be read now ({cause}); run again to go on, or name the scene under exclude in "
        "[match] if it never can"
    )
    return ReadError(msg, "unreachable")


def _from_disk(path: str, start: int, stop: int) -> Part:
    try:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(start)
            return Part(file.read(max(0, min(stop, size) - start)), size)
    except OSError as error:
        if error.errno in _NO_FILE:
            problem = ReadError("the file does not exist", "asset_missing")
        else:
            problem = _unreachable(str(error.strerror))
    raise problem


def _part(answer: urllib3.BaseHTTPResponse, start: int, stop: int) -> Part | _Failure:
    """Take a range out of an answer, or say why it holds none."""
    if answer.status == _PART:
        span = _SPAN.fullmatch(answer.headers.get("Content-Range", ""))
        first, last, size = map(int, span.groups()) if span else (-1, -1, -1)
        if first != start or last != min(stop, size) - 1:
            return _Failure("another range than was asked for")
        return _body(answer, last + 1 - first, size)
    if answer.status == _WHOLE and start == 0:
        length = answer.headers.get("Content-Length", "")
        if not _NUMBER.fullmatch(length) or int(length) > stop:
            msg = "its server ignores ranges, so that only whole files could be had"
            raise ContractError(msg)
        return _body(answer, int(length), int(length))
    if answer.status == _BEYOND:
        size_only = _SIZE.fullmatch(answer.headers.get("Content-Range", ""))
        if size_only and int(size_only[1]) <= start:
            return Part(b"", int(size_only[1]))
    if answer.status in _GONE:
        msg = "the file does not exist"
        raise ReadError(msg, "asset_missing")
    if answer.status in _REDIRECTS:
        msg = f"its server leads elsewhere (HTTP {answer.status}); redirects are not followed"
        raise ContractError(msg)
    told = answer.headers.get("Retry-After", "")
    return _Failure(f"HTTP {answer.status}", float(told) if _NUMBER.fullmatch(told) else 0.0)


def _body(answer: urllib3.BaseHTTPResponse, length: int, size: int) -> Part | _Failure:
    data = answer.read(length)
    return Part(data, size) if len(data) == length else _Failure("an answer cut short")


class _Watch:
    """Cuts off answers that take too long, however steadily they trickle."""

    def __init__(self, closed: Event) -> None:
        self._closed, self._lock = closed, Lock()
        self._under_way: dict[int, tuple[float, urllib3.BaseHTTPResponse]] = {}
        self._thread: Thread | None = None

    @contextmanager
    def over(self, answer: urllib3.BaseHTTPResponse) -> Iterator[None]:
        """Watch over an answer while it is read; then give its connection back, if it is of use."""
        with self._lock:
            self._under_way[id(answer)] = time.monotonic() + _LONGEST_S, answer
            if self._thread is None:
                self._thread = Thread(target=self._look, name="s1s2-watch", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                del self._under_way[id(answer)]
            if isinstance(answer, urllib3.HTTPResponse) and answer.length_remaining:
                answer.close()  # not read to its end: nobody can use the connection again
            answer.release_conn()

    def _look(self) -> None:
        while not self._closed.wait(_LOOK_S):
            with self._lock:
                late = [a for until, a in self._under_way.values() if until < time.monotonic()]
            for answer in late:
                answer.shutdown()


def _without_secrets(record: logging.LogRecord) -> bool:
    """Blank signatures in what urllib3 logs of every request, when debugging."""
    record.msg, record.args = redact(record.getMessage()), ()
    return True
