"""How bytes of a file are got: over HTTP, or from this machine's disk, through one function.

No redirects; every wait bounded; what fails in passing is tried again, by its cause. Nothing that
is raised or logged here holds a signed URL, in its chain neither.
"""

import errno
import logging
import os
import random
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from threading import Event, Lock, Thread
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from s1s2.connections import Host
from s1s2.errors import ContractError, ReadError, redact

logger = logging.getLogger(__name__)

_LONGEST_S = 120.0
"""Of one answer, however steadily it trickles."""
_LOOK_S, _SOON_S = 5.0, 0.1
"""Between two looks for answers that take longer, while the wire is open, and afterwards."""
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
_AS_THEY_ARE = "%/?:@!$&'()*+,;=~[]"
"""In a URL: marks, and escapes that are there already; blanks and other letters are escaped."""
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
        self._hosts: dict[tuple[str, str, bool], Host] = {}
        self._closed = Event()
        self._watch = _Watch(self._closed)
        self._traffic = Traffic()

    def close(self) -> None:
        """Close what is idle; those who wait for another try give up."""
        self._closed.set()
        with self._lock:
            for host in self._hosts.values():
                host.close()

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
        target = quote(target, safe=_AS_THEY_ARE)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("GET %s bytes %d to %d", redact(url), start, stop)
        host = self._host(parts.scheme, parts.netloc, private=place.private)
        try:
            with self._answered(host, target, f"bytes={start}-{stop - 1}") as answer:
                if answer.status in _DENIED:
                    place.renew(url)
                return _part(answer, start, stop)
        except (ReadError, ContractError):  # they say what is the matter
            raise
        except (HTTPException, OSError, ValueError, OverflowError, RecursionError) as error:
            # the last three: of http.client, over hosts, ports and headers that nobody should send
            host.drop()
            return _Failure(type(error).__name__)

    @contextmanager
    def _answered(self, host: Host, target: str, wanted: str) -> Iterator[HTTPResponse]:
        """Ask for a range; keep the connection for others if its answer is read to the end."""
        answer: HTTPResponse | None = None
        with self._watch.over() as held:
            line = host.take(held.put)
            try:
                line.putrequest("GET", target, skip_accept_encoding=True)
                line.putheader("User-Agent", "s1s2")
                line.putheader("Range", wanted)
                line.putheader("Accept-Encoding", "identity")  # a small answer could be made large
                line.endheaders()
                answer = line.getresponse()
                yield answer
            finally:
                held.put(None)
                if answer is not None and answer.isclosed() and line.sock is not None:
                    host.give(line)
                else:
                    line.close()
                    if answer is not None:
                        answer.close()

    def _host(self, scheme: str, netloc: str, *, private: bool) -> Host:
        key = (scheme, netloc, private)
        with self._lock:
            if key not in self._hosts:
                self._hosts[key] = Host(scheme, netloc, self._kept, private=private)
            return self._hosts[key]


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


def _part(answer: HTTPResponse, start: int, stop: int) -> Part | _Failure:
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


def _body(answer: HTTPResponse, length: int, size: int) -> Part | _Failure:
    if answer.chunked:
        return _Failure("an answer in chunks")  # of any size, whatever was asked for
    data = answer.read(length)
    return Part(data, size) if len(data) == length else _Failure("an answer cut short")


class _Held:
    """The socket of a request under way, and until when it may take."""

    def __init__(self, until: float) -> None:
        self._until, self._lock = until, Lock()
        self._socket: socket.socket | None = None
        self._cut = False

    def put(self, held: socket.socket | None) -> None:
        """Name the socket, as soon as there is one; None once it is no longer ours."""
        with self._lock:
            self._socket = held
            if held is not None and self._cut:
                _shut(held)

    def look(self) -> None:
        """Shut the socket down if it is late."""
        with self._lock:
            self._cut = self._cut or time.monotonic() > self._until
            if self._cut and self._socket is not None:
                _shut(self._socket)


def _shut(late: socket.socket) -> None:
    """End whatever waits on a socket; who reads from it finds its end."""
    with suppress(OSError):  # it has ended by itself
        # not SSLSocket's own, which lets a reader go on in the clear, with what is still encrypted
        socket.socket.shutdown(late, socket.SHUT_RDWR)


class _Watch:
    """Cuts off requests that take too long, however steadily their answers trickle."""

    def __init__(self, closed: Event) -> None:
        self._closed, self._lock = closed, Lock()
        self._under_way: set[_Held] = set()
        self._thread: Thread | None = None

    @contextmanager
    def over(self) -> Iterator[_Held]:
        """Watch over a request, from before there is a connection."""
        held = _Held(time.monotonic() + _LONGEST_S)
        with self._lock:
            self._under_way.add(held)
            if self._thread is None:
                self._thread = Thread(target=self._look, name="s1s2-watch", daemon=True)
                self._thread.start()
        try:
            yield held
        finally:
            with self._lock:
                self._under_way.discard(held)

    def _look(self) -> None:
        """Look now and then; once the wire is closed, until nothing is under way any more."""
        while True:
            if self._closed.wait(_LOOK_S):
                time.sleep(_SOON_S)
            with self._lock:
                if self._closed.is_set() and not self._under_way:
                    self._thread = None
                    return
                every = list(self._under_way)
            for held in every:
                held.look()
