"""Chips as GeoTIFFs, all bands at 10 m."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from s1s2.bands import OPTICAL, RADAR, Band
from s1s2.export_forms.sample import Sample
from s1s2.loader.finish import View, finish, plan
from s1s2.radiometry import DB_INVALID, DB_PER_COUNT, DN_PER_REFLECTANCE
from s1s2.receipts import Json

_TILE_PX = 256
_RAW = View("raw")


def pairs(part: str, samples: Iterable[Sample]) -> Iterator[tuple[str, bytes]]:
    """Yield two GeoTIFFs a chip, all bands at 10 m: `train/00000012_s2_20190805T103031.tif`.

    Args:
        part: The name of the part; the files do not bear it.
        samples: The chips of it.
    """
    del part
    for sample in samples:
        for sensor, content in both(sample).items():
            name = f"{sample.key}_{sensor}_{sample.sensed(sensor):%Y%m%dT%H%M%S}.tif"
            yield f"{sample.row['split']}/{name}", content


def both(sample: Sample) -> dict[str, bytes]:
    """Return a chip's two GeoTIFFs by sensor, `s2` and `s1`: all bands at 10 m, raw numbers."""
    wanted = plan(_RAW, sample.arrays["s1"].shape[-1], {})
    images = {
        o.key: np.empty(o.shape, o.dtype) if o.planes else sample.arrays[o.key]
        for o in wanted.outputs
    }
    finish(wanted, sample.arrays, images)
    return {sensor: _tiff(sample.row, sensor, image) for sensor, image in images.items()}


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
