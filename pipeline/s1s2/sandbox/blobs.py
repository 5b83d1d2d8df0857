"""Blob storage over HTTP for files that are computed while they are read.

Answers as Azure's blob storage does to readers of Planetary Computer: a token for the container
in every query, ranges, entity tags, errors as XML. A file is never held: its blocks are rendered
while they are sent, a few at a time, and no more of them once the reader has gone.
"""

import asyncio
import re
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from urllib.parse import urlsplit

from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from s1s2.sandbox.render import File, Files, Renderer
from s1s2.sandbox.tiff import Piece, layout_of
from s1s2.sandbox.tokens import Tokens

Clock = Callable[[], datetime]
"""Tells the time, aware."""
_Headers = list[tuple[bytes, bytes]]

_AHEAD = 4
"""Pieces of one answer prepared while the one before them is sent: two blocks, two gaps."""
_MODIFIED = "Wed, 01 Jan 2020 00:00:00 GMT"
"""Simulated files never change."""
_RANGE = re.compile(r"bytes=([0-9]{0,4000})-([0-9]{0,4000})", re.IGNORECASE)
"""One range; no more digits than Python takes for a number."""
_HOST = re.compile(r"(\w+)\.blob\.core\.windows\.net")
_ERRORS = {
    403: ("AuthenticationFailed", "Server failed to authenticate the request."),
    404: ("BlobNotFound", "The specified blob does not exist."),
    412: (
        "ConditionNotMet",
        "The condition specified using HTTP conditional header(s) is not met.",
    ),
    416: ("InvalidRange", "The range specified is invalid for the current size of the resource."),
}
"""Codes and messages of Azure's blob storage."""
_XML = (
    '\ufeff<?xml version="1.0" encoding="utf-8"?>'
    "<Error><Code>{}</Code><Message>{}</Message></Error>"
)


def routes(
    files: Files,
    tokens: Tokens,
    containers: Collection[tuple[str, str]],
    *,
    clock: Clock = lambda: datetime.now(UTC),
) -> list[Route]:
    """Return the routes of token service and blobs.

    The last one takes every path of three parts or more: these routes go behind all others.

    Args:
        files: Where files are found.
        tokens: Issues and checks tokens.
        containers: Account and container of all there are.
        clock: Tells when tokens are issued and checked.
    """
    service = _TokenService(tokens, frozenset(containers), clock)
    blobs = _Blobs(files, tokens, clock)
    return [
        Route("/api/sas/v1/token/{account}/{container}", service.token),
        Route("/api/sas/v1/sign", service.sign),
        Route("/{account}/{container}/{path:path}", blobs, methods=["GET", "HEAD"]),
    ]


class _TokenService:
    """Planetary Computer's token service: a token for a container, or a signed href."""

    def __init__(
        self, tokens: Tokens, containers: frozenset[tuple[str, str]], clock: Clock
    ) -> None:
        self._tokens, self._containers, self._clock = tokens, containers, clock

    async def token(self, request: Request) -> JSONResponse:
        """Answer with a token for one container."""
        place = request.path_params
        return self._issued(place["account"], place["container"])

    async def sign(self, request: Request) -> JSONResponse:
        """Answer with an href and a token behind it."""
        href = request.query_params.get("href", "")
        url = urlsplit(href)
        account, _, path = url.path.lstrip("/").partition("/")
        if azure := _HOST.fullmatch(url.hostname or ""):
            account, path = azure[1], url.path.lstrip("/")
        return self._issued(account, path.partition("/")[0], href)

    def _issued(self, account: str, container: str, href: str = "") -> JSONResponse:
        if (account, container) not in self._containers:
            return JSONResponse({"detail": f"no container {account}/{container}"}, 404)
        answer = self._tokens.issue(account, container, self._clock())
        if href:
            answer["href"] = f"{href}{'&' if '?' in href else '?'}{answer.pop('token')}"
        return JSONResponse(answer, headers={"cache-control": "no-store"})


@dataclass(frozen=True)
class _Answer:
    """What a request gets: bytes at hand, or part of a file."""

    status: int
    headers: _Headers
    body: bytes = b""
    file: File | None = None
    span: range = range(0)
    """Bytes of the file to send."""


