"""A corpus below a URL: what is said of it there, and what of it is believed.

`published.json` claims the URL for one corpus before anything else is written there; `corpus.json`
is written last. Nothing that comes from there is believed: names are those that a corpus has, bytes
those that the chain of hashes from `corpus.json` on names; anything else is refused.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from s1s2 import layout, receipts
from s1s2.errors import StoreError
from s1s2.layout import FORMAT_VERSION, Folder
from s1s2.receipts import Json
from s1s2.remote import Place
from s1s2.verify import Problem

CLAIM = "published.json"
_FOLDER = Folder(Path())
CORPUS = _FOLDER.corpus.name
_TOPS = {
    path.name
    for path in (
        *(_FOLDER.recipe, _FOLDER.points, _FOLDER.scenes, _FOLDER.matchups, _FOLDER.chips),
        *(_FOLDER.refusals, _FOLDER.zarr, _FOLDER.receipts),
    )
}
_NEEDED = {"corpus_id", "chips", "chips_per_shard", "chip_size_px", "codec", "files"}
BESIDE = tuple(name for name in layout.BESIDE if name != "logs")
"""What lies beside a corpus and goes with it; its diary stays at home."""


@dataclass(frozen=True)
class Wanted:
    """A file of a corpus, and what proves it."""

    name: str
    sha256: str


def read(place: Place) -> bytes:
    """Return `corpus.json` of what is published at a URL, not proven yet.

    Raises:
        StoreError: If no corpus is there, or not all of it.
    """
    content = place.get(CORPUS)
    if content is None:
        claimed = place.get(CLAIM) is not None
        what = "its push is not finished: run that again" if claimed else "holds no corpus"
        msg = f"{place.url}: {what}"
        raise StoreError(msg)
    return content


def document(content: bytes, where: str) -> Json:
    """Return what a `corpus.json` says, once it is proven by its own hash.

    Args:
        content: Its bytes.
        where: What to call it.

    Raises:
        StoreError: If it is damaged, of another version, or names files that no corpus has.
    """
    try:
        said = receipts.parse(content)
        receipts.check_seal(said)
        if said.get("format_version") != FORMAT_VERSION:
            msg = f"{where}: format version {said.get('format_version')}, not {FORMAT_VERSION}"
            raise StoreError(msg)
        _check_said(said)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{where}: damaged ({error}); push the corpus again, from where it is whole"
        raise StoreError(msg) from error
    return said


def _check_said(document: Json) -> None:
    if lacking := _NEEDED - set(document):
        msg = f"it does not say {min(lacking)}"
        raise ValueError(msg)
    _check_names(document["files"], _TOPS)


def claim_of(root: Path, document: Json, content: bytes) -> bytes:
    """Return what claims a URL for a corpus: its identity, and hashes of what lies beside it."""
    claim = {
        "format_version": FORMAT_VERSION,
        "corpus_id": document["corpus_id"],
        "corpus_sha256": receipts.sha256(content),
        "beside": {
            path.relative_to(root).as_posix(): receipts.sha256_of(path) for path in _beside(root)
        },
    }
    return receipts.to_json(receipts.sealed(claim))


def _beside(root: Path) -> Iterator[Path]:
    for name in BESIDE:
        top = root / name
        found = sorted(top.rglob("*")) if top.is_dir() else [top]
        yield from (path for path in found if path.is_file() and path.name[0] != ".")


def claim(content: bytes, where: str) -> Json:
    """Return what a claim says, once it is proven by its own hash.

    Raises:
        StoreError: If it is damaged.
    """
    try:
        said = receipts.parse(content)
        receipts.check_seal(said)
        _check_names(said["beside"], set(BESIDE))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{where}: damaged ({error}); delete that object and push the corpus again"
        raise StoreError(msg) from error
    return said


def receipt(content: bytes, where: str) -> Json:
    """Return what a proven receipt says.

    Raises:
        StoreError: If it names files that no corpus has.
    """
    said = receipts.parse(content)
    try:
        _check_names(said["objects"], {_FOLDER.zarr.name})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{where}: no receipt of a corpus ({error})"
        raise StoreError(msg) from error
    return said


def objects(receipt: Json) -> list[Wanted]:
    """Return the files of pixels that a receipt proves."""
    return [Wanted(name, said["sha256"]) for name, said in receipt["objects"].items()]


def files(document: Mapping[str, Json]) -> list[Wanted]:
    """Return the files that `corpus.json` or a claim's `beside` proves by itself."""
    return [Wanted(name, digest) for name, digest in document.items()]  # type: ignore[arg-type]


def _check_names(names: Iterable[str], tops: set[str]) -> None:
    for name in names:
        parts = name.split("/")
        if parts[0] not in tops or any(p in {"", ".", ".."} or "\\" in p for p in parts):
            msg = f"it names {name!r}, which is no file of a corpus"
            raise ValueError(msg)


def missing(wanted: Wanted) -> Problem:
    """Return that an object is not where it should be."""
    return Problem(wanted.name, "missing", _shard(wanted.name))


def differing(wanted: Wanted, what: str) -> Problem:
    """Return that an object or file is another."""
    return Problem(wanted.name, what, _shard(wanted.name))


def _shard(name: str) -> int | None:
    return layout.shard_of(name)
