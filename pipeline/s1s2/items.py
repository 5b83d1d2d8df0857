"""From a STAC item to a `Scene`: the only code that knows STAC's field names. Pure.

Real answers have habits that break simple parsers: Sentinel-1 start times with a space, `proj:epsg`
or `proj:code`, Sentinel-2 times that are the start of the datatake and not of the tile, platforms
in three spellings. Each is handled where it is read, with its source in the project's notes.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from s1s2.bands import Band, Sensor
from s1s2.catalog import Catalog, Product
from s1s2.errors import ContractError, unsigned
from s1s2.scene import Scene, continuous, simple_footprints

Item = Mapping[str, Any]

_PROPERTIES = (
    *("datetime", "start_datetime", "end_datetime", "created", "platform", "grid:code"),
    *("proj:epsg", "proj:code", "eo:cloud_cover", "sar:instrument_mode", "sat:orbit_state"),
    *("sat:relative_orbit", "s1:processing_datetime", "s2:mgrs_tile", "s2:product_type"),
    *("s2:product_uri", "s2:processing_baseline", "s2:datatake_id", "s2:datastrip_id"),
    "s2:generation_time",
)
_ASSET_FIELDS, _GRID_FIELDS = ("href", "proj:epsg", "proj:code"), ("proj:transform", "proj:shape")

_LONGEST_ID = 256
_UTM_BLOCKS, _LAST_ZONE = (326, 327), 60  # EPSG's codes of the WGS 84 UTM zones, north and south
_MOST_ORBITS = 1000
_SAME_STRIP_S = 30.0
_SENSED = re.compile(r"_S(\d{8}T\d{6})(?:_|$)")
_BASELINE = re.compile(r"^\d{2}\.\d{2}$")
_DATATAKE = re.compile(r"_N\d{2}\.\d{2}$")
_ORBIT = re.compile(r"_R(\d{3})_")
_TILE = re.compile(r"(\d{1,2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V])$")


def fields_read(product: Product) -> list[str]:
    """Return the paths of what is read of a product's items: a quarter of a whole item or less."""
    paths = ["id", "collection", "geometry", *(f"properties.{name}" for name in _PROPERTIES)]
    for band, key in product.assets.items():
        names = (*_ASSET_FIELDS, *(_GRID_FIELDS if band is Band.B01 else ()))
        paths += [f"assets.{key}.{name}" for name in names]
    return paths


