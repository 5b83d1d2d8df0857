"""Shard files read directly: the index once, then one positioned read, one check, one decode.

Only what the store writes is read here: Zarr v3, `sharding_indexed`, a chunk a chip, little endian,
blosc or nothing, crc32c. `described` says no to anything else, and zarr-python reads it instead.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numcodecs.blosc
import numpy as np
from fastcrc.crc32 import iscsi as crc32c
from numpy.typing import NDArray

from s1s2.chunks import CHECKSUM, index_bytes
from s1s2.errors import StoreError

# threads of ours decode chips side by side; c-blosc's own, one pool a process, would only contend
numcodecs.blosc.use_threads = False

_ABSENT = np.uint64(2**64 - 1)
"""Offset and length, in a shard's index, of a chunk that was never written."""
_LENGTH_AT = slice(4, 8)
_STORED_AT = slice(12, 16)
"""Where a blosc header says how long its content is, and how long it is itself."""
_HEADER = 16
_TYPES = {"uint8": "|u1", "uint16": "<u2", "int16": "<i2", "float16": "<f2", "float32": "<f4"}
_ADVISES = hasattr(os, "RWF_NOWAIT") and hasattr(os, "posix_fadvise")
"""Whether the system says if a read has to wait for a disk, and can be told of one beforehand."""
_INDEX_CODECS = ["bytes", "crc32c"]
_CODECS = {("bytes", "blosc", "crc32c"): True, ("bytes", "crc32c"): False}


Stored = bytes | bytearray | memoryview


class DamagedError(StoreError):
    """A shard's file, or a chunk of it, is missing or not what was written."""


@dataclass(frozen=True)
class ArrayForm:
    """How one array of chips lies in its shards."""

    name: str
    per_shard: int
    """Chips in one shard file."""
    tail: tuple[int, ...]
    """Shape of one chip's part."""
    dtype: str
    """NumPy's word for it, with the byte order."""
    packed: bool
    """Whether a chunk is a blosc frame, or the plain numbers."""
    index_first: bool
    """Whether the index stands before the chunks, or after them."""

    @property
    def nbytes(self) -> int:
        """Bytes of one chip's part, decoded."""
        return int(np.prod(self.tail)) * np.dtype(self.dtype).itemsize


def described(name: str, document: Mapping[str, Any]) -> ArrayForm | None:
    """Return how an array lies in its shards, by its `zarr.json`; None if not as read here."""
    try:
        return _described(name, document)
    except (KeyError, IndexError, TypeError):
        return None


def _described(name: str, document: Mapping[str, Any]) -> ArrayForm | None:
    grid, (codec,) = document["chunk_grid"], document["codecs"]
    per_shard, *tail = grid["configuration"]["chunk_shape"]
    how = codec["configuration"]
    keys = document["chunk_key_encoding"]
    names = tuple(c["name"] for c in how["codecs"])
    known = (
        document["zarr_format"] == 3  # noqa: PLR2004  # the version is the number
        and (grid["name"], codec["name"], keys["name"])
        == ("regular", "sharding_indexed", "default")
        and keys.get("configuration", {}).get("separator", "/") == "/"
        and not document.get("storage_transformers")
        and document["shape"][1:] == tail
        and how["chunk_shape"] == [1, *tail]
        and names in _CODECS
        and [c["name"] for c in how["index_codecs"]] == _INDEX_CODECS
        and all(_little(c) for c in (how["codecs"][0], how["index_codecs"][0]))
        and document["data_type"] in _TYPES
    )
    if not known:
        return None
    first = how.get("index_location", "end") == "start"
    return ArrayForm(
        name, per_shard, tuple(tail), _TYPES[document["data_type"]], _CODECS[names], first
    )


def _little(codec: Mapping[str, Any]) -> bool:
    """Say whether the codec `bytes` puts low bytes first; for single bytes it need not say."""
    endian: str = codec.get("configuration", {}).get("endian", "little")
    return endian == "little"


