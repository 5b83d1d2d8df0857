"""Who works on a corpus, or on one of its shards: one builder at a time.

The kernel's lock on a file decides: it ends with the process that holds it, however that ends.
What the file says tells the others who that is. Where a lock does not reach other machines (NFS
without its lock service, Lustre with local locks) the holder's heartbeat does: as long as the file
is touched, a holder on another machine is believed. Two builders that slip through both
cost work, never data: shards are written whole, and the same bytes by whoever fills them.
"""

import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

from s1s2.errors import HeldError
from s1s2.files import unwritable
from s1s2.layout import Folder

HEARTBEAT_S = 20.0
STALE_S = 600.0
"""A holder on another machine whose file was not touched for so long is taken for dead."""
_POLL_S = 0.5
_UNLOCKABLE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_MOST_BYTES = 4096


@dataclass(frozen=True)
class Holder:
    """Who holds a lease."""

    token: str
    """Drawn at random for every lease: tells our own from another's."""
    host: str
    pid: int
    since: str
    """UTC, ISO 8601."""
    doing: str

    def __str__(self) -> str:
        return f"{self.doing}, process {self.pid} on {self.host}, since {self.since}"


class Lease:
    """A lease that is held; `check` raises once it is not."""

    def __init__(self, path: Path, file: int, holder: Holder, made: list[Path]) -> None:
        self._path, self._file, self.holder, self._made = path, file, holder, made
        self._ended = threading.Event()
        self._beat = threading.Thread(target=self._touch, name="heartbeat", daemon=True)
        self._beat.start()

    def _touch(self) -> None:
        while not self._ended.wait(HEARTBEAT_S):
            with suppress(OSError):  # a full or absent disk: `check` and the next write will tell
                os.utime(self._file)

    def check(self) -> None:
        """Make sure that the lease is still ours.

        Raises:
            HeldError: If another took it over, because we were silent for too long.
        """
        found = _read(self._path)
        if found is None or found.token != self.holder.token:
            msg = f"{self._path}: taken over by {found or 'somebody'}; this process stops"
            raise HeldError(msg)

    def release(self) -> None:
        """Give the lease back; the file goes, unless it is no longer ours."""
        self._ended.set()
        self._beat.join()
        found = _read(self._path)
        if found is not None and found.token == self.holder.token:
            self._path.unlink(missing_ok=True)
        os.close(self._file)
        with suppress(OSError):  # the last one turns off the light; a corpus is not empty
            for folder in (self._path.parent, *self._made):
                folder.rmdir()


@contextmanager
def of_corpus(folder: Folder, doing: str, patience_s: float = 0.0) -> Iterator[Lease]:
    """Hold a whole corpus: its tables, its receipts together, `corpus.json`.

    Args:
        folder: The corpus.
        doing: What for, in a word or two: others are told.
        patience_s: How long to wait for another holder.

    Raises:
        HeldError: If another holds it; says who.
        StoreError: If the folder cannot be written.
    """
    with _held(_place(folder, "corpus"), doing, patience_s) as lease:
        yield lease


@contextmanager
def of_shard(folder: Folder, shard: int, patience_s: float = 0.0) -> Iterator[Lease]:
    """Hold one shard; see `of_corpus`."""
    with _held(_place(folder, f"{shard:05d}"), f"shard {shard}", patience_s) as lease:
        yield lease


@contextmanager
def of_shards(folder: Folder, shards: range, patience_s: float) -> Iterator[None]:
    """Hold several shards at once, in order; see `of_corpus`."""
    with ExitStack() as stack:
        for shard in shards:
            stack.enter_context(of_shard(folder, shard, patience_s))
        yield


def holder_of(folder: Folder) -> Holder | None:
    """Return who holds a corpus at this moment; None where nobody does, or left it by dying."""
    path = _place(folder, "corpus")
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        locked = _locked(file, fcntl.LOCK_SH)
        found = _parse(os.pread(file, _MOST_BYTES, 0))
        return None if _is_over(found, file, path, locked=locked) else found
    finally:
        os.close(file)


def _place(folder: Folder, name: str) -> Path:
    return folder.root / ".leases" / name


@contextmanager
def _held(path: Path, doing: str, patience_s: float) -> Iterator[Lease]:
    lease = _acquire(path, doing, time.monotonic() + patience_s)
    try:
        yield lease
    finally:
        lease.release()


def _acquire(path: Path, doing: str, until: float) -> Lease:
    """Try until it works or the time is over."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    ours = Holder(token_hex(8), socket.gethostname(), os.getpid(), since, doing)
    while True:
        try:
            lease, other = _attempt(path, ours)
        except OSError as error:
            raise unwritable(path, error) from error
        if lease is not None:
            return lease
        if time.monotonic() >= until:
            msg = f"{path.parent.parent} is held: {other or 'by a process that just began'}"
            raise HeldError(msg)
        time.sleep(_POLL_S)


def _attempt(path: Path, ours: Holder) -> tuple[Lease | None, Holder | None]:
    """Try once; return the lease, or who has it."""
    root = path.parent.parent
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    keep = False
    try:
        locked = _locked(file, fcntl.LOCK_EX)
        there = _parse(os.pread(file, _MOST_BYTES, 0))
        if not _is_over(there, file, path, locked=locked) or not _is_at(file, path):
            return None, there
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(asdict(ours)).encode(), 0)
        os.fsync(file)
        keep = True
        return Lease(path, file, ours, made), None
    finally:
        if not keep:
            os.close(file)


def _locked(file: int, how: int) -> bool | None:
    """Take the kernel's lock; False if another has it, None where files cannot be locked."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNLOCKABLE:
            raise
        return None
    return True


def _is_over(holder: Holder | None, file: int, path: Path, *, locked: bool | None) -> bool:
    """Say whether nobody holds a lease any more, by its lock, or by its heartbeat."""
    if locked is False:
        return False
    if holder is None or (locked and holder.host == socket.gethostname()):
        return True
    return _now(path.parent) - os.fstat(file).st_mtime > STALE_S


def _now(folder: Path) -> float:
    """Return the time by the clock that stamps the files of a folder: the server's, not ours."""
    probe = folder / f".{token_hex(4)}.partial"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _is_at(file: int, path: Path) -> bool:
    """Say whether an open file is still the one at its path: its last holder removes it."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file), path.stat())
    return False


def _read(path: Path) -> Holder | None:
    try:
        return _parse(path.read_bytes()[:_MOST_BYTES])
    except OSError:
        return None


def _parse(content: bytes) -> Holder | None:
    """Return who wrote a lease; None if nobody did, or was killed while writing."""
    try:
        said = json.loads(content)
        return Holder(said["token"], said["host"], int(said["pid"]), said["since"], said["doing"])
    except (ValueError, KeyError, TypeError):
        return None
