"""Connections to hosts, made so that a name cannot lead to this machine or into its network."""

import ipaddress
import socket
import ssl
from functools import lru_cache
from urllib.request import getproxies, proxy_bypass

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from s1s2.errors import ContractError


def pool_of(scheme: str, netloc: str, kept: int, *, private: bool) -> urllib3.HTTPConnectionPool:
    """Return a pool of connections to a host, empty at first.

    Args:
        scheme: `http` or `https`.
        netloc: Host, with its port where not the default.
        kept: Connections kept for another request.
        private: Whether the host may lie at an address of this machine or its network.
    """
    url = f"{scheme}://{netloc}"
    options: dict[str, object] = {"maxsize": kept, "block": False}
    if scheme == "https":
        options["ssl_context"] = _context()
    proxy = getproxies().get(scheme) if scheme == "https" else None  # plain HTTP stays at home
    if proxy and not private and not proxy_bypass(netloc):
        proxied = urllib3.ProxyManager(proxy, **options)  # type: ignore[arg-type]  # mixed options
        return proxied.connection_from_url(url)
    pool = urllib3.connection_from_url(url, **options)
    if not private:
        pool.ConnectionCls = _PublicHTTPS if scheme == "https" else _PublicHTTP
    return pool


@lru_cache(maxsize=1)
def _context() -> ssl.SSLContext:
    """Trust whom the machine trusts, and whom browsers do; read once, for it takes 50 ms."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class _PublicHTTP(HTTPConnection):
    """Connects to public addresses only, whatever a name resolves to."""

    def _new_conn(self) -> socket.socket:
        return _public(super()._new_conn(), self.host)


class _PublicHTTPS(HTTPSConnection):
    """Connects to public addresses only, whatever a name resolves to."""

    def _new_conn(self) -> socket.socket:
        return _public(super()._new_conn(), self.host)


def _public(connection: socket.socket, host: str) -> socket.socket:
    """Return a connection, before anything is sent over it, if it leads to a public address."""
    if is_public(connection.getpeername()[0]):
        return connection
    connection.close()
    msg = (
        f"host {host} lies at an address of this machine or its network; name it with --allow-host "
        "if you trust it"
    )
    raise ContractError(msg)


def is_public(address: str) -> bool:
    """Say whether an IP address is neither private nor loopback nor link-local.

    Examples:
        >>> [is_public(a) for a in ("20.60.1.1", "169.254.169.254", "::1", "::ffff:10.0.0.1")]
        [True, False, False, False]
    """
    known = ipaddress.ip_address(address.partition("%")[0])
    return ((known.version == 6 and known.ipv4_mapped) or known).is_global  # noqa: PLR2004  # IPv6
