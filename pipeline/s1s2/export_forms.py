"""Chips as files that other libraries read: tars of NumPy arrays for WebDataset, GeoTIFFs.

The same chips give the same bytes: no file holds a time, a user or a machine.
"""

import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from s1s2.bands import OPTICAL, RADAR, S2_10M, S2_20M, Band
from s1s2.loader.finish import View, finish, plan
from s1s2.radiometry import DB_INVALID, DB_PER_COUNT, DN_PER_REFLECTANCE
from s1s2.receipts import Json

_TILE_PX = 256
_RAW = View("raw")


@dataclass(frozen=True)
class Sample:
    """One chip: what its receipt says of it, and its arrays as they are stored."""

    row: Json
    arrays: Mapping[str, NDArray[Any]]

    @property
    def key(self) -> str:
        """Its name in an export."""
        return f"{self.row['chip']:08d}"


def webdataset(part: str, samples: Iterable[Sample]) -> Iterator[tuple[str, bytes]]:
    """Yield one tar: of every chip its arrays at native resolution, and its row as JSON.

    Args:
        part: The name of the tar, without its suffix.
        samples: The chips of it.
    """
    content = BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            for name, array in sample.arrays.items():
                _add(tar, f"{sample.key}.{name}.npy", _npy(array))
            _add(tar, f"{sample.key}.json", json.dumps(sample.row, sort_keys=True).encode())
    yield f"{part}.tar", content.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # of nobody, at the beginning of time
    member.size = len(content)
    tar.addfile(member, BytesIO(content))


def _npy(array: NDArray[Any]) -> bytes:
    content = BytesIO()
    np.lib.format.write_array(content, np.ascontiguousarray(array), version=(1, 0))
    return content.getvalue()


def geotiff(part: str, samples: Iterable[Sample]) -> Iterator[tuple[str, bytes]]:
    """Yield two GeoTIFFs a chip, all bands at 10 m: `train/00000012_s2_20190805T103031.tif`.

    Args:
        part: The name of the part; the files do not bear it.
        samples: The chips of it.
    """
    del part
    for sample in samples:
        row, size = sample.row, sample.arrays["s1"].shape[-1]
        wanted = plan(_RAW, size, {})
        images = {
            o.key: np.empty(o.shape, o.dtype) if o.planes else sample.arrays[o.key]
            for o in wanted.outputs
        }
        finish(wanted, sample.arrays, images)
        for sensor, image in images.items():
            sensed = datetime.fromisoformat(row[f"{sensor}_time"]).astimezone(UTC)
            name = f"{row['split']}/{sample.key}_{sensor}_{sensed:%Y%m%dT%H%M%S}.tif"
            yield name, _tiff(row, sensor, image)


def _tiff(row: Json, sensor: str, image: NDArray[Any]) -> bytes:
    bands: tuple[Band, ...] = OPTICAL if sensor == "s2" else RADAR
    profile = {
        "driver": "GTiff",
        "width": image.shape[2],
        "height": image.shape[1],
        "count": len(bands),
        "dtype": image.dtype,
        "crs": f"EPSG:{row['epsg']}",
        "transform": Affine(*row["transform"]),
        "nodata": 0 if sensor == "s2" else DB_INVALID,
        "compress": "deflate",
        "predictor": 2,
        "interleave": "band",
        "tiled": True,
        "blockxsize": _TILE_PX,
        "blockysize": _TILE_PX,
    }
    scale, unit = (1 / DN_PER_REFLECTANCE, "1") if sensor == "s2" else (DB_PER_COUNT, "dB")
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as file:
            file.write(image)
            file.descriptions = [str(band) for band in bands]
            file.scales = (scale,) * len(bands)
            file.units = (unit,) * len(bands)
            file.update_tags(
                SCENE=row[f"{sensor}_id"],
                CHIP=row["chip"],
                SPLIT=row["split"],
                SIMULATED=str(row["simulated"]).lower(),
            )
        content: bytes = memory.read()
    return content


FORMS = {"webdataset": webdataset, "geotiff": geotiff}
"""By name: what makes files of the chips of one part."""

FIELDS: dict[str, Json] = {
    "webdataset": {
        "s2_10m.npy": {"bands": [str(b) for b in S2_10M], "scale": 1 / DN_PER_REFLECTANCE,
                       "nodata": 0, "what": "surface reflectance, 10 m"},
        "s2_20m.npy": {"bands": [str(b) for b in S2_20M], "scale": 1 / DN_PER_REFLECTANCE,
                       "nodata": 0, "what": "surface reflectance, 20 m"},
        "s1.npy": {"bands": [str(b) for b in RADAR], "scale": DB_PER_COUNT,
                   "nodata": DB_INVALID, "what": "gamma nought, dB, 10 m"},
        "scl.npy": {"nodata": 0, "what": "Sen2Cor's scene classification, 20 m"},
        "json": {"what": "the chip's row of the index"},
    },
    "geotiff": {
        "s2": {"bands": [str(b) for b in OPTICAL], "scale": 1 / DN_PER_REFLECTANCE,
               "nodata": 0, "what": "surface reflectance, 10 m, coarse pixels repeated"},
        "s1": {"bands": [str(b) for b in RADAR], "scale": DB_PER_COUNT,
               "nodata": DB_INVALID, "what": "gamma nought, dB, 10 m"},
    },
}  # fmt: skip
"""What a reader must know of the files of each layout."""
