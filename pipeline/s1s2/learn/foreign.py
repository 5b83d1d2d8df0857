"""BigEarthNet (v1, v2) and EuroSAT as downloaded and unpacked, behind the face of `Labelled`.

Their pixels are brought to the form a corpus stores. They are not the same product: BigEarthNet's
radar is sigma nought, EuroSAT is Level-1C (top of atmosphere). Nothing is corrected.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
import torch
from numpy.typing import NDArray
from pyproj import Transformer

from s1s2.bands import OPTICAL, RADAR, Sensor
from s1s2.errors import ContractError
from s1s2.learn.batches import Raw
from s1s2.learn.corine import CLASSES, nineteen
from s1s2.learn.labelled import Labelled
from s1s2.radiometry import DB_INVALID, DB_PER_COUNT
from s1s2.sample import SampleSpec, cell_of, split_of

_EUROSAT_BANDS = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A",
)  # fmt: skip
"""Order of the bands in EuroSAT's files."""
_V2_TABLES = ("metadata.parquet", "metadata_for_patches_with_snow_cloud_or_shadow.parquet")
_V1_CLOUDY, _V1_SNOWY = "patches_with_cloud_and_shadow.csv", "patches_with_seasonal_snow.csv"


def open_foreign(root: Path) -> Labelled | None:
    """Return the labelled chips of a folder, told apart by what lies in it; None if it is neither.

    Raises:
        ContractError: If it is one of them but incomplete.
    """
    if (root / _V2_TABLES[0]).is_file() and (root / "BigEarthNet-S2").is_dir():
        return bigearthnet_v2(root)
    if (root / "BigEarthNet-v1.0").is_dir():
        return bigearthnet_v1(root)
    if any(root.glob("*/AnnualCrop")) or (root / "AnnualCrop").is_dir():
        return eurosat(root)
    return None


def bigearthnet_v2(root: Path) -> Labelled:
    """Return BigEarthNet v2: `BigEarthNet-S1/`, `BigEarthNet-S2/`, `metadata.parquet`.

    Official splits. Cloudy chips are those of the second table, if it is there; patches with snow
    are left out, as the authors advise.

    Raises:
        ContractError: If a table lacks a column.
    """
    tables = [pd.read_parquet(root / name) for name in _V2_TABLES if (root / name).is_file()]
    table = pd.concat(tables, ignore_index=True)
    needed = {"patch_id", "s1_name", "labels", "split"}
    if missing := needed - set(table.columns):
        msg = f"{root / _V2_TABLES[0]}: no column {', '.join(sorted(missing))}"
        raise ContractError(msg)
    for flag in ("contains_seasonal_snow", "contains_cloud_or_shadow"):
        table[flag] = table[flag].fillna(value=False).astype(bool) if flag in table else False
    table = table[~table["contains_seasonal_snow"]].sort_values("patch_id", ignore_index=True)
    patches = [
        _Patch(
            root / "BigEarthNet-S2" / s2.rsplit("_", 2)[0] / s2,
            root / "BigEarthNet-S1" / s1.rsplit("_", 3)[0] / s1,
        )
        for s2, s1 in zip(table["patch_id"], table["s1_name"], strict=True)
    ]
    tiles = table["patch_id"].str.extract(r"_T(\d\d[A-Z]{3})_", expand=False).fillna("")
    return _multi_label(
        "BigEarthNet v2",
        patches,
        table["labels"].tolist(),
        table["split"].replace("validation", "val").to_numpy(str),
        pd.factorize(tiles)[0].astype(np.int64),
        table["contains_cloud_or_shadow"].to_numpy(bool),
    )


def bigearthnet_v1(root: Path) -> Labelled:
    """Return BigEarthNet v1: `BigEarthNet-v1.0/` and `BigEarthNet-S1-v1.0/`, labels of 19 classes.

    Splits by our cells, from the coordinates. The authors' lists of cloudy and snowy patches are
    used if they lie in the folder.

    Raises:
        ContractError: If a patch has no radar twin, or its description is incomplete.
    """
    twins = {}
    for path in sorted((root / "BigEarthNet-S1-v1.0").glob("*/*_labels_metadata.json")):
        twins[json.loads(path.read_text("utf-8"))["corresponding_s2_patch"]] = path.parent
    snowy, cloudy = _listed(root / _V1_SNOWY), _listed(root / _V1_CLOUDY)
    optical = sorted(p for p in (root / "BigEarthNet-v1.0").iterdir() if p.is_dir())
    optical = [p for p in optical if p.name not in snowy]
    if alone := [p.name for p in optical if p.name not in twins]:
        msg = f"{root}: {len(alone):,} patches without a radar twin, as {alone[0]}"
        raise ContractError(msg)
    facts = [_facts(p / f"{p.name}_labels_metadata.json") for p in optical]
    cells = np.array([cell for _, cell in facts], dtype=np.int64)
    return _multi_label(
        "BigEarthNet v1",
        [_Patch(p, twins[p.name]) for p in optical],
        [nineteen(labels) for labels, _ in facts],
        np.array([split_of(int(c), SampleSpec()) for c in cells]),
        cells,
        np.array([p.name in cloudy for p in optical], dtype=bool),
    )


