"""Publish a finished corpus: one PUT a file, each proven as it is read, `corpus.json` last.

Whoever reads a `corpus.json` there finds all that it proves. Killed at any moment, the same command
goes on: what is there already is read back, and only what is not there, or another, is sent.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from s1s2 import layout, ledger, published, receipts, sending, verify
from s1s2.errors import RecipeError, StoreError
from s1s2.layout import Folder
from s1s2.progress import track
from s1s2.proof import proven
from s1s2.published import CLAIM, CORPUS, Wanted
from s1s2.receipts import Json
from s1s2.remote import Place, side_by_side
from s1s2.sent import home_of
from s1s2.verify import Problem


@dataclass(frozen=True)
class Sent:
    """What became of a file."""

    size: int = 0
    new: bool = False
    """It was sent now; otherwise it was there already."""
    problem: Problem | None = None


@dataclass(frozen=True)
class Pushed:
    """What came of publishing a corpus."""

    document: Json
    """Its `corpus.json`."""
    sent: int
    """Files that were sent now."""
    sent_bytes: int
    kept: int
    """Files that were there already."""
    problems: tuple[Problem, ...]
    """What keeps `corpus.json` from being written; empty if all is well."""


def push(root: Path, url: str, *, trust: bool = False) -> Pushed:
    """Publish a corpus below a URL, or go on with it.

    Args:
        root: The corpus' folder.
        url: Where to: empty, or begun with the same corpus.
        trust: Believe a store that it holds what it took: sizes are compared, nothing is read back.

    Raises:
        RecipeError: If another corpus, or anything else, is there; or the pixels lie elsewhere.
        StoreError: If the folder holds no finished corpus, or the store refuses.
        UnreachableError: If the store does not answer now.
    """
    folder = Folder(root)
    document = ledger.open_corpus(folder)
    place = Place(url, make=True)
    away = _lies_at(folder, place.url)
    content = receipts.to_json(document)
    claim = published.claim_of(root, document, content)
    there = place.sizes()
    _claim(place, claim, there)
    return Push(folder, place, there, trust=trust, away=away).run(document, content, claim)


def _lies_at(folder: Folder, url: str) -> bool:
    """Say whether a corpus' pixels went to a URL as it was built."""
    home = home_of(folder)
    if home is not None and home.url != url:
        msg = f"the pixels of {folder.root} lie at {home.url}: pull that, and push what comes"
        raise RecipeError(msg)
    return home is not None


def _claim(place: Place, claim: bytes, there: dict[str, int]) -> None:
    """Make sure that a URL is this corpus', and nobody else's, before anything is sent."""
    ours = published.claim(claim, CLAIM)
    if there and not {CLAIM, CORPUS} & set(there):
        msg = f"{place.url} holds other things than a corpus ({min(there)}); push to another URL"
        raise RecipeError(msg)
    if CLAIM not in there and CORPUS in there:
        # a corpus that other means brought there
        found = published.read(place)
        theirs = published.document(found, f"{place.url}/{CORPUS}")
        _same(place, ours, theirs | {"corpus_sha256": receipts.sha256(found)})
    if place.put(CLAIM, claim):
        return
    said = place.get(CLAIM) or b""
    _same(place, ours, published.claim(said, f"{place.url}/{CLAIM}"))
    if said != claim:  # the report beside it was drawn again
        place.put(CLAIM, claim, replace=True)


def _same(place: Place, ours: Json, theirs: Json) -> None:
    if theirs["corpus_sha256"] == ours["corpus_sha256"]:
        return
    if theirs.get("building"):
        what = "the beginning of a corpus that is being built"
    elif theirs["corpus_id"] == ours["corpus_id"]:
        what = "this corpus as it was finished another time"
    else:
        what = f"another corpus (id {theirs['corpus_id'][:12]})"
    msg = f"{place.url} holds {what}; push to another URL"
    raise RecipeError(msg)


