"""Training straight from object storage: the folder's batches, few requests, and never a hang."""

import itertools
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from chipsets import SIZE, STATISTICS, Chipset, three_zones
from fastcrc.crc32 import iscsi as crc32c
from objects import (
    BUCKET,
    Fault,
    Handler,
    Store,
    cuts,
    flips,
    is_silent,
    moto,
    once,
    refuses,
    serving,
)

from s1s2 import Corpus, Feed, View, receipts
from s1s2.cli import main
from s1s2.errors import ContractError, RecipeError, S1S2Error, StoreError, UnreachableError
from s1s2.loader.chips import BEGUN_AHEAD, Remote
from s1s2.loader.chips.ahead import AheadReader
from s1s2.loader.chips.objects import Object, Published
from s1s2.loader.dataset import ChipDataset
from s1s2.loader.finish import plan
from s1s2.loader.hosts import Source
from s1s2.loader.order import Choice, Cut, Items, Orders, Shuffle, epoch_order
from s1s2.loader.shards import Scratch

pytest.importorskip("obstore", reason="obstore is missing: pip install 's1s2[storage]'")
torch = pytest.importorskip("torch", reason="torch is not installed: pip install 's1s2[torch]'")

from s1s2.loader.loader import Loader  # noqa: E402  # imports torch

ARRAYS = ("s2_10m", "s2_20m", "s1")
N, PER_SHARD = 64, 32
RAW = View("raw", size="native")


