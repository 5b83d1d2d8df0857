"""Safety switched off, one kind at a time: a harness that reports nothing then proves nothing.

Each function changes the package for the process that calls it.
"""

import fcntl
import os
from pathlib import Path
from typing import Any

from zarr.codecs import Crc32cCodec

from s1s2 import files, receipts, store, tables


def without_checksums() -> None:
    """Store chunks without their checksum."""
    real = store.zarr.create_array

    def bare(**settings: Any) -> Any:  # noqa: ANN401  # passed on as it is
        coats = [c for c in settings["compressors"] if not isinstance(c, Crc32cCodec)]
        return real(**settings | {"compressors": coats})

    store.zarr.create_array = bare


def without_receipts() -> None:
    """Believe that a shard is there and well, whatever its receipt says."""
    receipts.is_there = lambda *_: True
    receipts.damage = lambda *_: []


def without_leases() -> None:
    """Let everybody have every lock."""
    fcntl.flock = lambda *_: None


def without_renames() -> None:
    """Write files in their place."""

    def write_bytes(path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    for module in (files, receipts, store, tables):
        module.write_bytes = write_bytes
