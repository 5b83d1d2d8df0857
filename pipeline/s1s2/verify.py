"""Prove a finished corpus: every file against its hash, every pixel against its digest.

`corpus.json` proves itself, the tables, Zarr's metadata and the receipts; those prove the files of
pixels. Nothing is parsed before it is proven.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from s1s2 import layout, ledger, receipts, sending, sent, store
from s1s2.errors import StoreError
from s1s2.grid import GridSpec
from s1s2.layout import ArrayPlan, Folder
from s1s2.receipts import Json
from s1s2.remote import Place, side_by_side


@dataclass(frozen=True)
class Problem:
    """One file that is not what it was when the corpus was finished, or one that is too many."""

    name: str
    """Its path below the corpus."""
    what: str
    shard: int | None = None
    chips: tuple[int, ...] = ()
    """Chips that cannot be read because of it."""
    extra: bool = False
    """It does not belong to the corpus."""
    away: bool = False
    """It is whole here; its copy is not, at the URL where the pixels lie."""

    def __str__(self) -> str:
        """Say it in one line."""
        where = "" if self.shard is None else f"shard {self.shard}: "
        chips = f" · chips {ranges(self.chips)}" if self.chips else ""
        return f"{where}{self.name}: {self.what}{chips}"


@dataclass(frozen=True)
class Decoded:
    """What the files of one shard hold."""

    blocks: Mapping[str, NDArray[Any]]
    """By image array: pixels of all chips; those of lost ones may be anything."""
    lost: Mapping[str, frozenset[int]]
    """By array: chips (by place in the shard) that cannot be decoded."""

    @property
    def unread(self) -> set[int]:
        """Chips some of whose pixels cannot be decoded."""
        return {place for name in self.blocks for place in self.lost[name]}

    def differing(self, rows: Sequence[Json]) -> set[int]:
        """Return the chips that can be decoded, and are not what their rows' digests say."""
        unread = self.unread
        return {
            place
            for place, row in enumerate(rows)
            if place not in unread
            and store.digest({k: block[place] for k, block in self.blocks.items()}) != row["sha256"]
        }


def verify(folder: Folder) -> list[Problem]:
    """Prove a corpus, whatever state its files are in; what lies at a URL is read there.

    Returns:
        One entry for each problem; empty if all is well.

    Raises:
        StoreError: If the folder holds no finished corpus.
        UnreachableError: If its pixels lie at a URL, and the store does not answer now.
    """
    ledger.require_finished(folder)
    try:
        document = ledger.open_corpus(folder)
    except StoreError as error:
        what = str(error).removeprefix(f"{folder.corpus}: ").partition(";")[0]
        return [Problem(folder.corpus.name, f"{what}; nothing can be proven without it")]
    problems = list(_files(folder, document["files"]))
    wrong = {problem.name for problem in problems}
    plans = layout.arrays(GridSpec(int(document["chip_size_px"])), document["codec"])
    known, tally = set(document["files"]), ledger.Tally()
    for shard in shards_of(document):
        name = layout.receipt_name(shard)
        if name in wrong:
            known |= {_below(folder, store.shard_path(folder, plan, shard)) for plan in plans}
            continue
        content = (folder.root / name).read_bytes()
        receipt = receipts.parse(content)
        tally.add(shard, content, receipt)
        known |= set(receipt["objects"])
        problems += _shard(folder, plans, receipt, int(document["chips_per_shard"]))
    if not wrong & {layout.receipt_name(shard) for shard in shards_of(document)}:
        problems += _sums(folder, document, tally)
    return [*problems, *_extra(folder, known), *_copies(folder, document)]


def shards_of(document: Json) -> list[int]:
    """Return the shards that `corpus.json` knows, in order."""
    found = map(layout.shard_of, document["files"])
    return sorted(shard for shard in found if shard is not None)


def _below(folder: Folder, path: Path) -> str:
    return path.relative_to(folder.root).as_posix()


