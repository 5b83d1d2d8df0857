"""A tile of the known land cover as STAC item, in the manner of Planetary Computer's."""

from functools import lru_cache
from typing import Any

from s1s2.sandbox.scenes import COVER_BEGINS, COVER_ENDS, S2_TILE_M, CoverTile
from s1s2.sandbox.stac_s2 import COG, rfc3339

ACCOUNT, CONTAINER = "s1s2sandbox", "land-cover"
EXTENSIONS = [
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("projection/v1.1.0", "classification/v1.0.0", "raster/v1.1.0", "grid/v1.0.0")
]
GSD_M = 10
NODATA = 0
CLASSES = {
    10: "Tree cover",
    20: "Shrubland",
    30: "Grassland",
    40: "Cropland",
    50: "Built-up",
    60: "Bare / sparse vegetation",
    70: "Snow and ice",
    80: "Permanent water bodies",
    90: "Herbaceous wetland",
    95: "Mangroves",
    100: "Moss and lichen",
}
"""ESA WorldCover's codes. No mangroves grow on the simulated planet."""


def paths(scene: CoverTile) -> dict[str, str]:
    """Return the path of the only file of a tile in its container, by asset key."""
    tile = scene.tile
    return {"map": f"{tile[:2]}/{tile[2]}/{tile[3:]}/{scene.id}.tif"}


def identity_of_path(path: str) -> str | None:
    """Return the id of the tile that a path would belong to."""
    name = path.rpartition("/")[2]
    return name.removesuffix(".tif") if name.endswith(".tif") else None


def described(scene: CoverTile, prefix: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return an item's assets and properties; `prefix` is what their paths are put behind."""
    side, pixel = S2_TILE_M // GSD_M, float(GSD_M)
    corners = [scene.left, scene.top - S2_TILE_M, scene.left + S2_TILE_M, scene.top]
    (key, path), *_ = paths(scene).items()
    asset = {
        "href": f"{prefix}/{path}",
        "type": COG,
        "title": "Known land cover (SIMULATED)",
        "gsd": GSD_M,
        "roles": ["data"],
        "raster:bands": [
            {"nodata": NODATA, "data_type": "uint8", "spatial_resolution": GSD_M},
        ],
        "classification:classes": _classes(),
    }
    properties = {
        "datetime": rfc3339(COVER_BEGINS),
        "start_datetime": rfc3339(COVER_BEGINS),
        "end_datetime": rfc3339(COVER_ENDS),
        "platform": "simulated",
        "gsd": GSD_M,
        "grid:code": f"MGRS-{scene.tile}",
        "s2:mgrs_tile": scene.tile,
        "proj:epsg": scene.epsg,
        "proj:bbox": corners,
        "proj:shape": [side, side],
        "proj:transform": [pixel, 0.0, scene.left, 0.0, -pixel, scene.top],
    }
    return {key: asset}, properties


@lru_cache(maxsize=1)
def _classes() -> list[dict[str, Any]]:
    return [
        {"value": code, "name": _word(name), "description": name} for code, name in CLASSES.items()
    ]


def _word(name: str) -> str:
    """Return a name as the extension wants it: letters, digits and underscores alone.

    Examples:
        >>> _word("Bare / sparse vegetation")
        'bare_sparse_vegetation'
    """
    return "_".join(name.lower().replace("/", " ").replace("-", " ").split())
