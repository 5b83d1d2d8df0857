"""Chips read directly from their shards: the same as others read, and never what is damaged."""

import copy
import errno
import itertools
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import xarray
import zarr
from chipsets import Chipset

from s1s2 import store
from s1s2.errors import StoreError
from s1s2.layout import Codec
from s1s2.loader.chips import ChipReader
from s1s2.loader.shards import ArrayForm, Scratch, described
from s1s2.loader.zarr_reader import ZarrReader


@pytest.fixture(scope="module")
def chipset(tmp_path_factory: pytest.TempPathFactory) -> Chipset:
    return Chipset(tmp_path_factory.mktemp("chips"), 13)


def empty(chipset: Chipset) -> dict[str, np.ndarray]:
    return {p.name: np.full(p.tail, 77, p.dtype) for p in chipset.plans if p.name in store.IMAGES}


def reader(chipset: Chipset, **options: int) -> ChipReader:
    return ChipReader(chipset.source().forms, chipset.said_of, **options)


@pytest.mark.parametrize("direct", [True, False])
def test_every_chip_is_what_was_written(chipset: Chipset, *, direct: bool) -> None:
    reads = (
        reader(chipset, open_at_most=4)
        if direct
        else ZarrReader(chipset.folder.root, chipset.per_shard, chipset.said_of)
    )
    for chip in [12, 0, 7, *range(13)]:
        into = empty(chipset)
        reads.read(chip, into, Scratch())
        for name, array in into.items():
            np.testing.assert_array_equal(array, chipset.blocks[name][chip])


@pytest.mark.parametrize(
    ("codec", "names"),
    [
        ("lz4", ["bytes", "blosc", "crc32c"]),
        ("zstd", ["bytes", "blosc", "crc32c"]),
        ("none", ["bytes", "crc32c"]),
    ],
)
def test_every_codec_is_read_directly_and_by_others(
    tmp_path: Path, codec: Codec, names: list[str]
) -> None:
    chipset = Chipset(tmp_path, 7, codec=codec)
    for name in store.IMAGES:
        (sharding,) = chipset.metadata(name)["codecs"]
        inner = sharding["configuration"]["codecs"]
        assert [c["name"] for c in inner] == names
        assert all(c["configuration"]["cname"] == codec for c in inner if c["name"] == "blosc")
    _read_alike(chipset, range(7))
    path = chipset.path("s1", 0)
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"chip 0 is damaged .*does not match its checksum"):
        reader(chipset).read(0, {"s1": empty(chipset)["s1"]}, Scratch())


def test_zarr_tensorstore_and_xarray_read_the_same_chips(chipset: Chipset) -> None:
    _read_alike(chipset, (0, 4, 5, 12))


def _read_alike(chipset: Chipset, chips: Iterable[int]) -> None:
    ours = reader(chipset)
    group = zarr.open_group(chipset.folder.zarr, mode="r", use_consolidated=False)
    data = xarray.open_zarr(chipset.folder.zarr, consolidated=False, mask_and_scale=False)
    for name in store.IMAGES:
        opened = tensorstore.open(
            {
                "driver": "zarr3",
                "kvstore": {"driver": "file", "path": f"{chipset.folder.zarr}/{name}/"},
            }
        ).result()
        for chip in chips:
            into = {name: empty(chipset)[name]}
            ours.read(chip, into, Scratch())
            np.testing.assert_array_equal(into[name], chipset.blocks[name][chip])
            np.testing.assert_array_equal(into[name], opened[chip].read().result())
            np.testing.assert_array_equal(into[name], group[name][chip])
            np.testing.assert_array_equal(into[name], data[name][chip].to_numpy())


def test_plain_chunks_and_an_index_in_front(tmp_path: Path) -> None:
    block = np.random.default_rng(0).integers(0, 60_000, (5, 3, 8, 8)).astype("<u2")
    array = zarr.create_array(
        tmp_path / "a", shape=block.shape, dtype=block.dtype, chunks=(1, 3, 8, 8),
        shards={"shape": (4, 3, 8, 8), "index_location": "start"},
        compressors=[zarr.codecs.Crc32cCodec()], config={"write_empty_chunks": True},
    )  # fmt: skip
    array[:] = block
    form = described("a", json.loads((tmp_path / "a" / "zarr.json").read_text()))
    assert form == ArrayForm("a", 4, (3, 8, 8), "<u2", packed=False, index_first=True)
    paths = [tmp_path / "a" / "c" / str(k) / "0" / "0" / "0" for k in range(2)]
    reads = ChipReader([form], lambda k: {"a": (str(paths[k]), paths[k].stat().st_size)})
    out = {"a": np.zeros((3, 8, 8), "<u2")}
    for chip in range(5):
        reads.read(chip, out, Scratch())
        np.testing.assert_array_equal(out["a"], block[chip])
    content = bytearray(paths[0].read_bytes())
    content[-5] ^= 1
    paths[0].write_bytes(content)
    with pytest.raises(StoreError, match="chunk 3 of 4, does not match its checksum"):
        ChipReader([form], lambda k: {"a": (str(paths[k]), paths[k].stat().st_size)}).read(
            3, out, Scratch()
        )


