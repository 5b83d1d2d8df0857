"""The harness reports what it is for: with a safety switched off, each campaign must find fault."""

from pathlib import Path

import pytest

from torture import crowds, kills, rot, sabotage
from torture.ground import Ground, truth_of
from torture.truth import Truth

SEED = 24


@pytest.mark.slow
def test_without_checksums_rot_reaches_the_loader(ground: Ground, tmp_path: Path) -> None:
    bare = truth_of(ground, tmp_path / "bare", sabotage.without_checksums)
    tally = rot.flips(bare, tmp_path, 60, SEED)
    assert any("was yielded and is wrong" in line for line in tally.problems)


def test_without_receipts_lost_pixels_stay_lost(
    ground: Ground, truth: Truth, tmp_path: Path
) -> None:
    tally = kills.unfinished_damage(ground, truth, tmp_path, 2, sabotage.without_receipts)
    assert tally.problems
    tally = kills.unfinished_damage(ground, truth, tmp_path, 2)
    assert not tally.problems, "and with them they are mended"


def test_without_leases_a_second_builder_gets_in(
    ground: Ground, truth: Truth, tmp_path: Path
) -> None:
    tally = crowds.second_builders(ground, truth, tmp_path, 1, SEED, sabotage.without_leases)
    assert any("second builder" in line for line in tally.problems)


@pytest.mark.slow
def test_without_renames_a_kill_leaves_half_a_file(
    ground: Ground, truth: Truth, tmp_path: Path
) -> None:
    first = range(4, 20)  # the lease, the recipe, the points
    tally = kills.each_change(ground, truth, tmp_path, "kill", first, sabotage.without_renames)
    assert any("points.parquet" in line for line in tally.problems)
