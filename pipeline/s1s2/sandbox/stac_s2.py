"""A Sentinel-2 scene as Planetary Computer's STAC item: its keys, spellings and paths."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from math import cos, pi
from typing import Any

from s1s2.sandbox.noise import key_of
from s1s2.sandbox.orbits import S2_UNITS, absolute_orbit, compact, microseconds
from s1s2.sandbox.scenes import S2_TILE_M, OpticalScene

ACCOUNT, CONTAINER = "sentinel2l2a01", "sentinel2-l2"
EXTENSIONS = [
    f"https://stac-extensions.github.io/{name}/v1.0.0/schema.json"
    for name in ("eo", "sat", "projection")
]
COG = "image/tiff; application=geotiff; profile=cloud-optimized"

_BANDS = {  # key: metres, common name, description, centre and width in micrometres
    "B01": (60, "coastal", "Band 1 - Coastal aerosol", 0.443, 0.027),
    "B02": (10, "blue", "Band 2 - Blue", 0.49, 0.098),
    "B03": (10, "green", "Band 3 - Green", 0.56, 0.045),
    "B04": (10, "red", "Band 4 - Red", 0.665, 0.038),
    "B05": (20, "rededge", "Band 5 - Vegetation red edge 1", 0.704, 0.019),
    "B06": (20, "rededge", "Band 6 - Vegetation red edge 2", 0.74, 0.018),
    "B07": (20, "rededge", "Band 7 - Vegetation red edge 3", 0.783, 0.028),
    "B08": (10, "nir", "Band 8 - NIR", 0.842, 0.145),
    "B09": (60, "", "Band 9 - Water vapor", 0.945, 0.026),
    "B11": (20, "swir16", "Band 11 - SWIR (1.6)", 1.61, 0.143),
    "B12": (20, "swir22", "Band 12 - SWIR (2.2)", 2.19, 0.242),
    "B8A": (20, "rededge", "Band 8A - Vegetation red edge 4", 0.865, 0.033),
}
_IMAGES = {  # in the order of real items: key, its word in file names, metres, title
    "AOT": ("AOT", 10, "Aerosol optical thickness (AOT)"),
    **{k: (k, b[0], f"{b[2]} - {b[0]}m") for k, b in _BANDS.items()},
    "SCL": ("SCL", 20, "Scene classfication map (SCL)"),  # so spelt on Planetary Computer
    "WVP": ("WVP", 10, "Water vapour (WVP)"),
    "visual": ("TCI", 10, "True color image"),
}
_ENDS = [(key, f"R{gsd}m/", f"{word}_{gsd}m.tif") for key, (word, gsd, _) in _IMAGES.items()]
_METADATA = {
    "safe-manifest": "SAFE manifest",
    "granule-metadata": "Granule metadata",
    "inspire-metadata": "INSPIRE metadata",
    "product-metadata": "Product metadata",
    "datastrip-metadata": "Datastrip metadata",
}
_MSFT_SINCE = "20231001"  # ids name who ran the processor: Esri, later Microsoft


def paths(scene: OpticalScene) -> dict[str, str]:
    """Return the path of every file of a scene in its container, by asset key."""
    return _paths(scene, _Names(scene))


def described(scene: OpticalScene, prefix: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return an item's assets and properties; `prefix` is what their paths are put behind.

    What tiles and items have in common they share: it is not to be changed.
    """
    names = _Names(scene)
    return _assets(scene, names, prefix), _properties(scene, names)


