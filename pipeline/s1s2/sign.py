"""Signing of hrefs, just before they are opened. Nothing signed is ever kept."""

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from urllib.parse import urlsplit

from s1s2.catalog import Catalog
from s1s2.errors import CatalogError, UnreachableError

Signer = Callable[[str], str]
"""Takes an unsigned href, returns what to open; call it in the expression that opens."""

_PATIENCE_S = 90.0
"""A token may take so long, the library's own tries and pauses included."""
_LOCK = Lock()
_BLOBS = ".blob.core.windows.net"
_WAITS_S = (0.5, 1.0, 2.0)
"""Pauses before a token is asked for again."""
_OF_SERVERS = 500
"""Statuses from here on are a server's trouble; those below, its refusal."""


def signer_for(catalog: Catalog) -> Signer:
    """Return the signer of a catalog: none, or Planetary Computer's SAS tokens.

    One token serves a whole container, and is renewed when less than a minute of it is left.
    `PC_SDK_SAS_URL` points Planetary Computer's signer at another token service.
    """
    if catalog.signing == "none":
        return catalog.located
    service = _service_of(catalog)
    return lambda href: _signed(catalog.located(href), service)


def renewer_for(catalog: Catalog) -> Callable[[str], None]:
    """Return what to call with a signed URL that was refused, before it is made again.

    Its token is forgotten if it is still the one in use: of many threads that were refused at
    once, the first has it renewed for all.
    """
    if catalog.signing == "none":
        return lambda _: None
    service = _service_of(catalog)
    return lambda url: _forget(url, service)


def _service_of(catalog: Catalog) -> str:
    return f"{catalog.address}/api/sas/v1/token" if catalog.sandbox else ""


def _signed(href: str, service: str) -> str:
    """Add a token to an href of a blob; others are left alone."""
    blob = _blob_of(href, service)
    return f"{href}?{_token(*blob, service)}" if blob else href


def _blob_of(href: str, service: str) -> tuple[str, str] | None:
    """Return account and container of a blob, or None if an href leads to something else.

    Args:
        href: On Planetary Computer `https://ACCOUNT.blob.core.windows.net/CONTAINER/...`; with a
            service of its own, `http://HOST/ACCOUNT/CONTAINER/...`.
        service: A token service instead of Planetary Computer's.
    """
    parts = urlsplit(href)
    names = parts.path.split("/")[1:]
    host = parts.hostname or ""
    if host.endswith(_BLOBS):
        names.insert(0, host.removesuffix(_BLOBS))
    elif not service:
        return None
    return (names[0], names[1]) if len(names) > 1 else None


def _forget(url: str, service: str) -> None:
    from planetary_computer import sas  # noqa: PLC0415  # 0.2 s, needed only by this signer

    blob = _blob_of(url, service)
    if blob is None:
        return
    with _LOCK:
        key = "/".join((service or sas.Settings.get().sas_url, *blob))
        known = sas.TOKEN_CACHE.get(key)
        if known is not None and url.endswith(f"?{known.token}"):
            del sas.TOKEN_CACHE[key]


def _token(account: str, container: str, service: str) -> str:
    """Return the token of a container, from the library's cache or its service.

    The library fetches a token per cold thread, so calls go one at a time: the first fetches, the
    others find it cached. It tries again where it is told to wait or cannot connect; here the same
    is done for answers that break off or make no sense.

    Raises:
        UnreachableError: If no token comes, after some tries.
        CatalogError: If the service refuses one.
    """
    from requests import HTTPError, RequestException  # noqa: PLC0415  # 0.2 s, for this signer
    from requests.exceptions import ChunkedEncodingError  # noqa: PLC0415

    with _LOCK:
        for wait_s in (*_WAITS_S, None):
            try:
                return _asked(account, container, service)
            except (ChunkedEncodingError, ValueError, TypeError) as error:
                problem: Exception = error
            except RequestException as error:
                problem = error
                break
            if wait_s is not None:
                time.sleep(wait_s)
    msg = (
        f"no token for reading from {'the sandbox' if service else 'Planetary Computer'} "
        f"({type(problem).__name__}): the token service did not answer as expected"
    )
    if isinstance(problem, HTTPError) and problem.response.status_code < _OF_SERVERS:
        raise CatalogError(msg)
    msg += "; run the same command again to go on"
    raise UnreachableError(msg)


def _asked(account: str, container: str, service: str) -> str:
    """Ask the library, which knows one service a process: it is changed for as long as we ask."""
    from planetary_computer import sas  # noqa: PLC0415  # 0.2 s, needed only by this signer

    settings = sas.Settings.get()
    usual = settings.sas_url
    try:
        settings.sas_url = service or usual
        return _within(_PATIENCE_S, lambda: str(sas.get_token(account, container).token))
    finally:
        settings.sas_url = usual


def _within(seconds: float, work: Callable[[], str]) -> str:
    """Work for at most so long: the library itself would wait for an answer for ever.

    Raises:
        Timeout: If it takes longer; the thread that still waits ends with the process.
    """
    from requests import Timeout  # noqa: PLC0415

    outcome: SimpleQueue[str | Exception] = SimpleQueue()

    def run() -> None:
        try:
            outcome.put(work())
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller's
            outcome.put(error)

    Thread(target=run, name="token", daemon=True).start()
    try:
        found = outcome.get(timeout=seconds)
    except Empty:
        raise Timeout from None
    if isinstance(found, Exception):
        raise found
    return found
