"""Scenes as a table: the same scenes, with no object for each."""

import errno
import os
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from s1s2 import answers, scene_lookup, scene_tables, tables
from s1s2.answers import Answer, Answers
from s1s2.bands import Band, Sensor, bands_of
from s1s2.errors import FullError, StoreError
from s1s2.items import deduplicate
from s1s2.layout import Folder
from s1s2.scene import Scene
from s1s2.scene_tables import latest, scenes_of, table_of
from s1s2.side import Side

NOON = datetime(2021, 7, 1, 12, tzinfo=UTC)


def scene(number: int = 0, sensor: Sensor = Sensor.S2, **changes: object) -> Scene:
    """A scene like no other number's, with and without what may be missing."""
    bands = bands_of(sensor)[: -1 if number % 3 == 2 else None]
    rest = {
        "id": f"{sensor}-{number:03d}",
        "sensed_at": NOON + timedelta(hours=number, milliseconds=number),
        "acquisition": f"take-{number}",
        "version": f"05.00/{number:03d}",
        "tile": "31TFK" if sensor is Sensor.S2 else None,
        "cloud_fraction": None if number % 2 else number / 300,
        "bounds": None if number % 2 else (500_000.0, 0.1, 510_000.0, 10_000.1 * number),
        "relative_orbit": None if number % 5 == 4 else number,
        **changes,
    }
    return Scene(
        catalog="c",
        collection="some",
        sensor=sensor,
        platform="sentinel-2a",
        footprint=shapely.box(number / 7, 45, number / 7 + 1.1, 46 + number / 13),
        epsg=32631 + number % 2,
        hrefs={band: f"https://store.example/{number}/{band}" for band in bands},
        processing_baseline="05.00",
        **rest,  # type: ignore[arg-type]
    )


SOME = [scene(n, sensor) for sensor in Sensor for n in range(7)]


def test_a_table_holds_all_there_is_to_a_scene(tmp_path: Path) -> None:
    assert scenes_of(table_of(SOME)) == SOME
    assert scenes_of(table_of([])) == []
    scene_tables.write_scenes(tmp_path / "s.parquet", table_of(SOME), {"a": "b"})
    assert scene_tables.read_scenes(tmp_path / "s.parquet") == SOME
    some = scene_tables.read_scenes(tmp_path / "s.parquet", {"s1-001", "s2-006", "none"})
    assert [s.id for s in some] == ["s1-001", "s2-006"]
    assert tables.notes_of(tmp_path / "s.parquet")["a"] == "b"
    assert scene_tables.count_rows(tmp_path / "s.parquet") == len(SOME)


def test_bands_and_scenes_are_counted() -> None:
    table = table_of([scene(2), scene(5), scene(0, Sensor.S1)])
    assert scene_tables.lacking(table, Sensor.S2) == {Band.SCL}
    assert scene_tables.lacking(table, Sensor.S1) == set()
    assert scene_tables.lacking(table.slice(0, 2), Sensor.S1) == set()
    assert [scene_tables.count(table, s) for s in (Sensor.S1, Sensor.S2)] == [1, 2]


@pytest.mark.parametrize("sensor", Sensor)
def test_matching_reads_the_same_from_a_table(
    tmp_path: Path, sensor: Sensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "ROWS_A_GROUP", 3)
    scene_tables.write_scenes(tmp_path / "s.parquet", table_of(SOME), {})
    there, here = scene_tables.read_side(tmp_path / "s.parquet", sensor), Side.of(SOME, sensor)
    assert len(here.id) == 7
    for name, values in vars(here).items():
        if name != "tree":
            np.testing.assert_array_equal(getattr(there, name), values, err_msg=name)
    assert there.complete.tolist() == [n % 3 != 2 for n in range(7)]


