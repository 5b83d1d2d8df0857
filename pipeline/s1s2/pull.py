"""Fetch a published corpus, whole: nothing takes its place here that is not proven.

`corpus.json` proves receipts and tables, receipts the files of pixels; it is written last. Run
again, what is here and proven stays.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from s1s2 import layout, lease, ledger, published, ranged, receipts
from s1s2.errors import RecipeError
from s1s2.files import write_bytes
from s1s2.layout import ArrayPlan, Folder
from s1s2.progress import track
from s1s2.published import CLAIM, CORPUS, LostError, Wanted
from s1s2.ranged import ChunksError, ShardFile
from s1s2.receipts import Json
from s1s2.remote import Place, side_by_side
from s1s2.verify import Problem

BEGUN = ".pull.json"
"""What a folder was begun with; it goes when the corpus is whole."""


@dataclass(frozen=True)
class Pulled:
    """What came of fetching a corpus."""

    document: Json | None
    """Its `corpus.json`; None where something is missing."""
    fetched: int
    """Files that came now."""
    fetched_bytes: int
    kept: int
    """Files that were here already, and proven."""
    problems: tuple[Problem, ...] = ()


class Source:
    """A published corpus: `corpus.json`, proven, and how its files are fetched."""

    def __init__(self, place: Place) -> None:
        """Read and prove `corpus.json`.

        Raises:
            StoreError: If no corpus is there, not all of it, or it is damaged.
            UnreachableError: If the store does not answer now.
        """
        self.place = place
        self.content = published.read(place)
        self.document = published.document(self.content, f"{place.url}/{CORPUS}")
        self.files = {file.name: file for file in published.files(self.document["files"])}

    def fetch(self, wanted: Wanted, root: Path) -> int | Problem:
        """Bring one file to its place below a folder, unless it is there and proven.

        Returns:
            How many bytes came, 0 if it was there; or why it is not here.
        """
        path = root / wanted.name
        if path.is_file() and receipts.sha256_of(path) == wanted.sha256:
            return 0
        content = self.place.get(wanted.name)
        if content is None:
            return published.missing(wanted)
        if receipts.sha256(content) != wanted.sha256:
            return published.differing(wanted, "content differs from its proof")
        write_bytes(path, content)
        return len(content)

    def fetch_with_pixels(self, wanted: Wanted, root: Path) -> Iterator[int | Problem]:
        """Bring one file to its place; where it is a receipt, the files that it proves, too."""
        came = self.fetch(wanted, root)
        yield came
        if layout.shard_of(wanted.name) is None or isinstance(came, Problem):
            return
        said = published.receipt(
            (root / wanted.name).read_bytes(), f"{self.place.url}/{wanted.name}"
        )
        for file in published.objects(said):
            yield self.fetch(file, root)

    def fetch_chunks(
        self, plan: ArrayPlan, shard: int, size: int, places: Sequence[int]
    ) -> tuple[NDArray[Any], int]:
        """Fetch and decode some chunks of a shard's file.

        Args:
            plan: The array.
            shard: The shard.
            size: Of its file in bytes, by its receipt.
            places: Which chunks.

        Returns:
            The chips, shape (len(places), *plan.tail), and how many bytes came.

        Raises:
            LostError: If the file is another, or a chunk of it is damaged.
        """
        per_shard = self.document["chips_per_shard"]
        try:
            return ranged.fetch(self.place, ShardFile(plan, shard, size, per_shard), places)
        except ChunksError as error:
            chips = tuple(shard * per_shard + place for place in error.places)
            raise LostError(Problem(error.name, str(error), shard, chips)) from error

    def beside(self) -> list[Wanted]:
        """Return what lies beside it, as far as its push says."""
        content = self.place.get(CLAIM)
        if content is None:
            return []
        said = published.claim(content, f"{self.place.url}/{CLAIM}")
        ours = said["corpus_sha256"] == receipts.sha256(self.content)
        return published.files(said["beside"]) if ours else []


def pull(url: str, out: Path) -> Pulled:
    """Fetch a published corpus, or go on with it.

    Args:
        url: Where it was pushed to.
        out: A new or empty folder, or one of the same pull, finished or not.

    Raises:
        RecipeError: If the folder holds something else.
        StoreError: If no corpus is there, or it cannot be written here.
        HeldError: If another pull writes into that folder.
        UnreachableError: If the store does not answer now.
    """
    source = Source(Place(url))
    with begun(out, source, {}):
        return _fetch_all(source, out)


@contextmanager
def begun(out: Path, source: Source, choice: Json) -> Iterator[None]:
    """Hold a folder for one corpus, and one choice of its chips, until all of it is there.

    Raises:
        RecipeError: If it holds anything else.
        HeldError: If another pull writes into it.
    """
    ours = {"corpus_sha256": receipts.sha256(source.content), "choice": choice}
    _check_folder(out, source, ours)
    with lease.of_corpus(Folder(out), "pull"):
        receipts.sweep(Folder(out))
        write_bytes(out / BEGUN, receipts.to_json(ours))
        yield
        if (out / CORPUS).exists():
            (out / BEGUN).unlink()


def _check_folder(out: Path, source: Source, ours: Json) -> None:
    if (out / BEGUN).is_file():
        if receipts.read_json(out / BEGUN) == ours:
            return
        what = "the beginning of another pull"
    elif (out / CORPUS).is_file():
        if _is_of(ledger.open_corpus(Folder(out)), source, ours["choice"]):
            return
        what = "another corpus"
    elif out.exists() and (not out.is_dir() or any(map(_is_foreign, out.iterdir()))):
        what = "other things"
    else:
        return
    msg = f"{out} holds {what}; pull into a new or empty folder"
    raise RecipeError(msg)


def _is_of(here: Json, source: Source, choice: Json) -> bool:
    """Say whether a finished corpus is what would be pulled."""
    if choice:
        theirs = {"corpus_id": source.document["corpus_id"], "choice": choice}
        return bool({key: here.get("taken", {}).get(key) for key in theirs} == theirs)
    return receipts.to_json(here) == source.content


def _is_foreign(path: Path) -> bool:
    """Say whether a file is none that a pull leaves which was killed at its very beginning."""
    return path.name != ".leases" and not (path.name[0] == "." and path.suffix == ".partial")


def _fetch_all(source: Source, out: Path) -> Pulled:
    """Fetch every file, shard by shard, and `corpus.json` last of all."""
    document = source.document
    parts = [*source.files.values(), *source.beside()]
    problems, fetched, fetched_bytes, kept = [], 0, 0, 0
    with track("pull", len(parts), "parts") as tick:
        for came in side_by_side(parts, lambda part: list(source.fetch_with_pixels(part, out))):
            tick(1)
            problems += [one for one in came if isinstance(one, Problem)]
            sizes = [one for one in came if not isinstance(one, Problem)]
            fetched += sum(size > 0 for size in sizes)
            kept += sum(size == 0 for size in sizes)
            fetched_bytes += sum(sizes)
    if problems:
        return Pulled(None, fetched, fetched_bytes, kept, tuple(problems))
    write_bytes(out / CORPUS, source.content)
    return Pulled(document, fetched, fetched_bytes, kept)
