"""Connections to hosts, used again, and made so that a name cannot lead to this machine or network.

On http.client itself: what urllib3 does for a request besides (retries, redirects, decoding) is not
wanted here, and costs as much processor time as the request (docs/performance.md).
"""

import ipaddress
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from http.client import HTTPConnection, HTTPSConnection
from threading import Lock
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi
from urllib3.util import wait_for_read

from s1s2.errors import ContractError

CONNECT_S, READ_S = 10.0, 30.0
"""How long a host may take to take a connection, and then over each part of an answer."""


class ProxyError(OSError):
    """A proxy of this machine's network does not lead to a host."""


class Host:
    """A host, and connections to it that nobody uses at the moment. Thread-safe."""

    def __init__(self, scheme: str, netloc: str, kept: int, *, private: bool) -> None:
        """Connect to nothing yet.

        Args:
            scheme: `http` or `https`.
            netloc: Host, with its port where not the default.
            kept: Connections kept for another request.
            private: Whether the host may lie at an address of this machine or its network.
        """
        self._tls, self._netloc, self._private = scheme == "https", netloc, private
        self._kept, self._lock = kept, Lock()
        self._idle: list[HTTPConnection] | None = []

    def take(self, told: Callable[[socket.socket], None]) -> HTTPConnection:
        """Return an open connection, for the caller alone.

        Args:
            told: Told of its socket as soon as there is one, so that it can be shut down.

        Raises:
            OSError, HTTPException, ValueError: If none can be had.
            ContractError: If the host's name leads where it must not, or its proxy is not usable.
        """
        while (known := self._last_used()) is not None:
            # what sends before it is asked has ended, or is out of step
            if known.sock is not None and not wait_for_read(known.sock, timeout=0):
                told(known.sock)
                return known
            known.close()
        made = self._made(told)
        try:
            made.connect()
        except BaseException as error:
            made.close()
            if str(error).startswith("Tunnel connection failed"):
                raise ProxyError(str(error)) from None
            raise
        made.sock.settimeout(READ_S)
        told(made.sock)
        return made

    def give(self, connection: HTTPConnection) -> None:
        """Take a connection back that is ready for another request."""
        with self._lock:
            if self._idle is not None and len(self._idle) < self._kept:
                self._idle.append(connection)
                return
        connection.close()

    def drop(self) -> None:
        """Close what is idle: one connection has failed, and the others may be as dead."""
        with self._lock:
            idle, self._idle = self._idle or [], None if self._idle is None else []
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Close what is idle, and whatever is given back from now on."""
        self.drop()
        with self._lock:
            self._idle = None

    def _last_used(self) -> HTTPConnection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _made(self, told: Callable[[socket.socket], None]) -> HTTPConnection:
        proxied = False
        if not self._tls:  # plain HTTP stays at home, where no proxy is
            made = HTTPConnection(self._netloc, timeout=CONNECT_S)
        elif not self._private and (proxy := _proxy_for(self._netloc)):
            made, proxied = _through(proxy, self._netloc), True
        else:
            made = HTTPSConnection(self._netloc, timeout=CONNECT_S, context=_context())
        # where http.client itself looks for a way to connect: before anything is sent
        private = self._private or proxied
        made._create_connection = partial(_connected, told, private=private)  # type: ignore[attr-defined]  # noqa: SLF001
        return made


def _proxy_for(netloc: str) -> str | None:
    return None if proxy_bypass(netloc) else getproxies().get("https")


def _through(proxy: str, netloc: str) -> HTTPConnection:
    """Return a connection to a host over TLS, inside a tunnel that a proxy is asked for."""
    own = _address_of(proxy)
    if own is None or netloc.startswith("["):
        msg = (
            f"{netloc} would have to be reached through the proxy that the environment names for "
            "https; expected http://HOST:PORT, and a host that has a name: mend https_proxy, or "
            "name the host in no_proxy"
        )
        raise ContractError(msg)
    host, port, user = own
    made = HTTPSConnection(host, port, timeout=CONNECT_S, context=_context())
    known = {"Proxy-Authorization": f"Basic {b64encode(user.encode()).decode()}"}
    made.set_tunnel(netloc, headers=known if user else {})
    return made


def _address_of(proxy: str) -> tuple[str, int, str] | None:
    """Return host, port, and user with password, of a proxy that can be used; else None."""
    with suppress(ValueError):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if parts.scheme == "http" and parts.hostname:
            name, secret = unquote(parts.username or ""), unquote(parts.password or "")
            return parts.hostname, parts.port or 80, f"{name}:{secret}" if name else ""
    return None


@lru_cache(maxsize=1)
def _context() -> ssl.SSLContext:
    """Trust whom the machine trusts, and whom browsers do; read once, for it takes 50 ms."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


def _connected(
    told: Callable[[socket.socket], None],
    address: tuple[str, int],
    timeout: float,
    source: tuple[str, int] | None = None,
    *,
    private: bool,
) -> socket.socket:
    """Connect; to a public address only, whatever a name resolves to, unless it may be private."""
    connection = socket.create_connection(address, timeout, source)
    try:
        if private or is_public(connection.getpeername()[0]):
            told(connection)
            return connection
    except BaseException:
        connection.close()
        raise
    connection.close()
    msg = (
        f"host {address[0]} lies at an address of this machine or its network; name it with "
        "--allow-host if you trust it"
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
