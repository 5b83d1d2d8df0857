"""The sandbox as a process of its own, for as long as somebody needs it. Imports nothing heavy."""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from s1s2.errors import CatalogError

PATIENCE_S = 300.0
"""A server has so long to start: it compiles, the first time for half a minute or more."""
_GRACE_S = 5.0
_ALLOCATION = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "4194304",
    "MALLOC_TRIM_THRESHOLD_": "16777216",
}
"""For the C library: pixels are allocated and freed in many threads, and without this it keeps
90 MB of them for later. Lower thresholds give more back, and a fifth of the time to page faults.
What is named stays fixed; else it grows with what is freed."""


@contextmanager
def running(
    seed: int = 0, faults: Path | None = None, token_lifetime_s: float = 3600.0
) -> Iterator[str]:
    """Start a sandbox on a free port of this machine, and end it when done.

    It ends with this process too, however this one ends: it is tied to a pipe.

    Args:
        seed: Another seed, other scenes.
        faults: A file of faults to inject.
        token_lifetime_s: Seconds until a token expires.

    Yields:
        Its address, `http://127.0.0.1:PORT`.

    Raises:
        CatalogError: If it does not start; says why.
    """
    line = [sys.executable, "-m", "s1s2.sandbox", "--announce", "--tied", "--seed", str(seed)]
    line += ["--token-lifetime", str(token_lifetime_s)]
    line += ["--faults", str(faults)] if faults else []
    # its pixels are computed by threads of its own: a library's would only be in their way
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"} | _ALLOCATION
    with tempfile.TemporaryFile() as said:
        server = subprocess.Popen(  # noqa: S603  # our own module
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env=environment,
            start_new_session=True,  # Ctrl-C is for us; we may still read while we end
        )
        try:
            yield _address(server, said)
        finally:
            _end(server)


def _address(server: subprocess.Popen[bytes], said: IO[bytes]) -> str:
    """Wait for the line in which a server tells its address."""
    assert server.stdout is not None  # noqa: S101  # it is a pipe
    until, line = time.monotonic() + PATIENCE_S, b""
    while not line.endswith(b"\n"):
        left = until - time.monotonic()
        if left <= 0 or not select.select([server.stdout], [], [], left)[0]:
            msg = f"the sandbox did not start within {PATIENCE_S:.0f} s"
            raise CatalogError(msg)
        part = os.read(server.stdout.fileno(), 4096)
        if not part:
            msg = f"the sandbox did not start: {_last_line(said)}"
            raise CatalogError(msg)
        line += part
    return str(json.loads(line)["address"])


def _last_line(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _end(server: subprocess.Popen[bytes]) -> None:
    """End a server: ask, then insist."""
    for pipe in (server.stdin, server.stdout):
        if pipe is not None:
            pipe.close()
    try:
        server.terminate()
        server.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
