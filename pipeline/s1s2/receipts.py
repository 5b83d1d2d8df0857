"""Receipts: what makes a shard exist, and what tells whether it is still what it was.

A receipt holds a shard's rows, its refusals, the points it tried, size and hash of its files, and
the hash of itself: before `corpus.json` is written nothing else could tell a flipped bit of it.
Nothing of the machine, the time or the worker.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from s1s2.errors import StoreError
from s1s2.files import write_bytes
from s1s2.layout import FORMAT_VERSION, Folder

Json = dict[str, Any]

_SEAL = "sha256"
"""Key of a document that holds the hash of all the rest of it."""


def write_receipt(folder: Folder, shard: int, receipt: Json) -> None:
    """Write the receipt of a shard, whole; from here on the shard exists."""
    write_bytes(folder.receipt(shard), to_json(sealed(receipt)))


def read_receipt(folder: Folder, shard: int) -> Json | None:
    """Read the receipt of a shard, or None where it has none.

    Raises:
        StoreError: If it is damaged or of another format version.
    """
    path = folder.receipt(shard)
    if not path.exists():
        return None
    receipt = read_json(path)
    if receipt.get("format_version") != FORMAT_VERSION:
        msg = (
            f"{path}: format version {receipt.get('format_version')}, this is {FORMAT_VERSION}: "
            "use the s1s2 that wrote it, or build into another folder"
        )
        raise StoreError(msg)
    try:
        check_seal(receipt)
    except ValueError as error:
        raise damaged(path, str(error)) from error
    return receipt


def numbers(folder: Folder) -> list[int]:
    """Return the shards that have a receipt, in order."""
    return sorted(int(p.stem) for p in folder.receipts.glob("[0-9]*.json") if p.stem.isdecimal())


def read_each(folder: Folder) -> Iterator[tuple[int, Json]]:
    """Read every receipt, one at a time, in order of shards: a large corpus' fill a memory."""
    for shard in numbers(folder):
        if (receipt := read_receipt(folder, shard)) is not None:
            yield shard, receipt


def read_proven(folder: Folder) -> Iterator[tuple[int, bytes, Json]]:
    """Read every receipt as `read_each` does, with its bytes.

    Raises:
        StoreError: If the bytes of one are not those that `to_json` gives.
    """
    for shard, receipt in read_each(folder):
        content = to_json(receipt)
        if content != folder.receipt(shard).read_bytes():
            raise damaged(folder.receipt(shard), "its bytes are not as s1s2 writes them")
        yield shard, content, receipt


def read_all(folder: Folder) -> dict[int, Json]:
    """Read every receipt, by shard, in order."""
    return dict(read_each(folder))


def is_there(folder: Folder, receipt: Json) -> bool:
    """Say whether the files of a receipt are there and of their size; `damage` looks inside."""
    paths = {folder.root / name: said["size"] for name, said in receipt["objects"].items()}
    return all(path.is_file() and path.stat().st_size == size for path, size in paths.items())


def sweep(folder: Folder) -> None:
    """Remove what killed writes left behind; whoever does holds the corpus."""
    below = (*folder.zarr.rglob(".*.partial"), *folder.receipts.glob(".*.partial"))
    for path in (*folder.root.glob(".*.partial"), *below):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def damage(folder: Folder, receipt: Json) -> list[str]:
    """Return what is wrong with the files of a receipt: one line each, none if all is well."""
    problems = []
    for name, said in receipt["objects"].items():
        path = folder.root / name
        if not path.is_file():
            problems.append(f"{name}: missing")
            continue
        content = path.read_bytes()
        if len(content) != said["size"]:
            problems.append(f"{name}: {len(content)} bytes, expected {said['size']}")
        elif sha256(content) != said["sha256"]:
            problems.append(f"{name}: content differs from its receipt")
    return problems


def unread(error: OSError) -> str:
    """Say why a file cannot be read: a worn disk says so by an error, too."""
    missing = isinstance(error, FileNotFoundError | NotADirectoryError)
    return "missing" if missing else f"cannot be read ({error.strerror})"


def sha256(content: bytes) -> str:
    """Return the hash of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(path: Path) -> str:
    """Return the hash of a file, in hexadecimal; it may be larger than the memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sealed(document: Json) -> Json:
    """Return a document with the hash of all the rest of it."""
    rest = {key: value for key, value in document.items() if key != _SEAL}
    return rest | {_SEAL: sha256(to_json(rest))}


def check_seal(document: Json) -> None:
    """Compare a document with its own hash.

    Raises:
        ValueError: If they differ, or it has none.
    """
    if document != sealed(document):
        msg = "its content differs from its own hash"
        raise ValueError(msg)


def to_json(document: Json) -> bytes:
    """Return a document as JSON bytes, keys sorted, the same on every run."""
    return (json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> Json:
    """Read a JSON object.

    Raises:
        StoreError: If it is not one.
    """
    try:
        return parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise damaged(path, type(error).__name__) from error


def damaged(path: Path, why: str) -> StoreError:
    """Return what to raise for a JSON file that is not what was written."""
    msg = (
        f"{path}: damaged ({why}); s1s2 verify --repair mends a finished corpus; in an unfinished "
        "one delete this file and run the build again"
    )
    return StoreError(msg)


def parse(content: bytes) -> Json:
    """Return the JSON object that some bytes are.

    Raises:
        ValueError: If they are none.
    """
    try:
        document = json.loads(content)
    except RecursionError as error:
        msg = "nested without end"
        raise ValueError(msg) from error
    if not isinstance(document, dict):
        msg = "no JSON object"
        raise ValueError(msg)  # noqa: TRY004  # whatever is wrong with the bytes is one kind
    return document
