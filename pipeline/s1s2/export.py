"""A finished corpus in the layouts of other libraries: the same chips, splits and numbers.

A chip is written only if its receipt is proven and its pixels have the digest that stands there.
Chips go by parts of one split; a part is written whole, file by file, then its own receipt, then
what a layout says of all of them, and `export.json` says `finished` last. Run again, parts that are
there and proven are kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from s1s2 import __version__, layout, lease, receipts, store, verify
from s1s2.errors import RecipeError, StoreError
from s1s2.export_forms import CLOSINGS, FIELDS, FORMS, NEEDS
from s1s2.export_forms.sample import Sample, Written
from s1s2.files import write_bytes
from s1s2.grid import GridSpec
from s1s2.layout import Folder
from s1s2.load import Corpus
from s1s2.progress import track
from s1s2.proof import ProvenPixels, proven
from s1s2.receipts import Json
from s1s2.report.card import attribution

ABOUT = "export.json"
_PARTS = "parts"
_PART_BYTES = 128_000_000
"""Pixels of one part, which a tar holds in memory while it is made."""


@dataclass(frozen=True)
class Part:
    """Some chips of one split that are written, and proven, together."""

    name: str
    rows: Sequence[Json]


@dataclass(frozen=True)
class Done:
    """What came of an export."""

    chips: int
    files: int
    written: int
    """Parts that were written now."""
    kept: int
    """Parts that were there already, and proven."""


def export(corpus: Corpus, form: str, out: Path) -> Done:
    """Write a corpus in the layout of another library, or go on with it.

    Args:
        corpus: The corpus.
        form: `webdataset`, `litdata`, `taco` or `geotiff`.
        out: A new or empty folder, or one of the same export, finished or not.

    Raises:
        RecipeError: If there is no such layout, it needs a library that is not installed, or the
            folder holds something else.
        StoreError: If a chip is damaged or not proven, or a file cannot be written.
        HeldError: If another export writes into that folder.
    """
    if form not in FORMS:
        msg = f"--to {form}: expected one of {', '.join(FORMS)}"
        raise RecipeError(msg)
    if form in NEEDS and find_spec(NEEDS[form]) is None:
        msg = f"--to {form} needs {NEEDS[form]}: pip install 's1s2[{form}]'"
        raise RecipeError(msg)
    root = corpus.folder.root.resolve()
    if root in {out.resolve(), *out.resolve().parents}:
        msg = f"{out} lies in the corpus itself; export into a folder outside of it"
        raise RecipeError(msg)
    about = _about(corpus, form)
    _check_folder(out, about)
    with lease.of_corpus(Folder(out), "export"):
        for left in out.rglob(".*.partial"):  # by who was killed: nobody else writes here
            left.unlink()
        _write(out / ABOUT, about)
        return _parts(corpus, form, out, about)


def _about(corpus: Corpus, form: str) -> Json:
    """Return what an export says of itself, before it is finished."""
    said = corpus.about
    return {
        "layout": form,
        "corpus_id": said["corpus_id"],
        "name": said["name"],
        "simulated": said["simulated"],
        "chips": len(corpus),
        "splits": said["splits"],
        "chip_size_px": corpus.size_px,
        "chips_per_part": max(1, _PART_BYTES // layout.bytes_per_chip(GridSpec(corpus.size_px))),
        "fields": FIELDS[form],
        "attribution": attribution(said, corpus.index),
        "s1s2_version": __version__,
        "parts": {},
        "finished": False,
    }


def _check_folder(out: Path, about: Mapping[str, Any]) -> None:
    """Refuse a folder that holds anything but this export."""
    if (out / ABOUT).is_file():
        try:
            there = receipts.read_json(out / ABOUT)
        except StoreError:
            msg = f"{out / ABOUT}: damaged; export into another folder"
            raise StoreError(msg) from None
        for key in ("layout", "corpus_id", "chips_per_part"):
            if there.get(key) != about[key]:
                msg = (
                    f"{out} holds an export whose {key} is {there.get(key)}, not {about[key]}; "
                    "export into another folder"
                )
                raise RecipeError(msg)
    elif out.exists() and (not out.is_dir() or any(map(_is_foreign, out.iterdir()))):
        msg = f"{out} holds other things than an export; export into a new or empty folder"
        raise RecipeError(msg)


def _is_foreign(path: Path) -> bool:
    """Say whether a file is none that an export leaves which was killed at its very beginning."""
    return path.name != ".leases" and not (path.name[0] == "." and path.suffix == ".partial")


def _parts(corpus: Corpus, form: str, out: Path, about: Json) -> Done:
    """Write every part that is not there, then say that all of them are."""
    pixels = ProvenPixels(corpus.folder, corpus.about)
    hashes: dict[str, str] = {}
    there: list[Written] = []
    written = 0
    with track("export", len(corpus), "chips") as tick:
        for part in _divided(corpus, about["chips_per_part"]):
            place = out / _PARTS / f"{part.name}.json"
            receipt = _kept(out, place, about)
            if receipt is None:
                receipt = _write_part(part, form, out, pixels, about)
                _write(place, receipt)
                written += 1
            hashes[part.name] = receipts.sha256_of(place)
            there.append(_written(part, out, receipt))
            tick(len(part.rows))
    closing = _close(form, out, there)
    _write(out / ABOUT, about | {"parts": hashes, "closing": closing, "finished": True})
    files = sum(len(part.files) for part in there) + len(closing)
    return Done(len(corpus), files, written, len(hashes) - written)


def _written(part: Part, out: Path, receipt: Json) -> Written:
    """Return what a layout's closing files say of a part."""
    sizes = {
        name: ((out / name).stat().st_size, digest) for name, digest in receipt["files"].items()
    }
    return Written(part.name, len(part.rows), sizes)


