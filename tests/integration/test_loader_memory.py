"""A corpus many times the loader's memory is read within that memory, cached by the system or not.

What a process holds is asked of Linux: VmHWM, the most it ever held, set back between passes.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from chipsets import SIZE, STATISTICS, Chipset

from s1s2.loader.batches import Feed
from s1s2.loader.finish import View, plan
from s1s2.loader.order import Choice, Cut, Items, Orders

pytest.importorskip("torch", reason="torch is not installed: pip install 's1s2[torch]'")

from s1s2.loader.loader import Loader  # imports torch

N, PER_SHARD = 1_200, 128
BASE_BYTES = 12_000_000
"""What a process may come to hold beside the ring while it reads: threads, places, buffers."""
TIMES = 4
"""The corpus is at least so many times as large as all that may be held."""


def _can_be_asked() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


pytestmark = pytest.mark.skipif(
    not _can_be_asked(), reason="this system does not tell the most a process ever held"
)


@pytest.fixture(scope="module")
def chipset(tmp_path_factory: pytest.TempPathFactory) -> Chipset:
    return Chipset(tmp_path_factory.mktemp("memory"), N, PER_SHARD)


def loader(chipset: Chipset, *, process: bool) -> Loader:
    chosen = np.arange(chipset.n)[:, None]
    return Loader(
        chipset.source(),
        plan(View("raw", size="native", scl=True), SIZE, STATISTICS),
        Choice(chosen, Items(chosen[:, 0] // PER_SHARD, chosen[:, 0]), Orders("full", seed=3)),
        Cut(batch_size=16),
        Feed(process=process, threads=2),
    )


def held(pid: int, what: str) -> int:
    """Bytes a process holds now (VmRSS), or the most it ever held (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(f"{what}:")[1].split()[0]) * 1024


def reader_of(found: Loader) -> int:
    """The process that reads."""
    host = found._batches._host
    return int(getattr(host, "_process").pid) if hasattr(host, "_process") else os.getpid()  # noqa: B009


def an_epoch(found: Loader) -> Iterator[tuple[list[int], str]]:
    """Yield of every batch its chips, and a digest of its pixels; none of them is kept."""
    for batch in found:
        digest = hashlib.sha256()
        for name in sorted(batch):
            digest.update(batch[name].numpy())
        yield batch["chip"].tolist(), digest.hexdigest()


def forget(folder: Path) -> int:
    """Let the system forget the files of a folder; return how many of them it did forget."""
    gone = 0
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)  # what is not on the disk yet is never dropped
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            try:
                os.preadv(descriptor, [bytearray(1)], 0, os.RWF_NOWAIT)
            except BlockingIOError:  # it would have to ask the disk
                gone += 1
            except OSError:  # a file system that lies in memory cannot be asked
                pass
            os.close(descriptor)
    return gone


@pytest.mark.parametrize("process", [True, False], ids=["a process of its own", "threads"])
def test_an_epoch_takes_the_ring_and_no_more_however_large_the_corpus(
    chipset: Chipset, *, process: bool
) -> None:
    files = sum(p.stat().st_size for p in chipset.folder.zarr.rglob("*") if p.is_file())
    with loader(chipset, process=process) as found:
        assert files > TIMES * (found.memory_bytes + BASE_BYTES)
        batches = an_epoch(found)
        seen = len(next(batches)[0])  # what is imported and begun once is there now
        reader = reader_of(found)
        assert (reader != os.getpid()) == process
        before = held(reader, "VmRSS")
        Path(f"/proc/{reader}/clear_refs").write_text("5")
        seen += sum(len(chips) for chips, _ in batches)
        grown = held(reader, "VmHWM") - before
    assert seen == N
    assert grown < found.memory_bytes + BASE_BYTES, f"{grown / 1e6:.0f} MB"


def test_batches_are_the_same_once_the_system_has_forgotten_the_files(chipset: Chipset) -> None:
    with loader(chipset, process=True) as found:
        warm = list(an_epoch(found))
        assert sorted(chip for chips, _ in warm for chip in chips) == list(range(N))
        if not forget(chipset.folder.zarr):
            pytest.skip("the files lie on a file system that forgets nothing: set TMPDIR to a disk")
        found.set_epoch(0)
        reader = held(reader_of(found), "VmRSS")
        Path(f"/proc/{reader_of(found)}/clear_refs").write_text("5")
        assert list(an_epoch(found)) == warm
        assert held(reader_of(found), "VmHWM") - reader < found.memory_bytes + BASE_BYTES
