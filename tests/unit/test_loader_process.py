"""The reading process from within: slots overlap, answers keep their order."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing import Pipe
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from chipsets import Chipset

from s1s2.errors import UnreachableError
from s1s2.loader import __main__ as process
from s1s2.loader.finish import View, plan
from s1s2.loader.ring import Slots

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

SOON_S = 10.0


class Slow:
    """In place of a filler: a slot is filled when the test says so."""

    begun: SimpleQueue[tuple[int, Future[list[tuple[int, str]]]]] = SimpleQueue()

    def __init__(self, *_: object) -> None: ...

    def start(self, slot: int, chips: Sequence[int], coming: Sequence[int]) -> list[Future[Any]]:
        del chips, coming
        task: Future[list[tuple[int, str]]] = Future()
        self.begun.put((slot, task))
        return [task]

    def close(self) -> None: ...


@contextmanager
def serving(root: Path) -> Iterator["Connection[Any, Any]"]:
    source, wanted = Chipset(root, 4).source(), plan(View("raw", size="native"), 32, {})
    slots = Slots({o.key: (o.shape, o.dtype) for o in wanted.outputs}, 2, 4)
    ours, theirs = Pipe()

    def serve() -> None:
        try:
            process._serve(theirs, os.getppid())
        except EOFError:
            theirs.close()

    thread = Thread(target=serve, daemon=True)
    thread.start()
    ours.send({
        "forms": [asdict(form) for form in source.forms], "root": source.root, "per_shard": 5,
        "plan": wanted.to_json(), "slots": (slots.fields, 2, 4, os.dup(slots.descriptor)),
        "threads": 1, "timeout_s": SOON_S, "remote": None,
    })  # fmt: skip
    try:
        yield ours
    finally:
        ours.close()
        thread.join(SOON_S)
    assert not thread.is_alive()


def test_a_slot_is_begun_before_the_one_before_it_is_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else all threads wait, once a batch, for the slowest of them."""
    monkeypatch.setattr(process, "Filler", Slow)
    with serving(tmp_path) as pipe:
        for slot in (3, 1):
            pipe.send((slot, [0, 1], [], {0: {}}))
        first, second = (Slow.begun.get(timeout=SOON_S) for _ in range(2))
        assert (first[0], second[0]) == (3, 1)
        second[1].set_result([(1, "damaged")])
        assert not pipe.poll(0.2), "answered out of turn"
        first[1].set_result([])
        assert [pipe.recv() for _ in range(2)] == [(3, []), (1, [(1, "damaged")])]


class Panic(BaseException):
    """As libraries written in Rust raise."""


@pytest.mark.parametrize("error", [MemoryError("no room"), Panic("no room")])
def test_what_nobody_foresaw_is_said_to_the_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(process, "Filler", Slow)
    with serving(tmp_path) as pipe:
        pipe.send((0, [0], [], {0: {}}))
        Slow.begun.get(timeout=SOON_S)[1].set_exception(error)
        assert pipe.poll(SOON_S)
        assert pipe.recv() == f"{type(error).__name__}: no room"


def test_a_slot_that_cannot_begin_fails_in_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(filler: Slow, slot: int, *_: object) -> list[Future[Any]]:
        if slot == 1:
            msg = "the store is gone"
            raise UnreachableError(msg)
        return begin(filler, slot, [], [])

    begin = Slow.start
    monkeypatch.setattr(Slow, "start", start)
    monkeypatch.setattr(process, "Filler", Slow)
    with serving(tmp_path) as pipe:
        for slot in (0, 1):
            pipe.send((slot, [0], [], {0: {}}))
        first = Slow.begun.get(timeout=SOON_S)[1]
        assert not pipe.poll(0.2)
        first.set_result([])
        assert [pipe.recv() for _ in range(2)] == [(0, []), (1, "the store is gone")]