@given(
    picks=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), min_size=1, max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=4),
)
def test_of_many_versions_and_pieces_the_latest_are_left(
    picks: list[tuple[int, int]], cuts: list[int]
) -> None:
    """Recordings 0 to 5 in versions 0 to 2, in any order, cut into any pieces."""
    rows = [scene(n, id=f"{n}-{v}", version=str(v)) for n, v in picks]
    edges = [0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]
    pieces = [table_of(rows[a:b]) for a, b in pairwise(edges)]
    found = scenes_of(latest(pa.concat_tables(pieces)))
    assert found == deduplicate(rows)
    assert len(found) == len({n for n, _ in picks})


def test_the_last_in_order_counts_and_groups_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROWS_A_GROUP", 2)
    old, new = scene(1), scene(1, cloud_fraction=0.5)
    table = pa.concat_tables([table_of([new]), table_of([old]), table_of(SOME[7:])])
    order = np.array([1, 0, *range(2, 9)])
    found = scenes_of(latest(table, order))
    assert [s.id for s in found] == [f"s2-{n:03d}" for n in range(7)]
    assert scenes_of(latest(table, np.array([0, 1]))) == [old]
    assert scenes_of(latest(table, np.array([1, 0]))) == [new]


def damage(path: Path) -> None:
    """Flip bits in the middle of a file's pages: its footer stays whole."""
    content = bytearray(path.read_bytes())
    start, stop = len(content) // 8, len(content) // 4
    content[start:stop] = bytes(b ^ 0xFF for b in content[start:stop])
    path.write_bytes(content)


@pytest.mark.parametrize(
    "read",
    [
        scene_tables.read_table,
        scene_tables.read_scenes,
        lambda path: scene_tables.read_scenes(path, {"s1-001"}),
        lambda path: scene_tables.read_side(path, Sensor.S1),
        lambda path: scene_tables.read_side(path, Sensor.S2),
    ],
)
def test_a_damaged_table_is_named_in_one_line(tmp_path: Path, read: object) -> None:
    path = tmp_path / "scenes.parquet"
    scene_tables.write_scenes(path, table_of(SOME * 50), {})
    damage(path)
    assert scene_tables.count_rows(path) == 50 * len(SOME), "its footer is whole"
    with pytest.raises(StoreError, match=r"scenes\.parquet: damaged"):
        read(path)  # type: ignore[operator]
    path.write_bytes(path.read_bytes()[:-10])
    for call in (read, scene_tables.count_rows):
        with pytest.raises(StoreError, match=r"scenes\.parquet: damaged"):
            call(path)  # type: ignore[operator]


def test_rows_without_a_band_are_found_where_groups_do_not_say(tmp_path: Path) -> None:
    """Other writers leave statistics away: then the hrefs themselves are looked at."""
    path = tmp_path / "s.parquet"
    pq.write_table(table_of(SOME), path, write_statistics=False)
    for sensor in Sensor:
        side = scene_tables.read_side(path, sensor)
        assert side.complete.tolist() == [n % 3 != 2 for n in range(7)]


# --- scenes by their ids


def test_a_large_table_is_looked_up_in_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "ROWS_A_GROUP", 3)
    folder, ids = Folder(tmp_path), {"s1-001", "s2-006", "s1-000", "none"}
    expected = [s for s in SOME if s.id in ids]
    scene_tables.write_scenes(folder.scenes, table_of(SOME), {})
    scene_lookup.prepare(folder)
    assert list(tmp_path.iterdir()) == [folder.scenes], "a small table needs none"
    monkeypatch.setattr(scene_lookup, "_FEW", len(SOME) - 1)
    scene_lookup.prepare(folder)
    whole = folder.scenes.read_bytes()
    times = folder.scenes.stat()
    folder.scenes.write_bytes(b"x" * len(whole))
    os.utime(folder.scenes, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert scene_lookup.read_scenes(folder, ids) == expected, "the table itself is not looked at"
    assert scene_lookup.read_scenes(folder, set()) == []
    folder.scenes.write_bytes(whole)
    scene_lookup.discard(folder)
    scene_lookup.discard(folder)
    assert scene_lookup.read_scenes(folder, ids) == expected
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p != folder.scenes]


