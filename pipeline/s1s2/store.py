"""Pixels on disk: create, write one shard, read back. Zarr's door.

A shard is encoded by zarr's own pipeline in memory, written as one whole file per array, and read
back through zarr before its receipt is written. What has no receipt does not exist.
"""

import hashlib
import shutil
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any, cast

import numcodecs.blosc
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.buffer.cpu import Buffer
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec
from zarr.storage import LocalStore, MemoryStore, StorePath

from s1s2.errors import StoreError
from s1s2.files import write_bytes
from s1s2.layout import FORMAT_VERSION, ArrayPlan, Folder
from s1s2.receipts import Json, parse, to_json

# c-blosc compresses with threads of its own and lays blocks down in the order they finish, so the
# same chip could be stored as different bytes. One thread a chunk; shards run side by side anyway.
numcodecs.blosc.use_threads = False

IMAGES = ("s2_10m", "s2_20m", "s1", "scl")
"""The arrays of pixels, which a chip's digest is of; the others are columns."""
_ROOT = "zarr.json"
_UNDECODABLE = (ValueError, RuntimeError, OSError)
"""What zarr raises where bytes are not those that it wrote."""


def create(folder: Folder, plans: Sequence[ArrayPlan], n: int, per_shard: int, notes: Json) -> None:
    """Describe the pixels on disk: every array, for `n` chips, pixels that are there or not.

    Args:
        folder: Where.
        plans: The arrays.
        n: How many chips; never fewer than there are.
        per_shard: Chips in one shard.
        notes: Attributes of the whole.
    """
    described = metadata(plans, n, per_shard, notes)
    if not folder.zarr.exists():
        _describe(folder.zarr, described)
    mend(folder, described, differing(folder, described))


def seal(folder: Folder, plans: Sequence[ArrayPlan], n: int, per_shard: int, notes: Json) -> None:
    """Describe the pixels of a finished corpus: exactly `n` chips, no shard beyond them.

    All metadata is gathered in one file, too, so that xarray opens it at once and silently.
    """
    described = metadata(plans, n, per_shard, notes, whole=True)
    mend(folder, described, differing(folder, described))
    for plan in plans:
        for path in (folder.zarr / plan.name / "c").glob("*"):
            if path.name.isdecimal() and int(path.name) * per_shard >= n:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def metadata(
    plans: Sequence[ArrayPlan], n: int, per_shard: int, notes: Json, *, whole: bool = False
) -> dict[str, bytes]:
    """Return the content of every `zarr.json`, by its path below the pixels.

    Args:
        plans: The arrays.
        n: How many chips.
        per_shard: Chips in one shard.
        notes: Attributes of the whole.
        whole: As of a finished corpus: gathered in the uppermost, too.
    """
    content: dict[str, Any] = {}
    memory = MemoryStore(content)
    root = zarr.create_group(memory, attributes=_group_notes(notes))
    for plan in plans:
        _create_array(root.store_path / plan.name, plan, n, per_shard)
    if whole:
        _gather(memory)
    found = {name: bytes(buffer.to_bytes()) for name, buffer in content.items()}
    if whole:
        found[_ROOT] = to_json(parse(found[_ROOT]))
    return found


def mend(folder: Folder, described: Mapping[str, bytes], names: Iterable[str]) -> None:
    """Write some of the descriptions that `metadata` returned; pixels are left alone."""
    for name in names:
        write_bytes(folder.zarr / name, described[name])


def differing(folder: Folder, described: Mapping[str, bytes]) -> list[str]:
    """Return which descriptions are not on disk as `metadata` returned them."""
    paths = {name: folder.zarr / name for name in described}
    return [k for k, p in paths.items() if not p.is_file() or p.read_bytes() != described[k]]


