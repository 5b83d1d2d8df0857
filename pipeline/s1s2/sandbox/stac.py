"""Scenes as the STAC items that Planetary Computer would give, and the way back from a file's path.

Only the habits of its items are here; how the API pages and answers is another room's.
"""

from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import Any

import shapely

from s1s2.sandbox import stac_cover, stac_s1, stac_s2
from s1s2.sandbox.archive import Archive, Scene, extent
from s1s2.sandbox.orbits import moment
from s1s2.sandbox.scenes import (
    COVER_COLLECTION,
    S1_COLLECTION,
    S2_COLLECTION,
    CoverTile,
    OpticalScene,
)

Blobs = str | Callable[[str, str], str]
"""Where files are served: a prefix that account and container are put behind, or a function of
the two."""

COLLECTIONS = (S2_COLLECTION, S1_COLLECTION, COVER_COLLECTION)
_ROOMS: dict[str, ModuleType] = {
    S2_COLLECTION: stac_s2,
    S1_COLLECTION: stac_s1,
    COVER_COLLECTION: stac_cover,
}
CONTAINERS = tuple((room.ACCOUNT, room.CONTAINER) for room in _ROOMS.values())
"""Account and container of every file."""
_TITLES = {
    S2_COLLECTION: "Sentinel-2 Level-2A (SIMULATED)",
    S1_COLLECTION: "Sentinel 1 Radiometrically Terrain Corrected (RTC) (SIMULATED)",
    COVER_COLLECTION: "Known land cover (SIMULATED)",
}
_LICENCES = {
    S2_COLLECTION: "https://sentinel.esa.int/documents/247904/690755/Sentinel_Data_Legal_Notice",
    S1_COLLECTION: "https://creativecommons.org/licenses/by/4.0/",
    COVER_COLLECTION: "https://creativecommons.org/licenses/by/4.0/",
}
_IN_THE_MANNER = (
    "SIMULATED DATA: made up by this project's sandbox in the manner of Microsoft "
    "Planetary Computer's collection of the same name. No satellite took these images."
)
_DESCRIPTIONS = {
    S2_COLLECTION: _IN_THE_MANNER,
    S1_COLLECTION: _IN_THE_MANNER,
    COVER_COLLECTION: (
        "SIMULATED DATA: what covers the simulated planet, in the classes of ESA WorldCover. It is "
        "the truth that the simulated Sentinel scenes are made of, in midsummer of the north."
    ),
}
_DECIMALS = 8  # of the degrees in footprints of tiles


def collection_of(scene: Scene) -> str:
    """Return the id of a scene's collection."""
    if isinstance(scene, CoverTile):
        return COVER_COLLECTION
    return S2_COLLECTION if isinstance(scene, OpticalScene) else S1_COLLECTION


def item(scene: Scene, root: str, blobs: Blobs) -> dict[str, Any]:
    """Return the STAC item of a scene.

    Args:
        scene: Of the archive.
        root: Address of the STAC API, without a slash at its end.
        blobs: Where files are served.

    Returns:
        The item as JSON values, hrefs unsigned. Longitudes go on beyond 180 where the footprint
        crosses the antimeridian, as on Planetary Computer. Items share parts: change none.
    """
    collection = collection_of(scene)
    room = _ROOMS[collection]
    prefix = _prefix(blobs, room.ACCOUNT, room.CONTAINER)
    ring = shapely.get_coordinates(scene.footprint).tolist()
    if collection != S1_COLLECTION:
        ring = [[round(x, _DECIMALS), round(y, _DECIMALS)] for x, y in ring]
    lon, lat = zip(*ring, strict=True)
    assets, properties = room.described(scene, prefix)
    return {
        "id": scene.id,
        "bbox": [min(lon), min(lat), max(lon), max(lat)],
        "type": "Feature",
        "links": _links(scene.id, collection, root),
        "assets": {**assets, **_renderings(scene.id, collection, root, list(assets))},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "collection": collection,
        "properties": properties,
        "stac_extensions": list(room.EXTENSIONS),
        "stac_version": "1.0.0",
    }


def _prefix(blobs: Blobs, account: str, container: str) -> str:
    return f"{blobs}/{account}/{container}" if isinstance(blobs, str) else blobs(account, container)


