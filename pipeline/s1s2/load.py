"""A finished corpus in a training loop: its index, its chips, batches of tensors. Torch's door.

Torch is imported when a dataset is made, not before: looking at a corpus does not need it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from s1s2 import layout, ledger, store, tables
from s1s2.bands import OPTICAL, RADAR, S2_10M, S2_20M, Band
from s1s2.errors import ContractError, StoreError
from s1s2.radiometry import DB_PER_COUNT, DN_PER_REFLECTANCE, to_decibels, to_reflectance
from s1s2.sample import SPLITS

if TYPE_CHECKING:
    import geopandas
    import torch
    import xarray
    import zarr
    from torch.utils.data import DataLoader

Floats = NDArray[np.float32]
Stored = dict[str, NDArray[Any]]
Values = Literal["physical", "normalised", "raw"]
"""What a batch holds: reflectance and dB; zero mean and unit deviation; or the stored numbers."""

IMAGES = ("s2_10m", "s2_20m", "s1", "scl")


@dataclass(frozen=True)
class Scaling:
    """What normalising subtracts and divides by, shape (band, 1, 1), in reflectance and dB."""

    s2_mean: Floats
    s2_std: Floats
    s1_mean: Floats
    s1_std: Floats


class Corpus:
    """A finished corpus on disk: `len`, `index`, `read`, `dataset`, `loader`."""

    bands = OPTICAL
    """The optical bands of a batch, in order."""
    polarisations = RADAR
    """The radar bands of a batch, in order."""

    def __init__(self, path: str | Path) -> None:
        """Open a corpus.

        Raises:
            StoreError: If the folder holds none, or an unfinished one.
        """
        self.folder = layout.Folder(Path(path))
        self.about = ledger.open_corpus(self.folder)
        self.size_px = int(self.about["chip_size_px"])
        self._index: geopandas.GeoDataFrame | None = None
        self._arrays = _Arrays(self.folder)

    def __len__(self) -> int:
        """Return how many chips there are."""
        return int(self.about["chips"])

    def __repr__(self) -> str:
        """Say what it is in one line."""
        return (
            f"Corpus({str(self.folder.root)!r}, chips={len(self)}, size_px={self.size_px}, "
            f"id={self.about['corpus_id'][:12]})"
        )

    @property
    def index(self) -> "geopandas.GeoDataFrame":
        """One row a chip: scenes, times, lag, split, fractions, outline (EPSG:4326)."""
        if self._index is None:
            self._index = tables.read_chips(self.folder.chips)
        return self._index

    def chips(self, split: str | None = None) -> NDArray[np.int64]:
        """Return the numbers of a split's chips, or of all for None.

        Raises:
            ContractError: If there is no such split, or it is empty.
        """
        index = self.index
        numbers: NDArray[np.int64] = index["chip"].to_numpy(np.int64)
        if split is None:
            return numbers
        if split not in SPLITS:
            msg = f"split {split!r}: expected one of {', '.join(SPLITS)}, or None for all"
            raise ContractError(msg)
        chosen: NDArray[np.int64] = numbers[np.asarray(index["split"] == split)]
        if not len(chosen):
            counts = ", ".join(f"{k} {self.about['splits'][k]}" for k in SPLITS)
            msg = (
                f"{self.folder.root}: split {split!r} has no chips ({counts}); name another split, "
                "or None for all"
            )
            raise ContractError(msg)
        return chosen

    def read(self, chip: int) -> Stored:
        """Return one chip as it is stored, at native resolution: `s2_10m s2_20m s1 scl`.

        Raises:
            StoreError: If there is no such chip, or it is damaged.
        """
        if chip not in self.index["chip"].to_numpy():
            msg = f"{self.folder.root}: no chip {chip}; the index names those there are"
            raise StoreError(msg)
        return self._arrays.read(chip)

    def to_xarray(self, chip: int) -> "xarray.Dataset":
        """Return one chip as georeferenced data, to be looked at, plotted or saved as GeoTIFF.

        `s2` (band, y, x) is reflectance on the 10 m grid, `s1` (polarisation, y, x) gamma nought in
        dB, invalid pixels NaN; `corpus.to_xarray(3)["s1"].rio.to_raster("s1.tif")` saves it.

        Raises:
            StoreError: If there is no such chip, or it is damaged.
        """
        import rioxarray  # noqa: F401, PLC0415  # gives arrays their `.rio`
        import xarray  # noqa: PLC0415  # a second to import
        from affine import Affine  # noqa: PLC0415

        s2, s1 = assemble(self.read(chip), "physical")
        row = self.index.set_index("chip").loc[chip]
        a, _, c, _, e, f = row["transform"]
        steps = np.arange(self.size_px) + 0.5
        data = xarray.Dataset(
            {"s2": (("band", "y", "x"), s2), "s1": (("polarisation", "y", "x"), s1)},
            coords={
                "band": [str(b) for b in OPTICAL],
                "polarisation": [str(b) for b in RADAR],
                "x": c + a * steps,
                "y": f + e * steps,
            },
            attrs={"s2_id": row["s2_id"], "s1_id": row["s1_id"]},
        )
        for name, bands in (("s2", OPTICAL), ("s1", RADAR)):
            # what rioxarray writes as the names of a GeoTIFF's bands
            data[name].attrs["long_name"] = tuple(str(b) for b in bands)
            data[name] = data[name].rio.write_nodata(np.nan)
        data = data.rio.write_crs(int(row["epsg"]))
        placed: xarray.Dataset = data.rio.write_transform(Affine(*row["transform"]))
        return placed

    def dataset(self, split: str | None = None, values: Values = "physical") -> "ChipDataset":
        """Return a map-style torch dataset; an item is a dict of `s2`, `s1`, `chip`.

        `s2` is (12, size, size) in the order B01..B12 with 20 and 60 m pixels repeated to 10 m,
        `s1` is (2, size, size): VV, VH.

        Args:
            split: `train`, `val`, `test`, or None for all.
            values: `physical`: float32 reflectance and gamma nought in dB, invalid pixels NaN.
                `normalised`: float32, the same less the mean and over the deviation of the train
                split; invalid pixels 0, the mean. `raw`: as stored, uint16 and int16.

        Raises:
            ContractError: If the split has no chips, or there are no statistics to normalise by.
        """
        if values not in get_args(Values):
            msg = f"values {values!r}: expected one of {', '.join(get_args(Values))}"
            raise ContractError(msg)
        scaling = self._scaling() if values == "normalised" else None
        return ChipDataset(_Arrays(self.folder), self.chips(split), values, scaling)

    def loader(  # noqa: PLR0913  # what every loader takes
        self,
        batch_size: int = 32,
        *,
        shuffle: bool = False,
        split: str | None = None,
        values: Values = "physical",
        seed: int = 0,
        num_workers: int = 0,
        drop_last: bool = False,
    ) -> "DataLoader[Any]":
        """Return a torch loader of batches: `s2` (B, 12, y, x), `s1` (B, 2, y, x), `chip` (B,).

        Args:
            batch_size: Chips in a batch.
            shuffle: Another order in every epoch, the same orders for the same seed.
            split: `train`, `val`, `test`, or None for all.
            values: As in `dataset`.
            seed: Of the shuffling.
            num_workers: Reading processes; 0 reads in this one.
            drop_last: Leave out a last batch that is not full.
        """
        import torch  # noqa: PLC0415  # a second to import
        from torch.utils.data import DataLoader  # noqa: PLC0415

        return DataLoader(
            self.dataset(split, values),  # type: ignore[arg-type]  # map-style by its methods
            batch_size=batch_size,
            shuffle=shuffle,
            num_workers=num_workers,
            drop_last=drop_last,
            generator=torch.Generator().manual_seed(seed),
        )

    def _scaling(self) -> Scaling:
        statistics = self.about["statistics"]
        if not all(statistics.get(str(band)) for band in (*OPTICAL, *RADAR)):
            msg = (
                f"{self.folder.root}: no chip is in the train split, so there are no statistics to "
                "normalise by; use values='physical'"
            )
            raise ContractError(msg)

        def of(bands: Sequence[Band], unit: float) -> tuple[Floats, Floats]:
            both = [[statistics[str(b)][key] * unit for b in bands] for key in ("mean", "std")]
            mean, std = np.array(both, dtype=np.float32)[:, :, None, None]
            return mean, np.maximum(std, np.float32(unit))

        return Scaling(*of(OPTICAL, 1 / DN_PER_REFLECTANCE), *of(RADAR, DB_PER_COUNT))


class ChipDataset:
    """A map-style torch dataset over some chips of a corpus; `Corpus.dataset` makes it."""

    def __init__(
        self,
        arrays: "_Arrays",
        chips: NDArray[np.int64],
        values: Values,
        scaling: Scaling | None,
    ) -> None:
        self._arrays, self._chips, self._values, self._scaling = arrays, chips, values, scaling

    def __len__(self) -> int:
        """Return how many chips there are."""
        return len(self._chips)

    def __getitem__(self, index: int) -> "dict[str, torch.Tensor | int]":
        """Return one chip: `s2`, `s1` as tensors, `chip` its number."""
        import torch  # noqa: PLC0415  # a second to import

        chip = int(self._chips[index])
        s2, s1 = assemble(self._arrays.read(chip), self._values, self._scaling)
        return {"s2": torch.from_numpy(s2), "s1": torch.from_numpy(s1), "chip": chip}


class _Arrays:
    """The arrays of one corpus, opened on first use, so that every worker process opens its own."""

    def __init__(self, folder: layout.Folder) -> None:
        self._folder = folder
        self._group: zarr.Group | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_folder": self._folder, "_group": None}

    def read(self, chip: int) -> Stored:
        if self._group is None:
            self._group = store.open_pixels(self._folder)
        return store.read_chip(self._folder, self._group, IMAGES, chip)


def assemble(
    stored: Stored, values: Values, scaling: Scaling | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Turn a stored chip into what a batch holds.

    Args:
        stored: `s2_10m` (4, size, size), `s2_20m` (8, size/2, size/2) uint16, `s1` int16.
        values: As in `Corpus.dataset`.
        scaling: Needed for `normalised`.

    Returns:
        Optical (12, size, size) in the order of `OPTICAL`, and radar (2, size, size).
    """
    s2 = on_10m(stored)
    if values == "raw":
        return s2, stored["s1"]
    reflectance, decibels = to_reflectance(s2), to_decibels(stored["s1"])
    if scaling is None:
        return reflectance, decibels
    normal = (reflectance - scaling.s2_mean) / scaling.s2_std
    radar = (decibels - scaling.s1_mean) / scaling.s1_std
    return np.nan_to_num(normal, nan=0.0), np.nan_to_num(radar, nan=0.0)


def on_10m(stored: Stored) -> NDArray[np.uint16]:
    """Return all twelve bands on the 10 m grid, coarse pixels repeated, in order of `OPTICAL`."""
    fine, coarse = stored["s2_10m"], stored["s2_20m"]
    s2 = np.empty((len(OPTICAL), *fine.shape[1:]), dtype=np.uint16)
    for row, band in enumerate(OPTICAL):
        if band in S2_10M:
            s2[row] = fine[S2_10M.index(band)]
        else:
            s2[row] = coarse[S2_20M.index(band)].repeat(2, axis=0).repeat(2, axis=1)
    return s2