def _paths(scene: OpticalScene, names: "_Names") -> dict[str, str]:
    tile, start = scene.tile, names.take.start
    folder = f"{tile[:2]}/{tile[2]}/{tile[3:]}/{names.take.folder}/{names.product}"
    granule = f"{folder}/{names.granule}"
    stem = f"T{tile}_{start}_"
    files = {key: f"{granule}/IMG_DATA/{at}{stem}{end}" for key, at, end in _ENDS}
    files["preview"] = f"{granule}/QI_DATA/{stem}PVI.tif"
    files["safe-manifest"] = f"{folder}/manifest.safe"
    files["granule-metadata"] = f"{granule}/MTD_TL.xml"
    files["inspire-metadata"] = f"{folder}/INSPIRE.xml"
    files["product-metadata"] = f"{folder}/MTD_MSIL2A.xml"
    files["datastrip-metadata"] = f"{folder}/DATASTRIP/{names.strip}/MTD_DS.xml"
    return files


def identity_of_path(path: str) -> str | None:
    """Return the id of the scene that a path would belong to."""
    product = next((p for p in path.split("/") if p.endswith(".SAFE")), "")
    parts = product.removesuffix(".SAFE").split("_")
    whole = 7  # words of a product id
    if len(parts) != whole or not parts[3].startswith("N"):
        return None
    return "_".join(parts[:3] + parts[4:])


@dataclass(frozen=True)
class _Take:
    """What the items of a datatake have in common."""

    start: str
    """As in names of files."""
    datetime: str
    folder: str
    orbit: str
    """Absolute, six digits."""
    sun_earth_factor: float


@lru_cache(maxsize=1024)
def _take(platform: str, relative_orbit: int, starts: datetime) -> _Take:
    orbit = absolute_orbit(S2_UNITS, platform, relative_orbit, microseconds(starts))
    # the inverse square of the distance to the sun in astronomical units
    day = starts.timetuple().tm_yday
    factor = (1 + 0.01672 * cos(2 * pi * (day - 3) / 365.256)) ** 2
    return _Take(compact(starts), rfc3339(starts), f"{starts:%Y/%m/%d}", f"{orbit:06d}", factor)


class _Names:
    """The ids of a scene's product, datatake, datastrip and granule."""

    def __init__(self, scene: OpticalScene) -> None:
        platform = scene.platform
        self.take = take = _take(platform, scene.relative_orbit, scene.datatake_starts)
        sensed, made = compact(scene.sensed_at), compact(scene.generated_at)
        who = "ESRI" if made < _MSFT_SINCE else "MSFT"
        version, tile = f"N{scene.baseline}", f"T{scene.tile}"
        level = f"{platform}_OPER_MSI_L2A"
        self.product = (
            f"{platform}_MSIL2A_{take.start}_{version.replace('.', '')}"
            f"_R{scene.relative_orbit:03d}_{tile}_{made}.SAFE"
        )
        self.granule = f"GRANULE/L2A_{tile}_A{take.orbit}_{sensed}"
        self.strip = f"DS_{who}_{made}_S{sensed}"
        self.granule_id = f"{level}_TL_{who}_{made}_A{take.orbit}_{tile}_{version}"
        self.datatake_id = f"G{platform}_{take.start}_{take.orbit}_{version}"
        self.datastrip_id = f"{level}_{self.strip}_{version}"


def _properties(scene: OpticalScene, names: _Names) -> dict[str, Any]:
    return {
        "datetime": names.take.datetime,
        "platform": f"Sentinel-{scene.platform[1:]}",
        "proj:epsg": scene.epsg,
        "instruments": ["msi"],
        "s2:mgrs_tile": scene.tile,
        "constellation": "Sentinel 2",
        "s2:granule_id": names.granule_id,
        "s2:datatake_id": names.datatake_id,
        "s2:product_uri": names.product,
        "s2:datastrip_id": names.datastrip_id,
        "s2:product_type": "S2MSI2A",
        "sat:orbit_state": "descending",
        "s2:datatake_type": "INS-NOBS",
        "s2:generation_time": rfc3339(scene.generated_at),
        "sat:relative_orbit": scene.relative_orbit,
        "s2:mean_solar_zenith": scene.sun_zenith,
        "s2:mean_solar_azimuth": scene.sun_azimuth,
        "s2:processing_baseline": scene.baseline,
        "s2:reflectance_conversion_factor": names.take.sun_earth_factor,
        **_shares(scene),
    }


