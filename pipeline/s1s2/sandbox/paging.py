"""The items that answer a search, page by page, taken lazily from a catalogue."""

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from time import monotonic
from typing import Any, Protocol

from shapely.geometry.base import BaseGeometry
from starlette.exceptions import HTTPException

from s1s2.sandbox.filters import Item, value_of
from s1s2.sandbox.query import NEWEST_FIRST, Order, Search, when

MOST_SORTED = 100_000
"""Hits that can be sorted by anything but time: all of them must be found first."""
_LASTS = timedelta(minutes=1)
"""No scene goes on for longer around its `datetime`."""
PATIENCE_S = 30.0
"""After so long a search is given up, as Planetary Computer gives it up."""
_BY_TIME = (NEWEST_FIRST, (*NEWEST_FIRST, Order("id", descending=True)))


class Catalogue(Protocol):
    """What there is to be searched. A scene is whatever the catalogue says it is."""

    def collections(self, root: str) -> list[dict[str, Any]]:
        """Return the STAC collections; `root` is the address of the API."""
        ...

    def scenes(
        self, collection: str, area: BaseGeometry | None, begins: datetime, ends: datetime
    ) -> Iterable[Any]:
        """Return scenes whose footprint meets an area, by descending (datetime, id), lazily.

        Their STAC `datetime` lies between both times.
        """
        ...

    def scene(self, collection: str, identity: str) -> Any | None:  # noqa: ANN401
        """Return one scene, or None if there is no such."""
        ...

    def item(self, scene: Any, root: str, blobs: str) -> Item:  # noqa: ANN401
        """Return a scene as STAC item; `blobs` is the address that its files lie under."""
        ...


@dataclass(frozen=True)
class Page:
    """Some of the items that answer a search."""

    items: list[Item]
    next_token: str | None
    """Token of the page after this one, if there is one."""


def find(catalogue: Catalogue, search: Search, root: str, blobs: str) -> Page:
    """Return the page of a search that its token names, or its first.

    In the default order no more than a page and one item are looked at; any other order needs all
    hits, and more than 100,000 of them are refused.

    Raises:
        HTTPException: With status 400 for a token that is none, or too much to sort; 504 after
            half a minute.
    """
    found = _Finder(catalogue, lambda scene: catalogue.item(scene, root, blobs))
    in_order = search.ids is None and search.order in _BY_TIME
    hits = found.by_time(search) if in_order else found.sorted(search)
    items = list(islice(hits, search.limit + 1))
    more, items = len(items) > search.limit, items[: search.limit]
    token = f"next:{items[-1]['collection']}:{items[-1]['id']}" if more else None
    if search.fields:
        items = [search.fields.of(item) for item in items]
    return Page(items, token)


_Hit = tuple[Item, Any]
"""An item and its scene."""


@dataclass(frozen=True)
class _Sorted:
    """What is kept of a hit while all hits are sorted: an item is too large."""

    keys: tuple[tuple[bool, str, Any], ...]
    name: tuple[str, str]
    scene: Any

    @classmethod
    def of(cls, item: Item, scene: Any, search: Search) -> "_Sorted":  # noqa: ANN401
        keys = tuple(_sort_key(item, order) for order in search.order)
        return cls(keys, (item["collection"], item["id"]), scene)


class _Finder:
    """A catalogue for the time of one search."""

    def __init__(self, catalogue: Catalogue, item_of: Callable[[Any], Item]) -> None:
        self._catalogue = catalogue
        self._item_of = item_of
        self._until = monotonic() + PATIENCE_S
        self._names = [c["id"] for c in catalogue.collections("")]

    def by_time(self, search: Search) -> Iterator[Item]:
        """Return hits, newest first, from the token on."""
        if search.token is None:
            yield from (item for item, _ in self._hits(search))
            return
        last = self._last(search.token)
        # items of the same time come again: they are passed over up to the last one sent
        search = replace(search, ends=min(search.ends, when(last)))
        at = _key(last)
        yield from (item for item, _ in self._hits(search) if _key(item) < at)

    def sorted(self, search: Search) -> Iterator[Item]:
        """Return hits in any order, from the token on. Of a hit the scene is kept, not the item."""
        hits = [_Sorted.of(*hit, search) for hit in islice(self._hits(search), MOST_SORTED + 1)]
        if len(hits) > MOST_SORTED:
            msg = f"sortby: more than {MOST_SORTED} items to sort; ask for a smaller area or period"
            raise HTTPException(400, msg)
        for n, order in reversed([*enumerate(search.order)]):
            hits.sort(key=lambda hit, n=n: hit.keys[n], reverse=order.descending)  # type: ignore[misc]
        if search.token is not None:
            last = _split(search.token)
            here = (n for n, hit in enumerate(hits, 1) if hit.name == last)
            if (start := next(here, None)) is None:
                raise _no_token(search.token)
            hits = hits[start:]
        return (self._item_of(hit.scene) for hit in hits)

    def _hits(self, search: Search) -> Iterator[_Hit]:
        wanted = search.collections or tuple(self._names)
        streams = [self._of(name, search) for name in wanted if name in self._names]
        if len(streams) == 1:
            return streams[0]
        return heapq.merge(*streams, key=lambda hit: _key(hit[0]), reverse=True)

    def _of(self, collection: str, search: Search) -> Iterator[_Hit]:
        if search.ids is not None:
            scenes = (self._catalogue.scene(collection, i) for i in dict.fromkeys(search.ids))
            hits = [(self._item_of(s), s) for s in scenes if s is not None]
            here = [hit for hit in hits if search.answered_by(hit[0]) and search.meets(hit[0])]
            yield from sorted(here, key=lambda hit: _key(hit[0]), reverse=True)
            return
        # STAC wants whatever goes on in the interval, not only what has its `datetime` there
        times = search.begins - _LASTS, search.ends + _LASTS
        for scene in self._catalogue.scenes(collection, search.area, *times):
            if monotonic() > self._until:
                raise HTTPException(504, "The request exceeded the maximum allowed time")
            item = self._item_of(scene)
            if search.answered_by(item):
                yield item, scene

    def _last(self, token: str) -> Item:
        collection, identity = _split(token)
        known = collection in self._names
        scene = self._catalogue.scene(collection, identity) if known else None
        if scene is None:
            raise _no_token(token)
        return self._item_of(scene)


def _key(item: Item) -> tuple[datetime, str]:
    return when(item), item["id"]


def _split(token: str) -> tuple[str, str]:
    way, _, rest = token.partition(":")
    collection, _, identity = rest.partition(":")
    if way != "next" or not identity:
        raise _no_token(token)
    return collection, identity


def _no_token(token: str) -> HTTPException:
    return HTTPException(400, f"token {token[:120]!r}: expected one from a rel=next link")


def _sort_key(item: Item, order: Order) -> tuple[bool, str, Any]:
    """Return a key that sorts any JSON, and items without the property last."""
    value = value_of(item, order.name)
    if value is None:
        return not order.descending, "", ""
    if isinstance(value, int | float):
        return order.descending, "", value
    return order.descending, "text", value if isinstance(value, str) else repr(value)
