"""Kill a build anywhere and go on: the same bytes, nothing left behind, never half a corpus."""

from pathlib import Path

import pytest

from s1s2 import Corpus
from torture import crowds, kills
from torture.ground import Ground
from torture.truth import Truth, wrong_pixels

SEED = 20


def test_the_truth_is_the_oracles(truth: Truth) -> None:
    """Once for every pixel; from here on, equal files are proof enough."""
    assert wrong_pixels(Corpus(truth.folder)) == 0
    assert len(truth.rows) == 6


def test_forty_kills(ground: Ground, truth: Truth, tmp_path: Path) -> None:
    tally = kills.random_kills(ground, truth, tmp_path, 40, SEED)
    assert not tally.problems, "\n".join(tally.problems)
    assert tally.done["killed"] == 40


@pytest.mark.parametrize("how", ["kill", "ENOSPC", "EIO"])
def test_a_write_that_fails(how: str, ground: Ground, truth: Truth, tmp_path: Path) -> None:
    """A few of some hundred here; `make torture` lets each one fail."""
    chosen = kills.spread(ground, tmp_path, 8, SEED)
    tally = kills.each_change(ground, truth, tmp_path, how, chosen)
    assert not tally.problems, "\n".join(tally.problems)
    assert tally.done["struck"] == tally.done["finished"] == 8


@pytest.mark.slow
def test_killed_as_the_report_is_drawn(ground: Ground, truth: Truth, tmp_path: Path) -> None:
    total = kills.changes(ground, tmp_path, report=True)
    tally = kills.as_it_is_drawn(ground, truth, tmp_path, [0, total // 2, total - 2])
    assert not tally.problems, "\n".join(tally.problems)
    assert tally.done["struck"] == 3


def test_told_to_end(ground: Ground, truth: Truth, tmp_path: Path) -> None:
    tally = crowds.terminated(ground, truth, tmp_path, 4, SEED)
    assert not tally.problems, "\n".join(tally.problems)
    assert tally.done["terminated"] >= 3, "one may be told with nothing left to do"


def test_a_second_builder(ground: Ground, truth: Truth, tmp_path: Path) -> None:
    tally = crowds.second_builders(ground, truth, tmp_path, 3, SEED)
    assert not tally.problems, "\n".join(tally.problems)
    assert tally.done["refused"] == tally.done["joined"] == 3


def test_a_worker_is_lost(ground: Ground, truth: Truth, tmp_path: Path) -> None:
    tally = crowds.worker_lost(ground, truth, tmp_path)
    assert not tally.problems, "\n".join(tally.problems)
    assert tally.done["workers killed"] == 1


@pytest.mark.slow
def test_the_scheduler_is_lost(ground: Ground, truth: Truth, tmp_path: Path) -> None:
    tally = crowds.scheduler_lost(ground, truth, tmp_path)
    assert not tally.problems, "\n".join(tally.problems)
    assert tally.done["schedulers killed"] == 1
