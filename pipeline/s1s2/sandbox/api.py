"""A STAC API over a catalogue, made of stac-fastapi, answering as Planetary Computer's does.

Items go from the catalogue to the client as plain dicts: no model is built of them.
"""

import threading
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from pydantic_settings import SettingsConfigDict
from stac_fastapi.api.app import StacApi
from stac_fastapi.api.models import create_get_request_model, create_post_request_model
from stac_fastapi.extensions import (
    FieldsExtension,
    FilterExtension,
    QueryExtension,
    SortExtension,
    TokenPaginationExtension,
)
from stac_fastapi.extensions.filter import FilterConformanceClasses as Cql2
from stac_fastapi.extensions.filter.client import BaseFiltersClient
from stac_fastapi.extensions.sort.sort import SortConformanceClasses
from stac_fastapi.types.config import ApiSettings
from stac_fastapi.types.core import BaseCoreClient
from stac_fastapi.types.requests import get_base_url
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from s1s2.sandbox.filters import Item
from s1s2.sandbox.models import ItemsGet, SearchGet, SearchPost, as_posted
from s1s2.sandbox.paging import Catalogue, Page, find
from s1s2.sandbox.query import PLANETARY_COMPUTER, Manners, parse

_SEARCHES_AT_ONCE = 2
PREFIX = "/api/stac/v1"
"""Where Planetary Computer has its API."""
_SORT = "https://api.stacspec.org/v1.0.0/item-search#sort"
"""The version that clients know; stac-fastapi names a later one alone."""
_QUERYABLES: dict[str, dict[str, Any]] = {
    "id": {"type": "string"},
    "collection": {"type": "string"},
    "geometry": {"$ref": "https://geojson.org/schema/Geometry.json"},
    "datetime": {"type": "string", "format": "date-time"},
    "platform": {"type": "string"},
    "proj:epsg": {"type": "integer"},
    "sat:orbit_state": {"type": "string"},
    "sat:relative_orbit": {"type": "integer"},
}
_OF_COLLECTION: dict[str, dict[str, dict[str, Any]]] = {
    "sentinel-2-l2a": {
        "eo:cloud_cover": {"type": "number", "minimum": 0, "maximum": 100},
        "s2:mgrs_tile": {"type": "string"},
        "s2:processing_baseline": {"type": "string"},
    },
    "sentinel-1-rtc": {"sar:polarizations": {"type": "array", "items": {"type": "string"}}},
}


class _Settings(ApiSettings):
    """What the API says of itself; no file in the working folder has a say in it."""

    stac_fastapi_title: str = "SIMULATED Sentinel archive"
    stac_fastapi_description: str = "SIMULATED DATA. No scene of this catalog was ever sensed."
    stac_fastapi_landing_id: str = "s1s2-sandbox"
    stac_fastapi_version: str = "1.0"
    openapi_url: str = f"{PREFIX}/api"
    docs_url: str = f"{PREFIX}/api.html"

    model_config = SettingsConfigDict(env_file=None)


def stac_application(catalogue: Catalogue, manners: Manners = PLANETARY_COMPUTER) -> ASGIApp:
    """Return a STAC API under `/api/stac/v1`, as an ASGI application."""
    pages = TokenPaginationExtension()
    extensions = [
        QueryExtension(),
        SortExtension(conformance_classes=[_SORT, SortConformanceClasses.ITEM_SEARCH_SORT]),
        FieldsExtension(),
        FilterExtension(
            client=_Queryables(),
            conformance_classes=[
                *(Cql2.FILTER, Cql2.SEARCH),
                *(Cql2.BASIC_CQL2, Cql2.CQL2_JSON, Cql2.CQL2_TEXT),
            ],
        ),
        pages,
    ]
    app = StacApi(
        settings=_Settings(),
        client=_Client(catalogue, manners),
        extensions=extensions,
        router=APIRouter(prefix=PREFIX),
        search_get_request_model=create_get_request_model(extensions, base_model=SearchGet),
        search_post_request_model=create_post_request_model(extensions, base_model=SearchPost),
        items_get_request_model=create_get_request_model([pages], base_model=ItemsGet),
        middlewares=[],
        exceptions={},
    ).app
    _answer_errors(app)
    return _Rooted(app)