def eurosat(root: Path) -> Labelled:
    """Return EuroSAT with all bands: `<Class>/<Class>_<n>.tif`, one class a chip, optical alone.

    Splits by our cells, from the georeference of each file.

    Raises:
        ContractError: If there is no file, or one is not georeferenced.
    """
    paths = sorted(root.rglob("*/*_*.tif"))
    classes = tuple(sorted({p.parent.name for p in paths}))
    if not paths:
        msg = f"{root}: no EuroSAT file as AnnualCrop/AnnualCrop_1.tif with all 13 bands"
        raise ContractError(msg)
    cells = np.array([_cell_of_file(p) for p in paths], dtype=np.int64)
    truth = np.array([[p.parent.name == c for c in classes] for p in paths])
    order = [_EUROSAT_BANDS.index(str(b)) for b in OPTICAL]
    return Labelled(
        name="EuroSAT",
        identity=_identity([p.name for p in paths]),
        sensors=(Sensor.S2,),
        classes=classes,
        exclusive=True,
        truth=truth,
        split=np.array([split_of(int(c), SampleSpec()) for c in cells]),
        cell=cells,
        cloudy=np.zeros(len(paths), dtype=bool),
        read=lambda rows: {
            Sensor.S2: torch.from_numpy(np.stack([_open(paths[r])[order] for r in rows.tolist()]))
        },
    )


@dataclass(frozen=True)
class _Patch:
    """The folders of one BigEarthNet pair."""

    s2: Path
    s1: Path

    def read(self) -> tuple[NDArray[np.uint16], NDArray[np.int16]]:
        bands = [_open(self.s2 / f"{self.s2.name}_{band}.tif")[0] for band in OPTICAL]
        size = max(band.shape[0] for band in bands)
        optical = [b.repeat(size // b.shape[0], axis=0).repeat(size // b.shape[1], axis=1) for b in bands]  # noqa: E501  # fmt: skip
        decibels = np.stack([_open(self.s1 / f"{self.s1.name}_{band}.tif")[0] for band in RADAR])
        return np.stack(optical).astype(np.uint16), counts(decibels)


def counts(decibels: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return dB as the integers a corpus stores; what is not finite becomes -32768.

    Examples:
        >>> counts(np.array([-12.5, np.nan], dtype="float32"))
        array([ -1250, -32768], dtype=int16)
    """
    valid = np.isfinite(decibels)
    whole = np.rint(np.where(valid, decibels, 0) / DB_PER_COUNT)
    return np.where(valid, np.clip(whole, DB_INVALID + 1, -DB_INVALID - 1), DB_INVALID).astype(
        np.int16
    )


def _multi_label(  # noqa: PLR0913, PLR0917  # the columns of one table
    name: str,
    patches: Sequence[_Patch],
    labels: Sequence[Sequence[str]],
    split: NDArray[np.str_],
    cell: NDArray[np.int64],
    cloudy: NDArray[np.bool_],
) -> Labelled:
    if not patches:
        msg = f"{name}: no patch was found"
        raise ContractError(msg)
    if unknown := sorted({word for some in labels for word in some} - set(CLASSES)):
        msg = f"{name}: labels that are none of the 19 classes: {', '.join(unknown[:3])}"
        raise ContractError(msg)

    def read(rows: NDArray[np.int64]) -> Raw:
        both = [patches[r].read() for r in rows.tolist()]
        s2, s1 = (np.stack(side) for side in zip(*both, strict=True))
        return {Sensor.S2: torch.from_numpy(s2), Sensor.S1: torch.from_numpy(s1)}

    return Labelled(
        name=name,
        identity=_identity([p.s2.name for p in patches]),
        sensors=tuple(Sensor),
        classes=CLASSES,
        exclusive=False,
        truth=np.array([[c in set(some) for c in CLASSES] for some in labels]),
        split=split,
        cell=cell,
        cloudy=cloudy,
        read=read,
    )


def _open(path: Path) -> NDArray[np.generic]:
    """Return all bands of a GeoTIFF, (band, y, x).

    Raises:
        ContractError: If it is missing or none.
    """
    try:
        with rasterio.open(path, driver="GTiff") as file:
            pixels: NDArray[np.generic] = file.read()
    except rasterio.errors.RasterioError as error:
        msg = f"{path}: cannot be read as GeoTIFF ({error})"
        raise ContractError(msg) from error
    return pixels


def _cell_of_file(path: Path) -> int:
    with rasterio.open(path, driver="GTiff") as file:
        if file.crs is None:
            msg = f"{path}: not georeferenced, so it has no place to be split by"
            raise ContractError(msg)
        return _cell(file.crs.to_wkt(), *file.xy(file.height // 2, file.width // 2))


def _facts(path: Path) -> tuple[list[str], int]:
    """Return a v1 patch's labels and cell."""
    try:
        said = json.loads(path.read_text("utf-8"))
        corner = said["coordinates"]
        x, y = (corner["ulx"] + corner["lrx"]) / 2, (corner["uly"] + corner["lry"]) / 2
        return list(said["labels"]), _cell(said["projection"], x, y)
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path}: not the description of a BigEarthNet patch ({error!r})"
        raise ContractError(msg) from error


def _cell(crs: str, x: float, y: float) -> int:
    lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    return int(cell_of(np.array([lon]), np.array([lat]))[0])


def _listed(path: Path) -> set[str]:
    """Return the patches that a list of the authors names; none if it is not there."""
    return set(path.read_text("utf-8").split()) if path.is_file() else set()


def _identity(names: Sequence[str]) -> str:
    return blake2b("\n".join(names).encode(), digest_size=16).hexdigest()