def parsed(form: ArrayForm, raw: Stored) -> NDArray[np.int64]:
    """Return offset and length in bytes of every chunk of a shard, shape (per_shard, 2).

    Args:
        form: The array.
        raw: The index as it is stored; a chunk that was never written becomes -1 twice.

    Raises:
        ValueError: If it does not match its checksum.
    """
    said = memoryview(raw)
    if crc32c(said[:-CHECKSUM]) != int.from_bytes(said[-CHECKSUM:], "little"):
        msg = "has an index that does not match its checksum"
        raise ValueError(msg)
    index = np.frombuffer(raw, "<u8", 2 * form.per_shard).reshape(-1, 2)
    absent = (index == _ABSENT).any(axis=1) | (index >= np.uint64(2**62)).any(axis=1)
    return np.where(absent[:, None], -1, index.astype(np.int64))


def lies_in(offset: int, length: int, size: int) -> bool:
    """Say whether a chunk, by its index, was written and lies in its file of `size` bytes."""
    return offset >= 0 and offset + length <= size and length > CHECKSUM


def unpack(form: ArrayForm, chunk: memoryview, out: NDArray[Any]) -> None:
    """Check and decode one chip's part.

    Args:
        form: The array.
        chunk: As it is stored.
        out: Where to: shape and dtype of the array, contiguous.

    Raises:
        ValueError: If it is damaged; `out` then holds anything.
    """
    content = chunk[:-CHECKSUM]
    _check(content, chunk[-CHECKSUM:])
    if form.packed:
        _decode(content, out)
        return
    _check_size(len(content), out)
    out.data.cast("B")[:] = content


def _check(content: Stored, said: Stored) -> None:
    if crc32c(content) != int.from_bytes(said, "little"):
        msg = "does not match its checksum"
        raise ValueError(msg)


def _check_size(found: int, out: NDArray[Any]) -> None:
    if found != out.nbytes:
        msg = f"has {found} bytes, expected {out.nbytes}"
        raise ValueError(msg)


def _decode(frame: memoryview, out: NDArray[Any]) -> None:
    # a frame that decodes to less would leave the last batch's pixels in `out`
    holds = int.from_bytes(frame[_LENGTH_AT], "little")
    stored = int.from_bytes(frame[_STORED_AT], "little")
    if len(frame) < _HEADER or stored != len(frame) or holds != out.nbytes:
        msg = f"holds {holds} bytes, expected {out.nbytes}"
        raise ValueError(msg)
    try:
        numcodecs.blosc.decompress(frame, out)
    except RuntimeError as error:
        msg = f"cannot be decoded ({error})"
        raise ValueError(msg) from error


class Scratch:
    """Memory that a thread reads encoded chunks into; it grows to the largest."""

    def __init__(self) -> None:
        self._memory = memoryview(bytearray(0))

    def of(self, nbytes: int) -> memoryview:
        """Return that many bytes, holding anything."""
        if len(self._memory) < nbytes:
            self._memory = memoryview(bytearray(nbytes))
        return self._memory[:nbytes]


class _File:
    """An open file, closed when nobody holds it any more: a thread may still be reading."""

    def __init__(self, path: str) -> None:
        self.number = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        at = os.fstat(self.number)
        self.size, self.identity = at.st_size, (at.st_dev, at.st_ino, at.st_size)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


