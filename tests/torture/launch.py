"""Run the command line in a forked process that has imported everything and used none of it.

A run costs what it does and no start of Python, so thousands of them are affordable.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkstemp

from torture import strikes
from torture.strikes import Strike

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        *("pytest", "planetary_computer", "pyogrio", "s1s2.build", "s1s2.cli", "s1s2.commands"),
        *("s1s2.load", "s1s2.repair", "s1s2.serving", "s1s2.show"),
    ]
)
KILLED = -signal.SIGKILL


@dataclass(frozen=True)
class Order:
    """One command to run."""

    line: tuple[str, ...]
    folder: Path
    """The corpus, whose changes are counted."""
    environment: dict[str, str] = field(default_factory=dict)
    strike: Strike | None = None
    before: Callable[[], None] | None = None
    """Called in the process before anything else; a function of a module."""


@dataclass(frozen=True)
class Ended:
    """What became of a command."""

    code: int
    """Its exit code; minus the signal that ended it."""
    said: str
    seconds: float

    @property
    def struck(self) -> bool:
        """Whether it lived to the change at which it was to be struck."""
        return strikes.MARK in self.said


class Running:
    """A command under way."""

    def __init__(self, order: Order) -> None:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads do not survive a fork
        file, name = mkstemp(prefix="said-", suffix=".log")
        os.close(file)
        self._said, self._began = Path(name), time.monotonic()
        self._process = _CONTEXT.Process(target=_obey, args=(order, name))
        self._process.start()

    @property
    def pid(self) -> int:
        """Number of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def says(self, words: str, patience_s: float = 60.0) -> bool:
        """Wait until it says something; False if it ended before."""
        until = time.monotonic() + patience_s
        while words not in self._said.read_text(errors="replace"):
            if not self._process.is_alive():
                return words in self._said.read_text(errors="replace")
            assert time.monotonic() < until, f"never said {words!r}"
            time.sleep(0.005)
        return True

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def end(self, patience_s: float = 120.0) -> Ended:
        """Wait until it has ended; kill it and fail if that takes too long."""
        self._process.join(patience_s)
        seconds = time.monotonic() - self._began
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        code = self._process.exitcode
        self._process.close()
        said = self._said.read_text(errors="replace")
        self._said.unlink()
        assert code is not None
        assert seconds < patience_s, f"it did not end within {patience_s} s:\n{said}"
        return Ended(code, said, seconds)


def run(order: Order, kill_after_s: float | None = None) -> Ended:
    """Run a command to its end, or kill it after a while."""
    running = Running(order)
    if kill_after_s is not None:
        running._process.join(kill_after_s)
        running._process.kill()
    return running.end()


def _obey(order: Order, log: str) -> None:
    """Be the command: its output goes to the log, its exit code is the process'."""
    multiprocessing.set_start_method("fork", force=True)  # as in a process started by hand
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ |= order.environment
    sys.argv = ["s1s2", *order.line]
    if order.before:
        order.before()
    from s1s2.cli import entry

    with strikes.struck(order.folder, order.strike) if order.strike else nullcontext():
        entry()