def _files(folder: Folder, files: Mapping[str, str]) -> Iterator[Problem]:
    """Hold the files that `corpus.json` speaks of against their hashes."""
    for name, wanted in files.items():
        try:
            if receipts.sha256_of(folder.root / name) == wanted:
                continue
            what = "content differs from when the corpus was finished"
        except OSError as error:
            what = receipts.unread(error)
        yield Problem(name, what, layout.shard_of(name))


def _copies(folder: Folder, document: Json) -> Iterator[Problem]:
    """Hold against their hashes what lies at the URL of the pixels, beside them."""
    home = sent.home_of(folder)
    if home is None or not home.published:
        return
    place = Place(home.url)
    said = receipts.sha256(receipts.to_json(document))
    files = {**document["files"], folder.corpus.name: said}
    for name, found in side_by_side(files, lambda name: (name, place.sha256(name))):
        if found != files[name]:
            what = "missing" if found is None else "another"
            yield Problem(f"{place.url}/{name}", f"{what} there", away=True)


def _sums(folder: Folder, document: Json, tally: ledger.Tally) -> Iterator[Problem]:
    """Hold what `corpus.json` counts against the receipts."""
    for key, value in {"corpus_id": tally.corpus_id, **tally.counted()}.items():
        if document.get(key) != value:
            yield Problem(folder.corpus.name, f"{key} is not what the receipts add up to")


def _extra(folder: Folder, known: Iterable[str]) -> Iterator[Problem]:
    """Find files among pixels and receipts that nothing speaks of."""
    there = (p for top in (folder.zarr, folder.receipts) for p in top.rglob("*") if not p.is_dir())
    for name in sorted({_below(folder, path) for path in there} - set(known)):
        yield Problem(name, "no receipt knows it", extra=True)


def _shard(
    folder: Folder, plans: Sequence[ArrayPlan], receipt: Json, per_shard: int
) -> Iterator[Problem]:
    """Hold the files of one shard against its receipt, and its pixels against their digests."""
    rows, shard = receipt["rows"], receipt["shard"]
    contents, wrong = read_objects(folder, receipt)
    found = decode(plans, contents, len(rows), per_shard)
    differing = found.differing(rows)
    for name, what in wrong.items():
        lost = differing | found.lost[layout.array_of(name)]
        chips = tuple(rows[place]["chip"] for place in sorted(lost))
        yield Problem(name, what if chips else f"{what}; every chip still reads", shard, chips)
    if differing and not wrong:
        name, what = layout.receipt_name(shard), "pixels differ from the digests in it"
        yield Problem(name, what, shard, tuple(rows[place]["chip"] for place in sorted(differing)))


def read_objects(folder: Folder, receipt: Json) -> tuple[dict[str, bytes], dict[str, str]]:
    """Read the files of one shard.

    Returns:
        By array what its file holds, as far as it can be read; and by name what is wrong with
        those that are not what the receipt says.
    """
    contents: dict[str, bytes] = {}
    wrong: dict[str, str] = {}
    url = sent.url_of(folder)
    at = f" at {url}" if url else ""
    for name, content in sending.read(folder, receipt, url).items():
        said = receipt["objects"][name]
        if isinstance(content, str):
            wrong[name] = f"{content}{at}"
            continue
        contents[layout.array_of(name)] = content
        if len(content) != said["size"]:
            wrong[name] = f"{len(content)} bytes{at}, expected {said['size']}"
        elif receipts.sha256(content) != said["sha256"]:
            wrong[name] = f"content differs from its receipt{at}"
    return contents, wrong


def decode(
    plans: Sequence[ArrayPlan], contents: Mapping[str, bytes], count: int, per_shard: int
) -> Decoded:
    """Decode what the files of one shard hold, by array, as far as possible."""
    blocks, lost = {}, {}
    for plan in plans if count else ():
        block, places = store.decode(plan, contents.get(plan.name, b""), count, per_shard)
        lost[plan.name] = frozenset(places)
        if plan.sharded:
            blocks[plan.name] = block
    return Decoded(blocks, lost)


def ranges(numbers: Sequence[int]) -> str:
    """Return sorted numbers as text, runs of them shortened.

    Examples:
        >>> ranges([3, 4, 5, 9])
        '3 to 5, 9'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in runs)
