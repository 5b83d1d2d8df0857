"""A Sentinel-2 scene as Planetary Computer's STAC item: its keys, spellings and paths."""

from datetime import datetime
from typing import Any

import numpy as np

from s1s2.sandbox.noise import key_of
from s1s2.sandbox.orbits import S2_UNITS, absolute_orbit, microseconds
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
_METADATA = {
    "safe-manifest": ("manifest.safe", "SAFE manifest"),
    "granule-metadata": ("{granule}/MTD_TL.xml", "Granule metadata"),
    "inspire-metadata": ("INSPIRE.xml", "INSPIRE metadata"),
    "product-metadata": ("MTD_MSIL2A.xml", "Product metadata"),
    "datastrip-metadata": ("DATASTRIP/{strip}/MTD_DS.xml", "Datastrip metadata"),
}
_MSFT_SINCE = "20231001"  # ids name who ran the processor: Esri, later Microsoft


def paths(scene: OpticalScene) -> dict[str, str]:
    """Return the path of every file of a scene in its container, by asset key."""
    names = _Names(scene)
    day, tile = scene.datatake_starts, scene.tile
    folder = f"{tile[:2]}/{tile[2]}/{tile[3:]}/{day:%Y/%m/%d}/{names.product}"
    files = {
        key: f"{names.granule}/IMG_DATA/R{gsd}m/T{tile}_{names.start}_{word}_{gsd}m.tif"
        for key, (word, gsd, _) in _IMAGES.items()
    }
    files["preview"] = f"{names.granule}/QI_DATA/T{tile}_{names.start}_PVI.tif"
    for key, (path, _) in _METADATA.items():
        files[key] = path.format(granule=names.granule, strip=names.strip)
    return {key: f"{folder}/{path}" for key, path in files.items()}


def identity_of_path(path: str) -> str | None:
    """Return the id of the scene that a path would belong to."""
    product = next((p for p in path.split("/") if p.endswith(".SAFE")), "")
    parts = product.removesuffix(".SAFE").split("_")
    whole = 7  # words of a product id
    if len(parts) != whole or not parts[3].startswith("N"):
        return None
    return "_".join(parts[:3] + parts[4:])


class _Names:
    """The ids of a scene's product, datatake, datastrip and granule."""

    def __init__(self, scene: OpticalScene) -> None:
        us = microseconds(scene.datatake_starts)
        orbit = absolute_orbit(S2_UNITS, scene.platform, scene.relative_orbit, us)
        self.start = f"{scene.datatake_starts:%Y%m%dT%H%M%S}"
        sensed, made = f"{scene.sensed_at:%Y%m%dT%H%M%S}", f"{scene.generated_at:%Y%m%dT%H%M%S}"
        who = "ESRI" if made < _MSFT_SINCE else "MSFT"
        version, tile = f"N{scene.baseline}", f"T{scene.tile}"
        level = f"{scene.platform}_OPER_MSI_L2A"
        self.product = (
            f"{scene.platform}_MSIL2A_{self.start}_{version.replace('.', '')}"
            f"_R{scene.relative_orbit:03d}_{tile}_{made}.SAFE"
        )
        self.granule = f"GRANULE/L2A_{tile}_A{orbit:06d}_{sensed}"
        self.strip = f"DS_{who}_{made}_S{sensed}"
        self.granule_id = f"{level}_TL_{who}_{made}_A{orbit:06d}_{tile}_{version}"
        self.datatake_id = f"G{scene.platform}_{self.start}_{orbit:06d}_{version}"
        self.datastrip_id = f"{level}_{self.strip}_{version}"


def properties(scene: OpticalScene) -> dict[str, Any]:
    """Return an item's properties."""
    names = _Names(scene)
    return {
        "datetime": rfc3339(scene.datatake_starts),
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
        "s2:reflectance_conversion_factor": _sun_earth_factor(scene),
        **_shares(scene),
    }


def _sun_earth_factor(scene: OpticalScene) -> float:
    """Return the inverse square of the distance to the sun in astronomical units."""
    day = scene.datatake_starts.timetuple().tm_yday
    return float((1 + 0.01672 * np.cos(2 * np.pi * (day - 3) / 365.256)) ** 2)


def _shares(scene: OpticalScene) -> dict[str, float]:
    """Return shares of the data in percent, made up around the cloud fraction; they add to 100."""
    draws = [key_of(scene.recording, "shares", n) / 2**32 for n in range(8)]
    cloud = 100 * scene.cloud_fraction
    thin, medium = round(cloud * 0.3 * draws[0], 6), round(cloud * (0.2 + 0.4 * draws[1]), 6)
    high = round(max(0.0, cloud - thin - medium), 6)
    shadow = round(min(4.0, 0.1 * cloud) * draws[2] * (1 - scene.cloud_fraction), 6)
    rest = max(0.0, 100 - thin - medium - high - shadow)
    weights = np.array([*draws[3:7], 0.1 * draws[7], 0.02 * draws[7]]) ** 2
    ground = np.round(rest * weights / weights.sum(), 6).tolist()
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


def assets(scene: OpticalScene, prefix: str) -> dict[str, dict[str, Any]]:
    """Return an item's assets; `prefix` is what their paths are put behind."""
    hrefs = {key: f"{prefix}/{path}" for key, path in paths(scene).items()}
    found: dict[str, dict[str, Any]] = {}
    right, bottom = scene.left + S2_TILE_M, scene.top - S2_TILE_M
    for key, (_, gsd, title) in _IMAGES.items():
        side = S2_TILE_M // gsd
        names = {"visual": ("B04", "B03", "B02")}.get(key, (key,))
        bands = [_band(name) for name in names if name in _BANDS]
        found[key] = {
            "href": hrefs[key],
            "type": COG,
            "title": title,
            "gsd": gsd,
            **({"eo:bands": bands} if bands else {}),
            "proj:bbox": [scene.left, bottom, right, scene.top],
            "proj:shape": [side, side],
            "proj:transform": [float(gsd), 0.0, scene.left, 0.0, -float(gsd), scene.top],
            "roles": ["data"],
        }
    found["preview"] = {
        "href": hrefs["preview"],
        "type": COG,
        "title": "Thumbnail",
        "roles": ["thumbnail"],
    }
    for key, (_, title) in _METADATA.items():
        found[key] = {
            "href": hrefs[key],
            "type": "application/xml",
            "title": title,
            "roles": ["metadata"],
        }
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


def rfc3339(moment: datetime) -> str:
    """Write a time as RFC 3339 with microseconds and a Z, as Planetary Computer does."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"
