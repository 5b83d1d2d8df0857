"""Shards of a published corpus: receipts proven, indices kept, chunks by ranged requests.

Two kinds of failure are told apart: what is damaged (missing, another, not matching a checksum) is
a fault of its chips; a store that does not answer, or refuses, is none, and ends the reading.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar

import numpy as np

from s1s2 import layout, receipts
from s1s2.chunks import index_bytes
from s1s2.errors import StoreError, UnreachableError
from s1s2.loader.chips.runs import Lying
from s1s2.loader.shards import ArrayForm, DamagedError, damaged, lies_in, parsed
from s1s2.remote import Part, Place

_T = TypeVar("_T")


class UnprovenError(StoreError):
    """A receipt is missing, or not the one that the corpus was finished with."""


@dataclass(frozen=True)
class Object:
    """One shard's file of one array, as it was when its index was read."""

    form: ArrayForm
    name: str
    size: int
    tag: str | None
    lying: Lying

    def has(self, place: int) -> bool:
        """Say whether a chunk was written, by the index."""
        return lies_in(int(self.lying.starts[place]), self.length(place), self.size)

    def length(self, place: int) -> int:
        """Return how many bytes a chunk has."""
        return int(self.lying.lengths[place])


class Published:
    """Reads shards below a URL; any thread may ask.

    Args:
        url: Where the corpus was published.
        forms: Its arrays.
        proofs: By shard the hash of its receipt.
        patience_s: How long to try for one answer.

    Raises:
        StoreError: If this process was forked from one that has read object storage.
    """

    def __init__(
        self, url: str, forms: Sequence[ArrayForm], proofs: Mapping[int, str], patience_s: float
    ) -> None:
        self._place = Place(url, patience_s=patience_s)
        self._forms, self._proofs = {form.name: form for form in forms}, proofs
        self._said: dict[int, dict[str, int]] = {}
        self._lock = Lock()

    def objects(self, shard: int, arrays: Iterable[str]) -> dict[str, Object]:
        """Read the indices of a shard, its receipt before them.

        Raises:
            UnprovenError: If the receipt cannot be trusted.
            DamagedError: If a file is missing, of another size, or its index is damaged.
            UnreachableError: If the store does not answer, or refuses.
        """
        said = self._receipt(shard)
        return {array: self._object(shard, array, said) for array in arrays}

    def chunks(self, found: Object, run: Sequence[int]) -> list[memoryview]:
        """Fetch some chunks of a file in one request, as they are stored.

        Raises:
            DamagedError: If the file is missing, or another than when its index was read.
            UnreachableError: If the store does not answer, or refuses.
        """
        start, length = found.lying.span(list(run))
        part = self._part(found.form, found.name, start, length, found.size)
        if (part.size, part.tag) != (found.size, found.tag):
            why = "was replaced since it was opened; open the corpus again"
            raise self.damaged(found, None, why)
        if len(run) == 1:
            return [part.content]
        # copies, made outside the interpreter's lock: a chip that is still held would else keep
        # the memory of its whole run
        whole = np.frombuffer(part.content, np.uint8)
        places = [int(found.lying.starts[one]) - start for one in run]
        parts = zip(places, run, strict=True)
        return [whole[at : at + found.length(one)].copy().data for at, one in parts]

    def damaged(self, found: Object, place: int | None, why: str) -> DamagedError:
        """Return what to raise for a file, or for one chunk of it."""
        return damaged(self._url(found.name), found.form, place, why)

    def _receipt(self, shard: int) -> dict[str, int]:
        """Return what the receipt of a shard says: the size of each file, by name."""
        with self._lock:
            said = self._said.get(shard)
        if said is not None:
            return said
        name = layout.receipt_name(shard)
        content = self._asked(lambda: self._place.get(name))
        why = "missing" if content is None else "not the one this corpus was finished with"
        if content is None or receipts.sha256(content) != self._proofs.get(shard):
            msg = f"{self._url(name)}: {why}; s1s2 push, from where it is whole, mends it"
            raise UnprovenError(msg)
        files = receipts.parse(content)["objects"]
        with self._lock:
            found = self._said[shard] = {file: int(one["size"]) for file, one in files.items()}
        return found

    def _object(self, shard: int, array: str, said: Mapping[str, int]) -> Object:
        form = self._forms[array]
        name = "/".join(["chips.zarr", array, "c", str(shard), *["0"] * len(form.tail)])
        if name not in said:
            msg = f"{self._url(layout.receipt_name(shard))}: says nothing of {name}"
            raise UnprovenError(msg)
        size, tail = said[name], index_bytes(form.per_shard)
        start = 0 if form.index_first else max(0, size - tail)
        part = self._part(form, name, start, tail, size)
        try:
            lying = Lying(parsed(form, part.content))
        except ValueError as error:
            raise damaged(self._url(name), form, None, str(error)) from error
        return Object(form, name, size, part.tag, lying)

    def _part(self, form: ArrayForm, name: str, start: int, length: int, size: int) -> Part:
        """Fetch a range of a file of a known size."""
        try:
            part = self._place.part(name, start, length)
        except StoreError as error:
            # a range beyond the end of a file that shrank is refused, too
            there = self._asked(lambda: self._place.size(name))
            if there in {None, size}:
                raise UnreachableError(str(error)) from error
            raise self._other(form, name, there, size) from error
        if part is None:
            raise damaged(self._url(name), form, None, "is missing")
        if part.size != size or len(part.content) != length:
            raise self._other(form, name, part.size, size)
        return part

    def _other(self, form: ArrayForm, name: str, found: int | None, size: int) -> DamagedError:
        return damaged(self._url(name), form, None, f"has {found} bytes, expected {size}")

    def _asked(self, ask: Callable[[], _T]) -> _T:
        """Ask the store; whatever it refuses is no fault of a chip."""
        try:
            return ask()
        except StoreError as error:
            raise UnreachableError(str(error)) from error

    def _url(self, name: str) -> str:
        return f"{self._place.url}/{name}"
