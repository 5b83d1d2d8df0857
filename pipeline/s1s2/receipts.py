"""Receipts: what makes a shard exist, and what tells whether it is still what it was.

A receipt holds a shard's rows, its refusals, the points it tried, and size and hash of its files;
nothing of the machine, the time or the worker.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s1s2.errors import StoreError
from s1s2.files import write_bytes
from s1s2.layout import FORMAT_VERSION, Folder

Json = dict[str, Any]


def write_receipt(folder: Folder, shard: int, receipt: Json) -> None:
    """Write the receipt of a shard, whole; from here on the shard exists."""
    write_bytes(folder.receipt(shard), to_json(receipt))


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
    return receipt


def read_all(folder: Folder) -> dict[int, Json]:
    """Read every receipt, by shard, in order."""
    numbers = sorted(int(p.stem) for p in folder.receipts.glob("[0-9]*.json"))
    found = ((k, read_receipt(folder, k)) for k in numbers)
    return {k: r for k, r in found if r is not None}


def is_there(folder: Folder, receipt: Json) -> bool:
    """Say whether the files of a receipt are there and of their size; `damage` looks inside."""
    paths = {folder.root / name: said["size"] for name, said in receipt["objects"].items()}
    return all(path.is_file() and path.stat().st_size == size for path, size in paths.items())


def sweep(folder: Folder) -> None:
    """Remove what killed writes of pixels and receipts left behind."""
    for path in (*folder.zarr.rglob(".*.partial"), *folder.receipts.glob(".*.partial")):
        path.unlink(missing_ok=True)
    for path in folder.root.glob(f".{folder.zarr.name}.*.partial"):
        shutil.rmtree(path, ignore_errors=True)


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
        elif hashlib.sha256(content).hexdigest() != said["sha256"]:
            problems.append(f"{name}: content differs from its receipt")
    return problems


def corpus_id(found: Mapping[int, Json]) -> str:
    """Return the identity of a corpus: the hash of its receipts, in order.

    It depends on no machine, time or worker.
    """
    digest = hashlib.sha256()
    for shard, receipt in sorted(found.items()):
        digest.update(f"{shard}\n".encode())
        digest.update(to_json(receipt))
    return digest.hexdigest()


def to_json(document: Json) -> bytes:
    """Return a document as JSON bytes, keys sorted, the same on every run."""
    return (json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> Json:
    """Read a JSON object.

    Raises:
        StoreError: If it is not one.
    """
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        msg = f"{path}: damaged ({type(error).__name__}); delete it and run the build again"
        raise StoreError(msg) from error
    if not isinstance(document, dict):
        msg = f"{path}: damaged (no JSON object); delete it and run the build again"
        raise StoreError(msg)
    return document
