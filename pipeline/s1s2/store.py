"""Pixels and receipts on disk: create, write one shard, read back, trust or distrust. Zarr's door.

A shard is encoded by zarr's own pipeline in memory, written as one whole file per array, and read
back through zarr before its receipt is written. What has no receipt does not exist.
"""

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any, cast

import numcodecs.blosc
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec
from zarr.storage import LocalStore, MemoryStore, StorePath

from s1s2.errors import StoreError
from s1s2.files import write_bytes
from s1s2.layout import FORMAT_VERSION, ArrayPlan, Folder

Json = dict[str, Any]

# c-blosc compresses with threads of its own and lays blocks down in the order they finish, so the
# same chip could be stored as different bytes. One thread a chunk; shards run side by side anyway.
numcodecs.blosc.use_threads = False


def create(folder: Folder, plans: Sequence[ArrayPlan], n: int, per_shard: int, notes: Json) -> None:
    """Describe the pixels on disk: every array, for `n` chips; opening again only lets them grow.

    Args:
        folder: Where.
        plans: The arrays.
        n: How many chips, at least.
        per_shard: Chips in one shard.
        notes: Attributes of the whole.
    """
    if not folder.zarr.exists():
        _describe(folder.zarr, plans, n, per_shard, notes)
    if not all((folder.zarr / p.name / "zarr.json").exists() for p in plans):
        # a deletion that was killed half way: what is left has no receipt
        shutil.rmtree(folder.zarr)
        _describe(folder.zarr, plans, n, per_shard, notes)
    root = zarr.open_group(LocalStore(folder.zarr), mode="r+", use_consolidated=False)
    for plan in plans:
        array = _array(root, plan.name)
        if array.shape[0] < n:
            array.resize((n, *plan.tail))


def _describe(path: Path, plans: Sequence[ArrayPlan], n: int, per_shard: int, notes: Json) -> None:
    """Write the metadata beside its place and rename it, so that nobody sees half of it.

    Jobs of one array come here at the same moment; the first to rename writes what all would.
    """
    beside = path.with_name(f".{path.name}.{token_hex(4)}.partial")
    root = zarr.create_group(LocalStore(beside), attributes=_group_notes(notes))
    for plan in plans:
        _create_array(root.store_path / plan.name, plan, n, per_shard)
    try:
        beside.rename(path)
    except OSError:
        shutil.rmtree(beside)
        if not path.exists():
            raise


def _group_notes(notes: Json) -> Json:
    return {
        "Conventions": "CF-1.11",
        "coordinates": "point epsg s2_time s1_time transform",
        "format_version": FORMAT_VERSION,
        **notes,
    }


def _create_array(path: StorePath, plan: ArrayPlan, n: int, per_shard: int) -> zarr.Array[Any]:
    """Create one array: a chunk a chip in shards, or for columns a chunk a shard; checksummed."""
    dtype = np.dtype(plan.dtype)
    blosc = BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle", typesize=dtype.itemsize)
    return zarr.create_array(
        store=path,
        shape=(n, *plan.tail),
        dtype=dtype,
        chunks=(1 if plan.sharded else per_shard, *plan.tail),
        shards=(per_shard, *plan.tail) if plan.sharded else None,
        serializer=BytesCodec(),
        compressors=[blosc, Crc32cCodec()] if plan.sharded else [Crc32cCodec()],
        fill_value=plan.fill,
        attributes=plan.attributes,
        dimension_names=plan.dimensions,
        config={"write_empty_chunks": True},
    )


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    return cast("zarr.Array[Any]", group[name])


def encode(plan: ArrayPlan, block: NDArray[Any], per_shard: int) -> bytes:
    """Encode one shard's chips as zarr would store them.

    Args:
        plan: The array.
        block: Its chips, shape (chips, *plan.tail), at most `per_shard` of them.
        per_shard: Chips in one shard.
    """
    content: dict[str, Any] = {}
    memory = StorePath(MemoryStore(content))
    array = _create_array(memory, plan, len(block), per_shard)
    array[...] = block
    key = "/".join(["c", *["0"] * block.ndim])
    return bytes(content[key].to_bytes())


def shard_path(folder: Folder, plan: ArrayPlan, shard: int) -> Path:
    """Return the file that holds one shard of one array."""
    return folder.zarr.joinpath(plan.name, "c", str(shard), *["0"] * len(plan.tail))


