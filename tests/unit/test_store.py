import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr

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


def test_descriptions_do_not_depend_on_how_a_corpus_grew(tmp_path: Path) -> None:
    folder, plans = Folder(tmp_path), layout.arrays(GRID)
    for n in (4, 12):
        store.create(folder, plans, n, 4, {"name": "a"})
    for shard in range(3):
        store.write_shard(folder, plans, shard, blocks(4, shard), 4)
    store.seal(folder, plans, 6, 4, {"name": "a"})
    described = store.metadata(plans, 6, 4, {"name": "a"}, whole=True)
    assert len(described) == len(plans) + 1
    assert store.differing(folder, described) == []
    left = {p.relative_to(folder.zarr).parts[2] for p in folder.zarr.glob("*/c/*")}
    assert left == {"0", "1"}, "no shard beyond the last chip"
    (folder.zarr / "s1/zarr.json").write_text("{}")
    (folder.zarr / "scl/zarr.json").unlink()
    assert store.differing(folder, described) == ["s1/zarr.json", "scl/zarr.json"]


def test_descriptions_are_those_that_zarr_writes(tmp_path: Path) -> None:
    folder, plans = Folder(tmp_path), layout.arrays(GRID)
    store.create(folder, plans, 12, 4, {"name": "a"})
    root = zarr.open_group(folder.zarr, mode="r+", use_consolidated=False)
    for plan in plans:
        root[plan.name].resize((6, *plan.tail))
    assert store.differing(folder, store.metadata(plans, 6, 4, {"name": "a"})) == []


def test_a_lost_description_costs_no_pixels(tmp_path: Path) -> None:
    folder, plans = Folder(tmp_path), layout.arrays(GRID)
    store.create(folder, plans, 4, 4, {})
    store.write_shard(folder, plans, 0, blocks(4), 4)
    (folder.zarr / "s1/zarr.json").unlink()
    (folder.zarr / "scl/zarr.json").write_text("{")
    (folder.zarr / "zarr.json").write_bytes(b"")
    store.create(folder, plans, 4, 4, {})
    there = store.read_rows(folder, plans, 0, 4)
    assert all(np.array_equal(there[name], block) for name, block in blocks(4).items())


def test_a_shard_is_decoded_as_far_as_it_goes() -> None:
    plan = layout.arrays(GRID)[0]
    block = blocks(3)[plan.name]
    content = bytearray(store.encode(plan, block, 4))
    found, lost = store.decode(plan, bytes(content), 3, 4)
    assert np.array_equal(found, block)
    assert lost == []
    second = int(np.frombuffer(content[-68:-4], "<u8").reshape(4, 2)[1, 0])
    content[second + 5] ^= 1
    found, lost = store.decode(plan, bytes(content), 3, 4)
    assert lost == [1]
    assert np.array_equal(found[[0, 2]], block[[0, 2]])
    assert store.decode(plan, b"", 3, 4)[1] == [0, 1, 2]


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


@pytest.mark.parametrize("codec", ["zstd", "none"])
def test_another_codec_holds_the_same_pixels_and_as_many_checksums(codec: layout.Codec) -> None:
    default = {plan.name: plan for plan in layout.arrays(GRID)}
    for plan in layout.arrays(GRID, codec):
        block = blocks(3)[plan.name]
        content = store.encode(plan, block, 4)
        assert content == store.encode(plan, block, 4)
        found, lost = store.decode(plan, content, 3, 4)
        assert np.array_equal(found, block)
        assert lost == []
        if not plan.sharded:
            assert content == store.encode(default[plan.name], block, 4), "a column is never packed"
            continue
        assert content != store.encode(default[plan.name], block, 4)
        bad = bytearray(content)
        bad[50] ^= 1
        assert store.decode(plan, bytes(bad), 3, 4)[1] == [0]


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a" / "file"
    write_bytes(target, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match=r"no room for it \(No space left on device\)"):
        write_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    assert [p.name for p in target.parent.iterdir()] == ["file"]


def test_a_receipt_of_another_format_is_refused(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    receipts.write_receipt(folder, 3, {"format_version": 99})
    with pytest.raises(StoreError, match="format version 99, this is 2"):
        receipts.read_receipt(folder, 3)
    assert receipts.read_receipt(folder, 4) is None
    folder.receipt(5).write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        receipts.read_receipt(folder, 5)


def test_a_receipt_whose_bytes_are_not_ours_is_damaged(tmp_path: Path) -> None:
    """A flipped blank leaves the content as it was; the corpus' identity is of the bytes."""
    folder = Folder(tmp_path)
    receipts.write_receipt(folder, 0, {"format_version": layout.FORMAT_VERSION, "rows": []})
    assert [shard for shard, _, _ in receipts.read_proven(folder)] == [0]
    path = folder.receipt(0)
    path.write_bytes(path.read_bytes().replace(b" ", b"\t", 1))
    assert dict(receipts.read_each(folder)), "it can still be read"
    with pytest.raises(StoreError, match="not as s1s2 writes them"):
        list(receipts.read_proven(folder))


def test_a_receipt_proves_itself(tmp_path: Path) -> None:
    """Before `corpus.json` is there, nothing else could: a flipped digit is JSON as good as any."""
    folder = Folder(tmp_path)
    rows = [{"chip": 1, "lag_hours": 12}]
    receipts.write_receipt(folder, 0, {"format_version": layout.FORMAT_VERSION, "rows": rows})
    path = folder.receipt(0)
    path.write_bytes(path.read_bytes().replace(b"12", b"13"))
    with pytest.raises(StoreError, match="differs from its own hash"):
        receipts.read_receipt(folder, 0)
    with pytest.raises(StoreError, match="differs from its own hash"):
        list(receipts.read_each(folder))
