"""A corpus below a URL: what is said of it there, and what of it is believed.

`published.json` claims the URL for one corpus before anything else is written there; `corpus.json`
is written last. Nothing that comes from there is believed: names are those that a corpus has, bytes
those that the chain of hashes from `corpus.json` on names; anything else is refused. Nor is what is
in them: whoever can write there can make hashes that agree.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import shapely

from s1s2 import fill, layout, receipts, tables
from s1s2.errors import S1S2Error, StoreError
from s1s2.grid import GridSpec
from s1s2.layout import FORMAT_VERSION, Folder, StoreSpec
from s1s2.receipts import Json
from s1s2.remote import Place
from s1s2.sample import SPLITS
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
_NEEDED = {
    "corpus_id": str,
    "chips": int,
    "chips_per_shard": int,
    "chip_size_px": int,
    "codec": str,
    "files": dict,
}
_MOST_PER_SHARD = 1_000_000
"""More would be no shard, but an index that fills the memory."""
_FORGED = (
    *(ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError),
    *(pa.ArrowException, shapely.errors.ShapelyError),
)
"""What our readers raise over contents that s1s2 never wrote."""
_MOST_LETTERS = 200
BESIDE = tuple(name for name in layout.BESIDE if name != "logs")
"""What lies beside a corpus and goes with it; its diary stays at home."""


@dataclass(frozen=True)
class Wanted:
    """A file of a corpus, and what proves it."""

    name: str
    sha256: str
    size: int | None = None
    """In bytes, where its proof says it."""


class LostError(Exception):
    """Something of a published corpus is not what it was."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@contextmanager
def believed(where: str) -> Iterator[None]:
    """Turn whatever forged contents lead to, with hashes that agree, into one `StoreError`."""
    try:
        yield
    except S1S2Error:
        raise
    except _FORGED as error:
        why = f"{type(error).__name__}: {error}"[:_MOST_LETTERS]
        msg = (
            f"{where}: its contents are not as s1s2 writes them ({why}); push the corpus again, "
            "from where it is whole"
        )
        raise StoreError(msg) from error


def read(place: Place) -> bytes:
    """Return `corpus.json` of what is published at a URL, not proven yet.

    Raises:
        StoreError: If no corpus is there, or not all of it.
    """
    content = place.get(CORPUS)
    if content is None:
        claimed = place.get(CLAIM)
        what = "holds no corpus"
        if claimed is not None:
            work = "build" if b'"building"' in claimed else "push"
            what = f"its {work} is not finished: run that again"
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
    _check_kinds(document, _NEEDED)
    per_shard = document["chips_per_shard"]
    StoreSpec(per_shard, document["codec"])
    GridSpec(document["chip_size_px"])
    if per_shard > _MOST_PER_SHARD or document["chips"] < 0:
        msg = f"it says {document['chips']:,} chips, {per_shard:,} in a shard"
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


def claim_of_building(token: str) -> bytes:
    """Return what claims a URL for a corpus that is being built: its identity is not known yet."""
    claim = {
        "format_version": FORMAT_VERSION,
        "building": token,
        "corpus_id": "",
        "corpus_sha256": "",
        "beside": {},
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
        _check_kinds(said, {"corpus_sha256": str, "beside": dict})
        _check_names(said["beside"], set(BESIDE))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{where}: damaged ({error}); delete that object and push the corpus again"
        raise StoreError(msg) from error
    return said


def receipt(content: bytes, where: str) -> Json:
    """Return what a proven receipt says.

    Raises:
        StoreError: If it names files that no corpus has, or does not say what proves them.
    """
    try:
        said = receipts.parse(content)
        _check_kinds(said, {"objects": dict, "rows": list})
        _check_names(said["objects"], {_FOLDER.zarr.name})
        for file in said["objects"].values():
            _check_kinds(file, {"size": int, "sha256": str})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{where}: no receipt of a corpus ({error})"
        raise StoreError(msg) from error
    return said


def rows_of(said: Json, shard: int, document: Json, places: Sequence[int]) -> list[Json]:
    """Return some rows of a proven receipt, once a corpus can be made of them.

    Args:
        said: What the receipt says.
        shard: Its number.
        document: What `corpus.json` says.
        places: Of the rows in the shard.

    Raises:
        ValueError, TypeError, LookupError: If they are no rows of that shard; see `believed`.
    """
    first, found = shard * document["chips_per_shard"], said["rows"]
    if [row["chip"] for row in found] != [*range(first, first + len(found))]:
        msg = f"its rows are not those of chips from {first:,} on"
        raise ValueError(msg)
    rows = [found[place] for place in places]
    if odd := {row["split"] for row in rows} - set(SPLITS):
        msg = f"{min(odd)!r} is no split"
        raise ValueError(msg)
    receipts.to_json({"rows": rows})
    tables.chips_table(rows)
    for plan in layout.arrays(GridSpec(document["chip_size_px"])):
        if not plan.sharded:
            fill.column(plan, rows)
    return rows


def objects(receipt: Json) -> list[Wanted]:
    """Return the files of pixels that a receipt proves."""
    return [Wanted(name, said["sha256"], said["size"]) for name, said in receipt["objects"].items()]


def files(document: Mapping[str, Json]) -> list[Wanted]:
    """Return the files that `corpus.json` or a claim's `beside` proves by itself."""
    return [Wanted(name, digest) for name, digest in document.items()]  # type: ignore[arg-type]


def _check_kinds(said: Json, kinds: Mapping[str, type]) -> None:
    if lacking := set(kinds) - set(said):
        msg = f"it does not say {min(lacking)}"
        raise ValueError(msg)
    for key, kind in kinds.items():
        if type(said[key]) is not kind:
            msg = f"its {key} is no {kind.__name__}"
            raise ValueError(msg)


def _check_names(names: Iterable[str], tops: set[str]) -> None:
    for name in names:
        parts = name.split("/")
        strange = any(p in {"", ".", ".."} or "\\" in p or not p.isprintable() for p in parts)
        if parts[0] not in tops or strange or not _is_receipt(name, parts[0]):
            msg = f"it names {name!r}, which is no file of a corpus"
            raise ValueError(msg)


def _is_receipt(name: str, top: str) -> bool:
    """Say whether a name is that of a receipt, where it lies among these."""
    stem = Path(name).stem
    return top != _FOLDER.receipts.name or (
        stem.isdecimal() and name == layout.receipt_name(int(stem))
    )


def missing(wanted: Wanted) -> Problem:
    """Return that an object is not where it should be."""
    return Problem(wanted.name, "missing", _shard(wanted.name))


def differing(wanted: Wanted, what: str) -> Problem:
    """Return that an object or file is another."""
    return Problem(wanted.name, what, _shard(wanted.name))


def _shard(name: str) -> int | None:
    return layout.shard_of(name)
