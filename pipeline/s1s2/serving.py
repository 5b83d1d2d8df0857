"""The sandbox as long as a command needs it: started, told to the catalogs, stopped."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from s1s2.errors import CatalogError
from s1s2.run import Run

ADDRESS = "S1S2_SANDBOX"
"""Environment variable: address of a sandbox that runs already, `http://HOST:PORT`."""


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
    try:
        from s1s2.sandbox.process import running  # noqa: PLC0415  # an extra
    except ImportError as error:
        msg = f"the sandbox lacks {error.name}: pip install 's1s2[sandbox]'"
        raise CatalogError(msg) from None
    with running() as address:
        yield _at(run, address)


def _at(run: Run, address: str) -> Run:
    catalogs = {
        sensor: replace(c, address=address) if c.sandbox else c
        for sensor, c in run.catalogs.items()
    }
    return replace(run, catalogs=catalogs)