def speak_to(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-fake-store")


# ---- whole corpora: on S3 as moto has it, and in a folder ----


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 16 chips in three zones and two splits, shards of 5."""
    root = tmp_path_factory.mktemp("corpus")
    three_zones(root, 16, per_shard=5)
    return root / "out"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto(tmp_path_factory.mktemp("s3")) as url:
        yield url


@pytest.fixture(scope="module")
def pushed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A corpus published in a folder."""
    url = f"file://{tmp_path_factory.mktemp('store')}/first"
    assert main(["push", str(built), url]) == 0
    return url


def all_alike(one: Iterable[dict[str, Any]], other: Iterable[dict[str, Any]]) -> None:
    for mine, its in zip(one, other, strict=True):
        assert mine.keys() == its.keys()
        for key, tensor in mine.items():
            torch.testing.assert_close(tensor, its[key], rtol=0, atol=0, equal_nan=True)


def test_a_corpus_on_s3_is_what_it_is_in_a_folder(
    built: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    speak_to(s3, monkeypatch)
    url = f"s3://{BUCKET}/corpora/first"
    assert main(["push", str(built), url]) == 0
    _look_alike(Corpus(built), Corpus(url))
    for process in (False, True):
        with (
            Corpus(built).loader(4, shuffle=True) as here,
            Corpus(url).loader(4, shuffle=True, feed=Feed(process=process)) as there,
        ):
            all_alike(here, there)


def test_a_corpus_published_in_a_folder_is_what_it_was(built: Path, pushed: str) -> None:
    _look_alike(Corpus(built), Corpus(pushed))
    _look_alike(Corpus(built), pickle.loads(pickle.dumps(Corpus(pushed))))


def _look_alike(here: Corpus, there: Corpus) -> None:
    assert (len(there), there.about, there.size_px) == (len(here), here.about, here.size_px)
    assert there.index.equals(here.index)
    assert f"chips={len(here)}" in repr(there)
    chosen = there.chips("train", where="cloud_fraction < 0.5", bbox=(-10, 40, 60, 50))
    assert chosen.tolist() == here.chips("train", where="cloud_fraction < 0.5").tolist()
    for chip in (0, 7, 15):
        theirs = here.read(chip)
        assert all((array == theirs[name]).all() for name, array in there.read(chip).items())
    assert there.to_xarray(3).equals(here.to_xarray(3))
    mine, its = there.dataset(view=RAW), here.dataset(view=RAW)
    all_alike(_tensors(mine.__getitems__([4, 2, 4])), _tensors([its[k] for k in (4, 2, 4)]))
    all_alike(_tensors([pickle.loads(pickle.dumps(mine))[9]]), _tensors([its[9]]))


def _tensors(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: torch.as_tensor(found) for key, found in item.items()} for item in items]


@pytest.mark.parametrize("shuffle", ["none", "full", "block", "spread"])
@pytest.mark.parametrize("process", [False, True])
def test_batches_are_those_of_the_folder_bit_for_bit(
    built: Path, pushed: str, shuffle: Shuffle, *, process: bool
) -> None:
    feeds = [Feed(process=process, threads=1), Feed(process=process, threads=3, requests=5)]
    if not process:
        feeds += [Feed(process=False, threads=7, hold_mb=1, ahead=1)]
    for feed in feeds:
        with (
            Corpus(built).loader(3, shuffle=shuffle, feed=Feed(process=False)) as here,
            Corpus(pushed).loader(3, shuffle=shuffle, feed=feed) as there,
        ):
            for _ in range(2):
                all_alike(here, there)


def test_an_epoch_left_early_and_one_resumed_go_on_as_from_the_folder(
    built: Path, pushed: str
) -> None:
    here, there = (Corpus(at).loader(3, shuffle=True) for at in (built, pushed))
    with here, there:
        next(iter(here))
        next(iter(there))
        all_alike(here, there)
        begun = iter(there)
        next(begun)
        here.load_state_dict(there.state_dict())
        all_alike(here, begun)


def test_items_drawn_repeatedly_are_read_each_time(pushed: str) -> None:
    corpus = Corpus(pushed)
    weights = np.where(np.arange(16) == 3, 100.0, 1.0)
    with corpus.loader(4, shuffle=True, weights=weights, view=RAW) as found:
        for batch in found:
            for row, chip in enumerate(batch["chip"].tolist()):
                assert (batch["s1"][row].numpy() == corpus.read(chip)["s1"]).all()


def test_what_needs_a_folder_says_so_in_one_line(
    pushed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StoreError, match=r"this needs a folder; s1s2 pull file://.* FOLDER"):
        _ = Corpus(pushed).folder
    for line in (
        ["show", pushed],
        ["export", pushed, "--to", "geotiff", "-o", str(tmp_path / "x")],
    ):
        capsys.readouterr()
        assert main(line) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert "this needs a folder" in said
        assert "s1s2 pull" in said


def test_what_is_no_corpus_is_refused_in_one_line(pushed: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no corpus, or one whose s1s2 push is not finished"):
        Corpus(f"file://{tmp_path}")
    with pytest.raises(RecipeError, match="expected a URL that begins with"):
        Corpus("http://host/corpus")
    content = json.loads(Path(f"{pushed.removeprefix('file://')}/corpus.json").read_bytes())
    for wrong in (content | {"chips": 15}, receipts.sealed({"format_version": 2})):
        (tmp_path / "corpus.json").write_bytes(receipts.to_json(wrong))
        with pytest.raises(StoreError, match=r"corpus.json: damaged \(.*push the corpus again"):
            Corpus(f"file://{tmp_path}")
    (tmp_path / "corpus.json").write_bytes(
        receipts.to_json(receipts.sealed(content | {"format_version": 1}))
    )
    with pytest.raises(StoreError, match="format version 1, this s1s2 reads 2"):
        Corpus(f"file://{tmp_path}")


def test_a_table_that_is_another_is_not_read(pushed: str, tmp_path: Path) -> None:
    content = Path(f"{pushed.removeprefix('file://')}/corpus.json").read_bytes()
    (tmp_path / "corpus.json").write_bytes(content)
    corpus = Corpus(f"file://{tmp_path}")
    with pytest.raises(StoreError, match=r"chips\.parquet: missing; .*s1s2 push"):
        _ = corpus.index
    (tmp_path / "chips.parquet").write_bytes(b"rotten")
    with pytest.raises(StoreError, match=r"chips\.parquet: not the one this corpus was finished"):
        _ = corpus.index


def test_a_fork_is_refused_in_time_and_a_reading_process_serves_it(pushed: str) -> None:
    corpus = Corpus(pushed)
    dataset = corpus.dataset(view=RAW)
    assert dataset[0]["chip"] == 0
    with corpus.loader(4, feed=Feed(process=True)) as found:
        child = os.fork()
        if not child:
            code = 1
            try:
                with pytest.raises(StoreError, match=r"forked from one .*forkserver"):
                    _ = dataset[0]
                with pytest.raises(StoreError, match="forked from one"):
                    Corpus(pushed)
                code = int(sum(len(batch["chip"]) for batch in found) != 16)
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# ---- shards alone, behind a server that counts and fails ----


@pytest.fixture(scope="module")
def chipset(tmp_path_factory: pytest.TempPathFactory) -> Chipset:
    return _with_receipts(Chipset(tmp_path_factory.mktemp("chips"), N, PER_SHARD))


def _with_receipts(chipset: Chipset) -> Chipset:
    folder = chipset.folder
    folder.receipts.mkdir()
    for shard in range(-(-chipset.n // chipset.per_shard)):
        ours = {k: v for k, v in chipset.objects.items() if k.split("/")[3] == str(shard)}
        folder.receipt(shard).write_bytes(receipts.to_json({"objects": ours}))
    return chipset


@pytest.fixture
def store(chipset: Chipset, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with serving(chipset.folder.root) as served:
        speak_to(served.endpoint, monkeypatch)
        yield served


def proofs(chipset: Chipset) -> dict[int, str]:
    shards = range(-(-chipset.n // chipset.per_shard))
    return {k: receipts.sha256_of(chipset.folder.receipt(k)) for k in shards}


def loader(chipset: Chipset, feed: Feed, chips: Iterable[int], shuffle: Shuffle = "none") -> Loader:
    local = chipset.source()
    source = Source(
        local.forms, f"s3://{BUCKET}", local.per_shard, local.said_of, Remote(proofs(chipset))
    )
    chosen = np.array(list(chips))
    items = Items(chosen // chipset.per_shard, chosen)
    return Loader(
        source,
        plan(RAW, SIZE, STATISTICS),
        Choice(chosen[:, None], items, Orders(shuffle, seed=3)),
        Cut(4),
        feed,
    )


def reader(chipset: Chipset, hold_bytes: int = 10**9) -> AheadReader:
    forms = [form for form in chipset.source().forms if form.name in ARRAYS]
    corpus = Published(f"s3://{BUCKET}", forms, proofs(chipset), 2.0)
    return AheadReader(corpus, forms, hold_bytes, 16, 20.0)


def read_all(chipset: Chipset, reads: AheadReader, order: list[int], batch: int = 8) -> int:
    """Read chips in an order, prove them, and return the most bytes that were held."""
    most = 0
    for first in range(0, len(order), batch):
        reads.expect(order[first : first + batch], order[first + batch :], ARRAYS)
        for chip in order[first : first + batch]:
            into = {p.name: np.empty(p.tail, p.dtype) for p in chipset.plans if p.name in ARRAYS}
            reads.read(chip, into, Scratch())
            most = max(most, reads._held.nbytes)
            for name, array in into.items():
                np.testing.assert_array_equal(array, chipset.blocks[name][chip])
    return most


def order_of(chipset: Chipset, shuffle: Shuffle) -> list[int]:
    chips = np.arange(chipset.n)
    order: list[int] = epoch_order(
        Items(chips // PER_SHARD, chips), Orders(shuffle, seed=5, block_shards=2), 0
    ).tolist()
    return order


def test_without_neighbours_there_is_one_request_an_array_and_chip(
    chipset: Chipset, store: Store
) -> None:
    reads = reader(chipset, hold_bytes=0)
    order = order_of(chipset, "full")
    read_all(chipset, reads, order)
    # one receipt and three indices a shard, once
    assert store.asked.total() == 3 * N + 2 * (1 + 3)
    store.asked.clear()
    read_all(chipset, reads, order[::-1])
    assert store.asked.total() == 3 * N
    assert max(store.asked.values()) == 1
    reads.close()


def test_chips_mixed_within_shards_cost_few_requests_and_no_byte_twice(
    chipset: Chipset, store: Store
) -> None:
    reads = reader(chipset)
    read_all(chipset, reads, order_of(chipset, "block"))
    assert store.asked.total() / N <= 0.4
    assert max(store.asked.values()) == 1
    store.asked.clear()
    read_all(chipset, reads, order_of(chipset, "block"))
    assert store.asked.total() == 3 * N // 16
    pixels = sum(p.stat().st_size for name in ARRAYS for p in _files(chipset, name))
    assert sum(end - first for _, first, end in store.asked) < pixels
    reads.close()


def _files(chipset: Chipset, name: str) -> list[Path]:
    return [chipset.path(name, shard) for shard in range(N // PER_SHARD)]


def test_a_loader_asks_as_few_in_and_out_of_process(chipset: Chipset, store: Store) -> None:
    for process in (False, True):
        store.asked.clear()
        with loader(chipset, Feed(process=process), range(N), "block") as found:
            assert sorted(_chips(found)) == list(range(N))
            assert store.asked.total() / N <= 0.4


def test_what_is_held_stays_within_bounds(chipset: Chipset, store: Store) -> None:
    del store
    one = sum(p.stat().st_size for name in ARRAYS for p in _files(chipset, name)) // N
    for shuffle in ("full", "block"):
        reads = reader(chipset, hold_bytes=12 * one)
        most = read_all(chipset, reads, order_of(chipset, shuffle))  # type: ignore[arg-type]
        # what was asked for comes in any case: eight chips, and one begun as the last room went
        assert most <= (12 + 8 + 1) * one * 1.1
        reads.close()
    assert BEGUN_AHEAD >= N, "so that these bounds are what held it"


def test_chips_that_come_again_are_held_within_the_same_bounds(
    chipset: Chipset, store: Store
) -> None:
    del store
    one = sum(p.stat().st_size for name in ARRAYS for p in _files(chipset, name)) // N
    reads, random = reader(chipset, hold_bytes=6 * one), np.random.default_rng(0)
    order = [chip for _ in range(4) for chip in random.permutation(24).tolist()]
    assert read_all(chipset, reads, order, batch=4) <= (6 + 4 + 1) * one * 1.1
    reads.close()


def test_threads_may_read_the_same_chips(chipset: Chipset, store: Store) -> None:
    del store
    reads = reader(chipset)

    def one(chip: int) -> None:
        into = {p.name: np.empty(p.tail, p.dtype) for p in chipset.plans if p.name in ARRAYS}
        reads.read(chip, into, Scratch())
        np.testing.assert_array_equal(into["s1"], chipset.blocks["s1"][chip])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, [chip for chip in range(16) for _ in range(4)]))
    assert not reads._held.nbytes
    reads.close()


def _chips(batches: Iterable[dict[str, Any]]) -> list[int]:
    return [int(chip) for batch in batches for chip in batch["chip"].flatten()]


# ---- what goes wrong ----

S1_OF_1 = "chips.zarr/s1/c/1/"
SHORT = {"timeout_s": 6.0}


@pytest.mark.parametrize("process", [False, True])
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (refuses(404), r"chip 3\d is damaged \(s3://bucket/chips.zarr/s1/c/1/.* is missing"),
        (flips, r"chip 3\d is damaged \(.*index that does not match its checksum"),
    ],
)
def test_a_damaged_object_is_an_error_or_its_chips_are_left_out(
    chipset: Chipset, store: Store, fault: Fault, says: str, *, process: bool
) -> None:
    store.faults[S1_OF_1] = fault
    chips = range(28, 36)
    with (
        loader(chipset, Feed(process=process, **SHORT), chips) as found,
        pytest.raises(StoreError, match=f"shard 1: {says}"),
    ):
        _chips(found)
    wide = Feed(process=process, damaged="skip", **SHORT)
    with loader(chipset, wide, [28, 29, 32, 30, 31]) as found:
        assert _chips(found) == [28, 29, 30, 31]
        assert list(found.skipped) == [32]


@pytest.mark.parametrize("process", [False, True])
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (refuses(403), "refuses these credentials"),
        (refuses(503), "does not answer now"),
        (cuts, "does not answer now|bytes of .* came"),
        (is_silent, "does not answer now"),
    ],
    ids=["403", "503", "cut", "silent"],
)
@pytest.mark.parametrize("part", ["receipts/00001", S1_OF_1], ids=["receipt", "pixels"])
def test_a_store_that_fails_is_no_damaged_chip(
    chipset: Chipset, store: Store, fault: Fault, says: str, part: str, *, process: bool
) -> None:
    store.faults[part] = fault
    since = time.monotonic()
    with (
        loader(chipset, Feed(process=process, damaged="skip", **SHORT), range(28, 44)) as found,
        pytest.raises(UnreachableError, match=rf"shard 1: chip \d+ cannot be read now: .*({says})"),
    ):
        _chips(found)
    assert not found.skipped
    assert time.monotonic() - since < 60
    store.faults.clear()
    assert _chips(found) == list(range(28, 44)), "another pass asks again"
    found.close()


@pytest.mark.parametrize("fault", [cuts, flips, refuses(503)], ids=["cut", "flipped", "503"])
def test_what_goes_wrong_once_is_asked_again(chipset: Chipset, store: Store, fault: Fault) -> None:
    index, first_time = chipset.path("s1", 1).stat().st_size - 16 * PER_SHARD - 4, once(fault)

    def in_a_chunk(handler: Handler, whole: bytes, first: int, end: int) -> bool:
        return first < index and first_time(handler, whole, first, end)

    store.faults[S1_OF_1] = in_a_chunk
    with loader(chipset, Feed(process=False), range(28, 40)) as found:
        for batch in found:
            wanted = chipset.blocks["s1"][batch["chip"].numpy()]
            np.testing.assert_array_equal(batch["s1"].numpy(), wanted)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Chipset, Store]]:
    """Chips of its own to each test, in shards of 5."""
    chipset = _with_receipts(Chipset(tmp_path, 13))
    with serving(chipset.folder.root) as served:
        speak_to(served.endpoint, monkeypatch)
        yield chipset, served


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def without_chunk(path: Path, place: int, per_shard: int = 5) -> None:
    content = bytearray(path.read_bytes())
    tail = 16 * per_shard + 4
    index = content[-tail:-4]
    index[16 * place : 16 * place + 16] = b"\xff" * 16
    content[-tail:] = index + crc32c(index).to_bytes(4, "little")
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "left_out", "says"),
    [
        (lambda path: flip(path, 60), [5], "chunk 0 of 5, does not match its checksum"),
        (lambda path: without_chunk(path, 2), [7], "chunk 2 of 5, is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-7]), [5, 6, 7, 8, 9], "bytes, expected"),
        (lambda path: path.write_bytes(b"?"), [5, 6, 7, 8, 9], "has 1 bytes, expected"),
        (Path.unlink, [5, 6, 7, 8, 9], "is missing"),
    ],
    ids=["flipped", "never written", "shorter", "shrunk", "gone"],
)
def test_damage_is_never_read_as_data(
    mine: tuple[Chipset, Store], harm: Callable[[Path], object], left_out: list[int], says: str
) -> None:
    chipset, _ = mine
    harm(chipset.path("s1", 1))
    with loader(chipset, Feed(process=False, damaged="skip"), range(13)) as found:
        for batch in found:
            wanted = chipset.blocks["s1"][batch["chip"].numpy()]
            np.testing.assert_array_equal(batch["s1"].numpy(), wanted)
        assert sorted(found.skipped) == left_out
        for chip, why in found.skipped.items():
            assert f"shard 1: chip {chip} is damaged (s3://" in why
            assert says in why


def test_a_shard_without_its_receipt_is_not_read(mine: tuple[Chipset, Store]) -> None:
    chipset, _ = mine
    with loader(chipset, Feed(process=False, damaged="skip"), range(13)) as found:
        flip(chipset.folder.receipt(1), 9)
        assert _chips(found) == [0, 1, 2, 3, 4, 10, 11, 12]
        for chip, why in found.skipped.items():
            assert f"chip {chip} (shard 1) is not proven: s3://" in why
            assert "not the one this corpus was finished with" in why


def test_an_object_replaced_under_a_reader_is_not_mixed_with_its_old_index(
    mine: tuple[Chipset, Store],
) -> None:
    chipset, _ = mine
    reads = reader(chipset, hold_bytes=0)
    into = {"s1": np.empty((2, SIZE, SIZE), "int16")}
    reads.read(6, into, Scratch())
    flip(chipset.path("s1", 1), 60)  # in chunk 0; 8 is whole
    with pytest.raises(StoreError, match=r"chip 8 is damaged .*was replaced since it was opened"):
        reads.read(8, into, Scratch())
    reads.close()


def test_chips_of_a_batch_that_failed_are_let_go(mine: tuple[Chipset, Store]) -> None:
    chipset, _ = mine
    flip(chipset.path("s1", 0), 60)
    reads = reader(chipset)
    dataset = ChipDataset(chipset.source(), np.arange(8), plan(RAW, SIZE, STATISTICS))
    with mock.patch.object(Source, "reading", return_value=reads):
        for _ in range(2):
            with pytest.raises(StoreError, match="is damaged"):
                dataset.__getitems__(list(range(8)))
    assert not reads._held.unread()
    assert not reads._held.nbytes
    reads.close()


def test_once_the_program_ends_nobody_waits_for_what_cannot_come(
    mine: tuple[Chipset, Store],
) -> None:
    chipset, _ = mine
    for end in (lambda reads: reads._pool.shutdown(), lambda reads: reads.close()):
        reads = reader(chipset)
        end(reads)
        begun = time.monotonic()
        with pytest.raises(UnreachableError, match="the reading was ended"):
            read_all(chipset, reads, [1, 2, 3])
        assert time.monotonic() - begun < 10, "half of the longest wait"


def test_a_process_that_reads_a_folder_imports_nothing_for_stores() -> None:
    heavy = "{'pyproj', 'obstore', 'pandas', 's1s2.loader.chips.ahead'}"
    said = f"import sys, s1s2.loader.__main__; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_whoever_waits_when_it_is_closed_gets_an_error(mine: tuple[Chipset, Store]) -> None:
    chipset, store = mine
    store.faults["receipts"] = is_silent
    reads = reader(chipset)
    reads.expect([6], [], ARRAYS)
    reads.close()
    with pytest.raises(S1S2Error, match="the reading was ended"):
        reads.read(6, {"s1": np.empty((2, SIZE, SIZE), "int16")}, Scratch())
    store.ended.set()


def test_requests_under_way_do_not_follow_from_threads(
    chipset: Chipset, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread decodes; the first chunk is given out once many are asked for."""
    gate, number, chunks = threading.Barrier(12), itertools.count(), Published.chunks

    def gated(self: Published, found: Object, run: Sequence[int]) -> list[memoryview]:
        if next(number) < 12:
            gate.wait(60)  # opens when twelve are under way
        return chunks(self, found, run)

    monkeypatch.setattr(Published, "chunks", gated)
    del store
    with loader(chipset, Feed(process=False, threads=1, hold_mb=1), range(0, N, 2)) as found:
        assert len(_chips(found)) == N // 2


def test_numbers_that_cannot_be_are_refused() -> None:
    for wrong in ({"requests": 0}, {"hold_mb": 0}):
        with pytest.raises(ContractError, match="expected 1 or more of each"):
            Feed(**wrong)  # type: ignore[arg-type]
