"""Harm to a process at a chosen change of its folder: killed, frozen, or told that the disk fails.

Every change below the folder is counted: files opened for writing, flushed, renamed, removed;
folders made and removed. So "the k-th" names the same moment in every run of the same build.
"""

import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MARK = "harness: struck at"
"""What a process says as it is struck."""
COUNTED = re.compile(r"harness: (\d+) changes")
"""What it says as it ends by itself."""
_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate"}
_FLUSH = "harness.fsync"
_SIGNALS = {"stop": signal.SIGSTOP, "term": signal.SIGTERM}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Strike:
    """What happens at which change."""

    at: int
    """From 0."""
    how: str
    """`kill` (what was not flushed is lost), `stop` (frozen), `term`, or the name of an errno."""


class Striker:
    """An audit hook that strikes once."""

    def __init__(self, folder: Path, strike: Strike) -> None:
        self._folder, self._strike = f"{folder}{os.sep}", strike
        self.changes = 0
        """So many there were."""
        self._lock = threading.Lock()

    def __call__(self, event: str, given: tuple[object, ...]) -> None:
        """Count a change; strike if it is the one."""
        place = _changed(event, given)
        if place is None or not f"{place}{os.sep}".startswith(self._folder):
            return
        with self._lock:
            number, self.changes = self.changes, self.changes + 1
        if number == self._strike.at:
            self._now(event, place)

    def _now(self, event: str, place: str) -> None:
        at, how = self._strike.at, self._strike.how
        _say(f"{MARK} change {at}, {how}: {event} {place}")
        if how == "kill":
            if event == _FLUSH:
                os.truncate(place, Path(place).stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        elif how in _SIGNALS:
            os.kill(os.getpid(), _SIGNALS[how])
        else:
            code = getattr(errno, how)
            raise OSError(code, os.strerror(code), place)


@contextmanager
def struck(folder: Path, strike: Strike) -> Iterator[None]:
    """Let this process be struck, and say in the end how many changes there were; no way back."""
    striker = Striker(folder, strike)
    os.fsync = _told(os.fsync)  # it is the one change that Python does not announce
    sys.addaudithook(striker)
    try:
        yield
    finally:
        _say(f"harness: {striker.changes} changes")


def _say(line: str) -> None:
    os.write(2, f"\n{line}\n".encode())


def _told(fsync: Callable[[int], None]) -> Callable[[int], None]:
    def announced(file: int) -> None:
        sys.audit(_FLUSH, _opened(file))
        fsync(file)

    return announced


def _changed(event: str, given: tuple[object, ...]) -> str | None:
    """Return the path that an event is about to change, if it is such an event."""
    if event == "open":
        path, _, flags = given
        if not isinstance(flags, int) or not flags & _WRITES:
            return None
        return _absolute(path, -1)
    if event in _CHANGES or event == _FLUSH:
        folders = [g for g in given[1:] if isinstance(g, int)]
        return _absolute(given[0], folders[0] if event in ("os.remove", "os.rmdir") else -1)
    return None


def _absolute(path: object, folder: int) -> str | None:
    if not isinstance(path, str | bytes | os.PathLike):
        return None  # an open file: a lease that is touched
    beneath = Path(_opened(folder)) if folder >= 0 else Path.cwd()
    return str(beneath / os.fsdecode(path))


def _opened(file: int) -> str:
    """Return the path of an open file or folder."""
    return str(Path(f"/proc/self/fd/{file}").readlink())
