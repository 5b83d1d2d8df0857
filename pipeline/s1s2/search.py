"""STAC in, items out, through one interface: an API, or items on disk. pystac-client's door."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import shapely
from pystac import STACError
from pystac_client import Client
from pystac_client.exceptions import APIError
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from s1s2.bands import Sensor
from s1s2.catalog import ITEMS_SUFFIXES, Catalog, Product, require
from s1s2.errors import CatalogError, RecipeError
from s1s2.item_tables import Places, items_of
from s1s2.items import Item, fields_read, parse_time
from s1s2.scene import continuous
from s1s2.transport import CatalogIO, Pace

_PAGE = 250
_MOST_PAGES = 1000
_REACH_DEGREES = 6.0
"""A footprint reaches no further than this from its middle, along the equator."""
_MARGIN = timedelta(hours=1)
"""An item may state its datatake's start, up to a quarter of an hour before the tile is sensed."""

_MALFORMED = (
    *(LookupError, TypeError, ValueError, AttributeError, OverflowError),
    shapely.errors.ShapelyError,
)
"""What a malformed item raises; it is passed on, to be refused with a reason."""


@dataclass(frozen=True)
class SearchSpec:
    """The period in which both scenes of a pair are sensed (UTC)."""

    start: date = date(2019, 8, 1)
    """First day."""
    end: date = date(2019, 9, 17)
    """Last day, inclusive to its last second."""

    def __post_init__(self) -> None:
        if self.end.year > date.max.year - 1:
            msg = f"end {self.end}: expected a day that has a next one"
            raise RecipeError(msg)
        if self.end < self.start:
            msg = f"end {self.end} lies before start {self.start}: expected start <= end"
            raise RecipeError(msg)

    @property
    def begins(self) -> datetime:
        """The first instant of the period."""
        return datetime.combine(self.start, time(), UTC)

    @property
    def ends(self) -> datetime:
        """The first instant after the period."""
        return datetime.combine(self.end + timedelta(days=1), time(), UTC)


@dataclass(frozen=True)
class Query:
    """One question to a catalog: which scenes of a sensor cover some of these places, and when."""

    sensor: Sensor
    places: tuple[tuple[float, float], ...]
    """Longitudes and latitudes, degrees."""
    begins: datetime
    ends: datetime
    """Exclusive."""


class Source(Protocol):
    """Whatever answers a query with STAC items, hrefs unsigned and absolute."""

    def items(self, query: Query) -> Iterator[Item]:
        """Return the items that may answer a query; more than asked for does no harm."""
        ...


def open_source(catalog: Catalog, pace: Pace) -> Source:
    """Open a catalog for searching.

    Raises:
        UnreachableError: If it cannot be reached now.
        CatalogError: If its items cannot be read, or it is no catalog.
    """
    return ApiSource(catalog, pace) if catalog.endpoint else ItemsSource(catalog)


class ApiSource:
    """A STAC API, asked through pystac-client within its budget."""

    def __init__(self, catalog: Catalog, pace: Pace) -> None:
        self._catalog = catalog
        endpoint = catalog.located(catalog.endpoint)
        with self._understood():
            self._client = Client.open(endpoint, stac_io=CatalogIO(catalog.name, endpoint, pace))

    def items(self, query: Query) -> Iterator[Item]:
        """Search by places, never by a box: some servers misread boxes across 180 degrees."""
        yield from self._pages(query, query.places)
        turned = tuple(
            (lon - 360 if lon > 0 else lon + 360, lat)
            for lon, lat in query.places
            if abs(lon) > 180 - _REACH_DEGREES / max(math.cos(math.radians(lat)), 0.03)
        )
        if turned:
            yield from self._pages(query, turned)

    def _fields(self, product: Product) -> dict[str, list[str]] | None:
        """Ask for what we read alone, where the server can tell."""
        if not self._client.conforms_to("FIELDS"):
            return None
        return {"include": fields_read(product), "exclude": ["links"]}

    def _pages(self, query: Query, places: tuple[tuple[float, float], ...]) -> Iterator[Item]:
        product = require(self._catalog, query.sensor)
        search = self._client.search(
            collections=[product.collection],
            intersects={"type": "MultiPoint", "coordinates": [list(p) for p in places]},
            datetime=(query.begins - _MARGIN, query.ends),
            limit=_PAGE,
            fields=self._fields(product),
        )
        with self._understood():
            yield from _features(search.pages_as_dicts(), self._catalog.name)

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Turn what pystac and pystac-client make of strange documents into one clear error."""
        try:
            yield
        except (APIError, STACError, KeyError) as error:
            cause = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            msg = f"catalog {self._catalog.name}: its answer is not understood ({cause})"
            raise CatalogError(msg) from error


def _features(pages: Iterator[dict[str, Any]], name: str) -> Iterator[Item]:
    """Return the items of an answer's pages; a page that comes again would come for ever."""
    seen: set[tuple[str, ...]] = set()
    for number, page in enumerate(pages, start=1):
        features = [f for f in page.get("features") or [] if isinstance(f, Mapping)]
        ids = tuple(str(f.get("id")) for f in features)
        if ids in seen or number > _MOST_PAGES:
            msg = f"catalog {name}: its search repeats itself at page {number}"
            raise CatalogError(msg)
        seen.add(ids)
        yield from features


