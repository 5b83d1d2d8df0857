"""Chips read by zarr-python, where the arrays are stored in a way that `shards` does not read."""

from collections.abc import Callable
from pathlib import Path

from s1s2 import store
from s1s2.layout import Folder
from s1s2.loader.chips import AtOnce, Into, Said, said_for
from s1s2.loader.shards import Scratch


class ZarrReader(AtOnce):
    """Reads chips through zarr-python.

    Args:
        root: The corpus.
        per_shard: Chips in a shard.
        said_of: Says of a shard what its receipt says of its files.
    """

    def __init__(self, root: Path, per_shard: int, said_of: Callable[[int], Said]) -> None:
        self._folder, self._per_shard, self._said_of = Folder(root), per_shard, said_of
        self._group = store.open_pixels(self._folder)

    def read(self, chip: int, into: Into, scratch: Scratch) -> None:
        """Read some arrays of one chip.

        Raises:
            StoreError: If it is missing or damaged.
        """
        del scratch  # zarr has memory of its own
        said = said_for(chip, chip // self._per_shard, self._said_of)
        objects = {
            name: {Path(path).relative_to(self._folder.root).as_posix(): {"size": size}}
            for name, (path, size) in said.items()
            if name in into
        }
        for name, array in store.read_chip(self._folder, self._group, objects, chip).items():
            into[name][...] = array