def _close(form: str, out: Path, parts: Sequence[Written]) -> dict[str, str]:
    """Write what a layout says of all its parts, and return the hash of each file."""
    hashes = {}
    for name, content in CLOSINGS[form](parts) if form in CLOSINGS else ():
        write_bytes(out / name, content)
        hashes[name] = receipts.sha256(content)
    return hashes


def _divided(corpus: Corpus, most: int) -> Iterator[Part]:
    """Deal the chips of a corpus out to parts, each of one split, in order of their numbers."""
    waiting: dict[str, list[Json]] = {}
    count: dict[str, int] = {}

    def part(split: str) -> Part:
        number = count[split] = count.get(split, -1) + 1
        return Part(f"{split}-{number:06d}", waiting.pop(split))

    for shard in verify.shards_of(corpus.about):
        content = proven(corpus.folder, corpus.about, layout.receipt_name(shard))
        for row in receipts.parse(content)["rows"]:
            split = row["split"]
            waiting.setdefault(split, []).append(row)
            if len(waiting[split]) == most:
                yield part(split)
    yield from [part(split) for split in sorted(waiting)]


def _kept(out: Path, place: Path, about: Mapping[str, Any]) -> Json | None:
    """Return the receipt of a part that is there as it was written, or None."""
    try:
        receipt = receipts.read_json(place)
        receipts.check_seal(receipt)
        for name, digest in receipt["files"].items():
            if receipts.sha256_of(out / name) != digest:
                return None
    except (OSError, StoreError, ValueError):
        return None
    ours = all(receipt.get(key) == about[key] for key in ("layout", "corpus_id"))
    return receipt if ours else None


def _write_part(part: Part, form: str, out: Path, pixels: ProvenPixels, about: Json) -> Json:
    """Write the files of a part, and return its receipt."""
    samples = (_sample(pixels, row, about) for row in part.rows)
    files = {}
    for name, content in FORMS[form](part.name, samples):
        write_bytes(out / name, content)
        files[name] = receipts.sha256(content)
    return {
        "layout": form,
        "corpus_id": about["corpus_id"],
        "chips": [row["chip"] for row in part.rows],
        "files": files,
    }


def _sample(pixels: ProvenPixels, row: Json, about: Json) -> Sample:
    """Read one chip, and hold its pixels against their digest."""
    arrays = pixels.read(row["chip"])
    if store.digest(arrays) != row["sha256"]:
        msg = (
            f"chip {row['chip']}: its pixels differ from the digest in its receipt; s1s2 verify "
            "tells what else does, with --repair it mends it"
        )
        raise StoreError(msg)
    return Sample(row | {"simulated": about["simulated"]}, arrays, about)


def _write(path: Path, document: Json) -> None:
    write_bytes(path, receipts.to_json(receipts.sealed(document)))
