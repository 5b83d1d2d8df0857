"""A reading process: told over a pipe which chips to put into which slot of shared memory."""

import os
import signal
import sys
import traceback
from concurrent.futures import CancelledError, Future, wait
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from s1s2.errors import StoreError, UnreachableError
from s1s2.loader.chips import Remote
from s1s2.loader.fill import Filler
from s1s2.loader.finish import Plan
from s1s2.loader.hosts import Source
from s1s2.loader.ring import Slots
from s1s2.loader.shards import ArrayForm

if TYPE_CHECKING:
    from s1s2.loader.chips import Said
    from s1s2.loader.fill import Failures

    Begun = tuple[int, list[Future[Failures]]]
    """A slot, and what fills it."""

_LOOK_UP_S = 5.0
"""How often to look whether the owner still lives: a fork of it may hold the pipe open."""


def main(descriptor: int) -> None:
    """Serve until the owner closes the pipe, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner, who then ends us
    owner = os.getppid()
    pipe = Connection(descriptor)  # closed by the end of this process: a thread may be using it
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _serve(pipe, owner)


def _serve(pipe: "Connection[Any, Any]", owner: int) -> None:
    told = pipe.recv()
    said: dict[int, Said | str] = {}

    def said_of(shard: int) -> "Said":
        if isinstance(found := said[shard], str):
            raise StoreError(found)
        return found

    forms = tuple(ArrayForm(**form | {"tail": tuple(form["tail"])}) for form in told["forms"])
    remote = None if told["remote"] is None else Remote(**told["remote"])
    source = Source(forms, told["root"], told["per_shard"], said_of, remote)
    filler = Filler(
        source.reading(told["timeout_s"]),
        Plan.from_json(told["plan"]),
        Slots(*told["slots"]),
        told["threads"],
    )
    begun: SimpleQueue[Begun] = SimpleQueue()
    Thread(target=_answer, args=(pipe, begun), daemon=True).start()
    try:
        while os.getppid() == owner:
            if not pipe.poll(_LOOK_UP_S):
                continue
            slot, chips, coming, new = pipe.recv()
            said.update(new)
            # begun while the one before it ends, or threads would wait for the slowest of them
            begun.put((slot, _tasks(filler, slot, chips, coming)))
    finally:
        filler.close()


def _tasks(
    filler: Filler, slot: int, chips: list[int], coming: list[int]
) -> "list[Future[Failures]]":
    """Begin to fill a slot; what cannot begin fails in its turn."""
    try:
        return filler.start(slot, chips, coming)
    except Exception as error:  # noqa: BLE001  # whoever waits for the slot is told
        failed: Future[Failures] = Future()
        failed.set_exception(error)
        return [failed]


def _answer(pipe: "Connection[Any, Any]", begun: "SimpleQueue[Begun]") -> None:
    """Say of every slot that was begun, in that order, when it is filled."""
    try:
        while True:
            slot, tasks = begun.get()
            wait(tasks)  # once for all: who wakes takes the interpreter from those who read
            pipe.send((slot, _filled(tasks)))
    except (OSError, CancelledError):  # the owner is gone, or has had enough
        return
    except BaseException as error:  # noqa: BLE001  # a Rust panic, too: the owner must not wait
        traceback.print_exc()
        with suppress(OSError):
            pipe.send(f"{type(error).__name__}: {error}")


def _filled(tasks: "list[Future[Failures]]") -> "Failures | str":
    """Wait for a slot, and return which rows failed, or why none can be read now."""
    try:
        return [failure for task in tasks for failure in task.result()]
    except UnreachableError as error:
        return str(error)


if __name__ == "__main__":
    main(int(sys.argv[1]))
