"""Flip single bits of a finished corpus: every one must be found, and none may reach a loader."""

import os
import random
import shutil
from collections.abc import Iterable, Iterator
from itertools import cycle
from pathlib import Path

from torture import judge
from torture.ground import Ground
from torture.kills import Tally
from torture.launch import run
from torture.truth import Truth

DAMAGED = 5


def flips(truth: Truth, home: Path, number: int, seed: int) -> Tally:
    """Flip bits of a copy, one after another, each undone before the next.

    Half of them fall on any byte of the corpus, half on one file after another, small ones too.

    Returns:
        How many were `flipped` and `found`; of those, how many `by` each kind of file.
    """
    folder, tally = home / "rotten", Tally()
    shutil.copytree(truth.folder, folder)
    for name, byte, bit in _places(truth, number, seed):
        path = folder / name
        with Flipped(path, byte, bit):
            code, said = judge.said_by("verify", str(folder))
            wrong = judge.yielded(folder, truth)
        tally.done["flipped"] += 1
        tally.done["found"] += code == DAMAGED
        tally.done[f"in {kind(name)}"] += 1
        if code != DAMAGED:
            wrong.append(f"verify ended with {code}: {said}")
        tally.add(f"bit {bit} of byte {byte} of {name}", wrong)
    shutil.rmtree(folder)
    return tally


LEFT = (None, 0.0, 0.5)
"""How much of a lost file is left; None where it is gone."""


def losses(
    ground: Ground, truth: Truth, home: Path, chosen: Iterable[tuple[str, float | None]]
) -> Tally:
    """Delete files of a finished corpus, or cut them short, one at a time, and have it repaired.

    Args:
        ground: What is built.
        truth: The finished corpus; a copy of it is harmed.
        home: A folder to do it in.
        chosen: Names of files, each with how much is left of it; see `LEFT`.

    Returns:
        How many files were `lost`, how often that was `found`, and how often `repaired`.
    """
    tally, folder = Tally(), home / "lossy"
    for name, left in chosen:
        shutil.copytree(truth.folder, folder)
        path = folder / name
        if left is None:
            path.unlink()
        else:
            os.truncate(path, int(left * path.stat().st_size))
        where = f"{name}, of which {'nothing' if left is None else f'{left:.0%}'} is left"
        code, said = judge.said_by("verify", str(folder))
        tally.add(where, judge.yielded(folder, truth))
        if code == 0:
            tally.add(where, [f"verify did not find it: {said}"])
        tally.done["lost"] += 1
        tally.done["found"] += code != 0
        # without corpus.json it is unfinished, and to be built on
        finished = (folder / "corpus.json").exists()
        ended = run(ground.repair(folder) if finished else ground.build(folder))
        tally.add(f"{where}, repaired", judge.after_resume(folder, truth, ended))
        tally.done["repaired"] += ended.code == 0
        shutil.rmtree(folder)
    return tally


class Flipped:
    """Hold one bit of a file flipped."""

    def __init__(self, path: Path, byte: int, bit: int) -> None:
        self._path, self._byte, self._bit = path, byte, bit

    def flip(self) -> None:
        """Flip it, there or back."""
        with self._path.open("r+b") as file:
            file.seek(self._byte)
            value = file.read(1)[0] ^ (1 << self._bit)
            file.seek(self._byte)
            file.write(bytes([value]))

    def __enter__(self) -> None:
        self.flip()

    def __exit__(self, *_: object) -> None:
        self.flip()


def kind(name: str) -> str:
    """Return the kind of file that a name is: `shard`, `column`, `zarr.json`, `receipt`, or itself.

    Examples:
        >>> kind("chips.zarr/s1/c/0/0/0/0"), kind("chips.zarr/epsg/c/0"), kind("corpus.json")
        ('shard', 'column', 'corpus.json')
    """
    parts = name.split("/")
    if parts[0] == "receipts":
        return "receipt"
    if parts[-1] == "zarr.json" or len(parts) == 1:
        return parts[-1]
    return "shard" if len(parts) > 4 or parts[1] == "transform" else "column"


def files_of(truth: Truth) -> list[str]:
    """Return the names of all files of a corpus."""
    return [name for name, digest in truth.files.items() if digest]


def _places(truth: Truth, number: int, seed: int) -> Iterator[tuple[str, int, int]]:
    """Draw files, bytes in them, and bits."""
    draw = random.Random(seed)
    sizes = {name: (truth.folder / name).stat().st_size for name in files_of(truth)}
    in_turn = cycle(draw.sample(list(sizes), len(sizes)))
    for k in range(number):
        name = next(in_turn) if k % 2 else draw.choices(list(sizes), list(sizes.values()))[0]
        yield name, draw.randrange(sizes[name]), draw.randrange(8)