def _shares(scene: OpticalScene) -> dict[str, float]:
    """Return shares of the data in percent, made up around the cloud fraction; they add to 100."""
    words = [key_of(scene.recording, "shares", n) for n in range(2)]
    draws = [(word >> shift & 0xFF) / 0x100 for word in words for shift in (0, 8, 16, 24)]
    cloud = 100 * scene.cloud_fraction
    thin, medium = round(cloud * 0.3 * draws[0], 6), round(cloud * (0.2 + 0.4 * draws[1]), 6)
    high = round(max(0.0, cloud - thin - medium), 6)
    shadow = round(min(4.0, 0.1 * cloud) * draws[2] * (1 - scene.cloud_fraction), 6)
    rest = max(0.0, 100 - thin - medium - high - shadow)
    weights = [(draw + 0.01) ** 2 for draw in (*draws[3:7], 0.1 * draws[7], 0.02 * draws[7])]
    whole = sum(weights)
    ground = [round(rest * weight / whole, 6) for weight in weights]
    return {
        "eo:cloud_cover": round(thin + medium + high, 6),
        "s2:thin_cirrus_percentage": thin,
        "s2:medium_proba_clouds_percentage": medium,
        "s2:high_proba_clouds_percentage": high,
        "s2:cloud_shadow_percentage": shadow,
        "s2:vegetation_percentage": ground[0],
        "s2:not_vegetated_percentage": ground[1],
        "s2:water_percentage": ground[2],
        "s2:snow_ice_percentage": ground[3],
        "s2:unclassified_percentage": ground[4],
        "s2:dark_features_percentage": ground[5],
        "s2:nodata_pixel_percentage": round(100 * (1 - scene.valid_fraction), 6),
        "s2:degraded_msi_data_percentage": 0.0,
        "s2:saturated_defective_pixel_percentage": 0.0,
    }


def _assets(scene: OpticalScene, names: _Names, prefix: str) -> dict[str, dict[str, Any]]:
    files, rest = _paths(scene, names), _rest_of_assets(scene.left, scene.top)
    return {key: {"href": f"{prefix}/{path}", **rest[key]} for key, path in files.items()}


@lru_cache(maxsize=256)
def _rest_of_assets(left: float, top: float) -> dict[str, dict[str, Any]]:
    """Return what the assets of a tile have besides their addresses: the same for every scene."""
    found: dict[str, dict[str, Any]] = {}
    corners = [left, top - S2_TILE_M, left + S2_TILE_M, top]
    grids = {
        gsd: {
            "proj:bbox": corners,
            "proj:shape": [S2_TILE_M // gsd] * 2,
            "proj:transform": [float(gsd), 0.0, left, 0.0, -float(gsd), top],
        }
        for gsd in (10, 20, 60)
    }
    for key, (_, gsd, title) in _IMAGES.items():
        names = {"visual": ("B04", "B03", "B02")}.get(key, (key,))
        bands = [_DESCRIBED[name] for name in names if name in _BANDS]
        found[key] = {
            "type": COG,
            "title": title,
            "gsd": gsd,
            **({"eo:bands": bands} if bands else {}),
            **grids[gsd],
            "roles": ["data"],
        }
    found["preview"] = {"type": COG, "title": "Thumbnail", "roles": ["thumbnail"]}
    for key, title in _METADATA.items():
        found[key] = {"type": "application/xml", "title": title, "roles": ["metadata"]}
    return found


def _band(key: str) -> dict[str, Any]:
    _, common, description, centre, width = _BANDS[key]
    return {
        "name": key,
        **({"common_name": common} if common else {}),
        "description": description,
        "center_wavelength": centre,
        "full_width_half_max": width,
    }


_DESCRIBED = {key: _band(key) for key in _BANDS}


def rfc3339(moment: datetime) -> str:
    """Write a UTC time as RFC 3339 with microseconds and a Z, as Planetary Computer does."""
    return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
