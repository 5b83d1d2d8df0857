"""Where the reading is done: threads of this process, or a process of its own.

A training loop written in Python holds the interpreter's lock most of the time, and threads that
share it are starved (to a fiftieth, measured). A process of its own is not; only the numbers of
slots travel. It is started as a fresh program, so it needs no `if __name__ == "__main__"`, may be
begun in a forked or a daemonic process, and ends when its owner does, however that ends.
"""

import os
import socket
import struct
import subprocess
import sys
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from s1s2.errors import StoreError, UnreachableError
from s1s2.loader.chips import BEGUN_AHEAD, ChipReader, Reading, Remote, Said
from s1s2.loader.fill import Failures, Filler
from s1s2.loader.finish import Plan
from s1s2.loader.ring import Slots
from s1s2.loader.shards import ArrayForm

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_PACKED_AT_MOST = 4
"""So many times smaller than their numbers are encoded chips, at most, for all we reckon."""
_NAMED_AT_MOST = 4096
"""Chips named before they are asked for: each batch names them, and that takes time, too."""
_END_WITHIN_S = 5.0
"""How long a reading process may take to end before it is killed."""


@dataclass(frozen=True)
class Source:
    """The corpus to read."""

    forms: tuple[ArrayForm, ...]
    """How its arrays lie in their shards; none where zarr-python must read them."""
    root: str
    """Its folder, or its URL."""
    per_shard: int
    """Chips in a shard."""
    said_of: Callable[[int], Said]
    """Of a shard, by array: its file, and the size its receipt says; not asked of a URL."""
    remote: Remote | None = None
    """What reading below a URL needs; None for a folder."""

    def fed(self, hold_mb: int, requests: int) -> "Source":
        """Return it with other numbers for reading below a URL."""
        if self.remote is None:
            return self
        return replace(self, remote=replace(self.remote, hold_mb=hold_mb, requests=requests))

    def reach(self, plan: Plan) -> int:
        """Return how many chips it is of use to name before they are asked for."""
        if self.remote is None:
            return 0
        raw = sum(int(np.prod(shape)) * np.dtype(t).itemsize for shape, t in plan.stored.values())
        many = _PACKED_AT_MOST * self.remote.hold_mb * 1_000_000 // raw
        return max(BEGUN_AHEAD, min(many, _NAMED_AT_MOST))

    def reading(self, timeout_s: float = 120.0) -> Reading:
        """Return what reads its chips.

        Raises:
            StoreError: If it is a URL, and this process was forked from one that has read such.
        """
        # none of these is imported before it is needed: a reading process begins in no time
        if self.remote is not None:
            from s1s2.loader.chips.ahead import AheadReader  # noqa: PLC0415
            from s1s2.loader.chips.objects import Published  # noqa: PLC0415

            corpus = Published(self.root, self.forms, self.remote.proofs, timeout_s / 2)
            hold = self.remote.hold_mb * 1_000_000
            return AheadReader(corpus, self.forms, hold, self.remote.requests, timeout_s)
        if self.forms:
            return ChipReader(self.forms, self.said_of)
        from s1s2.loader.zarr_reader import ZarrReader  # noqa: PLC0415

        return ZarrReader(Path(self.root), self.per_shard, self.said_of)


class Host(Protocol):
    """Fills slots in the order they were asked for."""

    def submit(self, slot: int, chips: Sequence[int], coming: Sequence[int] = ()) -> None:
        """Ask for the first rows of a slot to be filled, and name those that come later."""
        ...

    def result(self) -> tuple[int, Failures]:
        """Wait for the slot asked for first, and say which of its rows failed.

        Raises:
            StoreError: If it takes too long, or can never come.
            UnreachableError: If the store that it comes from does not answer, or refuses.
        """
        ...

    def close(self) -> None:
        """End all reading."""
        ...


class ThreadHost:
    """Reads with threads of this process; `timeout_s` is the longest wait for one slot."""

    def __init__(
        self, source: Source, plan: Plan, slots: Slots, threads: int, timeout_s: float
    ) -> None:
        self._timeout_s = timeout_s
        self._filler = Filler(source.reading(timeout_s), plan, slots, threads)
        self._asked: deque[tuple[int, list[Future[Failures]]]] = deque()

    def submit(self, slot: int, chips: Sequence[int], coming: Sequence[int] = ()) -> None:
        """Ask for the first rows of a slot to be filled, and name those that come later."""
        self._asked.append((slot, self._filler.start(slot, chips, coming)))

    def result(self) -> tuple[int, Failures]:
        """Wait for the slot asked for first.

        Raises:
            StoreError, UnreachableError: As `Host.result`.
        """
        slot, tasks = self._asked.popleft()
        if wait(tasks, self._timeout_s).not_done:
            raise _late(self._timeout_s, "the reading threads")
        return slot, [failure for task in tasks for failure in task.result()]

    def close(self) -> None:
        """End all reading."""
        self._filler.close()


