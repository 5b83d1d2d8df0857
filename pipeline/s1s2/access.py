"""What may be opened at all, decided before anything is asked for.

A catalog is not trusted: only hosts and folders that its own description allows. Otherwise an item
could make us read any file of this machine, or of its network.
"""

import ipaddress
import os
import re
from urllib.parse import SplitResult, unquote, urlsplit

from s1s2.catalog import SANDBOX, Catalog
from s1s2.errors import ContractError

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
_CLIMBING = re.compile(r"(?:^|[/\\])\.{1,2}(?:$|[/\\])|\\")
"""A dot segment, which a server may resolve; after unquoting, so that `%2e` and `%2f` count."""
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


def may_be_private(href: str, catalog: Catalog) -> bool:
    """Say whether an admitted href may lead to an address of this machine or of its own network.

    The sandbox's may, and those whose host the catalog names as just that address, or its user by
    name (`own_hosts`). Any other name that resolves to such an address is an attack, or a mistake.

    Args:
        href: As `admit` returned it.
        catalog: Whose hosts decide.
    """
    host = urlsplit(href).netloc
    return (
        catalog.sandbox or catalog.owns_host(host) or (_is_address(host) and host in catalog.hosts)
    )


def _is_address(host: str) -> bool:
    """Say whether a host, perhaps with a port, is an IP address, or this machine by its name.

    Examples:
        >>> [_is_address(h) for h in ("127.0.0.1:8000", "[::1]", "localhost", "a.example")]
        [True, True, True, False]
    """
    name = urlsplit(f"//{host}").hostname or ""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost"
    return True


def _admit_remote(href: str, parts: SplitResult, catalog: Catalog) -> str:
    host = parts.hostname or ""
    own = catalog.sandbox and f"{parts.scheme}://{parts.netloc}" == SANDBOX
    secure = parts.scheme == "https" or host in _LOOPBACK or own
    if parts.port == 0:  # and asking for it refuses what no port can be
        msg = "port 0"
        raise ValueError(msg)
    if secure and _HOST.fullmatch(parts.netloc) and catalog.allows(parts.netloc, parts.path):
        if _CLIMBING.search(unquote(parts.path)):
            msg = "its path climbs out of its folder"
            raise ValueError(msg)
        return href
    allowed = ", ".join((*catalog.hosts, *catalog.own_hosts)) or "none"
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
