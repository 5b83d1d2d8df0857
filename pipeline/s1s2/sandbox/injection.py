"""Carries faults out: an ASGI middleware between the server and what it serves."""

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import quote

import orjson
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from s1s2.sandbox.faults import Decision, Fault, Injector

SEARCH, TOKENS = "/api/stac/v1/search", "/api/sas/v1/"
REPORT = "/faults"
_BLOB_PARTS = 3
"""Account, container and a name."""
_STRIDE = 251
"""A byte in so many is flipped: one or more of any compressed block."""
_HTML = "<!DOCTYPE html><html><body><h1>Our services aren't available right now</h1></body></html>"
_VRT = (
    '<VRTDataset rasterXSize="1" rasterYSize="1"><VRTRasterBand dataType="UInt16" band="1">'
    '<SimpleSource><SourceFilename relativeToVRT="0">/etc/passwd</SourceFilename></SimpleSource>'
    "</VRTRasterBand></VRTDataset>"
)
_EXPIRED = (
    '\ufeff<?xml version="1.0" encoding="utf-8"?><Error><Code>AuthenticationFailed</Code>'
    "<Message>Server failed to authenticate the request.</Message><AuthenticationErrorDetail>"
    "Signature not valid in the specified time frame</AuthenticationErrorDetail></Error>"
)


def target_of(path: str) -> str:
    """Say what a path asks for: `search`, `token`, `blob` or `other`.

    Examples:
        >>> target_of("/sentinel2l2a01/sentinel2-l2/32/V/B04.tif"), target_of("/api/stac/v1/")
        ('blob', 'other')
    """
    if path.rstrip("/") == SEARCH:
        return "search"
    if path.startswith(TOKENS):
        return "token"
    parts = path.strip("/").split("/")
    return "blob" if parts[0] != "api" and len(parts) >= _BLOB_PARTS else "other"


class FaultInjection:
    """Strikes requests to an application, and answers `GET /faults` with the counts."""

    def __init__(self, app: ASGIApp, injector: Injector) -> None:
        self._app = app
        self._injector = injector

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] == REPORT:
            await JSONResponse(self._injector.report())(scope, receive, send)
            return
        decision = self._injector.decide(target_of(scope["path"]), scope["path"])
        if decision.delay_s:
            await asyncio.sleep(decision.delay_s)
        if decision.fault is None:
            await self._app(scope, receive, send)
        elif decision.fault.kind in _REPLIES:
            await _drained(receive)
            await _REPLIES[decision.fault.kind](decision.fault, scope)(scope, receive, send)
        else:
            await _DEEDS[decision.fault.kind](self._app, decision, scope, receive, send)


