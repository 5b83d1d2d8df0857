"""How a file is written: whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from s1s2.errors import StoreError


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: beside its place, flushed to disk, renamed."""
    beside = path.with_name(f".{path.name}.{token_hex(4)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        msg = f"{path}: cannot be written ({error.strerror}); nothing was changed there"
        raise StoreError(msg) from error
