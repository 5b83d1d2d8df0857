"""Chips as files that other libraries read: WebDataset's tars, litData's chunks, GeoTIFFs.

The same chips give the same bytes: no file holds a time, a user or a machine. None of those
libraries is needed to write them.
"""

import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from s1s2.receipts import Json, sha256
from s1s2.store import IMAGES

_TILE_PX = 256
_RAW = View("raw")
_LITDATA_TYPES = {"int16": 1, "uint8": 4, "uint16": 5}
"""By which numbers litData's files name types: `litdata.constants`, alike in 0.2.50 and 0.2.76."""


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
            _add(tar, f"{sample.key}.json", _said(sample))
    yield f"{part}.tar", content.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # of nobody, at the beginning of time
    member.size = len(content)
    tar.addfile(member, BytesIO(content))


def _said(sample: Sample) -> bytes:
    return json.dumps(sample.row, sort_keys=True).encode()


def _npy(array: NDArray[Any]) -> bytes:
    content = BytesIO()
    np.lib.format.write_array(content, np.ascontiguousarray(array), version=(1, 0))
    return content.getvalue()


def litdata(part: str, samples: Iterable[Sample]) -> Iterator[tuple[str, bytes]]:
    """Yield one chunk as `litdata.optimize` writes it: `train/chunk-0-3.bin`.

    It begins with the count of chips and where each begins and the last ends; of a chip come the
    lengths of its fields, then the fields: the arrays at native resolution, and its row as JSON.
    All numbers are little endian uint32.

    Args:
        part: The name of the part, as `train-000003`.
        samples: The chips of it.
    """
    chips = [_litdata_chip(sample) for sample in samples]
    first = 4 * (len(chips) + 2)  # the count, and one place more than there are chips
    places = np.cumsum([first, *map(len, chips)])
    yield _chunk_name(part), _uint32(len(chips), *places) + b"".join(chips)


def _chunk_name(part: str) -> str:
    split, _, number = part.rpartition("-")
    return f"{split}/chunk-0-{int(number)}.bin"


def _litdata_chip(sample: Sample) -> bytes:
    fields = [_litdata_array(sample.arrays[name]) for name in IMAGES]
    fields.append(_said(sample))
    return b"".join([_uint32(*map(len, fields)), *fields])


def _litdata_array(array: NDArray[Any]) -> bytes:
    header = _uint32(_LITDATA_TYPES[array.dtype.name], array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _uint32(*numbers: int) -> bytes:
    return np.array(numbers, dtype="<u4").tobytes()


@dataclass(frozen=True)
class Written:
    """A part that is there: its name, the chips in it, and size in bytes and hash of its files."""

    name: str
    chips: int
    files: Mapping[str, tuple[int, str]]


def litdata_index(parts: Sequence[Written]) -> Iterator[tuple[str, bytes]]:
    """Yield by split what litData needs to know of its chunks: `train/index.json`.

    Where litData keeps the time of writing stands a hash of the chunks: it tells by that whether
    what it keeps of a remote folder is still good.

    Args:
        parts: All that were written, in the order of their numbers within a split.
    """
    most = max((part.chips for part in parts), default=0)
    for split in sorted({_split_of(part) for part in parts}):
        chunks, hashes = [], []
        for part in parts:
            if _split_of(part) == split:
                ((name, (size, digest)),) = part.files.items()
                about = {"chunk_bytes": size, "chunk_size": part.chips, "dim": None}
                chunks.append(about | {"filename": name.removeprefix(f"{split}/")})
                hashes.append(digest)
        index = {
            "chunks": chunks,
            "config": _litdata_config(most),
            "updated_at": sha256("".join(hashes).encode()),
        }
        yield f"{split}/index.json", json.dumps(index, sort_keys=True).encode()


def _split_of(part: Written) -> str:
    return part.name.rpartition("-")[0]


def _litdata_config(chunk_size: int) -> Json:
    """Return how litData makes a dict of the fields of a chip again."""
    leaf: Json = {"type": None, "context": None, "children_spec": []}
    names = [*IMAGES, "json"]
    tree = {
        "type": "builtins.dict",
        "context": json.dumps(names),
        "children_spec": [leaf] * len(names),
    }
    return {
        "chunk_bytes": None,
        "chunk_size": chunk_size,
        "compression": None,
        "data_format": ["numpy"] * len(IMAGES) + ["str"],
        "data_spec": json.dumps([1, tree]),
        "encryption": None,
        "item_loader": "PyTreeLoader",
    }


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

FORMS = {"webdataset": webdataset, "litdata": litdata, "geotiff": geotiff}
"""By name: what makes files of the chips of one part."""

CLOSINGS = {"litdata": litdata_index}
"""By name: what makes the files that are written once every part is there."""

FIELDS: dict[str, Json] = {
    "webdataset": {f"{name}.npy": said for name, said in _ARRAYS.items()} | {"json": _ROW},
    "litdata": _ARRAYS | {"json": _ROW},
    "geotiff": {
        "s2": {"bands": [str(b) for b in OPTICAL], "scale": 1 / DN_PER_REFLECTANCE,
               "nodata": 0, "what": "surface reflectance, 10 m, coarse pixels repeated"},
        "s1": {"bands": [str(b) for b in RADAR], "scale": DB_PER_COUNT,
               "nodata": DB_INVALID, "what": "gamma nought, dB, 10 m"},
    },
}  # fmt: skip
"""What a reader must know of the files of each layout."""
