"""The sandbox as long as a command needs it: started, told to the catalogs, stopped."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from s1s2.errors import CatalogError
from s1s2.run import Run
from s1s2.sandbox.process import running

ADDRESS = "S1S2_SANDBOX"
"""Environment variable: address of a sandbox that runs already, `http://HOST:PORT`."""
_EXTRA = ("numba", "stac_fastapi", "uvicorn", "httptools", "cql2")


@contextmanager
def served(run: Run) -> Iterator[Run]:
    """Serve the sandbox while a run works, if one of its catalogs is one.

    Yields:
        The run, its catalogs knowing where the sandbox listens.

    Raises:
        CatalogError: If the sandbox does not start.
    """
    if not any(c.sandbox and not c.address for c in run.catalogs.values()):
        yield run
        return
    if address := os.environ.get(ADDRESS, "").rstrip("/"):
        yield _at(run, address)
        return
    _check_extra()
    with running() as address:
        yield _at(run, address)


def serve(  # noqa: PLR0913  # what a server wants to know
    host: str,
    port: int,
    *,
    seed: int,
    faults: Path | None,
    token_lifetime_s: float,
    say: Callable[[str], None],
) -> None:
    """Serve the sandbox in this process until it is interrupted.

    Args:
        host: Address to listen on.
        port: Port to listen on, 0 for any that is free.
        seed: Another seed, another planet.
        faults: A file of faults to inject.
        token_lifetime_s: Seconds until a token expires.
        say: Told where it listens.

    Raises:
        CatalogError: If what it needs is not installed.
        RecipeError: If the file of faults is wrong.
    """
    _check_extra()
    # it complains at import that it has no title: it will be given one
    logging.getLogger("stac_fastapi").setLevel(logging.ERROR)
    from s1s2.sandbox import server  # noqa: PLC0415  # an extra
    from s1s2.sandbox.faults import Faults, load_faults  # noqa: PLC0415

    planned = load_faults(faults) if faults else Faults()
    bound = server.listen(host, port)
    address = server.address_of(bound)
    say(f"sandbox {address} · SIMULATED DATA · seed {seed} · stop it with Ctrl-C")
    say(f"STAC    {address}/api/stac/v1")
    say(f"tokens  {address}/api/sas/v1/token/ACCOUNT/CONTAINER")
    say(f"next    {ADDRESS}={address} s1s2 build -n 10 --catalog sandbox")
    if planned.faults:
        say(f"faults  {len(planned.faults)} from {faults}, counted at {address}/faults")
    with suppress(KeyboardInterrupt):
        server.serve_on(bound, server.sandbox(seed, planned, token_lifetime_s))


def _check_extra() -> None:
    lacking = [name for name in _EXTRA if not find_spec(name)]
    if lacking:
        msg = f"the sandbox lacks {', '.join(lacking)}: pip install 's1s2[sandbox]'"
        raise CatalogError(msg)


def _at(run: Run, address: str) -> Run:
    catalogs = {
        sensor: replace(c, address=address) if c.sandbox else c
        for sensor, c in run.catalogs.items()
    }
    return replace(run, catalogs=catalogs)
