"""Objects below one URL, on `s3://`, `gs://`, `az://` or `file://`: obstore's door.

Only its synchronous calls are used. A process forked from one that has used a store would wait for
ever, so it is refused. Keys, region and endpoint come from the environment.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import urlsplit

from s1s2.errors import FullError, RecipeError, S1S2Error, StoreError, UnreachableError

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "az", "file")
IN_FLIGHT = 8
"""Objects under way at once; so many files may be in memory."""
RETRIES = 6
"""After which a server that does not answer is left alone: half a minute, or a little more."""
_TIMEOUT = timedelta(minutes=15)
"""For one whole request: the largest file over a slow line."""

_USED_BY: list[int] = []
"""The process that first used obstore, of this one or of those it was forked from."""

_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True)
class Part:
    """Some bytes of an object, and what the object was when they were read."""

    content: memoryview
    size: int
    """Of the whole object."""
    tag: str | None
    """Another content has another one, where the store has tags."""


class Place:
    """What lies below one URL of a store."""

    def __init__(self, url: str, *, make: bool = False, patience_s: float | None = None) -> None:
        """Open a store; nothing is asked of it yet.

        Args:
            url: A bucket or container and what all names begin with, or a folder (`file://`).
            make: Make the folder of a `file://` URL.
            patience_s: How long to try for one answer, for small ones; None: for large files.

        Raises:
            RecipeError: If there can be no such place, or obstore is not installed.
            StoreError: If this process was forked from one that has used obstore.
        """
        self.url = url.rstrip("/")
        _check(url)
        try:
            import obstore  # noqa: PLC0415  # of an extra
            from obstore.store import from_url  # noqa: PLC0415
        except ModuleNotFoundError as error:
            msg = f"{url}: object storage needs obstore: pip install 's1s2[storage]'"
            raise RecipeError(msg) from error
        self._obstore = obstore
        self._known = obstore.exceptions
        how: dict[str, Any] = {"mkdir": make}
        if not url.startswith("file:"):
            how = _manners(url, patience_s)
        self._store: ObjectStore | None = None
        with self._told():
            try:
                self._store = from_url(self.url, **how)
            except self._known.GenericError as error:
                # a folder that is not there holds nothing, as a prefix that nobody wrote to
                if "canonicalize" not in str(error):
                    raise

    def get(self, name: str) -> bytes | None:
        """Return an object; None where there is none.

        Raises:
            UnreachableError: If the store does not answer now.
            StoreError: If it refuses.
        """
        with self._told():
            if (store := self._store) is None:
                return None
            try:
                return bytes(self._obstore.get(store, name).bytes())
            except FileNotFoundError as error:
                _check_bucket(error)
        return None

    def sha256(self, name: str) -> str | None:
        """Read an object, and return its hash alone; None where there is none.

        Raises:
            UnreachableError, StoreError: As `get`.
        """
        total = hashlib.sha256()
        with self._told():
            if (store := self._store) is None:
                return None
            try:
                for part in self._obstore.get(store, name):
                    total.update(part)
            except FileNotFoundError as error:
                _check_bucket(error)
                return None
        return total.hexdigest()

    def size(self, name: str) -> int | None:
        """Return how many bytes an object has; None where there is none.

        Raises:
            UnreachableError, StoreError: As `get`.
        """
        with self._told():
            if (store := self._store) is None:
                return None
            try:
                return int(self._obstore.head(store, name)["size"])
            except FileNotFoundError as error:
                _check_bucket(error)
        return None

    def parts(self, name: str, starts: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        """Return some ranges of bytes of an object that is there; near ones travel as one.

        Raises:
            UnreachableError, StoreError: As `get`; or if the object is not there any more.
        """
        with self._told():
            store = self._opened()
            found = self._obstore.get_ranges(store, name, starts=starts, lengths=lengths)
            return [bytes(part) for part in found]

    def part(self, name: str, start: int, length: int) -> Part | None:
        """Return one range of bytes of an object, in one request; None where there is no object.

        Raises:
            UnreachableError: As `get`; or if fewer bytes come than the object should have there.
            StoreError: As `get`; or if the object ends before the range begins.
        """
        with self._told():
            if (store := self._store) is None:
                return None
            try:
                meta, content = self._whole_body(store, name, (start, start + length))
            except FileNotFoundError as error:
                _check_bucket(error)
                return None
        size = int(meta["size"])
        if len(content) != min(length, max(0, size - start)):
            msg = f"{self.url}: {len(content)} bytes of {name} came, asked for {length}"
            raise UnreachableError(msg)
        return Part(content, size, meta.get("e_tag"))

    def _whole_body(
        self, store: "ObjectStore", name: str, span: tuple[int, int]
    ) -> tuple["ObjectMeta", memoryview]:
        """Ask for a range again where its bytes stop half way: obstore begins only answers anew."""
        for last in (False, False, True):
            found = self._obstore.get(store, name, options={"range": span})
            try:
                return found.meta, memoryview(found.bytes())
            except self._known.GenericError as error:
                if last or _CUT not in str(error):
                    raise
        raise AssertionError  # the last was raised

    def put(self, name: str, content: bytes, *, replace: bool = False) -> bool:
        """Write an object, whole, in one request.

        Args:
            name: Below the URL.
            content: All of it.
            replace: Write over what is there.

        Returns:
            False if there was one already: it may be our own, where only the answer was lost.

        Raises:
            UnreachableError, StoreError: As `get`.
            FullError: If there is no room for it.
        """
        with self._told():
            store = self._opened()
            mode: Literal["overwrite", "create"] = "overwrite" if replace else "create"
            try:
                self._obstore.put(store, name, content, mode=mode, use_multipart=False)
            except self._known.AlreadyExistsError:
                return False
        return True

    def remove(self, name: str) -> None:
        """Remove an object, if it is there.

        Raises:
            UnreachableError, StoreError: As `get`.
        """
        with self._told():
            if (store := self._store) is None:
                return
            try:
                self._obstore.delete(store, name)
            except FileNotFoundError as error:
                _check_bucket(error)

    def sizes(self) -> dict[str, int]:
        """Return every object by its name, and how many bytes it has.

        Raises:
            UnreachableError, StoreError: As `get`.
        """
        with self._told():
            if self._store is None:
                return {}
            pages = self._obstore.list(self._store)
            return {str(meta["path"]): int(meta["size"]) for page in pages for meta in page}

    def _opened(self) -> "ObjectStore":
        if self._store is None:
            msg = f"{self.url}: no such folder"
            raise StoreError(msg)
        return self._store

    def _refused(self, why: str) -> StoreError:
        return StoreError(f"{self.url}: {why}")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn whatever obstore raises into one line of ours; it blanks what is secret itself."""
        _check_fork()
        try:
            yield
        except S1S2Error:
            raise
        except (self._known.BaseError, OSError) as error:
            raise self._ours(error) from error

    def _ours(self, error: Exception) -> S1S2Error:
        text = " ".join(str(error).partition("\n\nDebug source")[0].split())
        if "No space left" in text or "os error 28" in text:
            return FullError(f"{self.url}: no room left there; make room and run it again")
        kind = next((known for known in _CAUSES if any(w in text for w in known.words)), None)
        if kind is None:
            return self._refused(_short(text))
        if kind.later:
            msg = f"{self.url}: does not answer now ({_short(text)}); run it again to go on"
            return UnreachableError(msg)
        return self._refused(f"{kind.what} ({_short(text)})")


