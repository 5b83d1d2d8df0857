"""Chips in litData's chunks."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s1s2.export_forms.sample import Sample, Written, said
from s1s2.receipts import Json, sha256
from s1s2.store import IMAGES

_TYPES = {"int16": 1, "uint8": 4, "uint16": 5}
"""By which numbers litData's files name types: `litdata.constants`, alike in 0.2.50 and 0.2.76."""


def chunk(part: str, samples: Iterable[Sample]) -> Iterator[tuple[str, bytes]]:
    """Yield one chunk as `litdata.optimize` writes it: `train/chunk-0-3.bin`.

    It begins with the count of chips and where each begins and the last ends; of a chip come the
    lengths of its fields, then the fields: the arrays at native resolution, and its row as JSON.
    All numbers are little endian uint32.

    Args:
        part: The name of the part, as `train-000003`.
        samples: The chips of it.
    """
    chips = [_packed(sample) for sample in samples]
    first = 4 * (len(chips) + 2)  # the count, and one place more than there are chips
    places = np.cumsum([first, *map(len, chips)])
    yield _chunk_name(part), _uint32(len(chips), *places) + b"".join(chips)


def _chunk_name(part: str) -> str:
    split, _, number = part.rpartition("-")
    return f"{split}/chunk-0-{int(number)}.bin"


def _packed(sample: Sample) -> bytes:
    fields = [_array(sample.arrays[name]) for name in IMAGES]
    fields.append(said(sample))
    return b"".join([_uint32(*map(len, fields)), *fields])


def _array(array: NDArray[Any]) -> bytes:
    header = _uint32(_TYPES[array.dtype.name], array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _uint32(*numbers: int) -> bytes:
    return np.array(numbers, dtype="<u4").tobytes()


def index(parts: Sequence[Written]) -> Iterator[tuple[str, bytes]]:
    """Yield by split what litData needs to know of its chunks: `train/index.json`.

    Where litData keeps the time of writing stands a hash of the chunks: it tells by that whether
    what it keeps of a remote folder is still good.

    Args:
        parts: All that were written, in the order of their numbers within a split.
    """
    most = max((part.chips for part in parts), default=0)
    for split in sorted({_split_of(part) for part in parts}):
        chunks, hashes = [], []
        for part in parts:
            if _split_of(part) == split:
                ((name, (size, digest)),) = part.files.items()
                about = {"chunk_bytes": size, "chunk_size": part.chips, "dim": None}
                chunks.append(about | {"filename": name.removeprefix(f"{split}/")})
                hashes.append(digest)
        said_of_all = {
            "chunks": chunks,
            "config": _config(most),
            "updated_at": sha256("".join(hashes).encode()),
        }
        yield f"{split}/index.json", json.dumps(said_of_all, sort_keys=True).encode()


def _split_of(part: Written) -> str:
    return part.name.rpartition("-")[0]


def _config(chunk_size: int) -> Json:
    """Return how litData makes a dict of the fields of a chip again."""
    leaf: Json = {"type": None, "context": None, "children_spec": []}
    names = [*IMAGES, "json"]
    tree = {
        "type": "builtins.dict",
        "context": json.dumps(names),
        "children_spec": [leaf] * len(names),
    }
    return {
        "chunk_bytes": None,
        "chunk_size": chunk_size,
        "compression": None,
        "data_format": ["numpy"] * len(IMAGES) + ["str"],
        "data_spec": json.dumps([1, tree]),
        "encryption": None,
        "item_loader": "PyTreeLoader",
    }
