"""The truth about a corpus: every file of one that was built undisturbed, and every pixel.

Its pixels are held against the oracle (`tests/oracle.py`) once; from then on equality with it is
equality with the oracle.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import oracle

from s1s2 import Corpus
from s1s2.layout import BESIDE
from s1s2.load import Stored
from s1s2.sandbox.archive import Archive
from s1s2.sandbox.scenes import OpticalScene, RadarScene

SEED = 0
_NOT_OURS = {".leases", "put-away", *BESIDE}
"""Leases, diary and report are no part of a corpus; what repair found to be none lies aside."""


@dataclass(frozen=True)
class Truth:
    """A corpus built undisturbed."""

    folder: Path
    files: dict[str, str]
    """What `content` says of it."""
    rows: dict[int, Stored]
    """Every chip as stored."""
    seconds: float
    """What building it took."""

    def holds(self, chip: int, row: Stored) -> bool:
        """Say whether a chip is, number for number, the one it should be."""
        return chip in self.rows and all(
            np.array_equal(row[name], values) for name, values in self.rows[chip].items()
        )


def content(folder: Path) -> dict[str, str]:
    """Return the hash of every file of a corpus, and an empty text for every folder."""
    return {
        path.relative_to(folder).as_posix(): _hash(path)
        for path in sorted(folder.rglob("*"))
        if path.relative_to(folder).parts[0] not in _NOT_OURS
    }


def _hash(path: Path) -> str:
    return "" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()


def rows_of(corpus: Corpus) -> dict[int, Stored]:
    """Return every chip of a corpus as it is stored."""
    return {int(chip): corpus.read(int(chip)) for chip in corpus.chips()}


def wrong_pixels(corpus: Corpus) -> int:
    """Count the pixels of a corpus that are not the oracle's."""
    archive, total = Archive(SEED), 0
    for row in corpus.index.to_dict("records"):
        s2 = archive.scene("sentinel-2-l2a", row["s2_id"])
        s1 = archive.scene("sentinel-1-rtc", row["s1_id"])
        assert isinstance(s2, OpticalScene)
        assert isinstance(s1, RadarScene)
        wanted = oracle.chip(row, s2, s1, corpus.size_px, SEED)
        total += sum(oracle.wrong(corpus.read(row["chip"]), wanted).values())
    return total
