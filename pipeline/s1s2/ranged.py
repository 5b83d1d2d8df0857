"""Some chunks of a shard's file that lies below a URL: its index, then those ranges alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s1s2 import store
from s1s2.chunks import entries, index_bytes, joined
from s1s2.layout import ArrayPlan, Folder
from s1s2.remote import Place


class ChunksError(Exception):
    """An object, or some chunks of it, are not what was written.

    Attributes:
        name: Of the object.
        places: Of chunks that cannot be decoded, in the order they were asked for.
    """

    def __init__(self, name: str, what: str, places: tuple[int, ...] = ()) -> None:
        super().__init__(what)
        self.name, self.places = name, places


@dataclass(frozen=True)
class ShardFile:
    """One shard of one array below a URL."""

    plan: ArrayPlan
    shard: int
    size: int
    """In bytes, by its receipt."""
    per_shard: int
    """Chunks that its index has room for."""

    @property
    def name(self) -> str:
        """Of the object."""
        return store.shard_path(Folder(Path()), self.plan, self.shard).as_posix()


def fetch(place: Place, file: ShardFile, places: Sequence[int]) -> tuple[NDArray[Any], int]:
    """Fetch and decode some chunks of a shard's file.

    Args:
        place: Where it lies.
        file: The file.
        places: Which chunks.

    Returns:
        The chips, shape (len(places), *plan.tail), and how many bytes came.

    Raises:
        ChunksError: If the file is another, or a chunk of it is damaged.
        UnreachableError, StoreError: As `Place.get`.
    """
    name, size = file.name, file.size
    if (there := place.size(name)) != size:
        raise ChunksError(
            name, "missing" if there is None else f"{there:,} bytes, expected {size:,}"
        )
    tail = index_bytes(file.per_shard)
    if size < tail:
        raise ChunksError(name, f"{size:,} bytes, too few for its index")
    (index,) = place.parts(name, [size - tail], [tail])
    try:
        starts, lengths = entries(index, places, size)
        _check_lengths(file.plan, lengths)
    except ValueError as error:
        raise ChunksError(name, str(error)) from error
    content = joined(place.parts(name, starts, lengths), file.per_shard)
    block, lost = store.decode(file.plan, content, len(places), file.per_shard)
    if lost:
        what = "content differs from its checksum"
        raise ChunksError(name, what, tuple(places[at] for at in lost))
    return block, tail + sum(lengths)


def _check_lengths(plan: ArrayPlan, lengths: Sequence[int]) -> None:
    """Refuse chunks that are empty, or much longer than what is in them: no codec makes such."""
    most = 2 * math.prod(plan.tail) * np.dtype(plan.dtype).itemsize
    for length in lengths:
        if not 0 < length <= most:
            msg = f"its index names a chunk of {length:,} bytes"
            raise ValueError(msg)
