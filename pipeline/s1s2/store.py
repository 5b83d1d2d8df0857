"""Pixels on disk: create, write one shard, read back. Zarr's door.

A shard is encoded by zarr's own pipeline in memory, written as one whole file per array, and read
back through zarr before its receipt is written. What has no receipt does not exist.
"""

import hashlib
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
from s1s2.receipts import Json, read_json, to_json

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


def digest(pixels: Mapping[str, NDArray[Any]]) -> str:
    """Return the sha256 of one chip's pixels, arrays in the order of their names."""
    total = hashlib.sha256()
    for name in sorted(pixels):
        total.update(np.ascontiguousarray(pixels[name]).tobytes())
    return total.hexdigest()
