"""How a file is written: whole or not at all."""

import errno
import os
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from s1s2.errors import FullError, StoreError

_FULL = {errno.ENOSPC, errno.EDQUOT}


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: beside its place, flushed to disk, renamed.

    Raises:
        FullError: If there is no room for it.
        StoreError: If it cannot be written for another reason.
    """
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
        raise unwritable(path, error) from error


def unwritable(path: Path | str, error: OSError) -> StoreError:
    """Return what to raise for a file that could not be written."""
    if error.errno in _FULL:
        msg = f"{path}: no room for it ({error.strerror}); make room and run the same command again"
        return FullError(msg)
    msg = f"{path}: cannot be written ({error.strerror}); nothing was changed there"
    return StoreError(msg)
