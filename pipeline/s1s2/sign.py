"""Signing of hrefs, just before they are opened. Nothing signed is ever kept."""

from collections.abc import Callable
from threading import Lock
from urllib.parse import urlsplit

from s1s2.catalog import Catalog
from s1s2.errors import CatalogError

Signer = Callable[[str], str]
"""Takes an unsigned href, returns what to open; call it in the expression that opens."""

_LOCK = Lock()
_BLOBS = ".blob.core.windows.net"


def signer_for(catalog: Catalog) -> Signer:
    """Return the signer of a catalog: none, or Planetary Computer's SAS tokens.

    One token serves a whole container, and is renewed when less than a minute of it is left.
    `PC_SDK_SAS_URL` points Planetary Computer's signer at another token service.
    """
    if catalog.signing == "none":
        return catalog.located
    service = f"{catalog.address}/api/sas/v1/token" if catalog.sandbox else ""
    return lambda href: _signed(catalog.located(href), service)


def _signed(href: str, service: str) -> str:
    """Add a token to an href of a blob.

    Args:
        href: On Planetary Computer `https://ACCOUNT.blob.core.windows.net/CONTAINER/...`; with a
            service of its own, `http://HOST/ACCOUNT/CONTAINER/...`. Others are left alone.
        service: A token service instead of Planetary Computer's.
    """
    parts = urlsplit(href)
    if service:
        _, account, container, *_ = parts.path.split("/")
    elif (parts.hostname or "").endswith(_BLOBS):
        account = str(parts.hostname).removesuffix(_BLOBS)
        container = parts.path.split("/")[1]
    else:
        return href
    return f"{href}?{_token(account, container, service)}"


def _token(account: str, container: str, service: str) -> str:
    """Return the token of a container, from the library's cache or its service.

    The library fetches a token per cold thread, so calls go one at a time: the first fetches, the
    others find it cached. It knows one service a process, which is changed for as long as we ask.
    """
    from planetary_computer import sas  # noqa: PLC0415  # 0.2 s, needed only by this signer
    from requests import RequestException  # noqa: PLC0415

    with _LOCK:
        settings = sas.Settings.get()
        usual = settings.sas_url
        try:
            settings.sas_url = service or usual
            return str(sas.get_token(account, container).token)
        except RequestException as error:
            kind = type(error).__name__
            whom = "the sandbox" if service else "Planetary Computer"
            msg = (
                f"no token for reading from {whom} ({kind}): the token service did "
                "not answer as expected; try again later"
            )
            raise CatalogError(msg) from None
        finally:
            settings.sas_url = usual
