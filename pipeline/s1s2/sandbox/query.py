"""What a STAC search asks, parsed; and whether an item, a plain dict, answers it.

Nothing here knows of HTTP but the status codes of refusals.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any

import cql2
import shapely
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry
from stac_fastapi.types.rfc3339 import str_to_interval
from starlette.exceptions import HTTPException

from s1s2.sandbox.filters import Item, comparisons, matches, passes, read_filter, value_of

MOST_ITEMS = 1000
"""Items of a page at most."""
USUAL_ITEMS = 250
FIRST, LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""What an open end of an interval means."""
_DEFAULT_FIELDS = ("type", "stac_version", "id", "geometry", "bbox", "links", "assets")
_DATE_LENGTH = len("2021-07-01")


@dataclass(frozen=True)
class Manners:
    """Where Planetary Computer departs from the STAC API specification."""

    collections_required: bool = True
    """Refuse a search that names no collection (422)."""
    dates_are_midnights: bool = True
    """Take a date for its first instant, at the end of an interval too; or refuse it (400)."""
    long_pages_refused: bool = True
    """Refuse pages of more than 1,000 items (400); or send 1,000."""
    empty_include_is_all: bool = True
    """`fields` with an empty `include` asks for whole items; or for their default fields."""


PLANETARY_COMPUTER = Manners()
STANDARD = Manners(
    collections_required=False,
    dates_are_midnights=False,
    long_pages_refused=False,
    empty_include_is_all=False,
)


@dataclass(frozen=True)
class Order:
    """One key of a sort."""

    name: str
    descending: bool


NEWEST_FIRST = (Order("datetime", descending=True),)


@dataclass(frozen=True)
class Fields:
    """Which parts of items are sent: dotted paths."""

    include: tuple[str, ...]
    exclude: tuple[str, ...]

    def of(self, item: Item) -> Item:
        """Return the wanted parts of an item; what is both included and excluded is sent."""
        sent = _only(item, self._included) if self.include else item
        for path in self.exclude:
            sent = _without(sent, path.split("."))
        return _merged(sent, _only(item, self._kept)) if self._kept else sent

    @cached_property
    def _included(self) -> "_Branches":
        return _branches(("id", "collection", *self.include))

    @cached_property
    def _kept(self) -> "_Branches":
        return _branches(p for p in self.include if any(_within(p, e) for e in self.exclude))


@dataclass(frozen=True)
class Search:
    """One search; `item_collection` and `/search`, by GET and POST, all end here."""

    collections: tuple[str, ...] = ()
    ids: tuple[str, ...] | None = None
    area: BaseGeometry | None = None
    """Longitude and latitude, degrees."""
    begins: datetime = FIRST
    ends: datetime = LAST
    """Inclusive, as STAC's intervals are."""
    compared: tuple[tuple[str, str, Any], ...] = ()
    """Property, operator of the query extension, value."""
    where: cql2.Expr | None = field(default=None, compare=False)
    order: tuple[Order, ...] = NEWEST_FIRST
    fields: Fields | None = None
    limit: int = USUAL_ITEMS
    token: str | None = None

    def answered_by(self, item: Item) -> bool:
        """Say whether an item passes every filter but the area."""
        begins, ends = times(item)
        if begins > self.ends or ends < self.begins:
            return False
        if self.ids is not None and item["id"] not in self.ids:
            return False
        if not all(passes(value_of(item, n), op, v) for n, op, v in self.compared):
            return False
        return self.where is None or matches(self.where, item)

    def meets(self, item: Item) -> bool:
        """Say whether an item's geometry meets the area, on the plane of degrees."""
        return self.area is None or bool(self.area.intersects(shape(item["geometry"])))


def parse(asked: Mapping[str, Any], manners: Manners) -> Search:
    """Read a search from the document of a POST.

    Raises:
        HTTPException: With status 400, or 422 without a collection.
    """
    collections = tuple(asked.get("collections") or ())
    if not collections and manners.collections_required:
        raise HTTPException(422, "collection is required")
    if asked.get("bbox") and asked.get("intersects"):
        raise HTTPException(400, "bbox and intersects exclude each other")
    limit = asked.get("limit") or USUAL_ITEMS
    if limit > MOST_ITEMS and manners.long_pages_refused:
        raise HTTPException(400, f"limit {limit}: expected at most {MOST_ITEMS}")
    begins, ends = interval(asked.get("datetime"), manners)
    ids = asked.get("ids")
    return Search(
        collections=collections,
        ids=tuple(ids) if ids else None,
        area=_area(asked.get("bbox"), asked.get("intersects")),
        begins=begins,
        ends=ends,
        compared=tuple(comparisons(asked.get("query") or {})),
        where=read_filter(asked["filter"]) if asked.get("filter") else None,
        order=tuple(_orders(asked.get("sortby") or ())) or NEWEST_FIRST,
        fields=_fields(asked["fields"], manners) if "fields" in asked else None,
        limit=min(limit, MOST_ITEMS),
        token=asked.get("token"),
    )