class Push:
    """One corpus on its way to a URL that is claimed for it.

    Args:
        folder: The corpus.
        place: Where to.
        there: What lies there already, by name, and how many bytes each has.
        trust: Believe the store that it holds what it took.
        away: Files of pixels may lie there alone.
        proven: Those that do were read back there before.
    """

    def __init__(  # noqa: PLR0913  # where from, where to, and what is known of it
        self,
        folder: Folder,
        place: Place,
        there: dict[str, int],
        *,
        trust: bool = False,
        away: bool = False,
        proven: bool = False,
    ) -> None:
        self._folder, self._place, self._there, self._trust = folder, place, there, trust
        self._away, self._proven = away, proven

    def run(self, document: Json, content: bytes, claim: bytes) -> Pushed:
        """Send all files, then `corpus.json` if all of them are there."""
        problems, sent, sent_bytes, kept, sizes = [], 0, 0, 0, {}
        beside = published.files(published.claim(claim, CLAIM)["beside"])
        total = len(document["files"]) + len(beside) + _pixel_files(document)
        with track("push", total, "files") as tick:
            wanted = self._wanted(document, beside)
            for file, done in side_by_side(wanted, lambda file: (file, self._send(file))):
                tick(1)
                if done.problem is not None:
                    problems.append(done.problem)
                    continue
                sent, kept = sent + done.new, kept + (not done.new)
                sent_bytes += done.size if done.new else 0
                if self._trust and done.new:
                    sizes[file.name] = done.size
        problems += self._other_sizes(sizes)
        if not problems:
            self._finish(content)
        return Pushed(document, sent, sent_bytes, kept, tuple(problems))

    def _wanted(self, document: Json, beside: list[Wanted]) -> Iterator[Wanted]:
        """Yield every file; a receipt that is damaged is found when it is to be sent itself."""
        yield from published.files(document["files"])
        for shard in verify.shards_of(document):
            try:
                content = proven(self._folder, document, layout.receipt_name(shard))
            except StoreError:
                continue
            yield from published.objects(receipts.parse(content))
        yield from beside

    def _send(self, wanted: Wanted) -> Sent:
        """Bring one file there, unless it is there."""
        path = self._folder.root / wanted.name
        try:
            size = path.stat().st_size
        except OSError as error:
            if self._away and wanted.size is not None:
                return self._look(wanted, wanted.size)
            return Sent(problem=published.differing(wanted, f"{receipts.unread(error)} here"))
        if self._is_there(wanted, size):
            return Sent(size)
        there = wanted.name in self._there
        what = sending.deliver(
            self._place, wanted.name, path, wanted.sha256, replace=there, trust=self._trust
        )
        if what:
            return Sent(problem=published.differing(wanted, what))
        return Sent(size, new=True)

    def _look(self, wanted: Wanted, size: int) -> Sent:
        """Look for a file there that is not here any more."""
        same = self._there.get(wanted.name) == size
        if same and (self._proven or self._is_there(wanted, size)):
            return Sent(size)
        what = f"no longer what was sent; s1s2 verify {self._folder.root} --repair mends it"
        return Sent(problem=published.differing(wanted, what))

    def _is_there(self, wanted: Wanted, size: int) -> bool:
        if self._there.get(wanted.name) != size:
            return False
        return self._trust or self._place.sha256(wanted.name) == wanted.sha256

    def _other_sizes(self, sizes: dict[str, int]) -> list[Problem]:
        """Hold what was sent and not read back against the store's own list."""
        found = self._place.sizes() if sizes else {}
        return [
            Problem(name, f"{found.get(name, 0):,} bytes there, sent {size:,}")
            for name, size in sizes.items()
            if found.get(name) != size
        ]

    def _finish(self, content: bytes) -> None:
        """Write `corpus.json`: from here on the corpus is published."""
        found = self._place.get(CORPUS)
        if found != content:  # the URL is ours, so one that is another is a damaged one
            self._place.put(CORPUS, content, replace=found is not None)
            found = self._place.get(CORPUS)
        if found != content:
            msg = f"{self._place.url}/{CORPUS}: read back from there it is another"
            raise StoreError(msg)


def _pixel_files(document: Json) -> int:
    """Return how many files of pixels there are: one an array and shard that holds a chip."""
    arrays = sum(name.endswith("/zarr.json") for name in document["files"]) - 1
    shards: int = -(-int(document["chips"]) // int(document["chips_per_shard"]))
    return max(0, int(arrays)) * shards
