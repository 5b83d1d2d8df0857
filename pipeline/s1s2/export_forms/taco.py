"""Chips in TACO's zips, written by tacotoolbox: a folder a chip, in it two GeoTIFFs."""

import re
import struct
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tacotoolbox
from tacotoolbox._exceptions import TacoCreationError  # it has no public name
from tacotoolbox.datamodel import Sample as TacoSample
from tacotoolbox.datamodel import Taco, Tortilla
from tacotoolbox.datamodel.taco import Extent, Provider
from tacotoolbox.sample.extensions.scaling import Scaling
from tacotoolbox.sample.extensions.split import Split
from tacotoolbox.sample.extensions.stac import STAC

from s1s2.bands import OPTICAL, RADAR
from s1s2.errors import StoreError
from s1s2.export_forms import geotiff
from s1s2.export_forms.sample import Sample
from s1s2.radiometry import DB_PER_COUNT, DN_PER_REFLECTANCE
from s1s2.receipts import Json
from s1s2.schemas import CHIPS

_SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""TACO's words, by ours."""
_SCALES = {"s2": 1 / DN_PER_REFLECTANCE, "s1": DB_PER_COUNT}
_BANDS = {"s2": len(OPTICAL), "s1": len(RADAR)}
_SAID_OTHERWISE = {"split", "transform", "geometry"}
"""What TACO has words of its own for."""
_COLUMNS = [field for field in CHIPS if field.name not in _SAID_OTHERWISE]
_TITLE_AT_MOST = 200
"""Characters; TACO takes fewer than 250."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY = struct.pack("<HH", 0, 1 << 5 | 1)
"""Midnight of 1980-01-01, the first a zip can say: time, then date."""
_TIME_AT_LOCAL, _TIME_AT_CENTRAL = 10, 12
"""Where time and date stand in a zip's header of a file, and in its entry of the directory."""


def zipped(part: str, samples: Iterable[Sample]) -> Iterator[tuple[str, bytes]]:
    """Yield one `train-000000.tacozip`; `tacoreader.load` takes one, or a list of them.

    Of a chip it says when and where by TACO's STAC fields, its split by TACO's words, and the
    columns of our index; of each image in it its own time and scale.

    Args:
        part: The name of the zip, without its suffix.
        samples: The chips of it; one at least.

    Raises:
        StoreError: If it cannot be written; that is done in the system's folder for such things.
    """
    tacotoolbox.verbose(level=False)  # it logs tracebacks of what it raises
    with tempfile.TemporaryDirectory(prefix="s1s2-taco-") as name:
        folder = Path(name)
        chips, about, places = [], None, []
        for sample in samples:
            about = sample.about
            chips.append(_folder(sample, folder))
            places.append((sample.row["lon"], sample.row["lat"]))
        if about is None:
            return
        taco = Taco(tortilla=Tortilla(samples=chips), **_collection(about))
        # it would leave out one half of the Earth
        bounds = [*np.min(places, axis=0).tolist(), *np.max(places, axis=0).tolist()]
        taco.extent = Extent(spatial=bounds, temporal=taco.extent.temporal)
        try:
            (path,) = tacotoolbox.create(
                taco, folder / "all.tacozip", output_format="zip", temp_dir=folder
            )
        except TacoCreationError as error:
            msg = f"{part}.tacozip: tacotoolbox cannot write it in {folder.parent} ({error})"
            raise StoreError(msg) from error
        yield f"{part}.tacozip", _timeless(path)


def _folder(sample: Sample, folder: Path) -> TacoSample:
    """Return a chip, its images in files of their own below `folder`."""
    images, size = [], sample.arrays["s1"].shape[-2:]
    for sensor, content in geotiff.both(sample).items():
        path = folder / f"{sample.key}_{sensor}.tif"
        path.write_bytes(content)
        image = TacoSample(id=sensor, path=path)
        image.extend_with(_place(sample, (_BANDS[sensor], *size), sample.sensed(sensor)))
        image.extend_with(Scaling(scale_factor=_SCALES[sensor]))
        images.append(image)
    chip = TacoSample(id=sample.key, path=Tortilla(samples=images))
    both = sorted(sample.sensed(sensor) for sensor in _SCALES)
    chip.extend_with(_place(sample, size, *both))
    chip.extend_with(Split(split=_SPLITS[sample.row["split"]]))
    chip.extend_with(_row(sample.row))
    return chip


def _place(
    sample: Sample, shape: tuple[int, ...], start: datetime, end: datetime | None = None
) -> STAC:
    """Return where a chip lies, and when it was seen, as TACO says it."""
    a, b, c, d, e, f = sample.row["transform"]
    return STAC(
        crs=f"EPSG:{sample.row['epsg']}",
        tensor_shape=shape,
        geotransform=(c, a, b, f, d, e),  # GDAL's order
        time_start=_micros(start),
        time_end=_micros(end) if end else None,
    )


def _micros(moment: datetime) -> int:
    since = moment - _EPOCH
    return since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds


def _row(row: Json) -> pa.Table:
    """Return what our index says of a chip, with the types it has there; times without a zone."""
    columns: dict[str, Any] = {}
    for field in _COLUMNS:
        value, kind = row[field.name], field.type
        if pa.types.is_timestamp(kind):
            value = datetime.fromisoformat(value).astimezone(UTC).replace(tzinfo=None)
            kind = pa.timestamp(kind.unit)
        columns[field.name] = pa.array([value], kind)
    return pa.table(columns | {"simulated": pa.array([row["simulated"]], pa.bool_())})


def _collection(about: Json) -> Json:
    """Return what a zip says of the whole corpus."""
    simulated = about["simulated"]
    ours = re.sub(r"[^a-z0-9_-]", "-", about["name"].lower())
    said = "SIMULATED DATA: matched" if simulated else "Verified, matched"
    return {
        "id": f"s1s2-{ours}",
        "dataset_version": about["corpus_id"],
        "title": f"Matched Sentinel-1 / Sentinel-2 pairs: {about['name']}"[:_TITLE_AT_MOST],
        "description": " ".join([
            f"{said} Sentinel-1 (dB) and Sentinel-2 (surface reflectance) pairs, chips of",
            f"{about['chip_size_px']} px at 10 m, built by s1s2 {about['s1s2_version']}.",
            *about["attribution"],
        ]),
        "licenses": ["CC0-1.0" if simulated else "proprietary"],
        "providers": [
            Provider(name="s1s2 sandbox", roles=["producer"])
            if simulated
            else Provider(name="ESA, Copernicus", roles=["producer", "licensor"])
        ],
        "tasks": ["foundation-model"],
    }  # fmt: skip


def _timeless(path: Path) -> bytes:
    """Return a zip's bytes with its files dated to the first day a zip knows."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        at = file.start_dir
        for member in file.infolist():
            _put(content, member.header_offset + _TIME_AT_LOCAL)
            _put(content, at + _TIME_AT_CENTRAL)
            name, extra, comment = struct.unpack_from("<HHH", content, at + 28)
            at += 46 + name + extra + comment
    return bytes(content)


def _put(content: bytearray, at: int) -> None:
    content[at : at + len(_FIRST_DAY)] = _FIRST_DAY