def test_a_copy_of_another_table_or_half_of_one_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene_lookup, "_FEW", 0)
    folder = Folder(tmp_path)
    scene_tables.write_scenes(folder.scenes, table_of(SOME), {})
    scene_lookup.prepare(folder)
    changed = [scene(1, Sensor.S1, id=SOME[0].id), *SOME[1:]]
    scene_tables.write_scenes(folder.scenes, table_of(changed), {})
    assert scene_lookup.read_scenes(folder, {SOME[0].id}) == changed[:1]
    scene_lookup.prepare(folder)
    (copy,) = (p for p in tmp_path.rglob("*.arrow"))
    assert scene_lookup.read_scenes(folder, {SOME[0].id}) == changed[:1]
    content = copy.read_bytes()
    half = len(content) // 2
    for damaged in (content[:8] + b"\xff" * half + content[8 + half :], content[:-100]):
        copy.write_bytes(damaged)
        assert scene_lookup.read_scenes(folder, {SOME[0].id}) == changed[:1]
    scene_lookup.prepare(folder)
    assert len(copy.read_bytes()) > 1000, "it is made again"


def test_a_copy_that_cannot_be_written_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene_lookup, "_FEW", 0)
    folder = Folder(tmp_path)
    scene_tables.write_scenes(folder.scenes, table_of(SOME), {})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FullError, match=r"scenes\.arrow: no room for it"):
        scene_lookup.prepare(folder)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [folder.scenes]


# --- answers


def answer(key: str, *scenes: Scene, **refused: int) -> Answer:
    return Answer(key, table_of(scenes), refused)


def test_answers_are_kept_and_joined(tmp_path: Path) -> None:
    kept = Answers(tmp_path / "answers")
    assert kept.known() == set()
    assert kept.together(["a"]) is None
    kept.keep([])
    assert not (tmp_path / "answers").exists()
    kept.keep([answer("a", SOME[7], SOME[8], bad_item=2), answer("empty", no_geometry=1)])
    kept.keep([answer("other", SOME[9], bad_item=100), answer("b", SOME[8], SOME[0], bad_item=1)])
    assert kept.known() == {"a", "b", "empty", "other"}
    assert kept.together(["a", "missing"]) is None
    found = kept.together(["a", "b", "empty"])
    assert found is not None
    assert scenes_of(found[0]) == [SOME[0], SOME[7], SOME[8]], "what others asked is left out"
    assert found[1] == {"bad_item": 3, "no_geometry": 1}
    nothing = kept.together([])
    assert nothing is not None
    assert len(nothing[0]) == 0


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("swapped", [True, False])
def test_the_order_of_the_questions_decides_and_not_that_of_the_answers(
    tmp_path: Path, *, split: bool, swapped: bool
) -> None:
    old, new = scene(1), scene(1, cloud_fraction=0.5)
    given_ = [answer("a", old), answer("b", new)]
    given_ = given_[::-1] if swapped else given_
    kept = Answers(tmp_path)
    for some in [given_[:1], given_[1:]] if split else [given_]:
        kept.keep(some)
    first, second = kept.together(["a", "b"]), kept.together(["b", "a"])
    assert first is not None
    assert second is not None
    assert scenes_of(first[0]) == [new]
    assert scenes_of(second[0]) == [old]


def test_answers_twice_are_answers_once(tmp_path: Path) -> None:
    """Two jobs of an array may have asked the same."""
    kept = Answers(tmp_path)
    kept.keep([answer("a", SOME[7], bad_item=1)])
    kept.keep([answer("a", SOME[7], bad_item=1), answer("b")])
    found = kept.together(["a", "b"])
    assert found is not None
    assert scenes_of(found[0]) == [SOME[7]]
    assert found[1] == {"bad_item": 1}


def test_a_damaged_file_of_answers_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Answers(tmp_path)
    kept.keep([answer("a", *SOME)])
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match="delete it and search again"):
        kept.known()
    file.write_bytes(whole)
    monkeypatch.setattr(answers, "_SCHEMA", answers._SCHEMA.remove(3))
    with pytest.raises(StoreError, match="another version"):
        kept.known()
