"""The small corpus and its truth, made once for all tests of the harness."""

from collections.abc import Iterator

import pytest

from torture.ground import Ground, prepared, truth_of
from torture.truth import Truth


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with prepared(tmp_path_factory.mktemp("ground")) as made:
        yield made


@pytest.fixture(scope="session")
def truth(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return truth_of(ground, tmp_path_factory.mktemp("truth") / "truth")