def interval(text: str | None, manners: Manners) -> tuple[datetime, datetime]:
    """Read a time or an interval, perhaps open at an end; both ends are in.

    Examples:
        >>> begins, ends = interval("2021-07-01/2021-07-02", PLANETARY_COMPUTER)
        >>> ends.isoformat()
        '2021-07-02T00:00:00+00:00'
    """
    if text is None:
        return FIRST, LAST
    if manners.dates_are_midnights:
        parts = text.split("/")
        text = "/".join(f"{p}T00:00:00Z" if len(p) == _DATE_LENGTH else p for p in parts)
    found = str_to_interval(text)
    begins, ends = found if isinstance(found, tuple) else (found, found)
    return begins or FIRST, ends or LAST


def times(item: Item) -> tuple[datetime, datetime]:
    """Return the first and the last instant of an item."""
    properties = item["properties"]
    begins, ends = properties.get("start_datetime"), properties.get("end_datetime")
    if begins and ends:
        return _time(begins), _time(ends)
    return (when(item),) * 2


def when(item: Item) -> datetime:
    """Return the time by which items are in order."""
    return _time(item["properties"]["datetime"])


@lru_cache(maxsize=4096)  # a datatake's tiles have one time
def _time(text: str) -> datetime:
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _area(corners: Any, geometry: Any) -> BaseGeometry | None:  # noqa: ANN401
    """Return the area asked for, or None for all the Earth."""
    try:
        if corners:
            return _box([float(c) for c in corners])
        if geometry:
            found = shape(geometry.get("geometry") or geometry)
            if found.is_empty:
                raise HTTPException(400, "intersects: an empty geometry meets nothing")
            return found
    except (ValueError, TypeError, LookupError, AttributeError, shapely.errors.ShapelyError) as e:
        name = "bbox" if corners else "intersects"
        raise HTTPException(400, f"{name}: not a valid geometry ({e})") from e
    return None


def _box(corners: list[float]) -> BaseGeometry:
    """Return a box; one whose west lies east of its east crosses the antimeridian.

    Such a box is given both ways round, for footprints may be written beyond 180 degrees or cut.
    """
    if len(corners) not in (4, 6):
        raise HTTPException(400, f"bbox: expected 4 or 6 numbers, got {len(corners)}")
    half = len(corners) // 2
    west, south, east, north = *corners[:2], *corners[half : half + 2]
    if south > north or not all(-90 <= y <= 90 for y in (south, north)):  # noqa: PLR2004
        raise HTTPException(400, f"bbox: latitudes {south} to {north} are no range")
    if west <= east:
        return box(west, south, east, north)
    return box(west, south, east + 360, north) | box(west - 360, south, east, north)


def _orders(sortby: Iterable[Mapping[str, str]]) -> Iterable[Order]:
    for key in sortby:
        name = key["field"].removeprefix("properties.")
        yield Order(name, descending=key.get("direction") == "desc")


def _fields(asked: Mapping[str, Any] | None, manners: Manners) -> Fields | None:
    if asked is None and not manners.empty_include_is_all:
        raise HTTPException(400, "fields: expected an object with include and exclude")
    asked = asked or {}
    include, exclude = tuple(asked.get("include") or ()), tuple(asked.get("exclude") or ())
    if not include and ("include" in asked or not exclude) and not manners.empty_include_is_all:
        include = (*_DEFAULT_FIELDS, "properties.datetime")
        include = tuple(name for name in include if name not in exclude)
    return Fields(include, exclude) if include or exclude else None


def _within(path: str, other: str) -> bool:
    return path == other or path.startswith(f"{other}.")


_Branches = dict[str, "_Branches | None"]
"""The keys that paths start with, and those below; None for all that is below."""


def _branches(paths: Iterable[str]) -> _Branches:
    """Return the tree of some paths, in their order.

    Examples:
        >>> _branches(["id", "assets.B01.href", "assets.B02", "assets.B02.href"])
        {'id': None, 'assets': {'B01': {'href': None}, 'B02': None}}
    """
    tree: _Branches = {}
    for path in paths:
        *above, last = path.split(".")
        here: _Branches | None = tree
        for key in above:
            here = None if here is None else here.setdefault(key, {})
        if here is not None:
            here[last] = None
    return tree


def _only(value: Item, tree: _Branches) -> Item:
    """Return the branches of a document that a tree names; those it lacks are left out."""
    sent: Item = {}
    for key, below in tree.items():
        if key not in value:
            continue
        found = value[key]
        if below is None:
            sent[key] = found
        elif isinstance(found, dict) and (some := _only(found, below)):
            sent[key] = some
    return sent


def _without(value: Any, keys: list[str]) -> Any:  # noqa: ANN401
    if not isinstance(value, dict) or keys[0] not in value:
        return value
    if len(keys) == 1:
        return {k: v for k, v in value.items() if k != keys[0]}
    return {**value, keys[0]: _without(value[keys[0]], keys[1:])}


def _merged(a: Item, b: Item) -> Item:
    both = dict(a)
    for key, value in b.items():
        old = both.get(key)
        both[key] = (
            _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return both