class ItemsSource:
    """Items on disk: an ItemCollection, a stac-geoparquet file, or a folder of either."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        root = Path(catalog.items)
        self._tables = [p for p in _files(root) if p.suffix in (".parquet", ".geoparquet")]
        documents = [p for p in _files(root) if p not in self._tables]
        self._items = [i for path in documents for i in _read_json(path, catalog)]
        self._footprints = np.empty(len(self._items), dtype=object)
        self._footprints[:] = [_footprint(item) for item in self._items]
        if not self._tables and not any("assets" in item for item in self._items):
            msg = (
                f"catalog {catalog.name}: {root} holds no STAC items ({', '.join(ITEMS_SUFFIXES)})"
            )
            raise CatalogError(msg)

    def items(self, query: Query) -> Iterator[Item]:
        """Filter by collection, time and place; a malformed item is passed on, to be refused."""
        product = require(self._catalog, query.sensor)
        places = Places(query.places)
        hit = places.hit(self._footprints)
        for item, near, footprint in zip(self._items, hit, self._footprints, strict=True):
            if item.get("collection") != product.collection or not _in_time(item, query):
                continue
            if near or footprint is None:
                yield item
        for path in self._tables:
            yield from self._of_table(path, product, places, query)

    def _of_table(
        self, path: Path, product: Product, places: Places, query: Query
    ) -> Iterator[Item]:
        begins, ends = query.begins - _MARGIN, query.ends + _MARGIN
        try:
            for item in items_of(path, product, places, begins, ends):
                yield _absolute(item, path.parent)
        except CatalogError as error:
            msg = f"catalog {self._catalog.name}: {error}"
            raise CatalogError(msg) from error


def _footprint(item: Item) -> BaseGeometry | None:
    """Return an item's footprint, or None where it has none that can be read."""
    try:
        return continuous(shape(item["geometry"]))
    except _MALFORMED:
        return None


def _in_time(item: Item, query: Query) -> bool:
    """Say whether an item may lie in a query's time; one without a readable time may."""
    try:
        properties = item["properties"]
        when = parse_time(properties.get("datetime") or properties["start_datetime"])
        return query.begins - _MARGIN <= when < query.ends + _MARGIN
    except _MALFORMED:
        return True


def _files(root: Path) -> list[Path]:
    if not root.is_dir():
        return [root]
    return sorted(p for p in root.rglob("*") if p.suffix.lower() in ITEMS_SUFFIXES and p.is_file())


def _read_json(path: Path, catalog: Catalog) -> Iterator[Item]:
    """Return the items of a JSON file; other STAC documents (catalogs, collections) hold none."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        msg = f"catalog {catalog.name}: {path} is not readable JSON ({type(error).__name__})"
        raise CatalogError(msg) from error
    kind = document.get("type") if isinstance(document, dict) else None
    features = document.get("features", []) if kind == "FeatureCollection" else []
    if kind == "Feature":
        features = [document]
    if not Path(catalog.items).is_dir() and kind not in ("Feature", "FeatureCollection"):
        msg = f"catalog {catalog.name}: {path} is no ItemCollection (its type is {kind!r})"
        raise CatalogError(msg)
    for feature in features:
        if isinstance(feature, dict):
            yield _absolute(feature, path.parent)


def _absolute(item: dict[str, Any], folder: Path) -> Item:
    """Make relative asset hrefs absolute paths; whether they may be opened is not decided here."""
    assets = item.get("assets")
    if not isinstance(assets, dict):
        return item
    resolved = {
        key: asset | {"href": str(folder / asset["href"])}
        for key, asset in assets.items()
        if isinstance(asset, dict) and _is_relative(asset.get("href"))
    }
    return {**item, "assets": assets | resolved}


def _is_relative(href: object) -> bool:
    return isinstance(href, str) and "://" not in href and not href.startswith("/")
