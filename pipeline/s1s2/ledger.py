"""What the receipts add up to: index, refusals, statistics; and `corpus.json`, which proves it all.

`corpus.json` holds the hash of every file but those of the pixels, whose hashes the receipts hold,
and the hash of itself.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from s1s2 import layout, receipts, store, tables
from s1s2.bands import OPTICAL, RADAR
from s1s2.errors import StoreError
from s1s2.files import write_bytes
from s1s2.grid import GridSpec
from s1s2.layout import FORMAT_VERSION, Codec, Folder, StoreSpec
from s1s2.receipts import Json
from s1s2.sample import SPLITS
from s1s2.schemas import REFUSALS

_OWN = {
    *("format_version", "corpus_id", "wanted", "chip_size_px", "chips_per_shard", "recipe"),
    *("codec", "refused", "files", "chips", "splits", "statistics", "sha256"),
}
"""Keys of `corpus.json` that `finish` knows by itself."""


class Tally:
    """What receipts add up to, taken one at a time in order of shards.

    Sums are whole numbers, so the order of shards does not matter to the statistics.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._splits: Counter[str] = Counter()
        # Python integers: sums of squares of a large corpus pass 64 bits
        self._sums: dict[str, list[int]] = {str(b): [0, 0, 0] for b in (*OPTICAL, *RADAR)}
        self.end = 0
        """One more than the last chip's number."""

    def add(self, shard: int, content: bytes, receipt: Json) -> None:
        """Count in one shard's receipt: its number, its bytes, its content."""
        self._digest.update(f"{shard}\n".encode())
        self._digest.update(content)
        self._splits.update(row["split"] for row in receipt["rows"])
        self.end = max(self.end, *(row["chip"] + 1 for row in receipt["rows"]), 0)
        for band, values in receipt["sums"].get("train", {}).items():
            self._sums[band] = [a + b for a, b in zip(self._sums[band], values, strict=True)]

    @property
    def corpus_id(self) -> str:
        """The identity of a corpus: the hash of its receipts, whoever built it, when and where."""
        return self._digest.copy().hexdigest()

    def counted(self) -> Json:
        """Return what `corpus.json` says that follows from the receipts."""
        return {
            "chips": self._splits.total(),
            "splits": {name: self._splits.get(name, 0) for name in SPLITS},
            "statistics": {band: _moments(*values) for band, values in self._sums.items()},
        }


def _moments(count: int, first: int, second: int) -> Json | None:
    """Return mean and standard deviation of the train split in stored numbers; None without any."""
    if not count:
        return None
    variance = (count * second - first * first) / count**2
    return {"count": count, "mean": first / count, "std": float(np.sqrt(variance))}


def finish(folder: Folder, spec: GridSpec, wanted: int, about: Mapping[str, Any]) -> Json:
    """Write the index, the refusals and, last of all, `corpus.json`.

    Args:
        folder: The corpus; every shard that will exist has its receipt.
        spec: The size of a chip.
        wanted: How many chips were asked for.
        about: What the corpus should say of itself (name, catalogs, recipe), and `last`: that no
            further points will be drawn.

    Returns:
        The content of `corpus.json`.
    """
    receipts.sweep(folder)
    tally, rejected = Tally(), []
    for shard, content, receipt in receipts.read_proven(folder):
        tally.add(shard, content, receipt)
        rejected.append(_rejected(receipt))
    notes = {"s1s2:corpus_id": tally.corpus_id}
    tables.write_chips(folder.chips, _index(folder), notes)
    refusals = _refusals(folder, rejected)
    tables.write_refusals(folder.refusals, refusals, notes)
    planned = _planned(folder)[1]
    per_shard = planned.chips_per_shard
    if tally.end:
        told = {key: value for key, value in about.items() if key != "last"}
        store.seal(folder, layout.arrays(spec, planned.codec), tally.end, per_shard, told)
    document = {
        "format_version": FORMAT_VERSION,
        "corpus_id": tally.corpus_id,
        "wanted": wanted,
        "chip_size_px": spec.size_px,
        "chips_per_shard": per_shard,
        "codec": planned.codec,
        "recipe": folder.recipe.read_text(),
        "refused": dict(sorted(Counter(refusals["reason"].to_pylist()).items())),
        "files": {
            path.relative_to(folder.root).as_posix(): receipts.sha256_of(path)
            for path in _kept(folder)
        },
        **tally.counted(),
        **about,
    }
    document = receipts.sealed(document)
    write_bytes(folder.corpus, receipts.to_json(document))
    return document