class Shard:
    """One shard file of one array: its index, kept, and its file, which may be let go of.

    Args:
        form: The array.
        path: The file.
        size: How many bytes its receipt says it has.

    Raises:
        DamagedError: If it is missing, of another size, or its index is damaged.
    """

    def __init__(self, form: ArrayForm, path: str, size: int) -> None:
        self._form, self._path = form, path
        file = self._opened()
        if file.size != size:
            raise self._damaged(None, f"has {file.size} bytes, expected {size}")
        self._file: _File | None = file
        self._identity = file.identity
        self._offsets, self._lengths = self._index(file)

    def let_go(self) -> None:
        """Close the file once nobody reads it; the next read opens it again."""
        self._file = None

    def foresee(self, place: int) -> None:
        """Let the system fetch one chip's part from its disk, if it can; `read` tells what fails.

        Raises:
            DamagedError: If the file is missing, or was replaced.
        """
        offset, length = self._offsets[place], self._lengths[place]
        if _ADVISES and offset >= 0:
            with suppress(OSError):
                os.posix_fadvise(self._held().number, offset, length, os.POSIX_FADV_WILLNEED)

    def read(self, place: int, out: NDArray[Any], scratch: Scratch) -> bool:
        """Read and decode one chip's part.

        Args:
            place: Which chip of the shard.
            out: Where to: shape and dtype of the array, contiguous.
            scratch: Memory of the calling thread.

        Returns:
            Whether it lay in memory, as far as the system says; else a disk had to be waited for.

        Raises:
            DamagedError: If it is missing or damaged; `out` then holds anything.
        """
        offset, length = self._offsets[place], self._lengths[place]
        file = self._held()
        if not lies_in(offset, length, file.size):
            raise self._damaged(place, "is missing")
        try:
            if not self._form.packed:
                return self._read_plain(file, place, out, offset, length - CHECKSUM)
            chunk = scratch.of(length)
            at_once = self._read_at(file, [chunk], offset, place)
            unpack(self._form, chunk, out)
        except ValueError as error:
            raise self._damaged(place, str(error)) from error
        return at_once

    def _read_plain(
        self, file: _File, place: int, out: NDArray[Any], offset: int, content: int
    ) -> bool:
        _check_size(content, out)
        flat, check = out.data.cast("B"), bytearray(CHECKSUM)
        at_once = self._read_at(file, [flat, memoryview(check)], offset, place)
        _check(flat, check)
        return at_once

    def _read_at(self, file: _File, into: list[memoryview], offset: int, place: int | None) -> bool:
        """Read, and say whether all of it lay in memory."""
        wanted = sum(map(len, into))
        if _ADVISES:
            with suppress(OSError):  # not all in memory, or a file system that does not say
                if os.preadv(file.number, into, offset, os.RWF_NOWAIT) == wanted:
                    return True
        try:
            got = os.preadv(file.number, into, offset)
        except OSError as error:  # a sector that cannot be read, a server that is gone
            raise self._damaged(place, f"cannot be read ({error.strerror})") from error
        if got != wanted:
            raise self._damaged(place, "ends early")
        return not _ADVISES

    def _opened(self) -> _File:
        try:
            return _File(self._path)
        except FileNotFoundError as error:
            raise self._damaged(None, "is missing") from error
        except OSError as error:
            raise self._damaged(None, f"cannot be read ({error.strerror})") from error

    def _held(self) -> _File:
        file = self._file
        if file is None:
            file = self._opened()
            if file.identity != self._identity:
                raise self._damaged(None, "was replaced since it was opened; open the corpus again")
            self._file = file
        return file

    def _index(self, file: _File) -> tuple[list[int], list[int]]:
        """Return offset and length of every chunk; -1 for one that was never written."""
        raw = bytearray(index_bytes(self._form.per_shard))
        start = 0 if self._form.index_first else file.size - len(raw)
        if start < 0:
            raise self._damaged(None, "is too short for an index")
        self._read_at(file, [memoryview(raw)], start, None)
        try:
            both = parsed(self._form, raw)
        except ValueError as error:
            raise self._damaged(None, str(error)) from error
        return both[:, 0].tolist(), both[:, 1].tolist()

    def _damaged(self, place: int | None, why: str) -> DamagedError:
        return damaged(self._path, self._form, place, why)


def damaged(where: str, form: ArrayForm, place: int | None, why: str) -> DamagedError:
    """Return what to raise for a shard's file, or one chunk of it."""
    which = "" if place is None else f", chunk {place} of {form.per_shard},"
    return DamagedError(f"{where}{which} {why}")
