"""The declared schema of every table on disk; checked when written and when read."""

import pyarrow as pa

from s1s2.bands import Sensor, bands_of

_ID = [("point", pa.int64()), ("shard", pa.int64()), ("position", pa.int64())]
_GEOMETRY = ("geometry", pa.binary())
_UTC_MS = pa.timestamp("ms", tz="UTC")

POINTS = pa.schema(
    [
        ("point", pa.int64()),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
        ("cell", pa.int64()),
        ("split", pa.string()),
        ("shard", pa.int64()),
        ("position", pa.int64()),
        _GEOMETRY,
    ]
)
MATCHUPS = pa.schema(
    [
        *_ID,
        ("rank", pa.int64()),
        ("s2_id", pa.string()),
        ("s1_id", pa.string()),
        ("s2_catalog", pa.string()),
        ("s1_catalog", pa.string()),
        ("lag_hours", pa.float64()),
        ("left", pa.float64()),
        ("top", pa.float64()),
        ("epsg", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        _GEOMETRY,
    ]
)
CHIPS = pa.schema(
    [
        ("chip", pa.int64()),
        ("point", pa.int64()),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
        ("cell", pa.int64()),
        ("split", pa.string()),
        ("epsg", pa.int32()),
        ("transform", pa.list_(pa.float64(), 6)),
        ("s2_id", pa.string()),
        ("s1_id", pa.string()),
        ("s2_time", _UTC_MS),
        ("s1_time", _UTC_MS),
        ("lag_hours", pa.float64()),
        ("s2_platform", pa.string()),
        ("s1_platform", pa.string()),
        ("s1_orbit_state", pa.string()),
        ("s1_relative_orbit", pa.int32()),
        ("s2_relative_orbit", pa.int32()),
        ("processing_baseline", pa.string()),
        ("dn_offset", pa.int32()),
        ("cloud_fraction", pa.float64()),
        ("shadow_fraction", pa.float64()),
        ("water_fraction", pa.float64()),
        ("s2_valid_fraction", pa.float64()),
        ("s1_valid_fraction", pa.float64()),
        ("s1_warped", pa.bool_()),
        ("catalog", pa.string()),
        ("s1_catalog", pa.string()),
        ("sha256", pa.string()),
        _GEOMETRY,
    ]
)
REFUSALS = pa.schema(
    [
        ("point", pa.int64()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("s2_id", pa.string()),
        ("s1_id", pa.string()),
    ]
)
_ASSET = pa.struct([("href", pa.string())])
SCENES = pa.schema(
    [
        ("type", pa.string()),
        ("stac_version", pa.string()),
        ("stac_extensions", pa.list_(pa.string())),
        ("id", pa.string()),
        ("collection", pa.string()),
        ("datetime", _UTC_MS),
        ("platform", pa.string()),
        ("proj:code", pa.string()),
        ("proj:bbox", pa.list_(pa.float64())),
        ("sat:orbit_state", pa.string()),
        ("sat:relative_orbit", pa.int32()),
        ("eo:cloud_cover", pa.float64()),
        ("s2:mgrs_tile", pa.string()),
        ("s2:processing_baseline", pa.string()),
        ("s1s2:catalog", pa.string()),
        ("s1s2:sensor", pa.string()),
        ("s1s2:acquisition", pa.string()),
        ("s1s2:version", pa.string()),
        ("links", pa.list_(pa.struct([("href", pa.string()), ("rel", pa.string())]))),
        ("assets", pa.struct([(str(b), _ASSET) for s in Sensor for b in bands_of(s)])),
        ("bbox", pa.struct([(k, pa.float64()) for k in ("xmin", "ymin", "xmax", "ymax")])),
        _GEOMETRY,
    ]
)