def changed(document: Mapping[str, Any], path: str, value: object) -> dict[str, Any]:
    *way, last = path.split("/")
    at: Any = copy.deepcopy(document)
    whole = at
    for step in way:
        at = at[int(step) if step.isdigit() else step]
    at[int(last) if last.isdigit() else last] = value
    return whole


CODECS = "codecs/0/configuration"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("zarr_format", 2),
        ("data_type", "float64"),
        ("codecs/0/name", "zstd"),
        ("storage_transformers", [{"name": "odd"}]),
        ("chunk_key_encoding/configuration/separator", "."),
        (f"{CODECS}/chunk_shape/0", 2),
        (f"{CODECS}/codecs/1/name", "gzip"),
        (f"{CODECS}/codecs/0/configuration/endian", "big"),
        (f"{CODECS}/index_codecs/0/configuration/endian", "big"),
        (f"{CODECS}/index_codecs/1/name", "fletcher32"),
        (f"{CODECS}/codecs", []),
        ("chunk_grid", {}),
        ("shape/1", 5),
    ],
)
def test_what_is_not_known_is_left_to_zarr(chipset: Chipset, path: str, value: object) -> None:
    good = chipset.metadata("s1")
    assert described("s1", good) is not None
    assert described("s1", changed(good, path, value)) is None


@pytest.fixture
def mine(tmp_path: Path) -> Chipset:
    return Chipset(tmp_path, 7)


def test_no_flipped_bit_is_read_as_data(mine: Chipset) -> None:
    rng = np.random.default_rng(0)
    for name in store.IMAGES:
        path = mine.path(name, 0)
        good = path.read_bytes()
        for _ in range(25):
            bad = bytearray(good)
            bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
            path.write_bytes(bad)
            reads, errors = reader(mine), []
            for chip in range(5):
                into = {name: empty(mine)[name]}
                try:
                    reads.read(chip, into, Scratch())
                    np.testing.assert_array_equal(into[name], mine.blocks[name][chip])
                except StoreError as error:
                    errors.append((f"shard 0: chip {chip} is damaged ({path}", str(error)))
            assert errors
            assert all(text.startswith(start) for start, text in errors)
        path.write_bytes(good)


def test_missing_truncated_and_foreign_shards_raise(mine: Chipset) -> None:
    path = mine.path("s2_20m", 1)
    good = path.read_bytes()
    for content, says in (
        (good[:-1], "bytes, expected"),
        (b"", "0 bytes, expected"),
        (mine.path("s2_20m", 0).read_bytes(), "bytes, expected"),
        (None, "is missing"),
    ):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        else:
            assert not path.exists()
        with pytest.raises(StoreError, match=f"shard 1: chip 6 is damaged .*{says}"):
            reader(mine).read(6, empty(mine), Scratch())
        path.write_bytes(good)


@pytest.mark.parametrize("first_good", [0, 4, 6])
def test_a_disk_that_fails_is_an_error_that_names_shard_and_chip(
    mine: Chipset, monkeypatch: pytest.MonkeyPatch, first_good: int
) -> None:
    """While an index is read, and while a chunk is."""
    calls, read = itertools.count(), os.preadv

    def failing(*arguments: Any) -> int:  # noqa: ANN401
        if next(calls) >= first_good:
            raise OSError(errno.EIO, "Input/output error")
        return read(*arguments)

    monkeypatch.setattr(os, "preadv", failing)
    with pytest.raises(StoreError, match=r"shard 1: chip 6 is damaged .*Input/output error"):
        reader(mine).read(6, empty(mine), Scratch())


def test_a_chunk_that_was_never_written_is_not_nodata(tmp_path: Path) -> None:
    """zarr leaves out chunks of fill values unless told not to, and reads them as such."""
    mine = Chipset(tmp_path, 5)
    with pytest.raises(StoreError, match=r"chip 3 is .*chunk 3 of 5, is missing"):
        _without_chunk(mine, 3).read(3, {"s1": empty(mine)["s1"]}, Scratch())


def _without_chunk(mine: Chipset, place: int) -> ChipReader:
    from fastcrc.crc32 import iscsi as crc32c

    path = mine.path("s1", 0)
    content = bytearray(path.read_bytes())
    index = content[-(16 * 5 + 4) : -4]
    index[16 * place : 16 * place + 16] = b"\xff" * 16
    content[-(16 * 5 + 4) :] = index + crc32c(index).to_bytes(4, "little")
    path.write_bytes(content)
    return reader(mine)


