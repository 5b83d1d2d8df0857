"""A build through a bad network ends with the same bytes."""

from pathlib import Path

import pytest

from torture import storm
from torture.ground import Ground
from torture.storm import Weather
from torture.truth import Truth


def test_drops_delays_and_cuts(ground: Ground, truth: Truth, tmp_path: Path) -> None:
    tally = storm.survive(ground, truth, tmp_path, Weather(22), ground.address)
    assert not tally.problems, "\n".join(tally.problems)
    assert tally.done["cut"]
    assert tally.done["delayed"]


@pytest.mark.slow
def test_faults_of_the_server_on_top(ground: Ground, truth: Truth, tmp_path: Path) -> None:
    """Too many requests, no service, corrupt blocks, tokens that last for seconds."""
    with storm.faulty(23) as address:
        tally = storm.survive(ground, truth, tmp_path, Weather(23), address)
    assert not tally.problems, "\n".join(tally.problems)