def write_shard(
    folder: Folder,
    plans: Sequence[ArrayPlan],
    shard: int,
    blocks: Mapping[str, NDArray[Any]],
    per_shard: int,
) -> Json:
    """Write one shard of every array, read it back, and return what its receipt says of the files.

    Returns:
        For every file, by its path below the corpus: size and sha256.

    Raises:
        StoreError: If what is read back is not what was written.
    """
    objects: Json = {}
    for plan in plans:
        content = encode(plan, blocks[plan.name], per_shard)
        path = shard_path(folder, plan, shard)
        write_bytes(path, content)
        name = path.relative_to(folder.root).as_posix()
        objects[name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    there = read_rows(folder, plans, shard * per_shard, len(blocks[plans[0].name]))
    for plan in plans:
        if not np.array_equal(there[plan.name], blocks[plan.name]):
            msg = f"{shard_path(folder, plan, shard)}: read back different from what was written"
            raise StoreError(msg)
    return objects


def read_rows(
    folder: Folder, plans: Sequence[ArrayPlan], start: int, count: int
) -> dict[str, NDArray[Any]]:
    """Read consecutive chips of every array; a damaged chunk raises, it never reads as zeros."""
    group = open_pixels(folder)
    try:
        found = {}
        for plan in plans:
            array = _array(group, plan.name)
            _check_there(folder, array, start, start + count - 1)
            found[plan.name] = np.asarray(array[start : start + count])
    except (ValueError, RuntimeError, OSError) as error:
        msg = f"{folder.zarr}: chips {start} to {start + count - 1} are damaged ({error})"
        raise StoreError(msg) from error
    return found


def _check_there(folder: Folder, array: zarr.Array[Any], first: int, last: int) -> None:
    """Raise if a shard file of some chips is missing or empty: zarr would read it as nodata."""
    per_file = (array.shards or array.chunks)[0]
    for number in range(first // per_file, last // per_file + 1):
        path = folder.zarr.joinpath(array.basename, "c", str(number), *["0"] * (array.ndim - 1))
        if not path.is_file() or not path.stat().st_size:
            msg = f"{path.relative_to(folder.root).as_posix()} is missing"
            raise FileNotFoundError(msg)


def trim(folder: Folder, plans: Sequence[ArrayPlan], n: int) -> None:
    """Cut every array to `n` chips, once no shard beyond them exists."""
    group = zarr.open_group(LocalStore(folder.zarr), mode="r+", use_consolidated=False)
    for plan in plans:
        array = _array(group, plan.name)
        if array.shape[0] != n:
            array.resize((n, *plan.tail))


def consolidate(folder: Folder) -> None:
    """Gather all metadata in one file, so that xarray opens the pixels at once and silently.

    Written again with sorted keys: zarr lists arrays in whatever order the disk has them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr warns that the specification has no such thing yet
        zarr.consolidate_metadata(LocalStore(folder.zarr))
    path = folder.zarr / "zarr.json"
    write_bytes(path, to_json(read_json(path)))


def open_pixels(folder: Folder) -> zarr.Group:
    """Open the pixels for reading.

    Raises:
        StoreError: If they are missing.
    """
    try:
        return zarr.open_group(
            LocalStore(folder.zarr, read_only=True), mode="r", use_consolidated=False
        )
    except (FileNotFoundError, ValueError) as error:
        msg = f"{folder.zarr}: missing or damaged; run the same s1s2 build again to restore it"
        raise StoreError(msg) from error


def read_chip(
    folder: Folder, group: zarr.Group, names: Sequence[str], chip: int
) -> dict[str, NDArray[Any]]:
    """Read one chip of some arrays of an opened corpus.

    Raises:
        StoreError: If it is damaged or missing; it is never read as zeros.
    """
    try:
        found = {}
        for name in names:
            array = _array(group, name)
            _check_there(folder, array, chip, chip)
            found[name] = np.asarray(array[chip])
    except (ValueError, RuntimeError, OSError, IndexError) as error:
        msg = f"{folder.zarr}: chip {chip} is damaged ({error}); s1s2 verify tells what else is"
        raise StoreError(msg) from error
    return found


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


def receipts(folder: Folder) -> dict[int, Json]:
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


def digest(pixels: Mapping[str, NDArray[Any]]) -> str:
    """Return the sha256 of one chip's pixels, arrays in the order of their names."""
    total = hashlib.sha256()
    for name in sorted(pixels):
        total.update(np.ascontiguousarray(pixels[name]).tobytes())
    return total.hexdigest()


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


def free_bytes(path: Path) -> int:
    """Return the free space of the disk a path lies on, or will lie on."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
