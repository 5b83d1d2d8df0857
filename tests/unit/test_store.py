import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from s1s2 import layout, receipts, store
from s1s2.errors import StoreError
from s1s2.files import write_bytes
from s1s2.grid import GridSpec
from s1s2.layout import Folder

GRID = GridSpec(64)


def blocks(count: int, start: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(start)
    found = {}
    for plan in layout.arrays(GRID):
        high = 200 if plan.dtype == "uint8" else 3000
        found[plan.name] = rng.integers(1, high, (count, *plan.tail)).astype(plan.dtype)
    return found


def test_jobs_that_begin_at_the_same_moment_describe_one_store(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.create(folder, layout.arrays(GRID), 10, 4, {}), range(8)))
    assert [p.name for p in tmp_path.iterdir()] == ["chips.zarr"], "no litter"
    store.write_shard(folder, layout.arrays(GRID), 0, blocks(4), 4)


def test_what_is_written_is_read_back_and_equal_blocks_are_equal_bytes(tmp_path: Path) -> None:
    plans = layout.arrays(GRID)
    objects = []
    for name in "ab":
        folder = Folder(tmp_path / name)
        store.create(folder, plans, 6, 4, {})
        store.write_shard(folder, plans, 0, blocks(4), 4)
        objects.append(store.write_shard(folder, plans, 1, blocks(2, 9), 4))
        for plan in plans:
            there = store.read_rows(folder, plans, 4, 2)[plan.name]
            np.testing.assert_array_equal(there, blocks(2, 9)[plan.name])
    assert objects[0] == objects[1]


def test_every_chunk_carries_a_checksum(tmp_path: Path) -> None:
    """Flip single bits all over a shard: none is read as data."""
    folder, plans = Folder(tmp_path), layout.arrays(GRID)
    store.create(folder, plans, 4, 4, {})
    objects = store.write_shard(folder, plans, 0, blocks(4), 4)
    assert set(objects) == {
        p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("c/*") if p.is_file()
    } | {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("0") if p.is_file()}
    path = store.shard_path(folder, plans[0], 0)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(40):
        bad = bytearray(good)
        bad[rng.integers(len(bad))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        with pytest.raises(StoreError, match="damaged"):
            store.read_rows(folder, plans, 0, 4)
        assert receipts.damage(folder, {"objects": objects})


def test_the_format_on_disk(tmp_path: Path) -> None:
    """What other readers rely on: Zarr v3, sharded, lz4 with bitshuffle, crc32c inside."""
    folder, plans = Folder(tmp_path), layout.arrays(GRID)
    store.create(folder, plans, 4, 4, {})
    metadata = json.loads((folder.zarr / "s1/zarr.json").read_text())
    assert metadata["zarr_format"] == 3
    assert metadata["dimension_names"] == ["chip", "polarisation", "y", "x"]
    assert metadata["attributes"]["scale_factor"] == 0.01
    assert metadata["fill_value"] == -32768
    (sharding,) = metadata["codecs"]
    assert sharding["name"] == "sharding_indexed"
    assert sharding["configuration"]["chunk_shape"] == [1, 2, 64, 64]
    names = [c["name"] for c in sharding["configuration"]["codecs"]]
    assert names == ["bytes", "blosc", "crc32c"]
    blosc = sharding["configuration"]["codecs"][1]["configuration"]
    assert (blosc["cname"], blosc["shuffle"], blosc["clevel"]) == ("lz4", "bitshuffle", 5)


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a" / "file"
    write_bytes(target, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match=r"No space left on device\); nothing was changed"):
        write_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    assert [p.name for p in target.parent.iterdir()] == ["file"]


def test_a_receipt_of_another_format_is_refused(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    receipts.write_receipt(folder, 3, {"format_version": 99})
    with pytest.raises(StoreError, match="format version 99, this is 1"):
        receipts.read_receipt(folder, 3)
    assert receipts.read_receipt(folder, 4) is None
    folder.receipt(5).write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        receipts.read_receipt(folder, 5)