def _describe(path: Path, described: Mapping[str, bytes]) -> None:
    """Write the metadata beside its place and rename it, so that nobody sees half of it.

    Jobs of one array come here at the same moment; the first to rename writes what all would.
    """
    beside = path.with_name(f".{path.name}.{token_hex(4)}.partial")
    for name, content in described.items():
        write_bytes(beside / name, content)
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
    return zarr.create_array(
        store=path,
        shape=(n, *plan.tail),
        dtype=dtype,
        chunks=(1 if plan.sharded else per_shard, *plan.tail),
        shards=(per_shard, *plan.tail) if plan.sharded else None,
        serializer=BytesCodec(),
        compressors=[*_packed(plan, dtype.itemsize), Crc32cCodec()],
        fill_value=plan.fill,
        attributes=plan.attributes,
        dimension_names=plan.dimensions,
        config={"write_empty_chunks": True},
    )


def _packed(plan: ArrayPlan, itemsize: int) -> list[BloscCodec]:
    """Return what packs the chunks of an array; levels are argued for in docs/loader.md."""
    if plan.codec == "lz4":
        return [BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle", typesize=itemsize)]
    if plan.codec == "zstd":
        return [BloscCodec(cname="zstd", clevel=5, shuffle="shuffle", typesize=itemsize)]
    return []


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


def decode(
    plan: ArrayPlan, content: bytes, count: int, per_shard: int
) -> tuple[NDArray[Any], list[int]]:
    """Decode one shard's chips from the bytes of its file, whatever the metadata on disk says.

    Args:
        plan: The array.
        content: What the file holds.
        count: Chips in it.
        per_shard: Chips in one shard.

    Returns:
        The chips, shape (count, *plan.tail), and the places of those that cannot be decoded; they
        hold anything.
    """
    memory: dict[str, Any] = {}
    array = _create_array(StorePath(MemoryStore(memory)), plan, count, per_shard)
    memory["/".join(["c", *["0"] * array.ndim])] = Buffer.from_bytes(content)
    try:
        return np.asarray(array[...]), []
    except _UNDECODABLE:
        chips = np.full((count, *plan.tail), plan.fill, dtype=plan.dtype)
    lost = []
    for place in range(count):
        try:
            chips[place] = array[place]
        except _UNDECODABLE:
            lost.append(place)
    return chips, lost


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
    except _UNDECODABLE as error:
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


def _check_sizes(folder: Folder, objects: Json) -> None:
    """Raise if a file is not there or not of the size its receipt says."""
    for name, said in objects.items():
        path = folder.root / name
        if not path.is_file():
            msg = f"{name} is missing"
            raise FileNotFoundError(msg)
        if (size := path.stat().st_size) != said["size"]:
            msg = f"{name} has {size} bytes, expected {said['size']}"
            raise ValueError(msg)


def _gather(where: MemoryStore) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr warns that the specification has no such thing yet
        zarr.consolidate_metadata(where)


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
        msg = (
            f"{folder.zarr}: missing or damaged; run the same s1s2 build again, or "
            f"s1s2 verify {folder.root} --repair if the corpus was finished"
        )
        raise StoreError(msg) from error


def read_chip(
    folder: Folder, group: zarr.Group, objects: Mapping[str, Json], chip: int
) -> dict[str, NDArray[Any]]:
    """Read one chip of some arrays of an opened corpus.

    Args:
        folder: The corpus.
        group: Its pixels, opened.
        objects: Which arrays; for each what the shard's receipt says of its files.
        chip: Which chip.

    Raises:
        StoreError: If it is damaged or missing; it is never read as zeros.
    """
    try:
        found = {}
        for name, files in objects.items():
            _check_sizes(folder, files)
            found[name] = np.asarray(_array(group, name)[chip])
    except (*_UNDECODABLE, IndexError) as error:
        msg = (
            f"{folder.zarr}: chip {chip} is damaged ({error}); s1s2 verify {folder.root} tells "
            "what else is, with --repair it mends it"
        )
        raise StoreError(msg) from error
    return found


def digest(pixels: Mapping[str, NDArray[Any]]) -> str:
    """Return the sha256 of one chip's pixels, arrays in the order of their names."""
    total = hashlib.sha256()
    for name in sorted(pixels):
        total.update(np.ascontiguousarray(pixels[name]).tobytes())
    return total.hexdigest()