class _Blobs:
    """An ASGI application that answers GET and HEAD for files."""

    def __init__(self, files: Files, tokens: Tokens, clock: Clock) -> None:
        self._files, self._tokens, self._clock = files, tokens, clock
        self._renderer = Renderer()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._answer(scope)
        if answer.file is None or scope["method"] == "HEAD":
            await _start(answer, send)
            body = b"" if scope["method"] == "HEAD" else answer.body
            await send({"type": "http.response.body", "body": body})
            return
        work = asyncio.create_task(self._send_part(answer, answer.file, send))
        gone = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()  # nothing is left to cancel unless the reader has gone
            gone.cancel()
            outcome, _ = await asyncio.gather(work, gone, return_exceptions=True)
        if isinstance(outcome, Exception):
            raise outcome

    def _answer(self, scope: Scope) -> _Answer:
        """Decide on an answer: token, file, conditions, range, in the order of RFC 9110, 13.2.2."""
        place, query = scope["path_params"], _query(scope["query_string"])
        account, container = place["account"], place["container"]
        if not self._tokens.valid(account, container, query, self._clock()):
            return _refusal(403)
        file = self._files.find(account, container, place["path"])
        if file is None:
            return _refusal(404)
        headers, etag = Headers(scope=scope), f'"{file.etag}"'
        if not _listed(etag, headers.get("if-match", "*")):
            return _refusal(412)
        if _listed(etag, headers.get("if-none-match", "").replace("W/", "")):
            return _Answer(304, _headers(etag=etag))
        return _part(file, etag, headers if scope["method"] == "GET" else Headers())

    async def _send_part(self, answer: _Answer, file: File, send: Send) -> None:
        """Send part of a file; what it starts with is there before the status is sent."""
        left = len(answer.span)
        async with aclosing(self._chunks(file, answer.span)) as chunks:
            async for chunk in chunks:
                if left == len(answer.span):
                    await _start(answer, send)
                left -= len(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": left > 0})

    async def _chunks(self, file: File, span: range) -> AsyncGenerator[memoryview]:
        """Yield the bytes of part of a file, rendering a little ahead of what is taken."""
        layout = layout_of(file.raster)
        ahead: deque[tuple[Piece, asyncio.Task[bytes] | None]] = deque()
        pieces = layout.pieces(span.start, span.stop)
        try:
            while True:
                for piece in islice(pieces, 1 + _AHEAD - len(ahead)):
                    render = piece.block and self._renderer.encoded(file, piece.block)
                    ahead.append((piece, asyncio.create_task(render) if render else None))
                if not ahead:
                    return
                piece, task = ahead[0]
                source = await task if task else layout.fixed
                ahead.popleft()
                yield memoryview(source)[piece.lo : piece.hi]
        finally:
            tasks = [task for _, task in ahead if task]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@lru_cache(maxsize=256)
def _query(text: bytes) -> QueryParams:
    """Return a parsed query; remembered, since a token serves thousands of requests."""
    return QueryParams(text)


async def _gone(receive: Receive) -> None:
    """Return when the reader has gone, or has all it asked for."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start(answer: _Answer, send: Send) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})


def _part(file: File, etag: str, asked: Headers) -> _Answer:
    """Answer with the range that was asked for, or with the whole file."""
    size = layout_of(file.raster).size
    span = _span(asked.get("x-ms-range") or asked.get("range", ""), size)
    if asked.get("if-range", etag) not in (etag, _MODIFIED):
        span = None
    if span is not None and not span:
        return _refusal(416, content_range=f"bytes */{size}")
    headers = {
        "content_type": "image/tiff",
        "content_length": str(size if span is None else len(span)),
        "etag": etag,
        "last_modified": _MODIFIED,
        "accept_ranges": "bytes",
        "x_ms_blob_type": "BlockBlob",
        "x_ms_lease_status": "unlocked",
        "x_ms_lease_state": "available",
        "x_ms_server_encrypted": "true",
    }
    if span is None:
        return _Answer(200, _headers(**headers), file=file, span=range(size))
    headers["content_range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
    return _Answer(206, _headers(**headers), file=file, span=span)


def _span(asked: str, size: int) -> range | None:
    """Return the bytes a Range header asks for: none where it is absent or to be ignored.

    To be ignored are other units, several ranges and what is malformed (RFC 9110, 14.2). A range
    that cannot be satisfied is empty.

    Examples:
        >>> _span("bytes=2-5", 10), _span("bytes=8-", 10), _span("bytes=-3", 10)
        (range(2, 6), range(8, 10), range(7, 10))
        >>> len(_span("bytes=10-", 10)), _span("bytes=5-2", 10)
        (0, None)
    """
    match = _RANGE.fullmatch(asked)
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    stop = min(size, int(last) + 1) if last else size
    return range(int(first), max(int(first), stop))


def _listed(etag: str, condition: str) -> bool:
    """Tell whether an If-Match or If-None-Match names an entity tag."""
    return condition.strip() == "*" or etag in (tag.strip() for tag in condition.split(","))


def _headers(**headers: str) -> _Headers:
    """Return headers as ASGI wants them, with those of every answer."""
    every = {"x_ms_request_id": str(uuid.uuid4()), "x_ms_version": "2021-06-08"}
    return [
        (name.replace("_", "-").encode(), value.encode())
        for name, value in {**headers, **every}.items()
    ]


def _refusal(status: int, **headers: str) -> _Answer:
    code, message = _ERRORS[status]
    body = _XML.format(code, message).encode()
    return _Answer(
        status,
        _headers(
            content_type="application/xml",
            content_length=str(len(body)),
            x_ms_error_code=code,
            **headers,
        ),
        body,
    )
