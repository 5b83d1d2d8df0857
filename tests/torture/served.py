"""The sandbox behind a memory of its answers: what was rendered once is sent again for nothing.

A harness builds the same small corpus thousands of times. Tokens are checked all the same: an
expired one is refused however well its block is remembered. Faults strike in front of the memory.
"""

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from s1s2.sandbox.faults import Faults, Injector
from s1s2.sandbox.tokens import Tokens

_SECRET = b"the harness' own"
_GOOD = (200, 206)
_LARGEST = 8 << 20
_Answer = tuple[Message, bytes]


@contextmanager
def served(
    faults: Faults = Faults(),  # noqa: B008  # frozen
    token_lifetime_s: float = 3600.0,
) -> Iterator[str]:
    """Serve the sandbox from a thread of this process.

    Args:
        faults: What goes wrong, in front of the memory.
        token_lifetime_s: Seconds until a token expires.

    Yields:
        Its address.
    """
    # it complains at import that it has no title
    logging.getLogger("stac_fastapi").setLevel(logging.ERROR)
    from s1s2.sandbox.injection import FaultInjection
    from s1s2.sandbox.server import Server, address_of, listen, sandbox

    planet = sandbox(token_lifetime_s=token_lifetime_s, secret=_SECRET)
    app = FaultInjection(Remembered(planet, Tokens(_SECRET, token_lifetime_s)), Injector(faults))
    bound, server = listen(), Server(app)
    with bound:
        thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
        thread.start()
        server.ready.wait()
        try:
            yield address_of(bound)
        finally:
            server.should_exit = True
            thread.join()


class Remembered:
    """An application whose good answers are kept, by host, method, path, range and body."""

    def __init__(self, app: ASGIApp, tokens: Tokens) -> None:
        self._app, self._tokens = app, tokens
        self._known: dict[tuple[bytes, ...], _Answer] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from memory, or ask and remember."""
        body = (await receive()).get("body", b"")  # those who search send less than a packet
        key = self._key(scope, body)
        if key is None or key not in self._known:
            answer = await _asked(self._app, scope, body)
            if key is not None and answer[0]["status"] in _GOOD and len(answer[1]) < _LARGEST:
                self._known[key] = answer
        else:
            answer = self._known[key]
        await send(answer[0])
        await send({"type": "http.response.body", "body": answer[1]})

    def _key(self, scope: Scope, body: bytes) -> tuple[bytes, ...] | None:
        """Return by what an answer is known; None for what depends on more: tokens and refusals."""
        headers = dict(scope["headers"])
        place = (scope["method"].encode(), headers.get(b"host", b""), scope["path"].encode())
        parts = scope["path"].strip("/").split("/", 2)
        if parts[:2] == ["api", "stac"]:
            return (*place, scope["query_string"], body)
        query = dict(parse_qsl(scope["query_string"].decode()))
        if len(parts) > 2 and self._tokens.valid(*parts[:2], query, datetime.now(UTC)):
            return (*place, headers.get(b"range", b""))
        return None


async def _asked(app: ASGIApp, scope: Scope, body: bytes) -> _Answer:
    """Return what an application answers, whole."""
    said: list[Message] = []
    given = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if given:
            return given.pop()
        await asyncio.Event().wait()  # the reader stays: what is rendered is wanted again
        raise AssertionError

    async def send(message: Message) -> None:
        said.append(message)

    await app(scope, receive, send)
    return said[0], b"".join(bytes(m.get("body", b"")) for m in said[1:])
