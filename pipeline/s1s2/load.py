"""A finished corpus in a training loop: its index, its chips, batches of tensors. Torch's door.

Torch is imported when batches are asked for, not before: looking at a corpus does not need it.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from s1s2 import layout
from s1s2.bands import OPTICAL, RADAR
from s1s2.errors import ContractError, StoreError
from s1s2.loader.batches import Feed
from s1s2.loader.chips.homes import home_of
from s1s2.loader.choose import Filter, kept, near_pairs
from s1s2.loader.dataset import ChipDataset
from s1s2.loader.finish import Plan, Values, View, finish, plan
from s1s2.loader.hosts import Source
from s1s2.loader.order import Choice, Items, Orders, Shuffle
from s1s2.loader.ranks import Ranks, cut
from s1s2.loader.sampler import BatchSampler
from s1s2.sample import SPLITS

if TYPE_CHECKING:
    import geopandas
    import torch
    import xarray

    from s1s2.loader.loader import Loader

__all__ = ["ChipDataset", "Corpus", "Feed", "Ranks", "Stored", "View"]

Numbers = NDArray[np.int64]
Stored = dict[str, NDArray[Any]]


class Corpus:
    """A finished corpus, in a folder or on object storage: `len`, `index`, `read`, `loader`."""

    bands = OPTICAL
    """The optical bands of a batch, in order."""
    polarisations = RADAR
    """The radar bands of a batch, in order."""

    def __init__(self, path: str | Path) -> None:
        """Open a corpus.

        Args:
            path: Its folder, or the URL that it was pushed to (`s3://`, `gs://`, `az://`,
                `file://`), as text.

        Raises:
            StoreError: If none is there, or an unfinished one, or `corpus.json` is damaged.
            RecipeError: If it is a URL that cannot be.
            UnreachableError: If it is a URL, and the store does not answer.
        """
        self._home = home_of(path)
        self.about = self._home.about
        self.size_px = int(self.about["chip_size_px"])
        self._index: geopandas.GeoDataFrame | None = None

    @property
    def where(self) -> str:
        """Its folder, absolute, or its URL: what opens it from anywhere."""
        return self._home.where if "://" in self._home.where else str(self.folder.root.resolve())

    @property
    def folder(self) -> layout.Folder:
        """Where its files lie.

        Raises:
            StoreError: If it lies on object storage.
        """
        return self._home.folder

    def __len__(self) -> int:
        """Return how many chips there are."""
        return int(self.about["chips"])

    def __repr__(self) -> str:
        """Say what it is in one line."""
        return (
            f"Corpus({self._home.where!r}, chips={len(self)}, size_px={self.size_px}, "
            f"id={self.about['corpus_id'][:12]})"
        )

    @property
    def index(self) -> "geopandas.GeoDataFrame":
        """One row a chip: scenes, times, lag, split, fractions, outline (EPSG:4326).

        Raises:
            StoreError: If it is not the one that the corpus was finished with.
        """
        if self._index is None:
            self._index = self._home.index()
        return self._index

    def chips(self, split: str | None = None, **conditions: Any) -> Numbers:  # noqa: ANN401
        """Return the numbers of some chips, in order.

        Args:
            split: `train`, `val`, `test`, or None for all.
            conditions: As in `Filter`: `where="cloud_fraction < 0.1"`, `bbox=(w, s, e, n)`,
                `season="summer"`, `fraction=0.1`, `fraction_seed=0`.

        Raises:
            ContractError: If there is no such split, a condition cannot be, or no chip is left.
        """
        index = self.index
        if split is not None:
            if split not in SPLITS:
                msg = f"split {split!r}: expected one of {', '.join(SPLITS)}, or None for all"
                raise ContractError(msg)
            index = index[index["split"] == split]
            if not len(index):
                counts = ", ".join(f"{k} {self.about['splits'][k]}" for k in SPLITS)
                msg = (
                    f"{self._home.where}: split {split!r} has no chips ({counts}); name another "
                    "split, or None for all"
                )
                raise ContractError(msg)
        wanted = Filter(**conditions)
        found: Numbers = kept(index, wanted)["chip"].to_numpy(np.int64)
        if not len(found):
            msg = f"{self._home.where}: none of {len(index)} chips is as asked for: {wanted}"
            raise ContractError(msg)
        return found

    def pairs(
        self, within_km: float, *, apart_days: float = 0.0, chips: ArrayLike | None = None
    ) -> Numbers:
        """Return pairs of chips near each other, shape (pairs, 2), for `loader(chips=...)`.

        `pairs(40)` are neighbours, `pairs(0.1, apart_days=30)` places seen at two dates. For a pair
        of both sensors no partner is needed: a chip is one.

        Args:
            within_km: How far their centres may lie apart.
            apart_days: How far apart Sentinel-2 must have seen them.
            chips: Among which chips; None for all. Name a split's: pairs may cross splits.

        Raises:
            ContractError: If there are none.
        """
        among = self.index
        if chips is not None:
            among = among[among["chip"].isin(np.asarray(chips))]
        return near_pairs(among, within_km, apart_days=apart_days)

    def read(self, chip: int) -> Stored:
        """Return one chip as it is stored, at native resolution: `s2_10m s2_20m s1 scl`.

        Raises:
            StoreError: If there is no such chip, or it or the proof of it is missing or damaged.
        """
        if chip not in self.index["chip"].to_numpy():
            msg = f"{self._home.where}: no chip {chip}; the index names those there are"
            raise StoreError(msg)
        return self._home.read(chip)

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

        wanted = self._plan(View())
        s2, s1 = (np.empty(output.shape, output.dtype) for output in wanted.outputs)
        finish(wanted, self.read(chip), {"s2": s2, "s1": s1})
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

    def dataset(
        self,
        split: str | None = None,
        values: Values | None = None,
        *,
        chips: ArrayLike | None = None,
        view: View | None = None,
    ) -> ChipDataset:
        """Return a map-style torch dataset, for torch's own DataLoader; `loader` is faster.

        An item is a dict: `s2` is (12, size, size) in the order B01..B12 with 20 and 60 m pixels
        repeated to 10 m, `s1` is (2, size, size): VV, VH; `chip` is its number.

        Args:
            split: `train`, `val`, `test`, or None for all.
            values: `physical`: float32 reflectance and gamma nought in dB, invalid pixels NaN.
                `normalised`: float32, the same less the mean and over the deviation of the train
                split; invalid pixels 0, the mean. `raw`: as stored, uint16 and int16.
            chips: These, rather than those of a split.
            view: All else that an item may be; see `View`.

        Raises:
            ContractError: If the split has no chips, or there are no statistics to normalise by.
        """
        view = _viewed(view, values)
        items = self._items(split, chips)
        if items.shape[1] > 1:
            msg = "chips: an item of a dataset is one chip; pairs of them are for loader()"
            raise ContractError(msg)
        return ChipDataset(self._source(), items[:, 0], self._plan(view))

    def loader(  # noqa: PLR0913  # what every loader takes; the rest is in View, Feed and Ranks
        self,
        batch_size: int = 32,
        *,
        shuffle: bool | Shuffle = False,
        split: str | None = None,
        values: Values | None = None,
        seed: int = 0,
        drop_last: bool = False,
        chips: ArrayLike | None = None,
        weights: str | ArrayLike | None = None,
        view: View | None = None,
        ranks: Ranks | None = None,
        feed: Feed | None = None,
        device: "str | torch.device | None" = None,
    ) -> "Loader":
        """Return a loader of batches: `s2` (B, 12, y, x), `s1` (B, 2, y, x), `chip` (B,).

        Every `iter` is another epoch. `state_dict` and `load_state_dict` go on in mid-epoch with
        exactly the chips that were left, also with other ranks or batch sizes. A batch may be held
        as long as one likes.

        Args:
            batch_size: Chips in a batch of one rank.
            shuffle: Another order in every epoch, the same orders for the same seed: True or
                `full`, `block` (some shards at a time, for slow storage), `spread` (chips of one
                cell far apart).
            split: `train`, `val`, `test`, or None for all.
            values: As in `dataset`.
            seed: Of the shuffling.
            drop_last: Leave out a last batch that is not full.
            chips: These, rather than those of a split; of pairs, shape (pairs, 2), tensors are
                (2, B, ...): `one, other = batch["s1"]`.
            weights: A column of the index, or one number a chip: how often it is drawn.
            view: Bands, units, size and type of what a batch holds.
            ranks: Who shares the chips out; by default torch.distributed, where it was begun.
            feed: How batches are read.
            device: Where to finish them: integers travel, floats are made there.

        Raises:
            ContractError: If the split has no chips, there are no statistics to normalise by, or
                any of the arguments cannot be.
        """
        from s1s2.loader.loader import Loader  # noqa: PLC0415  # imports torch

        items = self._items(split, chips)
        return Loader(
            self._source(),
            self._plan(_viewed(view, values)),
            Choice(items, self._order_facts(items, weights), _orders(shuffle, seed)),
            cut(batch_size, ranks, drop_last=drop_last),
            feed or Feed(),
            device,
        )

    def batch_sampler(  # noqa: PLR0913  # as many as `loader` has of them
        self,
        dataset: ChipDataset,
        batch_size: int = 32,
        *,
        shuffle: bool | Shuffle = False,
        seed: int = 0,
        drop_last: bool = False,
        ranks: Ranks | None = None,
    ) -> BatchSampler:
        """Return the orders of `loader` for `DataLoader(dataset, batch_sampler=...)`.

        torchdata's StatefulDataLoader saves and restores its place.
        """
        items = dataset.chips[:, None]
        choice = Choice(items, self._order_facts(items, None), _orders(shuffle, seed))
        return BatchSampler(choice, cut(batch_size, ranks, drop_last=drop_last))

    def _items(self, split: str | None, chips: ArrayLike | None) -> Numbers:
        """Return the chips asked for, shape (items, chips of an item)."""
        found = self.chips(split) if chips is None else np.asarray(chips)
        whole = found.dtype.kind in "iu" and found.size and found.ndim in {1, 2}
        unknown = np.setdiff1d(found, self.index["chip"].to_numpy()).tolist() if whole else []
        if not whole or unknown:
            form = f"an array of {found.dtype}, shape {found.shape}"
            what = f"no chip {unknown[0]}" if unknown else form
            msg = f"{self._home.where}: chips: {what}; expected numbers of chips, or pairs of them"
            raise ContractError(msg)
        return found.astype(np.int64).reshape(len(found), -1)

    def _order_facts(self, items: Numbers, weights: str | ArrayLike | None) -> Items:
        rows = self.index.set_index("chip").loc[items[:, 0]]
        if isinstance(weights, str):
            if weights not in rows:
                msg = f"weights {weights!r}: the columns are {', '.join(rows.columns)}"
                raise ContractError(msg)
            weights = rows[weights]
        try:
            drawn = None if weights is None else np.asarray(weights, dtype=np.float64)
        except (TypeError, ValueError) as error:
            msg = f"weights: expected numbers, one a chip ({error})"
            raise ContractError(msg) from error
        per_shard = int(self.about["chips_per_shard"])
        return Items(items[:, 0] // per_shard, rows["cell"].to_numpy(np.int64), drawn)

    def _plan(self, view: View) -> Plan:
        try:
            return plan(view, self.size_px, self.about["statistics"])
        except ContractError as error:
            msg = f"{self._home.where}: {error}"
            raise ContractError(msg) from error

    def _source(self) -> Source:
        """Return what reads the pixels, once their description is proven."""
        pixels = self._home.pixels()
        per_shard = int(self.about["chips_per_shard"])
        return Source(pixels.forms, pixels.root, per_shard, pixels.said_of, pixels.remote)


def _viewed(view: View | None, values: Values | None) -> View:
    view = view or View()
    return view if values is None else replace(view, values=values)


def _orders(shuffle: bool | Shuffle, seed: int) -> Orders:  # noqa: FBT001  # as torch has it
    words: dict[bool | Shuffle, Shuffle] = {False: "none", True: "full"}
    return Orders(words.get(shuffle, shuffle), seed)  # type: ignore[arg-type]  # no bool is left