def test_a_chunk_of_another_size_does_not_leave_old_pixels(mine: Chipset) -> None:
    """A whole chunk, right in itself, but of another array: its checksum is no help."""
    from dataclasses import replace

    form = next(f for f in mine.source().forms if f.name == "s2_20m")
    short = replace(form, tail=(9, 32, 32))
    reads = ChipReader([short], mine.said_of)
    with pytest.raises(StoreError, match="holds 16384 bytes, expected 18432"):
        reads.read(0, {"s2_20m": np.zeros((9, 32, 32), "<u2")}, Scratch())


def test_a_shard_replaced_under_a_reader_is_not_mixed_with_its_old_index(mine: Chipset) -> None:
    reads = reader(mine, open_at_most=4)
    reads.read(0, empty(mine), Scratch())
    reads.read(5, empty(mine), Scratch())  # its four files are held, and the first let go of
    path = mine.path("s2_10m", 0)
    content = path.read_bytes()
    path.unlink()
    path.with_suffix(".other").write_bytes(b"keeps the inode's number")
    path.write_bytes(content)
    with pytest.raises(StoreError, match="replaced since it was opened"):
        reads.read(1, empty(mine), Scratch())


def test_few_files_are_held_open_and_all_are_closed(mine: Chipset) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    reads = reader(mine, open_at_most=5)
    for chip in range(7):
        reads.read(chip, empty(mine), Scratch())
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 5
    del reads
    assert len(list(Path("/proc/self/fd").iterdir())) == before


class Disk:
    """Stands between the reader and its files: says when a disk is waited for, hears of advice."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, cold: bool) -> None:
        self.cold, self.advised = cold, set[tuple[str, int, int]]()
        self._read = os.preadv
        monkeypatch.setattr(os, "preadv", self.preadv)
        monkeypatch.setattr(os, "posix_fadvise", self.fadvise)

    def preadv(self, file: int, into: list[memoryview], offset: int, flags: int = 0) -> int:
        if flags & os.RWF_NOWAIT and self.cold:
            raise BlockingIOError(errno.EAGAIN, "would have to ask the disk")
        return self._read(file, into, offset)

    def fadvise(self, file: int, offset: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        self.advised.add((str(Path(f"/proc/self/fd/{file}").readlink()), offset, length))


def told(found: ChipReader, chips: list[int], arrays: list[str]) -> None:
    """Tell a reader what to expect, and wait until it has done what it does."""
    found.expect(chips, [], arrays)
    found._foreseeing.submit(int).result(10)


def places(chipset: Chipset, chip: int, arrays: list[str]) -> set[tuple[str, int, int]]:
    """Where a chip's chunks lie, by the index at the end of their files."""
    found = set()
    for name in arrays:
        path, size = chipset.said_of(chip // 5)[name]
        index = np.frombuffer(Path(path).read_bytes()[size - 84 : -4], "<u8").reshape(5, 2)
        found.add((path, *index[chip % 5].tolist()))
    return found


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="this system is not asked beforehand")
def test_a_disk_that_is_waited_for_is_told_beforehand_what_will_be_read(
    chipset: Chipset, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, found, wanted = Disk(monkeypatch, cold=True), reader(chipset), ["s1", "s2_10m"]
    told(found, [11, 2], wanted)
    assert disk.advised == places(chipset, 11, wanted) | places(chipset, 2, wanted)
    into = empty(chipset)
    found.read(11, into, Scratch())
    assert all((into[name] == chipset.blocks[name][11]).all() for name in into)


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="this system is not asked beforehand")
def test_what_lies_in_memory_is_asked_for_no_more(
    chipset: Chipset, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, found = Disk(monkeypatch, cold=False), reader(chipset)
    for _ in range(100):
        told(found, [3], ["s1"])
        found.read(3, empty(chipset), Scratch())
    disk.advised.clear()
    told(found, [3], ["s1"])
    assert not disk.advised
    disk.cold = True
    found.read(4, empty(chipset), Scratch())  # one wait is enough
    disk.cold = False
    told(found, [3], ["s1"])
    assert disk.advised == places(chipset, 3, ["s1"])


def test_what_cannot_be_foreseen_is_left_to_who_reads_it(mine: Chipset) -> None:
    Path(mine.said_of(1)["s1"][0]).unlink()
    found = reader(mine)
    told(found, [6, 0], ["s1"])
    with pytest.raises(StoreError, match="chip 6 is damaged"):
        found.read(6, empty(mine), Scratch())
    found.read(0, empty(mine), Scratch())
    found.close()
    found.expect([0], [], ["s1"])  # as at the end of a program, when no thread can be begun
    found.read(0, empty(mine), Scratch())
