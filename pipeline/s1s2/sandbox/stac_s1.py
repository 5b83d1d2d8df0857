"""A Sentinel-1 RTC scene as Planetary Computer's STAC item: its keys, habits and paths."""

from datetime import datetime
from typing import Any

from s1s2.sandbox.archive import stac_time
from s1s2.sandbox.noise import key_of
from s1s2.sandbox.scenes import RadarScene
from s1s2.sandbox.stac_s2 import COG, rfc3339

ACCOUNT, CONTAINER = "sentinel1euwestrtc", "sentinel1-grd-rtc"
EXTENSIONS = [
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("sar/v1.0.0", "sat/v1.0.0", "projection/v1.1.0", "file/v2.0.0", "raster/v1.1.0")
]
_DESIGNATORS = {"S1A": "2014-016A", "S1B": "2016-025A", "S1C": "2024-235A"}
_WORDS = {"V": "vertical", "H": "horizontal"}
_PIXEL_M = 10.0
_FULL = 0.65  # share of the raster that has data, about
_BYTES_PER_PIXEL = 4.4  # of pixels with data, as compressed in recorded items


def paths(scene: RadarScene) -> dict[str, str]:
    """Return the path of every file of a scene in its container, by asset key."""
    day, kind = scene.starts, scene.id.split("_")[3]
    # the tail of a GRD product's name is a checksum of its manifest, unknown to the item's id
    tail = f"{key_of(scene.recording, 'manifest') % 0x10000:04X}"
    folder = (
        f"GRD/{day.year}/{day.month}/{day.day}/IW/{kind[2:]}/{scene.id.removesuffix('_rtc')}_{tail}"
    )
    return {
        key: f"{folder}/measurement/iw-{key}.rtc.tiff"
        for key in sorted(p.lower() for p in scene.polarisations)
    }


def identity_of_path(path: str) -> str | None:
    """Return the id of the scene that a path would belong to."""
    product = next((p for p in path.split("/") if p.startswith("S1")), "")
    return f"{product[:-5]}_rtc" if product else None


def described(scene: RadarScene, prefix: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return an item's assets and properties; `prefix` is what their paths are put behind."""
    return _assets(scene, prefix), _properties(scene)


def _properties(scene: RadarScene) -> dict[str, Any]:
    """Return an item's properties; `proj:*` stand on the item, the transform has nine numbers."""
    right, bottom = scene.left + _PIXEL_M * scene.width, scene.top - _PIXEL_M * scene.height
    transform = [_PIXEL_M, 0.0, scene.left, 0.0, -_PIXEL_M, scene.top, 0.0, 0.0, 1.0]
    return {
        "datetime": rfc3339(stac_time(scene)),
        "platform": f"SENTINEL-{scene.platform[1:]}",
        "s1:shape": [scene.width, scene.height],
        "proj:bbox": [scene.left, bottom, right, scene.top],
        "proj:epsg": scene.epsg,
        "proj:shape": [scene.height, scene.width],
        "end_datetime": _spaced(scene.ends),
        "constellation": "Sentinel-1",
        "s1:resolution": "high",
        "proj:transform": transform,
        "s1:datatake_id": str(int(scene.id.split("_")[7], 16)),
        "start_datetime": _spaced(scene.starts),
        "s1:orbit_source": "RESORB",
        "s1:slice_number": str(scene.slice_number),
        "s1:total_slices": str(scene.total_slices),
        "sar:looks_range": 5,
        "sat:orbit_state": scene.orbit_state,
        "sar:product_type": "GRD",
        "sar:looks_azimuth": 1,
        "sar:polarizations": list(scene.polarisations),
        "sar:frequency_band": "C",
        "sat:absolute_orbit": scene.absolute_orbit,
        "sat:relative_orbit": scene.relative_orbit,
        "s1:processing_level": "1",
        "sar:instrument_mode": "IW",
        "sar:center_frequency": 5.405,
        "sar:resolution_range": 20,
        "s1:product_timeliness": "Fast-24h",
        "sar:resolution_azimuth": 22,
        "sar:pixel_spacing_range": 10,
        "sar:observation_direction": "right",
        "sar:pixel_spacing_azimuth": 10,
        "sar:looks_equivalent_number": 4.4,
        "s1:instrument_configuration_ID": "7",
        "sat:platform_international_designator": _DESIGNATORS[scene.platform],
    }


def _assets(scene: RadarScene, prefix: str) -> dict[str, dict[str, Any]]:
    pixels = scene.width * scene.height * _FULL
    found = {}
    for key, path in paths(scene).items():
        sent, received = (_WORDS[letter] for letter in key.upper())
        draw = [key_of(scene.recording, key, n) for n in range(5)]
        found[key] = {
            "href": f"{prefix}/{path}",
            "file:size": int(pixels * _BYTES_PER_PIXEL * (0.98 + 0.04 * draw[4] / 2**32)),
            "file:checksum": "".join(f"{d:08x}" for d in draw[:4]),
            "type": COG,
            "roles": ["data"],
            "title": f"{key.upper()}: {sent} transmit, {received} receive",
            "description": (
                f"Terrain-corrected gamma naught values of signal transmitted with {sent} "
                f"polarization and received with {received} polarization with radiometric "
                "terrain correction applied."
            ),
            "raster:bands": [
                {"nodata": -32768, "data_type": "float32", "spatial_resolution": _PIXEL_M}
            ],
        }
    return found


def _spaced(time: datetime) -> str:
    """Write a time with a space, as Planetary Computer's Sentinel-1 items have it."""
    return time.isoformat(sep=" ", timespec="microseconds")
