"""TIFF directories from a file's bytes: tags and their values, with every count bounded.

A directory is written by strangers: nothing of the size it claims is asked for before that size
is known to be one that a file in use can have.
"""

import struct
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from s1s2.errors import ContractError, ReadError

_MOST_ENTRIES = 512
_MOST_BYTES = 1 << 20
"""Of one field's values; the offsets of the most blocks take half of it."""
_MOST_DIRECTORIES = 64
_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 11: "f", 12: "d", 13: "I", 16: "Q"}
Values = Sequence[Any] | NDArray[Any]
Parts = Iterable[tuple[int, bytes]]
"""Bytes of a file at hand, each with where it starts."""


class MoreNeeded(Exception):  # noqa: N818  # no error: what to fetch next
    """The bytes at hand do not hold what the header refers to.

    Attributes:
        start: First byte that is needed.
        stop: Byte after the last.
    """

    def __init__(self, start: int, stop: int) -> None:
        super().__init__(f"bytes {start} to {stop}")
        self.start, self.stop = start, stop


class _Form(NamedTuple):
    """The four forms of TIFF: classic or BigTIFF, of either byte order."""

    order: str
    first: int
    """Where the place of the first directory is written."""
    entries: str
    """Struct format of a number of entries."""
    place: str
    """Of an offset."""


_FORMS = {
    b"II*\0": _Form("<", 4, "<H", "<I"),
    b"MM\0*": _Form(">", 4, ">H", ">I"),
    b"II+\0": _Form("<", 8, "<Q", "<Q"),
    b"MM\0+": _Form(">", 8, ">Q", ">Q"),
}


class Directory(NamedTuple):
    """The first directory of a file: the image itself, without overviews and masks."""

    fields: dict[int, Values]
    """Values by tag: numbers, or one text."""
    big_endian: bool


def read_directory(parts: Parts, size: int, tags: Collection[int]) -> Directory:
    """Read the first directory of a TIFF.

    Args:
        parts: What is at hand.
        size: Bytes of the whole file.
        tags: Which fields are wanted.

    Raises:
        MoreNeeded: If it refers to bytes that are not at hand.
        ContractError: If it is no TIFF, or claims counts beyond any limit.
        ReadError: If it refers to bytes beyond the end of the file.
    """
    known = _Known(tuple(parts), size)
    form = _form(known)
    place = known.number(form.place, form.first)
    return Directory(_fields(known, form, place, tags), form.order == ">")


def count_directories(parts: Iterable[tuple[int, bytes]], size: int) -> int:
    """Count directories (the image, its overviews and masks), for those who will read them all.

    Raises:
        MoreNeeded: If the chain refers to bytes that are not at hand.
        ContractError: If there are too many of them, or they lead back to one another.
    """
    known = _Known(tuple(parts), size)
    form = _form(known)
    place, seen = known.number(form.place, form.first), set[int]()
    while place:
        if place in seen or len(seen) == _MOST_DIRECTORIES:
            msg = f"has more than {_MOST_DIRECTORIES} directories, or they lead back to one another"
            raise ContractError(msg)
        seen.add(place)
        entries = known.number(form.entries, place)
        entry = 4 + 2 * struct.calcsize(form.place)
        place = known.number(form.place, place + struct.calcsize(form.entries) + entries * entry)
    return len(seen)


class _Known:
    """The bytes of a file that are at hand."""

    def __init__(self, parts: Sequence[tuple[int, bytes]], size: int) -> None:
        self._parts, self._size = parts, size

    def take(self, start: int, length: int) -> bytes:
        stop = start + length
        for begin, data in self._parts:
            if begin <= start and stop <= begin + len(data):
                return data[start - begin : stop - begin]
        if stop > self._size:
            msg = f"is cut off: its header reaches to byte {stop}, the file ends at {self._size}"
            raise ReadError(msg, "asset_corrupt")
        raise MoreNeeded(start, stop)

    def number(self, layout: str, start: int) -> int:
        return int(struct.unpack(layout, self.take(start, struct.calcsize(layout)))[0])


def _form(known: _Known) -> _Form:
    try:
        form = _FORMS.get(known.take(0, 4))
    except ReadError:  # shorter than any TIFF
        form = None
    if form is None:
        msg = "not a GeoTIFF; assets are opened as nothing else"
        raise ContractError(msg)
    return form


def _fields(known: _Known, form: _Form, place: int, tags: Collection[int]) -> dict[int, Values]:
    """Return the values of the wanted entries of the directory at a place, by tag."""
    entries = known.number(form.entries, place)
    if not 0 < entries <= _MOST_ENTRIES:
        msg = f"has a directory of {entries} entries, expected 1 to {_MOST_ENTRIES}"
        raise ContractError(msg)
    inline = struct.calcsize(form.place)
    entry = 4 + 2 * inline
    table = known.take(place + struct.calcsize(form.entries), entries * entry)
    found: dict[int, Values] = {}
    for at in range(0, entries * entry, entry):
        tag, kind = struct.unpack_from(f"{form.order}HH", table, at)
        if tag in tags and kind in _TYPES:
            (count,) = struct.unpack_from(form.place, table, at + 4)
            length = count * struct.calcsize(_TYPES[kind])
            if length > _MOST_BYTES:
                msg = f"has {count} values under tag {tag}, more than any that is read"
                raise ContractError(msg)
            data = table[at + 4 + inline : at + entry]
            if length > inline:
                data = known.take(struct.unpack(form.place, data)[0], length)
            found[tag] = _values(data[:length], _TYPES[kind], form.order)
    return found


def _values(data: bytes, kind: str, order: str) -> Values:
    if kind == "s":
        return [data.partition(b"\0")[0].decode("latin-1")]
    return np.frombuffer(data, f"{order}{np.dtype(kind).char}")
