"""`croissant.json`: a corpus described for machines, in MLCommons' Croissant and its geo terms."""

import tomllib
from collections.abc import Mapping
from typing import Any

import pandas as pd

from s1s2.bands import OPTICAL, RADAR, S2_10M, S2_20M, Band
from s1s2.receipts import Json
from s1s2.report.card import attribution

_TERMS = (
    "citeAs column equivalentProperty extract field fileProperty fileObject fileSet format "
    "includes isLiveDataset jsonPath key md5 parentField path recordSet references regex "
    "repeated replace "
    "samplingRate separator source subField transform"
)
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "geocr": "http://mlcommons.org/croissant/geo/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    **{term: f"cr:{term}" for term in _TERMS.split()},
}
"""Croissant's own context, and the geo terms."""
_NANOMETRES = {
    Band.B01: (442.7, 20), Band.B02: (492.7, 65), Band.B03: (559.8, 35), Band.B04: (664.6, 30),
    Band.B05: (704.1, 14), Band.B06: (740.5, 14), Band.B07: (782.8, 19), Band.B08: (832.8, 105),
    Band.B8A: (864.7, 21), Band.B09: (945.1, 19), Band.B11: (1613.7, 90), Band.B12: (2202.4, 174),
}  # fmt: skip
"""Central wavelength and width of Sentinel-2A's bands (ESA, spectral response functions)."""
_COLUMNS = {
    "chip": ("sc:Integer", "Row of the chip in every array of chips.zarr"),
    "lon": ("sc:Float", "Longitude of the chip's point, degrees, WGS 84"),
    "lat": ("sc:Float", "Latitude of the chip's point, degrees, WGS 84"),
    "split": ("sc:Text", "train, val or test"),
    "epsg": ("sc:Integer", "UTM zone of the chip"),
    "s2_id": ("sc:Text", "STAC id of the Sentinel-2 scene"),
    "s1_id": ("sc:Text", "STAC id of the Sentinel-1 scene"),
    "s2_time": ("sc:DateTime", "When Sentinel-2 sensed it, UTC"),
    "s1_time": ("sc:DateTime", "When Sentinel-1 sensed it, UTC"),
    "lag_hours": ("sc:Float", "Sentinel-1 minus Sentinel-2, hours"),
    "processing_baseline": ("sc:Text", "Sentinel-2 processing baseline"),
    "dn_offset": ("sc:Integer", "Radiometric offset that was removed"),
    "cloud_fraction": ("sc:Float", "Share of the chip under cloud, by the scene classification"),
    "s1_valid_fraction": ("sc:Float", "Share of the chip with a radar measurement"),
}


def croissant(about: Mapping[str, Any], index: pd.DataFrame) -> Json:
    """Describe a corpus.

    Args:
        about: `corpus.json`.
        index: One row a chip, as in `chips.parquet`.
    """
    simulated = "SIMULATED DATA. " if about["simulated"] else ""
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": str(about["name"]),
        "description": f"{simulated}{about['chips']} verified, matched pairs of Sentinel-1 and "
        "Sentinel-2 on one grid, built by s1s2.",
        "conformsTo": [
            "http://mlcommons.org/croissant/1.1",
            "http://mlcommons.org/croissant/geo/1.0",
        ],
        "url": f"urn:sha256:{about['corpus_id']}",
        "version": "1.0.0",
        "license": attribution(about, index),
        "citeAs": " ".join(attribution(about, index)),
        "keywords": ["sentinel-1", "sentinel-2", "earth observation", "matched pairs"],
        **_geography(about, index),
        "distribution": _files(about),
        "recordSet": [_records()],
    }


def _geography(about: Mapping[str, Any], index: pd.DataFrame) -> Json:
    search = tomllib.loads(about["recipe"])["search"]
    names = [str(band) for band in (*OPTICAL, *RADAR)]
    found: Json = {
        "temporalCoverage": f"{search['start']}/{search['end']}",
        "geocr:coordinateReferenceSystem": "EPSG:4326",
        "geocr:spatialResolution": _quantity(10, "m"),
        "geocr:samplingStrategy": "Low-discrepancy points of equal area on land, or the author's "
        "own; splits by equal-area cells of about 278 km.",
        "geocr:bandConfiguration": {
            "@type": "geocr:BandConfiguration",
            "geocr:totalBands": len(names),
            "geocr:bandNameList": names,
        },
        "geocr:spectralBandMetadata": [
            {
                "@type": "geocr:SpectralBand",
                "name": str(band),
                "geocr:centerWavelength": _quantity(middle, "nm"),
                "geocr:bandwidth": _quantity(width, "nm"),
            }
            for band, (middle, width) in _NANOMETRES.items()
        ],
    }
    if len(index):
        south, west = float(index["lat"].min()), float(index["lon"].min())
        north, east = float(index["lat"].max()), float(index["lon"].max())
        box = f"{south:.4f} {west:.4f} {north:.4f} {east:.4f}"
        found["spatialCoverage"] = {
            "@type": "sc:Place",
            "geo": {"@type": "sc:GeoShape", "box": box},
        }
    return found


def _quantity(value: float, unit: str) -> Json:
    return {"@type": "sc:QuantitativeValue", "value": value, "unitText": unit}


def _files(about: Mapping[str, Any]) -> list[Json]:
    """Return the tables, proven by their hashes, and the pixels."""
    names = sorted(name for name in about["files"] if name.endswith(".parquet"))
    tables = [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "contentUrl": name,
            "encodingFormat": "application/x-parquet",
            "sha256": about["files"][name],
        }
        for name in names
    ]
    bands = ", ".join(map(str, S2_10M)), ", ".join(map(str, S2_20M))
    pixels = {
        "@type": "cr:FileSet",
        "@id": "chips.zarr",
        "name": "chips.zarr",
        "description": f"Zarr v3, one row a chip: s2_10m ({bands[0]}), s2_20m ({bands[1]}), s1 "
        "(VV, VH), scl. Reflectance x 10,000; gamma nought in dB x 100.",
        "encodingFormat": "application/vnd+zarr",
        "includes": "chips.zarr/**",
    }
    return [*tables, pixels]


def _records() -> Json:
    return {
        "@type": "cr:RecordSet",
        "@id": "chips",
        "name": "chips",
        "description": "The index: one record a chip.",
        "key": {"@id": "chips/chip"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"chips/{name}",
                "name": name,
                "description": meaning,
                "dataType": kind,
                "source": {"fileObject": {"@id": "chips.parquet"}, "extract": {"column": name}},
            }
            for name, (kind, meaning) in _COLUMNS.items()
        ],
    }
