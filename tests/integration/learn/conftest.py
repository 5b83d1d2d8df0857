"""One corpus, its labels and a run of it, for all tests of learning."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from fakes import Scenes, lonlat, points_file

from s1s2 import Corpus
from s1s2.cli import main

if TYPE_CHECKING:
    from s1s2.learn.labelled import Labelled


@pytest.fixture(scope="module", autouse=True)
def _narrow() -> Iterator[None]:
    from lessons import narrow

    with pytest.MonkeyPatch.context() as patch:
        narrow(patch)
        yield


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 chips of 64 px in three zones; two cells train, the third is made the test split."""
    root = tmp_path_factory.mktemp("learn")
    scenes = Scenes(root / "catalog")
    places = []
    for number, (epsg, tile) in enumerate([(32631, "31TFK"), (32633, "33TFK"), (32640, "40TFK")]):
        scenes.s2(epsg=epsg, tile=tile, size_m=12_000, baseline="05.00")
        scenes.s1(epsg=epsg, size_m=14_000, slice_number=number)
        places += [lonlat(501_500 + 1_700 * i, 4_998_000 - 1_700 * i, epsg) for i in range(6)]
    recipe = root / "recipe.toml"
    recipe.write_text("[sample]\nval_percent = 0\ntest_percent = 40\n")
    build = ["build", str(recipe), "--catalog", str(scenes.save()), "--start", "2021-07-01"]
    build += ["--points", str(points_file(root / "p.geojson", places)), "--end", "2021-07-02"]
    assert main([*build, "--chip-size", "64", "-n", "18", "-o", str(root / "out")]) == 0
    return root / "out"


@pytest.fixture(scope="session")
def labels(corpus: Path) -> Path:
    """Two classes: one that follows from the picture, one that does not."""
    opened = Corpus(corpus)
    bright = [opened.read(int(c))["s2_10m"].mean() for c in opened.index["chip"]]
    table = pd.DataFrame({"chip": opened.index["chip"]})
    table["bright"] = (np.array(bright) > np.median(bright)).astype("float32")
    table["every other"] = (np.arange(len(table)) % 2).astype("float32")
    path = corpus.parent / "labels.parquet"
    table.to_parquet(path)
    return path


@pytest.fixture(scope="session")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both sensors that was never stopped."""
    from lessons import narrow, recipe, run_to

    out = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        narrow(patch)
        run_to(corpus, out, recipe())
    return out


@pytest.fixture(scope="session")
def data(corpus: Path, labels: Path) -> "Labelled":
    """The corpus with its labels."""
    from lessons import spec

    from s1s2.learn import labelled

    return labelled.of_corpus(corpus, spec(), labels, print)
