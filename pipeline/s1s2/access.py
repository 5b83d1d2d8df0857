"""What may be opened at all, decided before GDAL sees a name.

A catalog is not trusted: only hosts and folders that its own description allows. Otherwise an item
could make us read any file of this machine, or of its network.
"""

import os
import re
from urllib.parse import SplitResult, unquote, urlsplit

from s1s2.catalog import SANDBOX, Catalog
from s1s2.errors import ContractError

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
_HOST = re.compile(r"[A-Za-z0-9.-]+(?::\d+)?|\[[0-9A-Fa-f:]+\](?::\d+)?")


def admit(href: str, catalog: Catalog) -> str:
    """Return what may be opened for an href, or refuse it.

    Args:
        href: As the item has it: http(s), file, or an absolute path.
        catalog: Whose hosts and folders decide.

    Raises:
        ContractError: If its scheme, host or folder is not among those the catalog allows.
    """
    try:
        if not href.isprintable():
            msg = "control characters"
        else:
            parts = urlsplit(href)
            if parts.scheme in ("http", "https"):
                return _admit_remote(href, parts, catalog)
            if parts.scheme in ("", "file"):
                return _admit_local(href, parts, catalog)
            msg = f"scheme {parts.scheme} is not read"
    except ValueError as error:
        msg = f"{error}"
    msg = f"catalog {catalog.name}: href {href[:200]!r} refused: {msg}"
    raise ContractError(msg)


def _admit_remote(href: str, parts: SplitResult, catalog: Catalog) -> str:
    host = parts.hostname or ""
    own = catalog.sandbox and f"{parts.scheme}://{parts.netloc}" == SANDBOX
    secure = parts.scheme == "https" or host in _LOOPBACK or own
    if secure and _HOST.fullmatch(parts.netloc) and catalog.allows_host(parts.netloc):
        return href
    allowed = ", ".join(catalog.hosts) or "none"
    msg = (
        f"host {host or '?'} ({parts.scheme}); allowed hosts, over https: {allowed}; name a "
        "host you trust with --allow-host"
    )
    raise ValueError(msg)


def _admit_local(href: str, parts: SplitResult, catalog: Catalog) -> str:
    path = os.path.realpath(unquote(parts.path) if parts.scheme == "file" else href)
    roots = [os.path.realpath(folder) for folder in catalog.folders]
    if any(os.path.commonpath([path, root]) == root for root in roots):
        return path
    msg = (
        f"a local file outside the allowed folders ({', '.join(catalog.folders) or 'none'}); a "
        "catalog's TOML may name others, as folders = ['...'] beside items = '...'"
    )
    raise ValueError(msg)
