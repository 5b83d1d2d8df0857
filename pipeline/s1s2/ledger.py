"""What the receipts add up to: index, refusals, statistics, `corpus.json`; and verify."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from s1s2 import layout, receipts, store, tables
from s1s2.bands import OPTICAL, RADAR
from s1s2.errors import StoreError
from s1s2.files import write_bytes
from s1s2.grid import GridSpec
from s1s2.layout import FORMAT_VERSION, Folder, StoreSpec
from s1s2.receipts import Json
from s1s2.sample import SPLITS
from s1s2.schemas import REFUSALS


def finish(folder: Folder, spec: GridSpec, wanted: int, about: Mapping[str, Any]) -> Json:
    """Write the index, the refusals and, last of all, `corpus.json`.

    Args:
        folder: The corpus; every shard that will exist has its receipt.
        spec: The size of a chip.
        wanted: How many chips were asked for.
        about: What the corpus should say of itself (name, catalogs, recipe).

    Returns:
        The content of `corpus.json`.
    """
    receipts.sweep(folder)
    found = receipts.read_all(folder)
    rows = [row for receipt in found.values() for row in receipt["rows"]]
    identity = receipts.corpus_id(found)
    notes = {"s1s2:corpus_id": identity}
    tables.write_chips(folder.chips, tables.chips_table(rows), notes)
    refusals = refusals_of(folder, found)
    tables.write_refusals(folder.refusals, refusals, notes)
    if rows:
        store.trim(folder, layout.arrays(spec), max(row["chip"] for row in rows) + 1)
        store.consolidate(folder)
    document = {
        "format_version": FORMAT_VERSION,
        "corpus_id": identity,
        "wanted": wanted,
        "chip_size_px": spec.size_px,
        "refused": dict(sorted(Counter(refusals["reason"]).items())),
        "files": {path.relative_to(folder.root).as_posix(): _hash(path) for path in _kept(folder)},
        **_counted(found),
        **about,
    }
    write_bytes(folder.corpus, receipts.to_json(document))
    return document


def _counted(found: Mapping[int, Json]) -> Json:
    """Return what `corpus.json` says that follows from the receipts."""
    splits = Counter(row["split"] for receipt in found.values() for row in receipt["rows"])
    return {
        "chips": splits.total(),
        "splits": {name: splits.get(name, 0) for name in SPLITS},
        "statistics": statistics(found),
    }


def _kept(folder: Folder) -> list[Path]:
    """Return every file of a corpus that no receipt speaks of: tables, recipe, Zarr's metadata."""
    tables_ = [folder.recipe, folder.points, folder.scenes, folder.matchups]
    return [*tables_, folder.chips, folder.refusals, *sorted(folder.zarr.rglob("zarr.json"))]


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refusals_of(folder: Folder, found: Mapping[int, Json]) -> pd.DataFrame:
    """Return why points have no pair, and why pairs made no chip, in the columns of `REFUSALS`."""
    _, unmatched = tables.read_matchups(folder.matchups)
    first = unmatched[["point", "reason", "detail"]].assign(stage="match", s2_id=None, s1_id=None)
    rejected = [r | {"stage": "chip"} for receipt in found.values() for r in receipt["refused"]]
    second = pd.DataFrame(rejected, columns=REFUSALS.names)
    table = pd.concat([t for t in (first, second) if len(t)] or [second])
    return table.sort_values(["point", "stage"], kind="stable")[list(REFUSALS.names)]


def statistics(found: Mapping[int, Json]) -> Json:
    """Return mean and standard deviation of every band over the train split, in stored numbers.

    From whole-number sums, so the order of shards does not matter; None where no chip is in train.
    """
    total: dict[str, np.ndarray[Any, Any]] = {}
    for receipt in found.values():
        for band, values in receipt["sums"].get("train", {}).items():
            # Python integers: sums of squares of a large corpus pass 64 bits
            total[band] = total.get(band, np.zeros(3, object)) + np.array(values, dtype=object)
    result: Json = {}
    for band in (*OPTICAL, *RADAR):
        count, first, second = total.get(str(band), (0, 0, 0))
        if not count:
            result[str(band)] = None
            continue
        variance = (count * second - first * first) / count**2
        result[str(band)] = {
            "count": int(count),
            "mean": first / count,
            "std": float(np.sqrt(variance)),
        }
    return result


def open_corpus(folder: Folder) -> Json:
    """Return `corpus.json`.

    Raises:
        StoreError: If the folder holds no corpus, an unfinished one, or one of another version.
    """
    if not folder.corpus.exists():
        if not folder.recipe.exists():
            msg = f"{folder.root}: holds no corpus; build one with s1s2 build -o {folder.root}"
            raise StoreError(msg)
        done = len(list(folder.receipts.glob("[0-9]*.json")))
        total = len(layout.shard_slots(*_planned(folder)))
        msg = (
            f"{folder.root}: unfinished ({done} of {total} shards); run the same s1s2 build again "
            "to go on"
        )
        raise StoreError(msg)
    document = receipts.read_json(folder.corpus)
    if document.get("format_version") != FORMAT_VERSION:
        msg = (
            f"{folder.root}: format version {document.get('format_version')}, this s1s2 reads "
            f"{FORMAT_VERSION}"
        )
        raise StoreError(msg)
    return document


def _planned(folder: Folder) -> tuple[int, StoreSpec]:
    notes = tables.notes_of(folder.points)
    per_shard = int(notes.get("s1s2:chips_per_shard", StoreSpec().chips_per_shard))
    return int(notes.get("s1s2:n", 0)), StoreSpec(per_shard)


def verify(folder: Folder) -> list[str]:
    """Prove a corpus: every file against its receipt, every chunk's checksum, the index, the id.

    Returns:
        One line for each problem; empty if all is well.
    """
    document = open_corpus(folder)
    spec = GridSpec(int(document["chip_size_px"]))
    found = receipts.read_all(folder)
    problems = [
        f"shard {k}: {line}" for k, r in found.items() for line in receipts.damage(folder, r)
    ]
    if receipts.corpus_id(found) != document["corpus_id"]:
        problems.append("receipts: they are not those the corpus was finished with")
    problems += [
        f"corpus.json: {key} is not what the receipts add up to"
        for key, value in _counted(found).items()
        if document[key] != value
    ]
    for name, wanted in document["files"].items():
        path = folder.root / name
        if not path.is_file():
            problems.append(f"{name}: missing")
        elif _hash(path) != wanted:
            problems.append(f"{name}: content differs from when the corpus was finished")
    expected = {name for r in found.values() for name in r["objects"]}
    there = {
        p.relative_to(folder.root).as_posix()
        for p in folder.zarr.rglob("*")
        if p.is_file() and p.name != "zarr.json"
    }
    problems += [f"{name}: no receipt knows it" for name in sorted(there - expected)]
    return problems + _verify_pixels(folder, spec, found)


def _verify_pixels(folder: Folder, spec: GridSpec, found: Mapping[int, Json]) -> list[str]:
    """Decode every chip and hold its pixels against the digest in its row."""
    plans = [p for p in layout.arrays(spec) if p.sharded]
    problems = []
    for shard, receipt in found.items():
        rows = receipt["rows"]
        if not rows:
            continue
        try:
            blocks = store.read_rows(folder, plans, rows[0]["chip"], len(rows))
        except StoreError as error:
            problems.append(f"shard {shard}: {error}")
            continue
        problems += [
            f"chip {row['chip']}: its pixels differ from their digest"
            for i, row in enumerate(rows)
            if store.digest({name: block[i] for name, block in blocks.items()}) != row["sha256"]
        ]
    return problems
