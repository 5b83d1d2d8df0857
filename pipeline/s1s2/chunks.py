"""Some chunks of a shard's file: where they lie in it, and a file of them alone.

A shard as the store writes it is chunks, an index of their offsets and lengths, and its crc32c.
"""

from collections.abc import Sequence

import numpy as np
from fastcrc.crc32 import iscsi as crc32c

_ENTRY, CHECKSUM = 16, 4
"""Bytes of the index for one chunk; and of a crc32c, little endian, after what it is of."""


def index_bytes(per_shard: int) -> int:
    """Return how many bytes the index of a shard has, its checksum included."""
    return _ENTRY * per_shard + CHECKSUM


def entries(index: bytes, places: Sequence[int], size: int) -> tuple[list[int], list[int]]:
    """Return where some chunks lie in a shard's file, by the index at its end.

    Args:
        index: Offset and length of every chunk, and the crc32c of that.
        places: Which chunks.
        size: Of the whole file in bytes.

    Returns:
        Offsets and lengths.

    Raises:
        ValueError: If the index is damaged, or a chunk is not there.

    Examples:
        >>> file = joined([b"one", b"three"], 4)
        >>> entries(file[-index_bytes(4) :], [1, 0], len(file))
        ([3, 0], [5, 3])
    """
    said, check = index[:-CHECKSUM], index[-CHECKSUM:]
    if crc32c(said) != int.from_bytes(check, "little"):
        msg = "its index does not match its checksum"
        raise ValueError(msg)
    pairs = [tuple(map(int, pair)) for pair in np.frombuffer(said, "<u8").reshape(-1, 2)[[*places]]]
    if any(start + length > size - len(index) for start, length in pairs):
        msg = "its index names a chunk that is not there"
        raise ValueError(msg)
    return [start for start, _ in pairs], [length for _, length in pairs]


def joined(chunks: Sequence[bytes], per_shard: int) -> bytes:
    """Return a shard's file that holds these chunks alone, at its first places.

    Args:
        chunks: As they lie in a file.
        per_shard: Chunks that its index has room for.
    """
    index = np.full((per_shard, 2), 2**64 - 1, dtype="<u8")
    ends = np.cumsum([len(chunk) for chunk in chunks], dtype=np.uint64)
    index[: len(chunks), 1] = [len(chunk) for chunk in chunks]
    index[: len(chunks), 0] = ends - index[: len(chunks), 1]
    said = index.tobytes()
    return b"".join([*chunks, said, crc32c(said).to_bytes(CHECKSUM, "little")])
