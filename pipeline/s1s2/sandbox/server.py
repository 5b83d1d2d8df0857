"""The sandbox as one server: STAC API, tokens and blobs behind the fault injection."""

import asyncio
import ctypes
import gc
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from html import escape

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from s1s2.sandbox.api import PREFIX, stac_application
from s1s2.sandbox.faults import Faults, Injector
from s1s2.sandbox.injection import FaultInjection
from s1s2.sandbox.paging import Catalogue
from s1s2.sandbox.query import PLANETARY_COMPUTER, Manners

LOOPBACK = "127.0.0.1"
_GRACE_S = 2
"""What requests under way get when the server is to end."""
_GARBAGE = (20_000, 20, 20)
"""When garbage is looked for: a page of items is tens of thousands of objects, and none of them."""
_ENDPOINTS = {
    f"{PREFIX}/": "STAC API",
    f"{PREFIX}/api.html": "its documentation",
    "/api/sas/v1/token/{account}/{container}": "token service",
    "/{account}/{container}/{path}": "blobs",
    "/faults": "requests and injected faults, counted",
}


def application(
    catalogue: Catalogue,
    blobs: Sequence[BaseRoute] = (),
    faults: Faults = Faults(),  # noqa: B008  # frozen
    manners: Manners = PLANETARY_COMPUTER,
) -> ASGIApp:
    """Return a server as an ASGI application.

    Args:
        catalogue: What the STAC API searches.
        blobs: Routes of the token service and of the files.
        faults: What goes wrong.
        manners: How the STAC API departs from the specification.
    """
    stac = stac_application(catalogue, manners)
    rest = Starlette(routes=[Route("/", _landing_page), *blobs])

    async def both(scope: Scope, receive: Receive, send: Send) -> None:
        inside = f"{scope.get('path', '')}/".startswith(f"{PREFIX}/")
        await (stac if inside else rest)(scope, receive, send)

    return FaultInjection(both, Injector(faults))


def sandbox(
    seed: int = 0,
    faults: Faults = Faults(),  # noqa: B008  # frozen
    token_lifetime_s: float = 3600.0,
    secret: bytes | None = None,
    manners: Manners = PLANETARY_COMPUTER,
) -> ASGIApp:
    """Return the simulated archive of a seed as an ASGI application.

    Args:
        seed: Another seed, other scenes.
        faults: What goes wrong.
        token_lifetime_s: Seconds until a token expires.
        secret: What tokens are signed with; one of its own if there is none.
        manners: How the STAC API departs from the specification.
    """
    # compiles: not for those who serve else
    from s1s2.sandbox import compiled, world  # noqa: PLC0415

    compiled.ensure_compiled()
    here = world.World(seed)
    blobs = here.routes(secret or secrets.token_bytes(32), token_lifetime_s)
    return application(here, blobs, faults, manners)


async def _landing_page(request: Request) -> Response:
    rows = "".join(
        f"<li><code>{escape(path)}</code>: {escape(what)}</li>" for path, what in _ENDPOINTS.items()
    )
    return HTMLResponse(
        "<!DOCTYPE html><html lang=en><title>SIMULATED DATA</title><h1>SIMULATED DATA</h1>"
        "<p>This server stands in for Microsoft Planetary Computer. No scene it serves was ever "
        f"sensed.</p><p>At {escape(str(request.base_url))}:</p><ul>{rows}</ul></html>"
    )


class Server(uvicorn.Server):
    """A server that says when it is ready."""

    def __init__(self, app: ASGIApp, *, announce: bool = False) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                access_log=False,
                proxy_headers=False,
                log_level="critical",
                timeout_keep_alive=75,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        self._announce = announce
        self.ready = threading.Event()
        """Set when requests are answered."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start; then announce the address as one line of JSON, if asked."""
        await super().startup(sockets)
        self.ready.set()
        if self._announce and sockets:
            line = json.dumps({"address": address_of(sockets[0])})
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


def listen(host: str = LOOPBACK, port: int = 0) -> socket.socket:
    """Return a bound socket; port 0 is any that is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # of a socket that is not told so, asyncio does not switch off the delays of Nagle: 40 ms each
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((host, port))
    return bound


def address_of(bound: socket.socket) -> str:
    """Return the address of a bound socket, `http://127.0.0.1:8000`."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    app: ASGIApp,
    host: str = LOOPBACK,
    port: int = 0,
    *,
    announce: bool = False,
    tied: bool = False,
) -> None:
    """Serve until told to end by a signal, or, if tied, until the standard input closes.

    Raises:
        OSError: If the address is taken, or none of this machine.
    """
    serve_on(listen(host, port), app, announce=announce, tied=tied)


def serve_on(
    bound: socket.socket, app: ASGIApp, *, announce: bool = False, tied: bool = False
) -> None:
    """Serve on a bound socket until told to end; see `serve`."""
    gc.collect()
    gc.freeze()  # what is there by now stays: looking through it for garbage is in vain
    gc.set_threshold(*_GARBAGE)
    _give_back()
    server = Server(app, announce=announce)
    if tied:
        threading.Thread(target=_end_with_input, args=(server,), daemon=True).start()
    with bound:
        asyncio.run(server.serve([bound]))


def _give_back() -> None:
    """Give back the memory that starting has taken and freed, where the C library can do that."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _end_with_input(server: Server) -> None:
    """End the server when nobody holds the other end of its standard input any more."""
    while sys.stdin.buffer.read(4096):
        pass
    server.should_exit = True
    time.sleep(_GRACE_S + 1)
    os._exit(0)  # something hangs, and nobody is left to end it