@dataclass(frozen=True)
class _Cause:
    """Why a store did not do what was asked of it."""

    words: tuple[str, ...]
    """Any of which obstore uses for it."""
    what: str = ""
    later: bool = False
    """It may do so another time."""


_CUT = "response body error"
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")
_CAUSES = (
    _Cause(_NO_BUCKET, "there is no such bucket or container; make it first"),
    _Cause(
        ("169.254.169.254", "metadata.google.internal", "Account must be specified"),
        "no credentials in the environment; docs/storage.md names them",
    ),
    _Cause(
        ("status code: 401", "status code: 403", "AccessDenied"),
        "the store refuses these credentials",
    ),
    _Cause(("builder error",), "its endpoint is no URL, or plain http that was not allowed"),
    _Cause(
        (
            *("error sending request", " retries, max_retries", "timed out"),
            *(_CUT, "error: Requested "),  # other bytes than were asked for
            *("status code: 429", "status code: 5"),
        ),
        later=True,
    ),
)
"""In the order in which they are looked for."""
_PLAIN_HTTP = {"s3": "AWS_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP", "gs": "GOOGLE_ALLOW_HTTP"}
"""What allows an endpoint without TLS; obstore no longer looks itself once it is told a timeout."""
_MOST_LETTERS = 300


def _check_fork() -> None:
    """Refuse to hang: what obstore began in one process is not there in those forked from it."""
    if not _USED_BY:
        _USED_BY.append(os.getpid())
    if os.getpid() not in _USED_BY:
        msg = (
            "object storage cannot be read in a process forked from one that has read it; start "
            "processes afresh: DataLoader(..., multiprocessing_context='forkserver')"
        )
        raise StoreError(msg)


def _check_bucket(error: Exception) -> None:
    """Raise again where it is the bucket that is not there, and not only the object."""
    if any(word in str(error) for word in _NO_BUCKET):
        raise error


def _short(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]} ..."


def _manners(url: str, patience_s: float | None) -> dict[str, Any]:
    """Return how long a server is waited for, and whether it must speak TLS."""
    plain = os.environ.get(_PLAIN_HTTP[urlsplit(url).scheme], "").lower() in {"true", "1"}
    client = {"timeout": _TIMEOUT, "allow_http": plain}
    tries = timedelta(minutes=3)
    if patience_s is not None:  # silence ends a try early, a slow line only the whole of it
        client |= {
            "timeout": timedelta(seconds=patience_s),
            "read_timeout": timedelta(seconds=patience_s / 4),
        }
        tries = timedelta(seconds=patience_s / 2)
    return {
        "client_options": client,
        "retry_config": {"max_retries": RETRIES, "retry_timeout": tries},
    }


def _check(url: str) -> None:
    """Refuse what is no place for a corpus, before anything is asked of it."""
    found = urlsplit(url)
    kinds = ", ".join(f"{scheme}://" for scheme in SCHEMES)
    if found.scheme not in SCHEMES or not (found.netloc or found.scheme == "file"):
        msg = f"{url}: expected a URL that begins with one of {kinds}"
    elif found.query or found.fragment or "@" in found.netloc:
        msg = f"{found.scheme}://...: keys belong into the environment, not into a URL"
    elif found.scheme == "file" and (found.netloc or not found.path.strip("/")):
        msg = f"{url}: expected file:/// and the absolute path of a folder"
    else:
        return
    raise RecipeError(msg)


def side_by_side(items: Iterable[_T], work: Callable[[_T], _R]) -> Iterator[_R]:
    """Do something with every item, some at once, and return what comes of it, in order."""
    pool = ThreadPoolExecutor(IN_FLIGHT)
    running: deque[Future[_R]] = deque()
    done = False
    try:
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) == IN_FLIGHT:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
        done = True
    finally:
        # who stops in the middle does not wait for what is under way
        pool.shutdown(wait=done, cancel_futures=True)
