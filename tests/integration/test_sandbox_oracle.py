"""A corpus cut from the sandbox against a second implementation: wrong pixels are counted."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from shapely.geometry import Point

from s1s2 import Corpus
from s1s2.bands import Band
from s1s2.cli import main
from s1s2.grid import to_utm
from s1s2.sandbox.archive import Archive
from s1s2.sandbox.files import RenderedFile, RenderedFiles
from s1s2.sandbox.process import running
from s1s2.sandbox.scenes import OpticalScene, RadarScene

SEED, SIZE, BLOCK = 0, 64, 512
S2, S1 = "sentinel-2-l2a", "sentinel-1-rtc"
PLACES = {
    "a coast": (10.27, 43.68),
    "Amazon": (-60.1, -3.1),
    "fields": (1.5, 48.2),
    "70 north": (25.0, 70.0),
    "between two zones": (6.0, 50.1),
    "Taveuni": (-179.97, -16.85),
    "Chukotka": (179.9, 67.0),
    "the Cape": (20.5, -33.9),
}
ANY_CLOUDS = """
[match]
max_scene_cloud_fraction = 1.0
[chip]
max_cloud_fraction = 1.0
max_shadow_fraction = 1.0
"""
OLD, LATER = ("2019-08-01", "2019-08-31"), ("2024-08-01", "2024-08-31")
Pixels = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def archive() -> Archive:
    return Archive(SEED)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Corpus, Corpus]]:
    """Eight chips before the offset, two of years later."""
    folder = tmp_path_factory.mktemp("oracle")
    (folder / "recipe.toml").write_text(ANY_CLOUDS)
    with running(SEED) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("S1S2_SANDBOX", address)
        yield (
            build(folder / "old", folder / "recipe.toml", list(PLACES.values()), OLD),
            build(folder / "later", folder / "recipe.toml", [PLACES["fields"], (31, 30.6)], LATER),
        )


def build(
    out: Path, recipe: Path, places: list[tuple[float, float]], period: tuple[str, str]
) -> Corpus:
    points = out.with_suffix(".csv")
    points.write_text("lon,lat\n" + "".join(f"{lon},{lat}\n" for lon, lat in places))
    line = ["build", str(recipe), "--catalog", "sandbox", "--points", str(points)]
    line += ["--start", period[0], "--end", period[1], "--chip-size", str(SIZE), "-o", str(out)]
    assert main(line) == 0
    return Corpus(out)


def rows(corpus: Corpus) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = corpus.index.to_dict("records")
    return found


def scenes_of(row: dict[str, Any], archive: Archive) -> tuple[OpticalScene, RadarScene]:
    s2, s1 = archive.scene(S2, row["s2_id"]), archive.scene(S1, row["s1_id"])
    assert isinstance(s2, OpticalScene)
    assert isinstance(s1, RadarScene)
    return s2, s1


def wanted(row: dict[str, Any], archive: Archive) -> Pixels:
    return oracle.chip(row, *scenes_of(row, archive), SIZE, SEED)


def test_every_pixel_of_a_corpus_is_the_oracles(
    corpora: tuple[Corpus, Corpus], archive: Archive
) -> None:
    """Of every array of every chip; radar of another zone too, which GDAL resamples for both."""
    for corpus, n_chips in zip(corpora, (len(PLACES), 2), strict=True):
        assert len(corpus) == n_chips
        for row in rows(corpus):
            wrong = oracle.wrong(corpus.read(row["chip"]), wanted(row, archive))
            assert sum(wrong.values()) == 0, f"wrong pixels at {row['lon']}, {row['lat']}: {wrong}"
    index = corpora[0].index
    assert set(index["s1_warped"]) == {False, True}, "both ways of reading radar were tried"
    assert index["epsg"].nunique() > 4
    assert index["cloud_fraction"].max() > 0.5
    assert index["shadow_fraction"].max() > 0.1
    assert 0.2 < index["water_fraction"].max() < 0.95, "a shore"


def test_the_offset_is_in_the_files_and_not_in_the_corpus(
    corpora: tuple[Corpus, Corpus], archive: Archive
) -> None:
    for row in rows(corpora[1]):
        scene = scenes_of(row, archive)[0]
        assert float(scene.baseline) >= 4
        assert row["dn_offset"] == -scene.offset == -1000
        left, top = row["transform"][2], row["transform"][5]
        file = rendered(scene, "B08")
        column, line = round((left - scene.left) / 10), round((scene.top - top) / 10)
        block = file.block(0, line // BLOCK, column // BLOCK)
        there = block[line % BLOCK :, column % BLOCK :][:SIZE, :SIZE]
        height, width = there.shape  # less than a chip where it goes on in the next block
        assert np.array_equal(
            there, oracle.optical(scene, Band.B08, *oracle.centres(left, top, 10, width, height), 0)
        )
        kept = corpora[1].read(row["chip"])["s2_10m"][3, :height, :width]
        assert np.array_equal(kept, np.maximum(there.astype(int) - 1000, 1))
        assert kept.max() > 1


def test_a_scene_processed_again_shows_the_same_ground(
    corpora: tuple[Corpus, Corpus], archive: Archive
) -> None:
    row = next(r for r in rows(corpora[0]) if r["dn_offset"] == -1000)
    new = scenes_of(row, archive)[0]
    start = new.datatake_starts
    there = archive.scenes(S2, Point(row["lon"], row["lat"]), start, start)
    (old,) = (s for s in there if s.tile == new.tile and s.id != new.id)
    assert isinstance(old, OpticalScene)
    assert (old.offset, new.offset) == (0, 1000)
    place = oracle.centres(row["transform"][2], row["transform"][5], 10, SIZE, SIZE)
    for band in (Band.B02, Band.B03, Band.B04, Band.B08):
        before, after = (oracle.optical(s, band, *place, SEED) for s in (old, new))
        assert np.array_equal(oracle.without_offset(after, 1000), before)
        kept = corpora[0].read(row["chip"])["s2_10m"]
        assert np.array_equal(kept[["B02", "B03", "B04", "B08"].index(band)], before)
    for key in ("B02", "SCL"):
        before, after = (rendered(s, key).block(0, 3, 1).astype(int) for s in (old, new))
        offset = 0 if key == "SCL" else 1000
        assert np.array_equal(np.where(after > 0, after - offset, 0), before)


def test_the_oracle_tells_what_is_wrong(corpora: tuple[Corpus, Corpus], archive: Archive) -> None:
    """One pixel, another seed, day, datatake or place, or an array of another type."""
    row = next(r for r in rows(corpora[0]) if (r["lon"], r["lat"]) == PLACES["fields"])
    s2, s1 = scenes_of(row, archive)
    right = oracle.chip(row, s2, s1, SIZE, SEED)
    for name, values in corpora[0].read(row["chip"]).items():
        spoilt = values.copy()
        spoilt[..., 17, 5] ^= 1
        assert oracle.wrong({**right, name: spoilt}, right)[name] == values[..., 17, 5].size
    month = timedelta(days=30)
    aside = row | {"transform": [10, 0, row["transform"][2] + 60, 0, -10, row["transform"][5]]}
    others = {
        "seed": oracle.chip(row, s2, s1, SIZE, SEED + 1),
        "place": oracle.chip(aside, s2, s1, SIZE, SEED),
        "day": oracle.chip(
            row,
            replace(s2, sensed_at=s2.sensed_at + month),
            replace(s1, starts=s1.starts + month),
            SIZE,
            SEED,
        ),
        "recording": oracle.chip(
            row, replace(s2, recording=1), replace(s1, recording=1), SIZE, SEED
        ),
    }
    for name, other in others.items():
        wrong = oracle.wrong(corpora[0].read(row["chip"]), other)
        for array in ("s2_10m", "s2_20m", "s1"):
            assert wrong[array] > right[array].size / 10, f"another {name}: {wrong}"
    assert oracle.wrong({"scl": right["scl"].astype(int)}, {"scl": right["scl"]})["scl"] > 0


def rendered(scene: OpticalScene | RadarScene, key: str, seed: int = SEED) -> RenderedFile:
    file = RenderedFiles(lambda *_: (scene, key), seed).find("account", "container", f"{key}.tif")
    assert file is not None
    return file


@pytest.mark.parametrize("case", range(16))
def test_any_block_of_any_file_is_the_oracles(archive: Archive, case: int) -> None:
    """A window of some block, at some place and level, on some day, on some planet."""
    draw = np.random.default_rng(case)
    lon, lat = list(PLACES.values())[case % len(PLACES)]
    begins = datetime(2018, 1, 1, tzinfo=UTC) + timedelta(days=int(draw.integers(2400)))
    seed = int(draw.integers(3))
    for collection in (S2, S1):
        near = archive.scenes(collection, Point(lon, lat), begins, begins + timedelta(days=150))
        scene = next(near)  # so many days, since nothing is recorded in the polar night
        keys: tuple[str, ...] = ("B02", "B12", "B01", "SCL")
        if isinstance(scene, RadarScene):
            keys = tuple(p.lower() for p in scene.polarisations)
        key = str(draw.choice(keys))
        file = rendered(scene, key, seed)
        level = int(draw.integers(5))
        shape = [-(-n // 2**level) for n in (file.raster.height, file.raster.width)]
        gsd = file.raster.gsd * 2**level
        row, column = (int(draw.integers(-(-n // BLOCK))) for n in shape)
        if case % 4:  # a block that surely holds something
            x, y = to_utm(np.array(lon), np.array(lat), scene.epsg)
            row, column = (
                int((scene.top - y) // gsd // BLOCK),
                int((x - scene.left) // gsd // BLOCK),
            )
        block = file.block(level, row, column)
        size = 96
        top, left = (int(t) for t in draw.integers(0, BLOCK - size + 1, 2))
        x = scene.left + (column * BLOCK + left) * gsd
        y = scene.top - (row * BLOCK + top) * gsd
        place = oracle.centres(x, y, gsd, size, size)
        if isinstance(scene, OpticalScene):
            expected = oracle.optical(scene, Band(key), *place, seed, gsd)
        else:
            band = Band.VV if key in ("vv", "hh") else Band.VH
            expected = oracle.radar(scene, band, *place, seed, gsd)
        found = block[top : top + size, left : left + size]
        assert found.dtype == expected.dtype
        wrong = int((found != expected).sum())
        assert wrong == 0, f"{wrong} wrong pixels in block {level}, {row}, {column} of {scene.id}"
