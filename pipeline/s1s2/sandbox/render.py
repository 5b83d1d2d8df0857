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
_THREADS_A_PROCESSOR = 2
"""Some of them always wait for Python's lock: with one a processor, a quarter of it lies idle."""
_KEPT = 8
"""Blocks that are kept, up to 17 MB: neighbouring chips share them."""


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
    """Renders and encodes blocks in threads, two at once for every processor.

    Requests queue for a turn here and not in the pool, where one that was given up would stay.
    """

    def __init__(self) -> None:
        n_threads = _THREADS_A_PROCESSOR * (os.cpu_count() or 1)
        self._threads = ThreadPoolExecutor(n_threads, "render")
        self._turns = asyncio.Semaphore(n_threads)
        self._kept: OrderedDict[tuple[str, Block], bytes] = OrderedDict()

    async def encoded(self, file: File, block: Block) -> bytes:
        """Return a block as it lies in the file."""
        key = file.etag, block
        content = self._kept.get(key)
        if content is None:
            async with self._turns:
                loop = asyncio.get_running_loop()
                content = await loop.run_in_executor(self._threads, _encoded, file, block)
        self._kept[key] = content
        self._kept.move_to_end(key)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return content


def _encoded(file: File, block: Block) -> bytes:
    return encode(file.raster.sample, file.block(*block))
