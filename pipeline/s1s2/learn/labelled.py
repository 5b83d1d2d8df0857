"""Chips with labels, wherever they come from: what an evaluation learns and judges from."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # its name everywhere
from numpy.typing import NDArray
from torch import Tensor

from s1s2.bands import Sensor
from s1s2.errors import ContractError
from s1s2.learn.batches import Raw, read_rows
from s1s2.learn.labels import shares_of
from s1s2.learn.settings import EvaluateSpec
from s1s2.learn.units import Scaling, normalised
from s1s2.load import Corpus


@dataclass(frozen=True)
class Labelled:
    """Chips, their classes, and which of them are for learning; one row a chip everywhere."""

    name: str
    """What it is, for tables."""
    identity: str
    """Changes when its pixels do."""
    sensors: tuple[Sensor, ...]
    classes: tuple[str, ...]
    exclusive: bool
    """One class a chip, rather than any number."""
    truth: NDArray[np.bool_]
    """(chip, class)."""
    split: NDArray[np.str_]
    """`train`, `val` or `test`; no place is in two."""
    cell: NDArray[np.int64]
    """Chips of one cell are near each other."""
    cloudy: NDArray[np.bool_]
    read: Callable[[NDArray[np.int64]], Raw]
    """Reads rows as stored."""

    @property
    def mark(self) -> str:
        """Stands for all that scores follow from: pixels, labels and splits."""
        words = [self.identity, *self.classes, *self.split.tolist()]
        whole = sha256("\n".join(words).encode())
        whole.update(np.packbits(self.truth).tobytes())
        return whole.hexdigest()

    def rows(self, split: str) -> NDArray[np.int64]:
        """Return the rows of a split.

        Raises:
            ContractError: If there are none.
        """
        found = np.flatnonzero(self.split == split)
        if not len(found):
            msg = f"{self.name}: no chip in split {split}; an evaluation needs train and test"
            raise ContractError(msg)
        return found

    def batch(
        self, rows: NDArray[np.int64], sensor: Sensor, scaling: Scaling, size_px: int
    ) -> Tensor:
        """Return chips as a network sees them, (B, band, size, size) float32, resized by area."""
        values = normalised(self.read(rows)[sensor], sensor, scaling)
        if size_px and size_px != values.shape[-1]:
            values = F.interpolate(values, (size_px, size_px), mode="area")
        return values


def of_corpus(
    path: str | Path, spec: EvaluateSpec, labels: Path | None, say: Callable[[str], None]
) -> Labelled:
    """Return the chips of a corpus with the land cover in them.

    Args:
        path: Its folder, or the URL that it was pushed to, as text.
        spec: From which share of a chip a class counts, and from which a cloud does.
        labels: The user's own table; None where the simulated planet is to be asked.
        say: Told what takes a while.

    Raises:
        ContractError: If nobody knows the labels, or they do not fit.
        StoreError: If the corpus is damaged.
    """
    corpus = Corpus(path)
    index = corpus.index
    shares = shares_of(index, corpus.size_px, labels, say)
    if shares is None:
        msg = (
            f"{path}: no labels are known for real imagery; give --labels FILE (Parquet: chip, and "
            "a column of shares a class)"
        )
        raise ContractError(msg)
    hidden = index["cloud_fraction"] + index["shadow_fraction"]
    return Labelled(
        name=str(corpus.about["name"]),
        identity=str(corpus.about["corpus_id"]),
        sensors=tuple(Sensor),
        classes=shares.classes,
        exclusive=False,
        truth=shares.present(spec.least_share),
        split=index["split"].to_numpy(str),
        cell=index["cell"].to_numpy(np.int64),
        cloudy=np.asarray(hidden > spec.cloudy_from),
        read=lambda rows: read_rows(corpus, rows),
    )


def held(data: Labelled, limit_bytes: int) -> Labelled:
    """Return the same chips, kept in memory once read, up to a limit."""
    kept: dict[int, Raw] = {}
    room = [limit_bytes]

    def read(rows: NDArray[np.int64]) -> Raw:
        missing = np.array([r for r in rows.tolist() if r not in kept], dtype=np.int64)
        fresh = (
            dict(zip(missing.tolist(), _single(data.read(missing)), strict=True))
            if len(missing)
            else {}
        )
        for row, chip in fresh.items():
            size = sum(t.nbytes for t in chip.values())
            if size <= room[0]:
                kept[row] = chip
                room[0] -= size
        chips = [kept.get(r) or fresh[r] for r in rows.tolist()]
        return {s: torch.stack([c[s] for c in chips]) for s in data.sensors}

    return Labelled(**{**data.__dict__, "read": read})


def _single(raw: Raw) -> list[Raw]:
    """Take a batch apart; each chip on memory of its own."""
    count = len(next(iter(raw.values())))
    return [{s: t[k].clone() for s, t in raw.items()} for k in range(count)]
