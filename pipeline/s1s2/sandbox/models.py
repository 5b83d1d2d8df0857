"""What the STAC API is sent, as stac-fastapi's request models; and GET read as POST is."""

from collections.abc import Iterable
from typing import Annotated, Any

import attr
import orjson
from fastapi import Query
from pydantic import BaseModel, PositiveInt
from stac_fastapi.types.search import APIRequest, BaseSearchGetRequest, _bbox_converter
from starlette.exceptions import HTTPException


@attr.s
class SearchGet(BaseSearchGetRequest):
    """A search by GET; times and limits are judged later, as those of a POST."""

    datetime: Annotated[str | None, Query(description="RFC 3339 time or interval")] = attr.ib(
        default=None
    )
    limit: Annotated[int | None, Query(ge=1, description="Items of a page")] = attr.ib(default=None)


class SearchPost(BaseModel):
    """A search by POST: shapes are judged by shapely, times by their own parser."""

    collections: list[str] | None = None
    ids: list[str] | None = None
    bbox: list[float] | None = None
    intersects: dict[str, Any] | None = None
    datetime: str | None = None
    limit: PositiveInt | None = None


@attr.s
class ItemsGet(APIRequest):
    """The items of a collection."""

    collection_id: str = attr.ib()
    limit: Annotated[int, Query(ge=1)] = attr.ib(default=10)
    bbox: list[float] | None = attr.ib(default=None, converter=_bbox_converter)
    datetime: str | None = attr.ib(default=None)


def as_posted(sent: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a GET in the form of a POST's document.

    Examples:
        >>> as_posted({"sortby": ["-datetime"], "fields": ["id", "-assets"], "limit": None})
        {'sortby': [{'field': 'datetime', 'direction': 'desc'}],
         'fields': {'include': ['id'], 'exclude': ['assets']}}
    """
    posted = {name: value for name, value in sent.items() if value is not None}
    for name in ("intersects", "query"):
        if name in posted:
            posted[name] = _json(name, posted[name])
    if "sortby" in posted:
        posted["sortby"] = [_sort(key) for key in posted["sortby"]]
    if "fields" in posted:
        posted["fields"] = _fields(posted["fields"])
    if "filter_expr" in posted:
        text, language = posted.pop("filter_expr"), posted.get("filter_lang")
        posted["filter"] = _json("filter", text) if language == "cql2-json" else text
    return posted


def _json(name: str, text: str) -> Any:  # noqa: ANN401  # any JSON
    try:
        return orjson.loads(text)
    except ValueError as error:
        raise HTTPException(400, f"{name}: not valid JSON ({error})") from error


def _sort(key: str) -> dict[str, str]:
    # a plus sign that nobody encoded arrives as a blank
    return {"field": key.lstrip("+- "), "direction": "desc" if key[:1] == "-" else "asc"}


def _fields(names: Iterable[str]) -> dict[str, list[str]]:
    sent: dict[str, list[str]] = {}
    for name in names:
        sent.setdefault("exclude" if name[:1] == "-" else "include", []).append(name.lstrip("+- "))
    return sent
