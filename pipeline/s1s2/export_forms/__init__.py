"""Chips as files that other libraries read: WebDataset's, litData's, TACO's, GeoTIFFs.

The same chips give the same bytes: no file holds a time, a user or a machine.
"""

from collections.abc import Iterable, Iterator

from s1s2.bands import OPTICAL, RADAR, S2_10M, S2_20M
from s1s2.export_forms import geotiff, litdata, webdataset
from s1s2.export_forms.sample import Sample
from s1s2.radiometry import DB_INVALID, DB_PER_COUNT, DN_PER_REFLECTANCE
from s1s2.receipts import Json

_ARRAYS: dict[str, Json] = {
    "s2_10m": {"bands": [str(b) for b in S2_10M], "scale": 1 / DN_PER_REFLECTANCE,
               "nodata": 0, "what": "surface reflectance, 10 m"},
    "s2_20m": {"bands": [str(b) for b in S2_20M], "scale": 1 / DN_PER_REFLECTANCE,
               "nodata": 0, "what": "surface reflectance, 20 m"},
    "s1": {"bands": [str(b) for b in RADAR], "scale": DB_PER_COUNT,
           "nodata": DB_INVALID, "what": "gamma nought, dB, 10 m"},
    "scl": {"nodata": 0, "what": "Sen2Cor's scene classification, 20 m"},
}  # fmt: skip
_ROW = {"what": "the chip's row of the index"}


def _taco(part: str, samples: Iterable[Sample]) -> Iterator[tuple[str, bytes]]:
    from s1s2.export_forms import taco  # noqa: PLC0415  # needs an extra

    return taco.zipped(part, samples)


FORMS = {
    "webdataset": webdataset.tar,
    "litdata": litdata.chunk,
    "taco": _taco,
    "geotiff": geotiff.pairs,
}
"""By name: what makes files of the chips of one part."""

CLOSINGS = {"litdata": litdata.index}
"""By name: what makes the files that are written once every part is there."""

NEEDS = {"taco": "tacotoolbox"}
"""By name: the library that writes it; the extra that brings it bears the name of the layout."""

_IMAGES: dict[str, Json] = {
    "s2": {"bands": [str(b) for b in OPTICAL], "scale": 1 / DN_PER_REFLECTANCE,
           "nodata": 0, "what": "surface reflectance, 10 m, coarse pixels repeated"},
    "s1": {"bands": [str(b) for b in RADAR], "scale": DB_PER_COUNT,
           "nodata": DB_INVALID, "what": "gamma nought, dB, 10 m"},
}  # fmt: skip

FIELDS: dict[str, Json] = {
    "webdataset": {f"{name}.npy": said for name, said in _ARRAYS.items()} | {"json": _ROW},
    "litdata": _ARRAYS | {"json": _ROW},
    "taco": _IMAGES,
    "geotiff": _IMAGES,
}
"""What a reader must know of the files of each layout."""