class _Rooted:
    """Takes the API's address without its last slash for its root, as clients write it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") == PREFIX:
            scope = {**scope, "path": f"{PREFIX}/", "raw_path": f"{PREFIX}/".encode()}
        await self._app(scope, receive, send)


class _Client(BaseCoreClient):
    """Answers what stac-fastapi has routed; in threads, for it computes."""

    def __init__(self, catalogue: Catalogue, manners: Manners) -> None:
        super().__init__(landing_page_id="s1s2-sandbox")
        self._catalogue = catalogue
        self._manners = manners
        self._turns = threading.Semaphore(_SEARCHES_AT_ONCE)

    def post_search(  # type: ignore[override]  # it answers with bytes
        self, search_request: BaseModel, *, request: Request, **_: object
    ) -> Response:
        """Answer `POST /search`."""
        asked = _plain(search_request)
        return self._found(asked, request, {"method": "POST", "body": asked})

    def get_search(  # type: ignore[override]
        self,
        *,
        request: Request,
        **sent: Any,  # noqa: ANN401
    ) -> Response:
        """Answer `GET /search`."""
        return self._found(as_posted(sent), request, {"method": "GET"})

    def item_collection(  # type: ignore[override]
        self,
        collection_id: str,
        *,
        request: Request,
        **sent: Any,  # noqa: ANN401
    ) -> Response:
        """Answer `GET /collections/{collection_id}/items`."""
        self._collection(collection_id, request)
        asked = {**as_posted(sent), "collections": [collection_id]}
        return self._found(asked, request, {"method": "GET"})

    def get_item(  # type: ignore[override]
        self, item_id: str, collection_id: str, *, request: Request, **_: object
    ) -> Response:
        """Answer `GET /collections/{collection_id}/items/{item_id}`."""
        self._collection(collection_id, request)
        scene = self._catalogue.scene(collection_id, item_id)
        if scene is None:
            raise HTTPException(404, f"no item {item_id} in collection {collection_id}")
        return _geojson(self._catalogue.item(scene, *_addresses(request)))

    def all_collections(  # type: ignore[override]
        self, *, request: Request, **_: object
    ) -> Response:
        """Answer `GET /collections`."""
        root = _addresses(request)[0]
        links = [
            {"rel": "self", "type": "application/json", "href": f"{root}/collections"},
            {"rel": "root", "type": "application/json", "href": f"{root}/"},
            {"rel": "parent", "type": "application/json", "href": f"{root}/"},
        ]
        return _json({"collections": self._catalogue.collections(root), "links": links})

    def get_collection(  # type: ignore[override]
        self, collection_id: str, *, request: Request, **_: object
    ) -> Response:
        """Answer `GET /collections/{collection_id}`."""
        return _json(self._collection(collection_id, request))

    def _collection(self, name: str, request: Request) -> dict[str, Any]:
        root = _addresses(request)[0]
        for collection in self._catalogue.collections(root):
            if collection["id"] == name:
                return collection
        raise HTTPException(404, f"no collection {name}")

    def _found(
        self, asked: Mapping[str, Any], request: Request, following: dict[str, Any]
    ) -> Response:
        """Search, in turn: a page of items takes megabytes, and threads only hinder each other."""
        with self._turns:
            search = parse(asked, self._manners)
            page = find(self._catalogue, search, *_addresses(request))
            return self._answer(page, request, following)

    def _answer(self, page: Page, request: Request, following: dict[str, Any]) -> Response:
        root = _addresses(request)[0]
        here = request.url
        links: list[dict[str, Any]] = [
            {"rel": "root", "type": "application/json", "href": f"{root}/"},
            {"rel": "self", "type": "application/geo+json", "href": str(here)},
        ]
        if page.next_token:
            link: dict[str, Any] = {"rel": "next", "type": "application/geo+json", **following}
            if "body" in following:
                link |= {"href": str(here), "body": {**following["body"], "token": page.next_token}}
            else:
                link["href"] = str(here.include_query_params(token=page.next_token))
            links.insert(0, link)
        return _geojson({"type": "FeatureCollection", "features": page.items, "links": links})


class _Queryables(BaseFiltersClient):
    """Names the properties that a filter may use; it may use any other too."""

    def get_queryables(self, collection_id: str | None = None, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401
        """Answer `GET /queryables`, of one collection or common to all."""
        return {
            "$schema": "https://json-schema.org/draft/2019-09/schema",
            "$id": str(kwargs["request"].url),
            "type": "object",
            "title": "Queryables",
            "properties": _QUERYABLES | _OF_COLLECTION.get(collection_id or "", {}),
            "additionalProperties": True,
        }


def _plain(model: BaseModel) -> dict[str, Any]:
    """Return what was posted, in an order that does not change from run to run."""
    asked = model.model_dump(mode="json", exclude_unset=True, by_alias=True)
    for name, paths in (asked.get("fields") or {}).items():
        asked["fields"][name] = sorted(paths) if paths else paths
    return asked


def _addresses(request: Request) -> tuple[str, str]:
    """Return the addresses of the API and of the server, without a slash at their ends."""
    return get_base_url(request).rstrip("/"), str(request.base_url).rstrip("/")


def _json(document: Any) -> Response:  # noqa: ANN401
    return Response(orjson.dumps(document), media_type="application/json")


def _geojson(document: Item) -> Response:
    return Response(orjson.dumps(document), media_type="application/geo+json")


def _answer_errors(app: FastAPI) -> None:
    """Answer every error with JSON: a code and a line."""

    def refuse(status: int, text: str) -> Response:
        document = {"code": HTTPStatus(status).phrase.replace(" ", ""), "description": text}
        return Response(orjson.dumps(document), status, media_type="application/json")

    def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101  # registered for it
        return refuse(error.status_code, str(error.detail))

    def malformed(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101  # registered for it
        found = (
            f"{'.'.join(map(str, e['loc'][1:])) or 'body'}: {e['msg']}" for e in error.errors()
        )
        return refuse(400, "; ".join(found))

    def failed(_: Request, error: Exception) -> Response:
        return refuse(500, f"the sandbox failed ({type(error).__name__})")

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(Exception, failed)