class ItemRefused(ContractError):  # noqa: N818  # an outcome that is counted, not an error
    """An item that cannot serve as a scene; `reason` is a short word, the text says why."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def scene_from_item(item: Item, catalog: Catalog, sensor: Sensor) -> Scene:
    """Parse one STAC item of one sensor.

    Args:
        item: The item as JSON, hrefs unsigned and absolute.
        catalog: Where it came from: names the collection and the asset key of every band.
        sensor: Which of the catalog's products it should be.

    Raises:
        ItemRefused: If it is not a usable item of that product: another collection, product type or
            instrument mode, no geometry, no time, no zone, no known baseline. Missing bands are
            no reason here: `match` refuses such a scene by name.
    """
    return _scene(item, catalog, sensor, None)


def scenes_from_items(
    items: Sequence[Item], catalog: Catalog, sensor: Sensor
) -> tuple[list[Scene], Counter[str]]:
    """Parse many items of one sensor, as `scene_from_item` does, and several times as fast.

    Returns:
        The scenes in the order of the items, and how many items were refused for which reason.
    """
    scenes, refused = [], Counter[str]()
    footprints = simple_footprints([item.get("geometry") for item in items])
    for item, footprint in zip(items, footprints, strict=True):
        try:
            scenes.append(_scene(item, catalog, sensor, footprint))
        except ItemRefused as refusal:
            refused[refusal.reason] += 1
    return scenes, refused


def _scene(item: Item, catalog: Catalog, sensor: Sensor, footprint: BaseGeometry | None) -> Scene:
    """Parse one item; `footprint` is its geometry where that is read already."""
    product = catalog.product(sensor)
    try:
        return _parse(item, catalog, product, sensor, footprint)
    except ItemRefused:
        raise
    except (
        *(LookupError, TypeError, ValueError, AttributeError, OverflowError),
        shapely.errors.ShapelyError,
    ) as error:
        msg = f"{_id_for_show(item)}: not a readable STAC item ({type(error).__name__}: {error})"
        raise ItemRefused(msg, "bad_item") from error


def _parse(
    item: Item, catalog: Catalog, product: Product, sensor: Sensor, footprint: BaseGeometry | None
) -> Scene:
    identity = _identity(item)
    properties = item["properties"]
    if item.get("collection") != product.collection:
        msg = f"{identity}: collection {item.get('collection')!r}, expected {product.collection!r}"
        raise ItemRefused(msg, "other_collection")
    assets = _assets(item, product)
    hrefs = {
        band: unsigned(catalog.unlocated(str(href)))
        for band, asset in assets.items()
        if (href := asset.get("href"))
    }
    if not hrefs:
        keys = ", ".join(product.assets.values())
        msg = f"{identity}: none of the assets {keys}"
        raise ItemRefused(msg, "no_assets")
    parse = _radar if sensor is Sensor.S1 else _optical
    return Scene(
        id=identity,
        catalog=catalog.name,
        collection=product.collection,
        sensor=sensor,
        platform=str(properties["platform"]).lower(),
        footprint=_footprint(item, identity) if footprint is None else footprint,
        epsg=_epsg(item, assets.values(), identity),
        hrefs=hrefs,
        **parse(item, product, identity),
    )


def _identity(item: Item) -> str:
    identity = item["id"]
    if not isinstance(identity, str) or not 0 < len(identity) <= _LONGEST_ID:
        msg = f"item id {_id_for_show(item)}: expected text of at most {_LONGEST_ID} characters"
        raise ItemRefused(msg, "bad_item")
    return identity


def _id_for_show(item: Item) -> str:
    return repr(item.get("id"))[:80]


def _footprint(item: Item, identity: str) -> BaseGeometry:
    if not item.get("geometry"):
        msg = f"{identity}: no geometry"
        raise ItemRefused(msg, "no_geometry")
    geometry = continuous(shape(item["geometry"]))
    geometry = geometry if geometry.is_valid else shapely.make_valid(geometry)
    if geometry.is_empty or geometry.area == 0:
        msg = f"{identity}: its geometry has no area"
        raise ItemRefused(msg, "no_geometry")
    return geometry


def _assets(item: Item, product: Product) -> dict[Band, Item]:
    """Return the assets of ours that an item has.

    A stac-geoparquet row has empty ones besides; a server asked for certain assets alone leaves
    `assets` away where an item has none of them.
    """
    held = item.get("assets") or {}
    found = ((band, held.get(key)) for band, key in product.assets.items())
    return {band: asset for band, asset in found if asset}


def _epsg(item: Item, assets: Iterable[Item], identity: str) -> int:
    """Find the UTM zone: `proj:epsg` or `proj:code`, on the item or on an asset of ours."""
    for holder in (item["properties"], *assets):
        code = holder.get("proj:epsg") or str(holder.get("proj:code") or "").removeprefix("EPSG:")
        if code and int(code) // 100 in _UTM_BLOCKS and 1 <= int(code) % 100 <= _LAST_ZONE:
            return int(code)
    msg = f"{identity}: no UTM zone in proj:epsg or proj:code"
    raise ItemRefused(msg, "not_utm")


def _radar(item: Item, _product: Product, identity: str) -> dict[str, Any]:
    properties = item["properties"]
    mode = properties.get("sar:instrument_mode")
    if mode != "IW":
        msg = f"{identity}: instrument mode {mode!r}, expected 'IW'"
        raise ItemRefused(msg, "other_mode")
    times = (properties.get("start_datetime"), properties.get("end_datetime"))
    middle = properties.get("datetime")
    if middle is None and None not in times:
        start, end = (parse_time(t) for t in times)
        sensed_at = start + (end - start) / 2
    else:
        sensed_at = parse_time(middle)
    return {
        "sensed_at": sensed_at,
        "acquisition": f"{properties['platform']}/{parse_time(times[0] or middle):%Y%m%dT%H%M%S}",
        "relative_orbit": _maybe_int(properties.get("sat:relative_orbit")),
        "orbit_state": properties.get("sat:orbit_state"),
        "version": str(properties.get("s1:processing_datetime") or properties.get("created") or ""),
    }


def _optical(item: Item, product: Product, identity: str) -> dict[str, Any]:
    properties = item["properties"]
    kind = properties.get("s2:product_type", "S2MSI2A")
    if kind != "S2MSI2A":
        msg = f"{identity}: product type {kind!r}, expected 'S2MSI2A'"
        raise ItemRefused(msg, "other_product")
    baseline = str(properties.get("s2:processing_baseline", ""))
    if not _BASELINE.match(baseline):
        msg = (
            f"{identity}: s2:processing_baseline {baseline!r}, expected as '05.09': without it the "
            "radiometric offset is unknown"
        )
        raise ItemRefused(msg, "no_baseline")
    strip = str(properties.get("s2:datastrip_id") or "")
    start = parse_time(properties["datetime"])
    tile = _tile(item)
    orbit = properties.get("sat:relative_orbit")
    if orbit is None and (found := _ORBIT.search(str(properties.get("s2:product_uri", "")))):
        orbit = found[1]
    cloud = properties.get("eo:cloud_cover")
    datatake = _DATATAKE.sub("", str(properties.get("s2:datatake_id") or ""))
    generated = str(properties.get("s2:generation_time") or "")
    return {
        "sensed_at": _sensed(start, strip),
        "acquisition": datatake or f"{properties['platform']}/{start:%Y%m%dT%H%M%S}",
        "relative_orbit": _maybe_int(orbit),
        "orbit_state": properties.get("sat:orbit_state"),
        "tile": tile,
        "cloud_fraction": None if cloud is None else float(cloud) / 100,
        "processing_baseline": baseline,
        "version": f"{baseline}/{generated}",
        "bounds": _bounds(item, product),
    }


def _sensed(start: datetime, datastrip_id: str) -> datetime:
    """Take the later of the item's time and the datastrip's start.

    Planetary Computer's `datetime` is the start of the datatake, up to 15 minutes before the tile
    is sensed; Earth Search's is the tile's own time. The datastrip starts between the two.
    """
    found = _SENSED.search(datastrip_id)
    if not found:
        return start
    return max(start, datetime.fromisoformat(found[1]).replace(tzinfo=UTC))


def _tile(item: Item) -> str | None:
    properties = item["properties"]
    for value in (properties.get("s2:mgrs_tile"), properties.get("grid:code")):
        if value and (found := _TILE.search(str(value))):
            return found[1].zfill(5)
    return None


def _bounds(item: Item, product: Product) -> tuple[float, float, float, float] | None:
    """Return the files' bounds from the coarsest band's transform and shape, where stated."""
    asset = item["assets"].get(product.assets[Band.B01]) or {}
    transform, extent = asset.get("proj:transform"), asset.get("proj:shape")
    if not transform or not extent or transform[1] or transform[3]:
        return None
    a, _, c, _, e, f = (float(v) for v in transform[:6])
    height, width = extent
    return c, f + e * height, c + a * width, f


def parse_time(text: object) -> datetime:
    """Parse a STAC time: RFC 3339, or with a space as on Planetary Computer's Sentinel-1 items.

    Whole milliseconds, as tables keep them, so that every source gives the same scene.

    Examples:
        >>> parse_time("2024-04-19 04:59:04.220006+00:00").isoformat()
        '2024-04-19T04:59:04.220000+00:00'
        >>> parse_time("2024-04-19T04:59:04Z").isoformat()
        '2024-04-19T04:59:04+00:00'
    """
    moment = text if isinstance(text, datetime) else datetime.fromisoformat(str(text))
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _maybe_int(value: object) -> int | None:
    number = None if value is None else int(str(value))
    if number is not None and not 0 <= number < _MOST_ORBITS:
        msg = f"relative orbit {number}"
        raise ValueError(msg)
    return number


class Version(Protocol):
    """What of a scene says which version of which recording it is; see `Scene`."""

    @property
    def id(self) -> str:
        """Item id."""
        ...

    @property
    def catalog(self) -> str:
        """Where it came from."""
        ...

    @property
    def sensor(self) -> Sensor:
        """Which of the two."""
        ...

    @property
    def sensed_at(self) -> datetime:
        """Aware UTC."""
        ...

    @property
    def acquisition(self) -> str:
        """The datatake."""
        ...

    @property
    def tile(self) -> str | None:
        """MGRS tile."""
        ...

    @property
    def version(self) -> str:
        """The greatest is the one to use."""
        ...


V = TypeVar("V", bound=Version)


def deduplicate(scenes: Iterable[V]) -> list[V]:
    """Keep one version of every recording, sorted by sensor and id.

    The same recording reaches a catalog again when it is reprocessed: with a new id, a higher
    baseline, a newer generation time, its datastrip starting a second earlier or later. Of a tile
    split over two datastrips both are kept: they start minutes apart.
    """
    best: list[V] = []
    for scene in sorted(scenes, key=lambda s: (*_recording(s), s.sensed_at, s.version, s.id)):
        last = best[-1] if best else None
        if last is None or not _same_recording(last, scene):
            best.append(scene)
        elif (scene.version, scene.id) > (last.version, last.id):
            best[-1] = scene
    return sorted(best, key=lambda s: (s.sensor, s.id, s.catalog))


def _recording(scene: Version) -> tuple[str, str, str, str]:
    # a scene without a tile stands for itself; of radar, the start to the second names the slice
    tile = "" if scene.sensor is Sensor.S1 else scene.tile or scene.id
    return scene.sensor, scene.catalog, scene.acquisition, tile


def _same_recording(one: Version, other: Version) -> bool:
    apart = abs((other.sensed_at - one.sensed_at).total_seconds())
    return _recording(one) == _recording(other) and apart <= _SAME_STRIP_S