class ProcessHost:
    """Reads in a process of its own; `timeout_s` is the longest wait for it, either way."""

    def __init__(
        self, source: Source, plan: Plan, slots: Slots, threads: int, timeout_s: float
    ) -> None:
        self._source, self._timeout_s = source, timeout_s
        self._told: set[int] = set()
        ours, theirs = Pipe()
        _limit(ours.fileno(), timeout_s)
        with theirs:
            descriptors = (theirs.fileno(), slots.descriptor)
            self._process = subprocess.Popen(  # noqa: S603  # this interpreter, this module
                [sys.executable, "-P", "-m", "s1s2.loader", str(theirs.fileno())],
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        self._pipe = ours
        self._end = weakref.finalize(self, _end, os.getpid(), self._process, ours)
        self._send({
            "forms": [asdict(form) for form in source.forms],
            "root": source.root,
            "per_shard": source.per_shard,
            "plan": plan.to_json(),
            "slots": (slots.fields, slots.rows, slots.count, slots.descriptor),
            "threads": threads,
            "timeout_s": timeout_s,
            "remote": None if source.remote is None else asdict(source.remote),
        })  # fmt: skip

    def submit(self, slot: int, chips: Sequence[int], coming: Sequence[int] = ()) -> None:
        """Ask for the first rows of a slot to be filled, and name those that come later."""
        shards = set()
        if self._source.remote is None:  # else the process fetches receipts itself
            shards = {chip // self._source.per_shard for chip in chips} - self._told
        said = {shard: self._said_of(shard) for shard in sorted(shards)}
        self._told |= {shard for shard, found in said.items() if not isinstance(found, str)}
        self._send((slot, list(chips), list(coming), said))

    def _said_of(self, shard: int) -> dict[str, tuple[str, int]] | str:
        """Return what a shard's receipt says, or why it cannot be trusted: its chips then fail."""
        try:
            return dict(self._source.said_of(shard))
        except StoreError as error:
            return str(error)

    def result(self) -> tuple[int, Failures]:
        """Wait for the slot asked for first.

        Raises:
            StoreError, UnreachableError: As `Host.result`; or if the process is gone.
        """
        try:
            if not self._pipe.poll(self._timeout_s):
                raise self._hangs()
            answer = self._pipe.recv()
        except BlockingIOError as error:
            raise self._hangs() from error
        except (EOFError, OSError) as error:
            raise self._gone() from error
        if isinstance(answer, str):
            msg = f"the reading process failed: {answer}"
            raise StoreError(msg)
        slot, failures = answer
        if isinstance(failures, str):
            raise UnreachableError(failures)
        return slot, failures

    def close(self) -> None:
        """End the process."""
        self._end()

    def _send(self, message: object) -> None:
        try:
            self._pipe.send(message)
        except BlockingIOError as error:
            raise self._hangs() from error
        except OSError as error:
            raise self._gone() from error

    def _hangs(self) -> StoreError:
        return _late(self._timeout_s, f"the reading process {self._process.pid}")

    def _gone(self) -> StoreError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_WITHIN_S)
        msg = (
            f"the reading process {self._process.pid} ended (exit code {self._process.returncode}; "
            "-9: killed, perhaps for memory); make the batches smaller, or read with "
            "Feed(process=False)"
        )
        return StoreError(msg)


def _limit(descriptor: int, timeout_s: float) -> None:
    """Let no call on one end of a pipe wait longer: a process that hangs reads and writes nothing.

    A message may be longer than what the system holds for it; such a call then ends with
    BlockingIOError.
    """
    seconds, rest = divmod(timeout_s, 1)
    most = struct.pack("ll", int(seconds), max(1, int(rest * 1e6)))
    with socket.socket(fileno=os.dup(descriptor)) as end:
        end.setblocking(True)  # whatever the program made the default of its sockets
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, most)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, most)


def _end(owner: int, process: "subprocess.Popen[bytes]", pipe: "Connection[Any, Any]") -> None:
    """End a reading process, unless we are but a fork of its owner."""
    pipe.close()
    if os.getpid() != owner:
        return
    try:
        process.wait(_END_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _late(timeout_s: float, who: str) -> StoreError:
    msg = (
        f"no batch came within {timeout_s:g} s from {who}: the disk or store may hang, or be much "
        "slower than that; Feed(timeout_s=...) waits longer"
    )
    return StoreError(msg)