def said(document: Json) -> Json:
    """Return what a corpus says of itself that `finish` was told: its argument `about`."""
    return {key: value for key, value in document.items() if key not in _OWN}


def origin(document: Json) -> str:
    """Say of which corpus another is a part, and how it was chosen; nothing if it is a whole."""
    taken = document.get("taken")
    if not taken:
        return ""
    how = " · ".join(f"{key} {value}" for key, value in taken["choice"].items())
    return f"from {taken['chips']:,} of {taken['corpus_id'][:12]} · {how}"


def _kept(folder: Folder) -> list[Path]:
    """Return every file of a corpus that no receipt speaks of, and the receipts."""
    tables_ = [folder.recipe, folder.points, folder.scenes, folder.matchups]
    proofs = [folder.receipt(shard) for shard in receipts.numbers(folder)]
    described = sorted(folder.zarr.rglob("zarr.json"))
    return [*tables_, folder.chips, folder.refusals, *described, *proofs]


def _index(folder: Folder) -> Iterator[pa.Table]:
    for _, receipt in receipts.read_each(folder):
        if receipt["rows"]:
            yield tables.chips_table(receipt["rows"])


def _rejected(receipt: Json) -> pa.Table:
    """Return why pairs of one shard made no chip."""
    rows = [refused | {"stage": "chip"} for refused in receipt["refused"]]
    return pa.Table.from_pylist(rows, schema=REFUSALS)


def _refusals(folder: Folder, rejected: list[pa.Table]) -> pa.Table:
    """Return why points have no pair, and why pairs made no chip, by point."""
    unmatched = tables.read_unmatched(folder.matchups)
    first = unmatched[["point", "reason", "detail"]].assign(stage="match", s2_id=None, s1_id=None)
    return pa.concat_tables([_arrow(first), *rejected]).sort_by(
        [("point", "ascending"), ("stage", "ascending")]
    )


def _arrow(refusals: pd.DataFrame) -> pa.Table:
    table = pa.Table.from_pandas(refusals, schema=REFUSALS, preserve_index=False)
    return table.replace_schema_metadata(None)


def open_corpus(folder: Folder) -> Json:
    """Return `corpus.json`, proven by its own hash.

    Raises:
        StoreError: If the folder holds no corpus, an unfinished one, one of another version, or
            `corpus.json` is damaged.
    """
    require_finished(folder)
    try:
        document = _proven(folder.corpus.read_bytes())
    except (OSError, ValueError) as error:
        msg = (
            f"{folder.corpus}: damaged ({error}); s1s2 verify {folder.root} --repair writes it "
            "again from the receipts"
        )
        raise StoreError(msg) from error
    if document.get("format_version") != FORMAT_VERSION:
        msg = (
            f"{folder.root}: format version {document.get('format_version')}, this s1s2 reads "
            f"{FORMAT_VERSION}"
        )
        raise StoreError(msg)
    return document


def _proven(content: bytes) -> Json:
    document = receipts.parse(content)
    if receipts.to_json(document) != content:
        msg = "its bytes are not as s1s2 writes them"
        raise ValueError(msg)
    receipts.check_seal(document)
    return document


def require_finished(folder: Folder) -> None:
    """Make sure that a folder holds a finished corpus, damaged or not.

    Raises:
        StoreError: If it holds none, or an unfinished one.
    """
    if folder.corpus.exists():
        return
    if not folder.recipe.exists():
        msg = f"{folder.root}: holds no corpus; build one with s1s2 build -o {folder.root}"
        raise StoreError(msg)
    done = len(receipts.numbers(folder))
    total = len(layout.shard_slots(*_planned(folder)))
    msg = (
        f"{folder.root}: unfinished ({done} of {total} shards); run the same s1s2 build again "
        "to go on"
    )
    raise StoreError(msg)


def _planned(folder: Folder) -> tuple[int, StoreSpec]:
    notes = tables.notes_of(folder.points)
    per_shard = int(notes.get("s1s2:chips_per_shard", StoreSpec().chips_per_shard))
    codec = cast("Codec", notes.get("s1s2:codec", StoreSpec().codec))  # checked by what it becomes
    return int(notes.get("s1s2:n", 0)), StoreSpec(per_shard, codec)
