"""From a file's description to its bytes: blocks rendered in threads, the last few kept."""

import asyncio
import os
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from numpy.typing import NDArray

from s1s2.sandbox.blocks import encode
from s1s2.sandbox.tiff import Raster

Block = tuple[int, int, int]
"""Level, row and column."""
_KEPT = 32
"""Slots that are kept: a reader's next request often starts in the last one's final block."""


class File(Protocol):
    """A file that can be computed."""

    @property
    def raster(self) -> Raster:
        """What it holds."""
        ...

    @property
    def etag(self) -> str:
        """Names its bytes among all files: a function of path and seed, without quotes."""
        ...

    def block(self, level: int, row: int, col: int) -> NDArray[Any]:
        """Return a block's pixels, shape (512, 512), nodata where it sticks out of the image.

        Called in several threads at once; to be of use there, it releases the GIL. Of the type
        that the raster's sample wants: uint16 for `u15`, uint8 for `u8`, float32 for `f32`.
        """
        ...


class Files(Protocol):
    """Finds files by where they are said to be."""

    def find(self, account: str, container: str, path: str) -> File | None:
        """Return a file, or none where there is none. Called on the event loop: be quick."""
        ...


class Renderer:
    """Renders slots in threads, as many at once as there are processors.

    Requests queue for a turn here and not in the pool, where one that was given up would stay.
    """

    def __init__(self) -> None:
        n_threads = os.cpu_count() or 1
        self._threads = ThreadPoolExecutor(n_threads, "render")
        self._turns = asyncio.Semaphore(n_threads)
        self._kept: OrderedDict[tuple[str, Block], bytes] = OrderedDict()

    async def slot(self, file: File, block: Block) -> bytes:
        """Return the bytes of one block's slot."""
        key = file.etag, block
        if key not in self._kept:
            async with self._turns:
                loop = asyncio.get_running_loop()
                self._kept[key] = await loop.run_in_executor(self._threads, _slot, file, block)
        self._kept.move_to_end(key)
        slot = self._kept[key]
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return slot


def _slot(file: File, block: Block) -> bytes:
    return encode(file.raster.sample, file.block(*block))
