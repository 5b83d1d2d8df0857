"""Fetch some chips of a published corpus: a corpus of its own, that says what it was taken from.

Of each shard only the chunks that are wanted travel. A chip is taken if its pixels have the digest
of its row, the row stands in a receipt, and `corpus.json` proves that. Chips are numbered anew, in
their order; rows, points, scenes and pairs are those of the whole, as far as a chip needs them.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from s1s2 import fill, layout, ledger, published, receipts, scene_tables, store, tables
from s1s2.errors import ContractError, FullError, StoreError
from s1s2.files import write_bytes
from s1s2.grid import GridSpec
from s1s2.layout import ArrayPlan, Folder
from s1s2.loader.choose import Filter, kept
from s1s2.progress import track
from s1s2.published import LostError
from s1s2.pull import BEGUN, Pulled, Source, begun
from s1s2.receipts import Json
from s1s2.remote import Place, side_by_side
from s1s2.run import TAKEN
from s1s2.schemas import MATCHUPS
from s1s2.verify import Problem

_ASIDE = ".pull"

Blocks = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Wish:
    """Which chips; every condition must hold."""

    split: str | None = None
    bbox: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees; west above east crosses the antimeridian."""
    first: int | None = None
    """No more than so many, in order of their numbers."""

    @property
    def said(self) -> Json:
        """What a corpus says of how it was chosen; empty for all of it."""
        given = {key: value for key, value in asdict(self).items() if value is not None}
        return given | ({"bbox": list(self.bbox)} if self.bbox else {})


@dataclass(frozen=True)
class _Tables:
    """What of the whole's tables some chips need."""

    recipe: bytes
    points: pd.DataFrame
    pairs: pa.Table
    scenes: pa.Table


def excerpt(url: str, out: Path, wish: Wish) -> Pulled:
    """Fetch some chips of a published corpus as a corpus, or go on with it.

    Args:
        url: Where it was pushed to.
        out: A new or empty folder, or one of the same pull, finished or not.
        wish: Which chips.

    Raises:
        ContractError: If no chip is as wished.
        StoreError: As `pull`; or if what is published is no corpus, whatever its hashes say.
        RecipeError, HeldError, UnreachableError: As `pull`.
    """
    source = Source(Place(url))
    with begun(out, source, wish.said):
        work = _Excerpt(source, Folder(out), wish)
        try:
            work.run()
        except LostError as error:
            return Pulled(None, work.fetched, work.fetched_bytes, work.kept, (error.problem,))
        finally:
            work.close()
        return Pulled(ledger.open_corpus(work.folder), work.fetched, work.fetched_bytes, work.kept)


