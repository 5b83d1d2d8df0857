"""A ring of batches in memory that is used again and again; a slot is free when nobody holds it.

Fresh memory costs a page fault every 4 kB, which is more than decoding does. So batches are views
of slots, and a slot comes back when the last array or tensor that views it is gone.
"""

import mmap
import os
import sys
import tempfile
import weakref
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

Fields = Mapping[str, tuple[tuple[int, ...], str]]
"""What one row of a batch holds: shape and dtype by key."""

_ALIGNED = 4096


class Slots:
    """Memory for some batches of one form.

    Args:
        fields: What one row of a batch holds.
        rows: Rows in a batch, at most.
        count: How many batches.
        shared: The descriptor of memory made by another process's `Slots`; None for memory of our
            own, that others may share.
    """

    def __init__(self, fields: Fields, rows: int, count: int, shared: int | None = None) -> None:
        self.fields, self.rows, self.count = dict(fields), rows, count
        self._at: dict[str, slice] = {}
        end = 0
        for key, (shape, dtype) in fields.items():
            size = rows * int(np.prod(shape)) * np.dtype(dtype).itemsize
            self._at[key] = slice(end, end + size)
            end += -(-size // _ALIGNED) * _ALIGNED
        self._slot_bytes = end
        self.pinned = False
        self.descriptor = _anonymous(end * count) if shared is None else shared
        self._end = weakref.finalize(self, os.close, self.descriptor)
        self._memory = mmap.mmap(self.descriptor, self.nbytes)
        with suppress(OSError, AttributeError):  # fewer, larger pages, where the system has them
            self._memory.madvise(mmap.MADV_HUGEPAGE)

    @property
    def nbytes(self) -> int:
        """Size of the whole in bytes."""
        return self._slot_bytes * self.count

    def whole(self) -> NDArray[np.uint8]:
        """Return all of the memory, as bytes."""
        return np.frombuffer(self._memory, np.uint8)

    def views(self, slot: int) -> dict[str, NDArray[Any]]:
        """Return the arrays of a slot; they share one base, which lives as long as any of them."""
        base = np.frombuffer(self._memory, np.uint8, self._slot_bytes, slot * self._slot_bytes)
        return {
            key: base[self._at[key]].view(dtype).reshape(self.rows, *shape)
            for key, (shape, dtype) in self.fields.items()
        }


def _anonymous(nbytes: int) -> int:
    """Return a descriptor of memory without a name: nothing is left behind, however one ends."""
    if sys.platform == "linux":
        # not in /dev/shm, which containers keep small
        descriptor = os.memfd_create("s1s2-batches", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, nbytes)
    return descriptor


class Leases:
    """Which slots are free, and which are held by whoever was handed them."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._free: deque[int] = deque(range(slots.count))

    def __len__(self) -> int:
        """Return how many slots are free."""
        return len(self._free)

    def take(self) -> int:
        """Take a free slot; there must be one."""
        return self._free.popleft()

    def give_back(self, slot: int) -> None:
        """Make a slot free that was not handed out."""
        self._free.append(slot)

    def hand_out(self, slot: int) -> dict[str, NDArray[Any]]:
        """Return the arrays of a slot, which is free again when the last of them is gone."""
        arrays = self._slots.views(slot)
        base = next(iter(arrays.values())).base
        while isinstance(base, np.ndarray) and isinstance(base.base, np.ndarray):
            base = base.base
        # append is atomic, and a finalizer may run in any thread
        weakref.finalize(base, self._free.append, slot).atexit = False
        return arrays
