"""Requests to a catalog: within its budget, asked again where that helps, never to another host.

pystac-client by itself has no timeouts, ends at the first 503, follows any link and any redirect,
and takes a body that was cut off for an answer that is wrong. The door to requests.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from pystac import Link
from pystac_client.stac_api_io import StacApiIO
from urllib3.exceptions import NewConnectionError

from s1s2.catalog import Budget
from s1s2.errors import CatalogError, UnreachableError

_TIMEOUT_S = (10, 60)
"""To connect, and between two parts of an answer."""
_WHOLE_S, _MOST_BYTES = 180.0, 64 << 20
"""What an answer may take in all. A page of 250 whole items has 6 MB."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
_PATIENT, _SHORT = 8, 4
"""Attempts where a server asks for patience, and where it fails in other ways."""
_BUSY = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
_SAME_AGAIN = {HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT}
_MOST_REDIRECTS = 5
_FEW_CHARACTERS = 80


class _Transient(Exception):  # noqa: N818  # it is told in other words
    """A failure that may be over the next time."""

    def __init__(self, why: str, *, attempts: int = _SHORT, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.attempts = attempts
        self.wait_s = wait_s
        """How long the server asks to wait."""


class Pace:
    """The budget of one catalog, shared by all threads of a run; and how a run learns of waits.

    Args:
        budget: How hard the catalog may be pressed.
        say: Told one line of every wait.
    """

    def __init__(self, budget: Budget, say: Callable[[str], None] = lambda _: None) -> None:
        self.budget, self.say = budget, say
        self._step = 1 / budget.per_second
        self._next = time.monotonic()
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(budget.in_flight)
        self._over = threading.Event()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for one's turn to ask; while inside, a request is under way.

        Raises:
            UnreachableError: If the search has been given up meanwhile.
        """
        with self._lock:
            start = max(self._next, time.monotonic())
            self._next = start + self._step
        self.sleep(start - time.monotonic())
        with self._slots:
            yield

    def sleep(self, seconds: float) -> None:
        """Wait, unless the search is given up.

        Raises:
            UnreachableError: If it is.
        """
        if self._over.wait(max(0.0, seconds)):
            msg = "the search was given up"
            raise UnreachableError(msg)

    def hold(self, seconds: float) -> None:
        """Let nobody ask for so long: the server wants a rest from all of us."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)

    def stop(self) -> None:
        """End all waits: the search is over."""
        self._over.set()


class CatalogIO(StacApiIO):
    """What pystac-client asks through.

    Args:
        name: What errors call the catalog.
        endpoint: Its root; nothing outside its host is asked.
        pace: The run's budget for it.
    """

    def __init__(self, name: str, endpoint: str, pace: Pace) -> None:
        super().__init__()
        self._name, self._pace = name, pace
        self._home = urlsplit(endpoint)
        self.session = _Session(self._check)

    def read_json(self, source: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401  # as pystac has it
        """Ask until there is an answer.

        Raises:
            UnreachableError: If there is none after some attempts.
            CatalogError: If the catalog refuses, or leads elsewhere.
        """
        self._check(source.href if isinstance(source, Link) else str(source))
        attempt = 1
        while True:
            try:
                with self._pace.turn():
                    return self._page(self.read_text(source, *args, **kwargs))
            except _Transient as fault:
                self._rest(fault, attempt)
                attempt += 1

    def _page(self, text: str) -> dict[str, Any]:
        try:
            page = self.json_loads(text)
        except ValueError as error:
            begins = " ".join(text[:_FEW_CHARACTERS].split())
            msg = f"sent something that is not JSON ({begins!r})"
            raise _Transient(msg) from error
        if not _is_document(page):
            msg = f"catalog {self._name}: sent JSON that is no STAC document"
            raise CatalogError(msg)
        return page

    def _rest(self, fault: _Transient, attempt: int) -> None:
        """Wait before the next attempt, or give up."""
        if attempt >= fault.attempts:
            msg = (
                f"catalog {self._name}: {self._home.scheme}://{self._home.netloc} {fault}, "
                f"{attempt} times; run the same command again to go on from here"
            )
            raise UnreachableError(msg) from fault
        wait_s = min(_FIRST_WAIT_S * 2 ** (attempt - 1), _LONGEST_WAIT_S)
        wait_s *= 1 + random.random() / 2  # noqa: S311  # so that threads come back one by one
        if fault.wait_s is not None:
            wait_s = min(fault.wait_s, 2 * _LONGEST_WAIT_S)
            self._pace.hold(wait_s)
        self._pace.say(
            f"search  waits {wait_s:.0f} s: catalog {self._name} {fault}; attempt {attempt + 1} of "
            f"{fault.attempts}"
        )
        self._pace.sleep(wait_s)

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """Ask once; see the class this overrides."""
        method = (method or "GET").upper()
        sent: dict[str, Any] = {"json" if method == "POST" else "params": parameters}
        try:
            with self.session.request(
                method, href, headers=headers, timeout=_TIMEOUT_S, stream=True, **sent
            ) as answer:
                self._refused(answer)
                return _body(answer).decode("utf-8")
        except requests.TooManyRedirects as error:
            msg = f"catalog {self._name}: it redirects us for ever"
            raise CatalogError(msg) from error
        except (requests.RequestException, OSError) as error:
            raise _Transient(_cause(error)) from error
        except UnicodeDecodeError as error:
            msg = "sent something that is not text"
            raise _Transient(msg) from error

    def _refused(self, answer: requests.Response) -> None:
        """Raise what an answer's status calls for."""
        status = answer.status_code
        said = f"answered {status} {answer.reason or ''}".rstrip()
        if status in _BUSY:
            after = _seconds(answer.headers.get("Retry-After"))
            raise _Transient(said, attempts=_PATIENT, wait_s=after)
        if status != HTTPStatus.OK:
            why = " ".join(_body(answer)[:500].decode("utf-8", "replace").split())[:160]
            msg = f"catalog {self._name}: a search failed: it {said} ({why})"
            raise CatalogError(msg)

    def _check(self, href: str) -> None:
        """Refuse an address outside the catalog's host.

        Raises:
            CatalogError: If it is.
        """
        there, home = urlsplit(href), self._home
        if there.netloc != home.netloc or there.scheme not in (home.scheme, "https"):
            where = f"{there.scheme}://{there.netloc}" if there.netloc else href[:_FEW_CHARACTERS]
            msg = (
                f"catalog {self._name}: it leads to {where}; only {home.scheme}://{home.netloc} is "
                "asked"
            )
            raise CatalogError(msg)


class _Session(requests.Session):
    """Follows redirects within a host alone, and never turns a search into another question."""

    def __init__(self, check: Callable[[str], None]) -> None:
        super().__init__()
        self._check = check
        self.max_redirects = _MOST_REDIRECTS

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return where an answer leads, if it does."""
        target: str | None = super().get_redirect_target(resp)
        if target is None:
            return None
        try:
            self._check(urljoin(resp.url, target))
            _check_question(resp)
        except CatalogError:
            resp.close()  # nobody else would
            raise
        return target


def _check_question(answer: requests.Response) -> None:
    """Refuse a redirect that makes a GET of a search: it would be answered, with anything."""
    if answer.request.method == "POST" and answer.status_code not in _SAME_AGAIN:
        msg = f"{urlsplit(answer.url).netloc} sends a search elsewhere: correct the endpoint"
        raise CatalogError(msg)


def _body(answer: requests.Response) -> bytes:
    """Read an answer, no longer and no more than an answer may take."""
    until, parts, size = time.monotonic() + _WHOLE_S, [], 0
    for part in answer.iter_content(1 << 16):
        size += len(part)
        parts.append(part)
        if size > _MOST_BYTES:
            msg = f"sends more than {_MOST_BYTES >> 20} MB at once"
            raise _Transient(msg)
        if time.monotonic() > until:
            msg = f"took more than {_WHOLE_S:.0f} s for one answer"
            raise _Transient(msg)
    return b"".join(parts)


def _is_document(page: object) -> bool:
    """Say whether JSON has the outer form of what a STAC API sends."""
    links = page.get("links", []) if isinstance(page, dict) else None
    return isinstance(links, list) and all(isinstance(k, dict) and "rel" in k for k in links)


def _seconds(retry_after: str | None) -> float | None:
    """Read `Retry-After`: seconds, or a date."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None


def _cause(error: BaseException) -> str:
    """Say in a few words why there was no answer."""
    if isinstance(error, requests.ConnectTimeout):
        return "cannot be reached (it took too long)"
    if isinstance(error, requests.Timeout):
        return "did not answer in time"
    what = "broke off"
    while inner := error.__cause__ or error.__context__:
        error = inner
        what = "cannot be reached" if isinstance(error, NewConnectionError) else what
    text = str(error).strip().splitlines() or [""]
    return f"{what} ({type(error).__name__}: {text[-1][:160]})"
