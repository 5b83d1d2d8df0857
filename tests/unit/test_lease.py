"""One builder at a time: who holds a lease, when it ends, and when it is taken over."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from s1s2 import lease
from s1s2.errors import HeldError
from s1s2.layout import Folder

HOLD = """
import sys, time
from pathlib import Path
from s1s2 import lease
from s1s2.layout import Folder
with lease.of_corpus(Folder(Path(sys.argv[1])), "build"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "corpus")


@contextmanager
def other_holder(folder: Folder) -> Iterator[int]:
    """Let another process hold a corpus; its number."""
    line = [sys.executable, "-c", HOLD, str(folder.root)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process.pid
        finally:
            process.kill()


def note(folder: Folder) -> Path:
    return folder.root / ".leases" / "corpus"


def test_second_is_told_who_holds_it(folder: Folder) -> None:
    with other_holder(folder) as number:
        with (
            pytest.raises(HeldError, match=rf"held: build, process {number} on .*, since 20"),
            lease.of_corpus(folder, "build"),
        ):
            pass
        assert str(lease.holder_of(folder)).startswith(f"build, process {number} on ")


def test_killed_holder_is_followed_at_once(folder: Folder) -> None:
    with other_holder(folder):
        pass
    assert note(folder).exists()
    assert lease.holder_of(folder) is None
    with lease.of_corpus(folder, "build") as held:
        assert held.holder.pid == os.getpid()
    assert not note(folder).parent.exists()


def test_leaves_no_empty_folders_behind(tmp_path: Path) -> None:
    with lease.of_corpus(Folder(tmp_path / "a" / "b"), "build"):
        assert (tmp_path / "a" / "b").exists()
    assert not (tmp_path / "a").exists()


def test_waits_for_another(folder: Folder) -> None:
    with other_holder(folder) as number:
        os.kill(number, signal.SIGTERM)
        with lease.of_corpus(folder, "build", patience_s=10):
            pass


def test_shards_are_held_apart(folder: Folder) -> None:
    with (
        lease.of_shard(folder, 1),
        lease.of_shard(folder, 2),
        pytest.raises(HeldError, match="held: shard 1, process"),
        lease.of_shards(folder, range(3), patience_s=0),
    ):
        pass
    with lease.of_shards(folder, range(3), patience_s=0):
        pass


def foreign(folder: Folder, age_s: float) -> None:
    """Leave the lease of another machine, whose lock does not reach us."""
    said = {"token": "a", "host": "elsewhere", "pid": 1, "since": "2026-01-01", "doing": "build"}
    note(folder).parent.mkdir(parents=True)
    note(folder).write_text(json.dumps(said))
    os.utime(note(folder), (time.time() - age_s,) * 2)


def test_heart_that_beats_elsewhere_is_believed(folder: Folder) -> None:
    foreign(folder, lease.STALE_S - 30)
    with pytest.raises(HeldError, match="process 1 on elsewhere"), lease.of_corpus(folder, "build"):
        pass


def test_heart_that_stopped_elsewhere_is_not(folder: Folder) -> None:
    foreign(folder, lease.STALE_S + 30)
    with lease.of_corpus(folder, "build"):
        pass


def test_without_locks_the_heartbeat_decides(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    with (
        lease.of_corpus(folder, "build"),
        pytest.raises(HeldError),
        lease.of_corpus(folder, "build"),
    ):
        pass


def test_heart_beats(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.02)
    with lease.of_corpus(folder, "build"):
        os.utime(note(folder), (0, 0))
        until = time.monotonic() + 10
        while note(folder).stat().st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert note(folder).stat().st_mtime > 0


def test_who_was_silent_too_long_stops(folder: Folder) -> None:
    with lease.of_corpus(folder, "build") as held:
        held.check()
        note(folder).unlink()
        note(folder).write_text(json.dumps(held.holder.__dict__ | {"token": "b", "pid": 7}))
        with pytest.raises(HeldError, match="taken over by build, process 7"):
            held.check()
    assert note(folder).exists(), "the lease of who took over is not ours to remove"


def test_killed_while_writing_holds_nothing(folder: Folder) -> None:
    note(folder).parent.mkdir(parents=True)
    note(folder).write_bytes(b'{"token": "a", "ho')
    with lease.of_corpus(folder, "build"):
        pass