class _Excerpt:
    """Some chips on their way; tables and receipts of the whole lie aside meanwhile."""

    def __init__(self, source: Source, folder: Folder, wish: Wish) -> None:
        self._source, self.folder, self._wish = source, folder, wish
        self._aside = Folder(folder.root / _ASIDE)
        about = source.document
        self._grid = GridSpec(int(about["chip_size_px"]))
        self._plans = layout.arrays(self._grid, about["codec"])
        self._per_shard = int(about["chips_per_shard"])
        self.fetched = self.fetched_bytes = self.kept = 0

    def run(self) -> None:
        """Choose, fetch, write: shards first, `corpus.json` last."""
        about = self._source.document
        try:
            with published.believed(self._source.place.url):
                chosen = self._choose()
                rows = [row for part in self._by_shard(chosen) for row in self._wished(*part)]
                told = self._tables(rows)
        except (ContractError, StoreError) as error:
            if not isinstance(error, FullError):
                self._forget()
            raise
        taken = {
            "corpus_id": about["corpus_id"],
            "corpus_sha256": receipts.sha256(self._source.content),
            "chips": about["chips"],
            "choice": self._wish.said,
        }
        self._write(chosen, told, ledger.said(about) | {"taken": taken})

    def _write(self, chosen: Sequence[int], told: _Tables, about: Json) -> None:
        """Write the tables, then the shards, then `corpus.json`."""
        per_shard, n = self._per_shard, len(chosen)
        self._write_tables(told, n, about["taken"])
        notes = {key: value for key, value in about.items() if key != "last"}
        store.create(self.folder, self._plans, n, per_shard, notes)
        with track("pull", n, "chips") as tick:
            for shard, start in enumerate(range(0, n, per_shard)):
                part = chosen[start : start + per_shard]
                self._write_shard(shard, part)
                tick(len(part))
        ledger.finish(self.folder, self._grid, n, about | {"last": True})

    def _forget(self) -> None:
        """Leave the folder to another wish, if nothing was written yet."""
        if not self.folder.recipe.exists():
            shutil.rmtree(self._aside.root, ignore_errors=True)
            (self.folder.root / BEGUN).unlink()

    def close(self) -> None:
        """Put away what lies aside, once it is not needed any more."""
        if self.folder.corpus.exists():
            shutil.rmtree(self._aside.root, ignore_errors=True)

    def _choose(self) -> list[int]:
        """Return the numbers of the chips wished for, in order.

        Raises:
            ContractError: If there are none.
            ValueError: If the index is none of this corpus.
        """
        index = tables.read_chips(self._table(self._aside.chips))
        n = self._source.document["chips"]
        if sorted(index["chip"].tolist()) != [*range(n)]:
            msg = f"chips.parquet does not name chips 0 to {n - 1:,}, each once"
            raise ValueError(msg)
        rows = index if self._wish.split is None else index[index["split"] == self._wish.split]
        found = kept(rows, Filter(bbox=self._wish.bbox))["chip"].to_numpy(np.int64)
        if not len(found):
            msg = f"{self._source.place.url}: none of {len(index):,} chips is as wished for"
            raise ContractError(msg)
        chosen: list[int] = np.sort(found)[: self._wish.first].tolist()
        return chosen

    def _table(self, path: Path) -> Path:
        """Fetch a file of the whole corpus, and return where it lies."""
        name = path.relative_to(self._aside.root).as_posix()
        if name not in self._source.files:
            raise LostError(Problem(name, "corpus.json does not know it"))
        came = self._source.fetch(self._source.files[name], self._aside.root)
        if isinstance(came, Problem):
            raise LostError(came)
        self.fetched += came > 0
        self.fetched_bytes += came
        return path

    def _receipt(self, shard: int) -> Json:
        """Return what the receipt of a shard of the whole says."""
        path = self._table(self._aside.receipt(shard))
        where = f"{self._source.place.url}/{layout.receipt_name(shard)}"
        return published.receipt(path.read_bytes(), where)

    def _tables(self, rows: Sequence[Json]) -> _Tables:
        """Return recipe, points, scenes and pairs, as far as these chips need them.

        Raises:
            ValueError: If the whole lacks one, or has it twice.
        """
        place = pd.DataFrame({"point": [row["point"] for row in rows], "number": range(len(rows))})
        place["shard"] = place["number"] // self._per_shard
        place["position"] = place.pop("number") % self._per_shard
        points = tables.read_points(self._table(self._aside.points))
        points = place.merge(points.drop(columns=["shard", "position"]), on="point")
        pairs = self._pairs(rows, points)
        scenes = scene_tables.read_table(self._table(self._aside.scenes))
        ids = {row[key] for row in rows for key in ("s2_id", "s1_id")}
        scenes = scenes.filter(pc.is_in(scenes["id"], pa.array(sorted(ids))))
        for name, found, wanted in (
            ("points", len(points), len(rows)),
            ("pairs", len(pairs), len(rows)),
            ("scenes", len(set(scenes["id"].to_pylist())), len(ids)),
        ):
            if found != wanted:
                msg = f"{found:,} {name}, expected the {wanted:,} of {len(rows):,} chips"
                raise ValueError(msg)
        recipe = self._table(self._aside.recipe).read_bytes()
        recipe.decode()
        return _Tables(recipe, points, pairs, scenes)

    def _pairs(self, rows: Sequence[Json], points: pd.DataFrame) -> pa.Table:
        pairs, _ = tables.read_matchups(self._table(self._aside.matchups))
        keys = ["point", "s2_id", "s1_id", "s2_catalog", "s1_catalog"]
        wanted = pd.DataFrame(rows).rename(columns={"catalog": "s2_catalog"})[keys]
        pairs = pairs.drop(columns=["shard", "position"]).merge(wanted, on=keys)
        places = points[["point", "shard", "position", "lon", "lat"]]
        found = places.merge(pairs, on="point").assign(rank=0, reason=None, detail=None)
        names = [n for n in MATCHUPS.names if n != "geometry"]
        return pa.Table.from_pandas(found[[*names, "lon", "lat"]], preserve_index=False)

    def _write_tables(self, told: _Tables, n: int, taken: Json) -> None:
        notes = {
            "s1s2:n": str(n),
            "s1s2:chips_per_shard": str(self._per_shard),
            "s1s2:codec": self._source.document["codec"],
            TAKEN: receipts.to_json(taken).decode(),
        }
        write_bytes(self.folder.recipe, told.recipe)
        tables.write_points(self.folder.points, told.points, notes)
        tables.write_matchups(self.folder.matchups, [told.pairs], {})
        scene_tables.write_scenes(self.folder.scenes, told.scenes, {})

    def _by_shard(self, chosen: Sequence[int]) -> list[tuple[int, list[int]]]:
        """Return by shard of the whole the places in it of some chips, in order."""
        per = self._per_shard
        return [(k, [c % per for c in part]) for k, part in groupby(chosen, lambda c: c // per)]

    def _wished(self, shard: int, places: Sequence[int]) -> list[Json]:
        return published.rows_of(self._receipt(shard), shard, self._source.document, places)

    def _write_shard(self, shard: int, part: Sequence[int]) -> None:
        """Write one shard of the excerpt, unless it is there."""
        if there := self._proven_files(shard):
            self.kept += there
            return
        parts = [self._fetch(*of_one) for of_one in self._by_shard(part)]
        first = shard * self._per_shard
        old = [row for rows, _ in parts for row in rows]
        rows = [row | {"chip": first + i} for i, row in enumerate(old)]
        blocks = {
            plan.name: np.concatenate([b[plan.name] for _, b in parts])
            if plan.sharded
            else fill.column(plan, rows)
            for plan in self._plans
        }
        objects = store.write_shard(self.folder, self._plans, shard, blocks, self._per_shard)
        receipt = {
            "format_version": layout.FORMAT_VERSION,
            "shard": shard,
            "rows": rows,
            "refused": [],
            "tried": [row["point"] for row in rows],
            "objects": objects,
            "sums": fill.sums(blocks, rows),
            "dealt": True,
            "taken": {
                "corpus_id": self._source.document["corpus_id"],
                "chips": [row["chip"] for row in old],
            },
        }
        receipts.write_receipt(self.folder, shard, receipt)

    def _proven_files(self, shard: int) -> int:
        """Return how many files of pixels a shard of the excerpt has; 0 if one is damaged."""
        try:
            receipt = receipts.read_receipt(self.folder, shard)
        except StoreError:
            return 0
        if receipt is None or receipts.damage(self.folder, receipt):
            return 0
        return len(receipt["objects"])

    def _fetch(self, shard: int, places: Sequence[int]) -> tuple[list[Json], Blocks]:
        """Fetch some chips of one shard of the whole: their rows and their pixels, proven.

        Args:
            shard: Of the whole.
            places: Of the chips in it.
        """
        said = self._receipt(shard)
        images = [plan for plan in self._plans if plan.sharded]

        def blocks_of(plan: ArrayPlan) -> NDArray[Any]:
            name = store.shard_path(Folder(Path()), plan, shard).as_posix()
            size = said["objects"][name]["size"]
            block, came = self._source.fetch_chunks(plan, shard, size, places)
            self.fetched += 1
            self.fetched_bytes += came
            return block

        with published.believed(self._source.place.url):
            found = zip(images, side_by_side(images, blocks_of), strict=True)
            blocks = {plan.name: block for plan, block in found}
        wished = [said["rows"][place] for place in places]
        for number, row in enumerate(wished):
            if store.digest({k: block[number] for k, block in blocks.items()}) != row["sha256"]:
                what = "pixels differ from the digest in it"
                name = layout.receipt_name(shard)
                raise LostError(Problem(name, what, shard, (row["chip"],)))
        return wished, blocks
