"""Bits that flip, files that are lost: found, kept from the loader, and repaired."""

from itertools import cycle
from pathlib import Path

import pytest

from torture import kills, rot
from torture.ground import Ground
from torture.machine import explore
from torture.truth import Truth

SEED, N_FLIPS = 21, 120


@pytest.mark.slow
def test_flipped_bits(truth: Truth, tmp_path: Path) -> None:
    tally = rot.flips(truth, tmp_path, N_FLIPS, SEED)
    assert not tally.problems, "\n".join(tally.problems)
    assert tally.done["found"] == tally.done["flipped"] == N_FLIPS
    kinds = {rot.kind(name) for name in rot.files_of(truth)}
    assert all(tally.done[f"in {kind}"] for kind in kinds), "every kind of file had its share"


def test_a_lost_file_of_each_kind(ground: Ground, truth: Truth, tmp_path: Path) -> None:
    one_of_each = {rot.kind(name): name for name in rot.files_of(truth)}
    chosen = zip(one_of_each.values(), cycle(rot.LEFT), strict=False)
    tally = rot.losses(ground, truth, tmp_path, chosen)
    assert not tally.problems, "\n".join(tally.problems)
    assert tally.done["repaired"] == tally.done["found"] == tally.done["lost"] == len(one_of_each)


def test_any_sequence_of_events(ground: Ground, truth: Truth, tmp_path: Path) -> None:
    """Builds, deaths, second builders, damage, repairs; what must hold is asked after each."""

    explore(ground, truth, tmp_path, kills.changes(ground, tmp_path), 6)
