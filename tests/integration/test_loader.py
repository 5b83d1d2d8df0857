"""Batches: the same wherever they are read, resumed exactly, held safely, and never a hang."""

import gc
import os
import pickle
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chipsets import SIZE, STATISTICS, Chipset

from s1s2.errors import ContractError, StoreError
from s1s2.loader.batches import Damaged, Feed
from s1s2.loader.chips import Said
from s1s2.loader.dataset import ChipDataset
from s1s2.loader.finish import View, plan
from s1s2.loader.hosts import ProcessHost
from s1s2.loader.order import Choice, Cut, Items, Orders
from s1s2.loader.ring import Slots

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 's1s2[torch]'")

from s1s2.loader.loader import Loader  # noqa: E402  # imports torch

N = 23


@pytest.fixture(scope="module")
def chipset(tmp_path_factory: pytest.TempPathFactory) -> Chipset:
    return Chipset(tmp_path_factory.mktemp("chips"), N)


def loader(
    chipset: Chipset,
    feed: Feed | None = None,
    *,
    view: View | None = None,
    chips: np.ndarray | None = None,
    shuffle: str = "full",
    direct: bool = True,
    device: str | None = None,
    **cut: Any,  # noqa: ANN401
) -> Loader:
    chosen = np.arange(chipset.n)[:, None] if chips is None else chips
    items = Items(chosen[:, 0] // chipset.per_shard, chosen[:, 0])
    return Loader(
        chipset.source(direct=direct),
        plan(view or View("normalised"), SIZE, STATISTICS),
        Choice(chosen, items, Orders(shuffle, seed=3)),  # type: ignore[arg-type]
        Cut(**{"batch_size": 4} | cut),
        feed or Feed(process=False),
        device,
    )


def chips_of(batches: Iterable[dict[str, Any]]) -> list[int]:
    return [int(chip) for batch in batches for chip in batch["chip"].flatten()]


@pytest.mark.parametrize(
    "view",
    [View("normalised"), View("raw", size="native", scl=True), View(dtype="bfloat16")],
    ids=repr,
)
def test_the_same_batches_for_any_thread_count_in_and_out_of_process(
    chipset: Chipset, view: View
) -> None:
    with loader(chipset, Feed(process=False, threads=1), view=view) as one:
        wanted = [{k: t.clone() for k, t in batch.items()} for batch in one]
    assert sorted(chips_of(wanted)) == list(range(N))
    ways = [(Feed(process=False, threads=t, ahead=t), True) for t in (2, 5)]
    ways += [(Feed(process=True, threads=t), True) for t in (1, 3)]
    ways += [(Feed(process=p), False) for p in (False, True)]
    for feed, direct in ways:
        with loader(chipset, feed, view=view, direct=direct) as other:
            for mine, its in zip(wanted, other, strict=True):
                assert mine.keys() == its.keys()
                for key, tensor in mine.items():
                    torch.testing.assert_close(tensor, its[key], rtol=0, atol=0, equal_nan=True)


def test_rows_hold_the_chips_they_say(chipset: Chipset) -> None:
    with loader(chipset, Feed(), view=View("raw", size="native", scl=True)) as found:
        for batch in found:
            for name in ("s2_10m", "s2_20m", "s1", "scl"):
                wanted = chipset.blocks[name][batch["chip"].numpy()]
                np.testing.assert_array_equal(batch[name].numpy(), wanted)


@pytest.mark.parametrize("process", [False, True])
@pytest.mark.parametrize("copy", [False, True])
def test_a_batch_that_is_held_stays_what_it_was(
    chipset: Chipset, *, process: bool, copy: bool
) -> None:
    raw = View("raw", size="native")
    with loader(chipset, Feed(process=process, copy=copy, ahead=1), view=raw) as found:
        held = [batch for _ in range(3) for batch in found]
        for batch in held:
            wanted = chipset.blocks["s1"][batch["chip"].numpy()]
            np.testing.assert_array_equal(batch["s1"].numpy(), wanted)
    pixel = held[0]["s1"][0, 0, 0, 0]
    held.clear()
    gc.collect()
    again = list(found)  # closed, so another host; whoever holds a pixel holds the slot
    assert len(again) == 6
    found.close()
    assert int(pixel) == int(chipset.blocks["s1"][_first_chip(chipset), 0, 0, 0])


def _first_chip(chipset: Chipset) -> int:
    with loader(chipset, view=View("raw")) as found:
        return chips_of([next(iter(found))])[0]


def test_a_loop_that_holds_nothing_uses_the_same_memory_again(chipset: Chipset) -> None:
    with loader(chipset, Feed(ahead=2), view=View("raw", size="native")) as found:
        places = {batch["s1"].data_ptr() for _ in range(3) for batch in found}
        assert len(places) <= 4
        assert found.memory_bytes >= 4 * 4 * SIZE * SIZE * (8 + 4 + 4)


@pytest.mark.parametrize("process", [False, True])
def test_a_loop_left_early_begins_the_next_epoch_afresh(chipset: Chipset, *, process: bool) -> None:
    with loader(chipset, Feed(process=process)) as found, loader(chipset) as other:
        next(iter(found))
        next(iter(other))
        assert chips_of(found) == chips_of(other)
        assert sorted(chips_of(found)) == list(range(N))
        first = iter(found)
        next(first)
        next(iter(found))
        with pytest.raises(ContractError, match="another pass"):
            next(first)


@pytest.mark.parametrize("process", [False, True])
def test_a_pass_that_was_ended_adds_nothing_to_the_one_that_goes_on(
    chipset: Chipset, *, process: bool
) -> None:
    with loader(chipset, Feed(process=process)) as found:
        found.set_epoch(4)
        wanted = chips_of(found)
        first = iter(found)
        next(first)
        found.set_epoch(4)
        second = iter(found)
        had = chips_of(next(second) for _ in range(5))  # nothing more is left to be asked for
        with pytest.raises(ContractError, match="another pass"):
            next(first)
        assert had + chips_of(second) == wanted
        third = iter(found)
        next(third)
        found.close()
        with pytest.raises(ContractError, match="it was closed"):
            next(third)


def test_a_wait_that_is_interrupted_leaves_no_answer_behind(
    chipset: Chipset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with loader(chipset) as found:
        begun = iter(found)
        next(begun)
        with monkeypatch.context() as patch:
            patch.setattr("s1s2.loader.hosts.wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                next(begun)
        assert sorted(chips_of(found)) == list(range(N))


@pytest.mark.parametrize("device", [None, "meta"])
def test_resumed_in_mid_epoch_exactly_what_was_left_comes(
    chipset: Chipset, device: str | None
) -> None:
    raw = View("raw", size="native")
    ways: list[dict[str, Any]] = [{}, {"batch_size": 7}, {"batch_size": 2, "world": 3}]
    for way in ways:
        whole = loader(chipset, view=raw, device=device)
        second = [chips_of(whole) for _ in range(2)][1]
        whole.set_epoch(1)
        begun = iter(whole)
        had = chips_of([next(begun) for _ in range(2)])
        state = pickle.loads(pickle.dumps(whole.state_dict()))
        assert state["epoch"] == 1
        rest: list[int] = []
        for rank in range(way.get("world", 1)):
            after = loader(chipset, view=raw, **way, rank=rank)
            after.load_state_dict(state)
            assert after.state_dict() == state
            part = chips_of(after)
            rest += part
            after.close()
        if not way:
            assert had + rest == second
        assert set(rest) == set(range(N)) - set(had)
        whole.close()


def test_resumed_alike_it_is_as_if_nothing_had_happened(chipset: Chipset) -> None:
    with loader(chipset) as whole, loader(chipset, Feed()) as after:
        orders = [chips_of(whole) for _ in range(3)]
        whole.set_epoch(1)
        begun = iter(whole)
        had = chips_of([next(begun) for _ in range(3)])
        after.load_state_dict(whole.state_dict())
        assert had + chips_of(after) == orders[1]
        assert chips_of(after) == orders[2]
        assert after.state_dict()["epoch"] == 3
    with (
        loader(chipset, shuffle="none") as other,
        pytest.raises(ContractError, match="other chips"),
    ):
        other.load_state_dict(whole.state_dict())


@pytest.mark.parametrize("world", [1, 2, 3, 5, 8])
def test_ranks_are_in_step_and_share_every_chip(chipset: Chipset, world: int) -> None:
    shares = []
    for rank in range(world):
        with loader(
            chipset, view=View("raw", ("VV",)), batch_size=2, rank=rank, world=world
        ) as found:
            batches = [batch["chip"].tolist() for batch in found]
            assert len(batches) == len(found)
            shares.append(batches)
    assert len({len(share) for share in shares}) == 1
    seen = [chip for share in shares for batch in share for chip in batch]
    assert set(seen) == set(range(N))
    assert len(seen) - N == found.repeated < world


def test_pairs_come_side_by_side(chipset: Chipset) -> None:
    pairs = np.array([[0, 7], [3, 4], [20, 1], [9, 22], [5, 6]])
    with loader(chipset, Feed(), chips=pairs, view=View("raw", ("VV", "VH"))) as found:
        rows = 0
        for batch in found:
            assert batch["s1"].shape == (2, batch["chip"].shape[1], 2, SIZE, SIZE)
            assert {tuple(p) for p in batch["chip"].T.tolist()} <= {
                tuple(p) for p in pairs.tolist()
            }
            np.testing.assert_array_equal(
                batch["s1"].numpy(), chipset.blocks["s1"][batch["chip"].numpy()]
            )
            rows += batch["chip"].shape[1]
        assert rows == 5


@pytest.fixture
def broken(tmp_path: Path) -> Chipset:
    """Chip 6, in shard 1, has one bit flipped in its radar."""
    mine = Chipset(tmp_path, N)
    path = mine.path("s1", 1)
    content = bytearray(path.read_bytes())
    content[len(content) // 5 + 40] ^= 4
    path.write_bytes(content)
    return mine


@pytest.mark.parametrize("process", [False, True])
def test_a_damaged_chip_is_an_error_or_left_out_and_counted(
    broken: Chipset, *, process: bool
) -> None:
    with (
        loader(broken, Feed(process=process)) as found,
        pytest.raises(StoreError, match=r"shard 1: chip 6 is damaged .*checksum"),
    ):
        chips_of(found)
    with loader(broken, Feed(process=process, damaged="skip")) as found:
        assert sorted(chips_of(found)) == [c for c in range(N) if c != 6]
        assert list(found.skipped) == [6]
        assert "checksum" in found.skipped[6]
        assert sum(len(b["s1"]) for b in found) == N - 1
    pairs = np.array([[6, 1], [2, 3]])
    with loader(broken, Feed(process=process, damaged="skip"), chips=pairs) as found:
        assert chips_of(found) == [2, 3]
    alone = np.array([[6]])
    with (
        loader(broken, Feed(process=process, damaged="skip"), chips=alone) as found,
        pytest.raises(StoreError, match="no chip of a whole batch"),
    ):
        chips_of(found)


def test_a_missing_shard_is_an_error_not_zeros(broken: Chipset) -> None:
    broken.path("s2_20m", 3).unlink()
    with (
        loader(broken, Feed(), chips=np.array([[16]])) as found,
        pytest.raises(StoreError, match=r"shard 3: chip 16 is damaged .*is missing"),
    ):
        chips_of(found)


@pytest.mark.parametrize("process", [False, True])
def test_a_shard_without_proof_is_an_error_or_left_out(chipset: Chipset, *, process: bool) -> None:
    def said_of(shard: int) -> Said:
        if shard == 2:
            msg = "receipts/00002.json is missing"
            raise StoreError(msg)
        return chipset.said_of(shard)

    def unproven(damaged: Damaged) -> Loader:
        made = loader(chipset, Feed(process=process, damaged=damaged))
        made._batches._source = replace(chipset.source(), said_of=said_of)
        return made

    with (
        unproven("raise") as found,
        pytest.raises(StoreError, match=r"chip 1\d .shard 2. is not proven: receipts/00002.json"),
    ):
        chips_of(found)
    with unproven("skip") as found:
        assert sorted(chips_of(found)) == [c for c in range(N) if c // 5 != 2]
        assert sorted(found.skipped) == [10, 11, 12, 13, 14]


def test_nothing_is_sent_for_ever_to_a_process_that_hangs(chipset: Chipset) -> None:
    wanted = plan(View("raw", ("VV",)), SIZE, STATISTICS)
    slots = Slots({o.key: (o.shape, o.dtype) for o in wanted.outputs}, 4, 3)
    host = ProcessHost(chipset.source(), wanted, slots, threads=1, timeout_s=0.5)
    host._process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(StoreError, match=r"no batch came within 0.5 s"):
            host.submit(0, list(range(N)) * 100_000)
    finally:
        host._process.kill()
        host.close()


def test_a_programs_own_timeout_of_sockets_is_none_of_ours(chipset: Chipset) -> None:
    """Python would make the pipe non-blocking: whatever is not there at once would be an error."""
    socket.setdefaulttimeout(5)
    try:
        with loader(chipset, Feed()) as found:
            next(iter(found))
            assert os.get_blocking(found._batches._host._pipe.fileno())
    finally:
        socket.setdefaulttimeout(None)


def test_a_dataset_shares_no_memory_between_threads(chipset: Chipset) -> None:
    wanted = plan(View("raw"), SIZE, STATISTICS)
    dataset = ChipDataset(chipset.source(), np.arange(N), wanted)
    mine = dataset._row()
    with ThreadPoolExecutor(1) as pool:
        theirs = pool.submit(dataset._row).result()
        assert theirs is not mine
        assert theirs._reading is mine._reading
        assert pool.submit(dataset._row).result() is theirs
    assert dataset._row() is mine
    assert pickle.loads(pickle.dumps(dataset))._mine is None


def _process(found: Loader) -> subprocess.Popen:
    process: subprocess.Popen = found._batches._host._process
    return process


def test_a_reading_process_that_dies_or_hangs_is_an_error_in_time(chipset: Chipset) -> None:
    with loader(chipset, Feed(ahead=1, timeout_s=1.5)) as found:
        begun = iter(found)
        next(begun)
        _process(found).send_signal(signal.SIGKILL)
        with pytest.raises(StoreError, match=r"ended .exit code -9"):
            list(begun)
        assert sorted(chips_of(found)) == list(range(N)), "another pass starts another process"
        begun = iter(found)
        next(begun)
        process = _process(found)
        process.send_signal(signal.SIGSTOP)
        since = time.monotonic()
        try:
            with pytest.raises(StoreError, match=r"no batch came within 1.5 s"):
                list(begun)
        finally:
            process.send_signal(signal.SIGCONT)
        assert time.monotonic() - since < 60
        process.wait(20)


def test_nobody_is_left_behind(chipset: Chipset) -> None:
    found = loader(chipset, Feed())
    next(iter(found))
    process = _process(found)
    found.close()
    assert process.returncode == 0
    found = loader(chipset, Feed())
    next(iter(found))
    process = _process(found)
    del found
    gc.collect()
    assert process.poll() is not None, "without close, too"


SCRIPT = """
    import os, signal, sys
    sys.path[:0] = {path!r}
    from pathlib import Path
    import pickle
    from test_loader_script import make
    loader = make()
    first = next(iter(loader))
    print(loader._batches._host._process.pid, flush=True)
    {end}
"""


@pytest.mark.parametrize(
    "end", ["os.kill(os.getpid(), signal.SIGKILL)", "raise KeyboardInterrupt", "pass"]
)
def test_a_plain_script_needs_no_guard_and_its_reader_ends_with_it(
    chipset: Chipset, tmp_path: Path, end: str
) -> None:
    (tmp_path / "test_loader_script.py").write_text(
        textwrap.dedent(f"""
        import pickle
        from s1s2.loader.batches import Feed
        def make():
            from test_loader import loader
            return loader(pickle.loads({pickle.dumps(chipset)!r}), Feed())
        """)
    )
    script = tmp_path / "train.py"
    path = [str(tmp_path), *sys.path, str(Path(__file__).parent)]
    script.write_text(textwrap.dedent(SCRIPT).format(path=path, end=end))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    reader = int(done.stdout.split()[0])
    deadline = time.monotonic() + 20
    while Path(f"/proc/{reader}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{reader}").exists()
    assert "bootstrapping" not in done.stderr


@pytest.mark.parametrize("process", [False, True])
def test_a_fork_reads_with_a_host_of_its_own(chipset: Chipset, *, process: bool) -> None:
    with loader(chipset, Feed(process=process), view=View("raw", ("VV",))) as found:
        found.set_epoch(5)
        wanted = chips_of(found)
        child = os.fork()
        if not child:
            code = 1
            try:
                found.set_epoch(5)
                code = int(chips_of(found) != wanted)
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert sorted(chips_of(found)) == list(range(N)), "ours goes on"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"threads": 0}, "threads 0"),
        ({"timeout_s": 0}, "timeout_s 0"),
        ({"timeout_s": float("inf")}, "timeout_s inf"),
        ({"damaged": "zero"}, "damaged 'zero'"),
    ],
)
def test_feeds_that_cannot_be_are_refused(wrong: dict, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        Feed(**wrong)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(
    "view", [View("normalised"), View(), View("raw"), View(dtype="bfloat16")], ids=repr
)
def test_on_cuda_the_same_batches_while_the_loop_works(chipset: Chipset, view: View) -> None:
    with (
        loader(chipset, view=view) as here,
        loader(chipset, Feed(), view=view, device="cuda") as there,
    ):
        for mine, its in zip(here, there, strict=True):
            torch.randn(2000, 2000, device="cuda") @ torch.randn(2000, 2000, device="cuda")
            assert mine["chip"].equal(its["chip"])
            for key in ("s2", "s1"):
                assert its[key].is_cuda
                near = 1e-2 if view.dtype == "bfloat16" else 2e-6
                torch.testing.assert_close(
                    its[key].cpu(), mine[key], rtol=near, atol=1e-6, equal_nan=True
                )