async def _drained(receive: Receive) -> bytes:
    """Read a request's body to its end."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _refusal(fault: Fault, _: Scope) -> Response:
    headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
    said = {"code": "Injected", "description": f"injected fault: status {fault.status}"}
    return JSONResponse(said, fault.status, headers)


def _other_format(_: Fault, scope: Scope) -> Response:
    if target_of(scope["path"]) == "blob":
        return Response(_VRT, media_type="image/tiff")
    return Response(_HTML, media_type="text/html")


def _expired(_: Fault, __: Scope) -> Response:
    headers = {"x-ms-error-code": "AuthenticationFailed"}
    return Response(_EXPIRED, 403, headers, media_type="application/xml")


def _moved(fault: Fault, scope: Scope) -> Response:
    query = scope.get("query_string", b"").decode()
    place = fault.to.rstrip("/") + quote(scope["path"]) + (f"?{query}" if query else "")
    return Response(status_code=302, headers={"Location": place})


_REPLIES: dict[str, Callable[[Fault, Scope], Response]] = {
    "status": _refusal,
    "wrong": _other_format,
    "expired": _expired,
    "redirect": _moved,
}


async def _hang(_: ASGIApp, __: Decision, ___: Scope, receive: Receive, ____: Send) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _CutError(Exception):
    """Half the body has been sent."""


async def _cut(app: ASGIApp, _: Decision, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the right headers and half the body; the server closes what was not completed."""
    left: int | None = None

    async def half(message: Message) -> None:
        nonlocal left
        if message["type"] == "http.response.start":
            named = dict(message["headers"]).get(b"content-length")
            left = int(named) // 2 if named else None
            await send(message)
            return
        body = message.get("body", b"")
        body = bytes(body[: len(body) // 2 if left is None else left])
        await send({"type": "http.response.body", "body": body, "more_body": True})
        left = 0 if left is None else left - len(body)
        if left <= 0:
            raise _CutError

    try:
        await app(scope, receive, half)
    except _CutError:
        return


async def _corrupt(
    app: ASGIApp, what: Decision, scope: Scope, receive: Receive, send: Send
) -> None:
    async def flipped(message: Message) -> None:
        if body := bytearray(message.get("body", b"")):
            for place in range(what.key % min(len(body), _STRIDE), len(body), _STRIDE):
                body[place] ^= 0xFF
            message = {**message, "body": bytes(body)}
        await send(message)

    await app(scope, receive, flipped)


def _duplicate(document: dict[str, object], _: Decision, __: dict[str, object]) -> None:
    features = document["features"]
    assert isinstance(features, list)  # noqa: S101  # it is a FeatureCollection
    features += features[: (len(features) + 1) // 2]


def _malform(document: dict[str, object], what: Decision, _: dict[str, object]) -> None:
    features = document["features"]
    assert isinstance(features, list)  # noqa: S101  # it is a FeatureCollection
    if not features:
        return
    item = features[what.key // 3 % len(features)]
    if what.key % 3 == 0:
        item.pop("geometry", None)
    elif what.key % 3 == 1:
        item.setdefault("properties", {})["datetime"] = "yesterday"
    else:
        item["id"] = {"not": "text"}


def _loop(document: dict[str, object], _: Decision, asked: dict[str, object]) -> None:
    links = document["links"]
    assert isinstance(links, list)  # noqa: S101  # it is a FeatureCollection
    others = [link for link in links if link["rel"] != "next"]
    document["links"] = [{"rel": "next", "type": "application/geo+json", **asked}, *others]


def _changed(
    change: Callable[[dict[str, object], Decision, dict[str, object]], None],
) -> Callable[[ASGIApp, Decision, Scope, Receive, Send], Awaitable[None]]:
    """Return a deed that lets a search be answered and changes the answer."""

    async def deed(
        app: ASGIApp, what: Decision, scope: Scope, receive: Receive, send: Send
    ) -> None:
        posted = await _drained(receive)
        status, body = await _answer(app, scope, receive, posted)
        if status == 200:  # noqa: PLR2004
            document = orjson.loads(body)
            change(document, what, _same_again(scope, posted))
            body = orjson.dumps(document)
        await Response(body, status, media_type="application/geo+json")(scope, receive, send)

    return deed


def _same_again(scope: Scope, posted: bytes) -> dict[str, object]:
    """Return the part of a link that asks for the same once more."""
    host = dict(scope["headers"]).get(b"host", b"").decode()
    place = f"{scope['scheme']}://{host}{scope['path']}"
    if scope["method"] == "POST":
        return {"method": "POST", "href": place, "body": orjson.loads(posted)}
    return {"method": "GET", "href": f"{place}?{scope['query_string'].decode()}"}


async def _answer(app: ASGIApp, scope: Scope, receive: Receive, posted: bytes) -> tuple[int, bytes]:
    """Return what the application would have sent."""
    sent: list[Message] = []
    given = [{"type": "http.request", "body": posted, "more_body": False}]

    async def again() -> Message:
        return given.pop() if given else await receive()

    async def keep(message: Message) -> None:
        sent.append(message)

    await app(scope, again, keep)
    return sent[0]["status"], b"".join(m.get("body", b"") for m in sent[1:])


_DEEDS: dict[str, Callable[[ASGIApp, Decision, Scope, Receive, Send], Awaitable[None]]] = {
    "hang": _hang,
    "cut": _cut,
    "corrupt": _corrupt,
    "duplicate": _changed(_duplicate),
    "malformed": _changed(_malform),
    "loop": _changed(_loop),
}
