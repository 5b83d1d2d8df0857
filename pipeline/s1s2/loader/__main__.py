"""A reading process: told over a pipe which chips to put into which slot of shared memory."""

import os
import signal
import sys
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from s1s2.errors import StoreError, UnreachableError
from s1s2.loader.chips import Remote
from s1s2.loader.fill import Filler
from s1s2.loader.finish import Plan
from s1s2.loader.hosts import Source
from s1s2.loader.ring import Slots
from s1s2.loader.shards import ArrayForm

if TYPE_CHECKING:
    from concurrent.futures import Future

    from s1s2.loader.chips import Said
    from s1s2.loader.fill import Failures

_LOOK_UP_S = 5.0
"""How often to look whether the owner still lives: a fork of it may hold the pipe open."""


def main(descriptor: int) -> None:
    """Serve until the owner closes the pipe, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner, who then ends us
    owner = os.getppid()
    with Connection(descriptor) as pipe:
        try:
            _serve(pipe, owner)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


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
    try:
        while os.getppid() == owner:
            if not pipe.poll(_LOOK_UP_S):
                continue
            slot, chips, coming, new = pipe.recv()
            said.update(new)
            pipe.send((slot, _filled(filler.start(slot, chips, coming))))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")
        raise
    finally:
        filler.close()


def _filled(tasks: "list[Future[Failures]]") -> "Failures | str":
    """Wait for a slot, and return which rows failed, or why none can be read now."""
    try:
        return [failure for task in tasks for failure in task.result()]
    except UnreachableError as error:
        return str(error)


if __name__ == "__main__":
    main(int(sys.argv[1]))