@lru_cache(maxsize=64)
def _common_links(collection: str, root: str) -> tuple[dict[str, str], ...]:
    """Return the links that are the same in all items of a collection."""
    home = f"{root}/collections/{collection}"
    return (
        {"rel": "collection", "type": "application/json", "href": home},
        {"rel": "parent", "type": "application/json", "href": home},
        {"rel": "root", "type": "application/json", "href": root},
        {"rel": "license", "href": _LICENCES[collection]},
    )


def _links(identity: str, collection: str, root: str) -> list[dict[str, str]]:
    *first, licence = _common_links(collection, root)
    here = f"{root}/collections/{collection}/items/{identity}"
    own = {"rel": "self", "type": "application/geo+json", "href": here}
    links = [*first, own, licence]
    if collection == S1_COLLECTION:
        grd = identity.removesuffix("_rtc")
        links.append(
            {
                "rel": "derived_from",
                "href": f"{root}/collections/sentinel-1-grd/items/{grd}",
                "type": "application/json",
                "title": "Sentinel 1 GRD Item",
            }
        )
    if collection == COVER_COLLECTION:
        return links
    links.append(
        {
            "rel": "preview",
            "href": f"{_data(root)}/item/map?collection={collection}&item={identity}",
            "title": "Map of item",
            "type": "text/html",
        }
    )
    return links


def _renderings(
    identity: str, collection: str, root: str, assets: list[str]
) -> dict[str, dict[str, Any]]:
    """Return the assets that are made on the fly by the data API."""
    if collection == COVER_COLLECTION:
        return {}
    shown = "assets=visual&bidx=1,2,3&nodata=0"
    if collection == S1_COLLECTION:
        shown = "&".join(f"assets={key}" for key in reversed(assets)) + "&tile_format=png"
    query = f"collection={collection}&item={identity}&{shown}"
    return {
        "tilejson": {
            "title": "TileJSON with default rendering",
            "href": f"{_data(root)}/item/tilejson.json?{query}",
            "type": "application/json",
            "roles": ["tiles"],
        },
        "rendered_preview": {
            "title": "Rendered preview",
            "rel": "preview",
            "href": f"{_data(root)}/item/preview.png?{query}",
            "roles": ["overview"],
            "type": "image/png",
        },
    }


def _data(root: str) -> str:
    return f"{root.removesuffix('/stac/v1')}/data/v1"


def collection(identity: str, root: str) -> dict[str, Any]:
    """Return a STAC collection.

    Raises:
        KeyError: If there is none of that id.
    """
    room = _ROOMS[identity]
    home = f"{root}/collections/{identity}"
    first, last = (f"{moment(us):%Y-%m-%dT%H:%M:%SZ}" for us in extent(identity))
    goes_on = identity != COVER_COLLECTION
    return {
        "id": identity,
        "type": "Collection",
        "title": _TITLES[identity],
        "description": _DESCRIPTIONS[identity],
        "license": "proprietary" if identity == S2_COLLECTION else "CC-BY-4.0",
        "keywords": ["Sentinel", "Copernicus", "simulated"],
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [[first, None if goes_on else last]]},
        },
        "links": [
            {"rel": "items", "type": "application/geo+json", "href": f"{home}/items"},
            {"rel": "parent", "type": "application/json", "href": root},
            {"rel": "root", "type": "application/json", "href": root},
            {"rel": "self", "type": "application/json", "href": home},
            {"rel": "license", "href": _LICENCES[identity]},
        ],
        "msft:storage_account": room.ACCOUNT,
        "msft:container": room.CONTAINER,
        "msft:region": "westeurope",
        "stac_extensions": [],
        "stac_version": "1.0.0",
    }


def scene_of_path(
    archive: Archive, account: str, container: str, path: str
) -> tuple[Scene, str] | None:
    """Find the scene and the asset key of a file.

    Args:
        archive: Whose scenes.
        account: Storage account, as in an href made by `item`.
        container: Container of it.
        path: Path in the container, without a slash at its start.

    Returns:
        None unless exactly this path is of a scene that the archive has.
    """
    for identity, room in _ROOMS.items():
        if (account, container) == (room.ACCOUNT, room.CONTAINER):
            name = room.identity_of_path(path)
            scene = archive.scene(identity, name) if name else None
            if scene is None:
                return None
            keys = (key for key, there in room.paths(scene).items() if there == path)
            key = next(keys, None)
            return None if key is None else (scene, key)
    return None
