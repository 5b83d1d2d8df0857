"""Matching: who goes with whom, and why not. No files, no catalog."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import shapely
from fakes import footprint_of, lonlat
from hypothesis import given, settings
from hypothesis import strategies as st

from s1s2 import cover, grid, tables
from s1s2 import matched as matched_points
from s1s2.bands import OPTICAL, RADAR, Band, Sensor
from s1s2.errors import RecipeError
from s1s2.grid import GridSpec
from s1s2.match import REASONS, MatchRules
from s1s2.matched import match_scenes
from s1s2.scene import Scene, continuous, edge_sagitta_m
from s1s2.side import Side

NOON = datetime(2021, 7, 1, 12, tzinfo=UTC)
EPSG, LEFT, TOP = 32631, 499_980, 5_000_040
GRID = GridSpec(256)


def s2(
    identity: str = "s2",
    *,
    hours: float = 0.0,
    size_m: float = 109_800,
    left: float = LEFT,
    top: float = TOP,
    epsg: int = EPSG,
    cloud: float | None = 0.1,
    bands: tuple = (*OPTICAL, Band.SCL),
    acquisition: str | None = None,
    footprint: shapely.Geometry | None = None,
) -> Scene:
    there = footprint or shapely.geometry.shape(footprint_of(left, top, size_m, epsg))
    return Scene(
        id=identity,
        catalog="c",
        collection="sentinel-2-l2a",
        sensor=Sensor.S2,
        platform="sentinel-2a",
        sensed_at=NOON + timedelta(hours=hours),
        footprint=there,
        epsg=epsg,
        hrefs=dict.fromkeys(bands, "x"),
        acquisition=acquisition or identity,
        cloud_fraction=cloud,
        processing_baseline="03.01",
        bounds=(left, top - size_m, left + size_m, top),
    )


def s1(
    identity: str = "s1",
    *,
    hours: float = 6.0,
    footprint: shapely.Geometry | None = None,
    bands: tuple = RADAR,
) -> Scene:
    there = footprint or shapely.box(1.0, 44.0, 5.0, 46.0).segmentize(0.05)
    return Scene(
        id=identity,
        catalog="c",
        collection="sentinel-1-rtc",
        sensor=Sensor.S1,
        platform="sentinel-1a",
        sensed_at=NOON + timedelta(hours=hours),
        footprint=there,
        epsg=EPSG,
        hrefs=dict.fromkeys(bands, "x"),
        acquisition=identity,
    )


def points(*places: tuple[float, float]) -> pd.DataFrame:
    lon, lat = zip(*places, strict=True)
    n = np.arange(len(places))
    return pd.DataFrame({"point": n, "lon": lon, "lat": lat, "shard": 0, "position": n})


INSIDE = lonlat(LEFT + 50_000, TOP - 50_000, EPSG)


def matched(
    table: pd.DataFrame, scenes: list[Scene], rules: MatchRules | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    optical, radar = Side.of(scenes, Sensor.S2), Side.of(scenes, Sensor.S1)
    found = match_scenes(table, optical, radar, rules or MatchRules(), GRID)
    rows = pa.concat_tables(found.parts()).to_pandas()
    refused = rows["reason"].notna()
    return rows[~refused].reset_index(drop=True), rows[refused].reset_index(drop=True)


def reason(
    scenes: list[Scene], rules: MatchRules | None = None, place: tuple[float, float] = INSIDE
) -> str:
    candidates, refusals = matched(points(place), scenes, rules)
    assert len(candidates) + len(refusals) >= 1
    return "pair" if len(candidates) else str(refusals["reason"].iloc[0])


@pytest.mark.parametrize(
    ("scenes", "expected"),
    [
        ([s2(), s1()], "pair"),
        ([s1()], "no_s2"),
        ([], "no_s2"),
        ([s2()], "no_s1"),
        ([s2(bands=OPTICAL), s1()], "s2_bands"),
        ([s2(bands=OPTICAL)], "no_s1"),
        ([s2(), s1(bands=(Band.VV,))], "s1_polarisation"),
        ([s2(cloud=0.9), s1()], "s2_cloud"),
        ([s2(cloud=None), s1()], "pair"),
        ([s2(), s1(hours=72.01)], "lag"),
        ([s2(), s1(hours=-72.0)], "pair"),
        ([s2(left=LEFT + 49_980), s1()], "s2_coverage"),
        ([s2(), s1(footprint=shapely.box(1, 44, INSIDE[0] + 0.005, 46))], "s1_coverage"),
    ],
)
def test_reasons(scenes: list[Scene], expected: str) -> None:
    assert reason(scenes) == expected


def test_the_lag_refusal_says_how_far_the_nearest_is() -> None:
    _, refusals = matched(points(INSIDE), [s2(), s1(hours=100), s1("b", hours=-90)])
    assert refusals["detail"].iloc[0] == "the nearest two are 90.0 h apart, at most 72 h"


def test_ranked_by_lag_then_cloud_then_id() -> None:
    scenes = [
        s2("a", hours=1, cloud=0.3),
        s2("b", hours=-1, cloud=0.2),
        s2("c", hours=-1, cloud=0.2),
        s2("d", hours=0.0),
        s1(hours=0),
    ]
    candidates, _ = matched(points(INSIDE), scenes)
    assert list(candidates["s2_id"]) == ["d", "b", "c", "a"]
    assert list(candidates["rank"]) == [0, 1, 2, 3]
    assert list(candidates["lag_hours"]) == [0, 1, 1, -1]


def test_of_one_recordings_tiles_the_most_central_is_kept() -> None:
    far = s2("a-far", left=LEFT + 40_020, acquisition="take")
    near = s2("z-near", acquisition="take")
    candidates, _ = matched(points(INSIDE), [far, near, s1()])
    assert list(candidates["s2_id"]) == ["z-near"]


@pytest.mark.parametrize("part", [1, 2, 100])
def test_what_is_written_is_read_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(matched_points, "_POINTS_A_PART", part)
    monkeypatch.setattr(tables, "ROWS_A_GROUP", 3)
    near = lonlat(LEFT + 30_000, TOP - 30_000, EPSG)
    table = points(INSIDE, (100.0, 0.0), near, (101.0, 0.0), near).iloc[::-1]
    table = table.assign(shard=table["position"] // 3, position=table["position"] % 3)
    scenes = [s2("a"), s2("b", hours=2), s1()]
    optical, radar = Side.of(scenes, Sensor.S2), Side.of(scenes, Sensor.S1)
    found = match_scenes(table, optical, radar, MatchRules(), GRID)
    tables.write_matchups(tmp_path / "m.parquet", found.parts(), {"a": "b"})
    candidates, refusals = tables.read_matchups(tmp_path / "m.parquet")
    wanted = matched(table, scenes)
    for one, other in zip((candidates, refusals), wanted, strict=True):
        names = list(one.columns)
        pd.testing.assert_frame_equal(one, other[names].astype(one.dtypes.to_dict()))
    assert list(candidates["point"]) == [0, 0, 2, 2, 4, 4]
    assert list(refusals["point"]) == [1, 3]
    pd.testing.assert_frame_equal(tables.read_unmatched(tmp_path / "m.parquet"), refusals)
    assert tables.count_pairs(tmp_path / "m.parquet") == 6
    assert tables.count_matched(tmp_path / "m.parquet") == {0: 2, 1: 1}
    places = geopandas.read_parquet(tmp_path / "m.parquet").set_index("point").geometry
    assert places.loc[1].coords[0] == (100.0, 0.0)
    assert found.summary() == "match   3 of 5 points have a pair · no_s2 2"
    nobody = match_scenes(table.head(0), optical, radar, MatchRules(), GRID)
    tables.write_matchups(tmp_path / "none.parquet", nobody.parts(), {})
    assert [len(t) for t in tables.read_matchups(tmp_path / "none.parquet")] == [0, 0]
    assert tables.count_matched(tmp_path / "none.parquet") == {}


def test_excluded_scenes_are_not_used() -> None:
    assert reason([s2(), s1()], MatchRules(exclude=("s1",))) == "no_s1"


def test_slices_that_abut_hold_no_chip_across_their_line() -> None:
    """Trap 9: a chip over the line between two slices lies whole in neither."""
    line = INSIDE[1]
    north = s1("n", footprint=shapely.box(1, line, 5, 46))
    south = s1("s", footprint=shapely.box(1, 44, 5, line))
    assert reason([s2(), north, south]) == "s1_coverage"
    away = lonlat(LEFT + 50_000, TOP - 40_000, EPSG)
    candidates, _ = matched(points(away), [s2(), north, south])
    assert list(candidates["s1_id"]) == ["n"]


def test_the_margin_follows_from_the_edges_own_length() -> None:
    """Trap 8: a 250 km edge at 60 degrees may be off by 2.1 km; a 2 km one by nothing."""
    at_60 = lonlat(500_000, 6_651_000, EPSG)
    long_edge = shapely.box(at_60[0] - 2.25, at_60[1] - 1.5, at_60[0] + 2.25, at_60[1] + 0.02)
    optical = s2(top=6_700_020, left=450_000)
    assert edge_sagitta_m(long_edge) == pytest.approx(2150, rel=0.05)
    assert reason([optical, s1(footprint=long_edge)], place=at_60) == "s1_coverage"
    dense = long_edge.segmentize(0.02)
    assert edge_sagitta_m(dense) < 1
    assert reason([optical, s1(footprint=dense)], place=at_60) == "pair"


@pytest.mark.parametrize("turn", [0, 360, -360])
def test_footprints_written_another_way_round_the_earth(turn: float) -> None:
    radar = shapely.box(1.0 + turn, 44.0, 5.0 + turn, 46.0).segmentize(0.05)
    assert reason([s2(), s1(footprint=radar)]) == "pair"


def test_a_cut_footprint_is_put_together() -> None:
    cut = shapely.MultiPolygon([shapely.box(178, 0, 180, 1), shapely.box(-180, 0, -179, 1)])
    assert continuous(cut).bounds == (178, 0, 181, 1)
    assert continuous(cut).geom_type == "Polygon"


def test_the_whole_of_the_43rd_coarse_pixel_must_exist() -> None:
    """256 px are 2,560 m, but 43 pixels of 60 m are 2,580."""
    place = lonlat(LEFT + 1290, TOP - 1290, EPSG)
    assert reason([s2(size_m=2580), s1()], place=place) == "pair"
    assert reason([s2(size_m=2570), s1()], place=place) == "s2_coverage"


lags = st.lists(st.floats(-200, 200, allow_nan=False), max_size=5)


@given(optical=lags, radar=lags, cap=st.floats(1, 150), order=st.randoms(use_true_random=False))
def test_order_does_not_matter_and_rules_hold(
    optical: list[float], radar: list[float], cap: float, order: object
) -> None:
    scenes = [s2(f"o{i}", hours=h) for i, h in enumerate(optical)]
    scenes += [s1(f"r{i}", hours=h) for i, h in enumerate(radar)]
    rules = MatchRules(max_lag_hours=cap, max_candidates=100)
    table = points(INSIDE, lonlat(LEFT + 30_000, TOP - 30_000, EPSG), (100.0, 0.0))
    first = matched(table, scenes, rules)
    order.shuffle(scenes)  # type: ignore[attr-defined]
    second = matched(table, scenes, rules)
    for one, other in zip(first, second, strict=True):
        pd.testing.assert_frame_equal(one, other)
    candidates, refusals = first
    wanted = sum(abs(r - o) <= cap for r in radar for o in optical)
    assert len(candidates) == pytest.approx(
        2 * wanted, abs=2 * sum(abs(abs(r - o) - cap) < 1e-6 for r in radar for o in optical)
    )
    assert set(candidates["point"]) | set(refusals["point"]) == {0, 1, 2}
    assert not set(candidates["point"]) & set(refusals["point"])
    assert (candidates["lag_hours"].abs() <= cap).all()


def test_bad_rules_are_refused() -> None:
    for change in ({"max_lag_hours": 0}, {"max_scene_cloud_fraction": 2}, {"max_candidates": 0}):
        with pytest.raises(RecipeError):
            MatchRules(**change)


def test_a_hole_in_the_radar_archive_is_a_reason_and_not_a_far_away_pair() -> None:
    """Trap 14: between Sentinel-1B's loss and 1C's data large areas have no radar for years."""
    before = s1("S1B_last", hours=-24 * 200)
    after = s1("S1C_first", hours=24 * 900)
    assert reason([s2(), before, after]) == "lag"
    scenes = [s2(), s2("late", hours=24 * 900 + 5), before, after]
    candidates, _ = matched(points(INSIDE), scenes)
    assert candidates[["s2_id", "s1_id"]].to_numpy().tolist() == [["late", "S1C_first"]]


# --- against a plain second way: every point with every pair, one after the other, all tests exact


def plainly_inside(scene: Scene, epsg: int, left: float, top: float, size_m: float) -> bool:
    margin = edge_sagitta_m(scene.footprint) - 1
    west, north, width = left - margin, top + margin, size_m + 2 * margin
    shares = [0, 0.5, 1]
    ring = [(e, 0) for e in shares] + [(1, s) for s in shares]
    ring += [(e, 1) for e in shares[::-1]] + [(0, s) for s in shares[::-1]]
    x, y = np.array([(west + width * e, north - width * s) for e, s in ring]).T
    lon, lat = grid.to_lonlat(x, y, epsg)
    middle = scene.footprint.centroid.x
    lon = middle + (lon - middle + 180) % 360 - 180
    return bool(shapely.covers(scene.footprint, shapely.Polygon(np.stack([lon, lat], axis=1))))


def plainly_placed(lon: float, lat: float, scene: Scene) -> tuple[float, float, float]:
    """Left, top, and how far from the middle of the files."""
    (x,), (y,) = grid.to_utm(np.array([lon]), np.array([lat]), scene.epsg)
    if scene.bounds is None:
        return x - GRID.coverage_m / 2, y + GRID.coverage_m / 2, 0.0
    west, south, east, north = scene.bounds
    left, top = grid.snap(x, y, west, north, GRID)
    return left, top, np.hypot(x - (west + east) / 2, y - (south + north) / 2)


def plainly_in_files(scene: Scene, left: float, top: float) -> bool:
    if scene.bounds is None:
        return True
    west, south, east, north = scene.bounds
    size = GRID.coverage_m
    return west <= left and left + size <= east and south <= top - size and top <= north


def plainly(  # noqa: C901, PLR0911  # one question after another, as they are asked
    lon: float, lat: float, scenes: list[Scene], rules: MatchRules
) -> list[tuple] | str:
    """The pairs of a point in order, or why there is none."""
    there = [
        s
        for s in scenes
        if s.id not in rules.exclude
        and any(s.footprint.intersects(shapely.Point(lon + t, lat)) for t in (0, 360, -360))
    ]
    two = [s for s in there if s.sensor is Sensor.S2]
    one = [s for s in there if s.sensor is Sensor.S1]
    if not two or not one:
        return "no_s1" if two else "no_s2"
    two = [s for s in two if not s.missing_bands]
    if not two:
        return "s2_bands"
    one = [s for s in one if not s.missing_bands]
    if not one:
        return "s1_polarisation"
    two = [s for s in two if (s.cloud_fraction or 0) <= rules.max_scene_cloud_fraction]
    if not two:
        return "s2_cloud"
    placed = {s.id: plainly_placed(lon, lat, s) for s in two}
    two = [
        s
        for s in two
        if plainly_in_files(s, *placed[s.id][:2])
        and plainly_inside(s, s.epsg, *placed[s.id][:2], GRID.coverage_m)
    ]
    if not two:
        return "s2_coverage"

    def lag(a: Scene, b: Scene) -> float:
        return (b.sensed_at.timestamp() - a.sensed_at.timestamp()) / 3600

    close = [(a, b) for a in two for b in one if abs(lag(a, b)) <= rules.max_lag_hours]
    if not close:
        return "lag"
    held = [(a, b) for a, b in close if plainly_inside(b, a.epsg, *placed[a.id][:2], GRID.size_m)]
    if not held:
        return "s1_coverage"
    best: dict[tuple, tuple] = {}
    for a, b in sorted(held, key=lambda p: (placed[p[0].id][2], p[0].id)):
        best.setdefault((a.acquisition, b.id), (a, b))

    def place(pair: tuple[Scene, Scene]) -> tuple:
        a, b = pair
        return abs(lag(a, b)), 1.0 if a.cloud_fraction is None else a.cloud_fraction, a.id, b.id

    ranked = sorted(best.values(), key=place)[: rules.max_candidates]
    return [(a.id, b.id, lag(a, b), *placed[a.id][:2], a.epsg) for a, b in ranked]


ZONES = {32631: 5_000_040.0, 32660: 5_100_000.0, 32701: 7_900_040.0, 32633: 8_800_020.0}
"""Northing of tiles: at 45 N, on both sides of the antimeridian, and at 79 N."""


def unwrapped(left: float, top: float, size_m: float, epsg: int) -> shapely.Polygon:
    ring = shapely.geometry.shape(footprint_of(left, top, size_m, epsg))
    west = ring.exterior.coords[0][0]
    return shapely.transform(
        ring, lambda xy: np.column_stack([(xy[:, 0] - west + 180) % 360 - 180 + west, xy[:, 1]])
    )


def turned(ring: shapely.Polygon, by: float) -> shapely.Polygon:
    return shapely.transform(ring, lambda xy: np.add(xy, [by, 0]))


@st.composite
def archives(draw: st.DrawFn) -> tuple[pd.DataFrame, list[Scene]]:
    """Tiles and slices over one neighbourhood, and points: many at the edges of footprints."""
    epsg = draw(st.sampled_from(sorted(ZONES)))
    top, left = ZONES[epsg], draw(st.sampled_from([199_980.0, 499_980.0, 699_960.0]))
    metres = st.sampled_from([-80_040.0, -20_040.0, 0.0, 0.0, 15_000.0])
    hours = st.sampled_from([0.0, 0.0, 5.25, -20.0, 71.5, -90.0])
    scenes, places = [], []
    for n in range(draw(st.integers(1, 5))):
        west, north = left + draw(metres), top + draw(metres)
        size = draw(st.sampled_from([3_000.0, 50_000.0, 109_800.0, 109_800.0]))
        ring = unwrapped(west, north, size, epsg).segmentize(draw(st.sampled_from([0.02, 5.0])))
        scene = s2(
            f"o{n}",
            hours=draw(hours),
            size_m=size,
            left=west,
            top=north,
            epsg=epsg,
            cloud=draw(st.sampled_from([None, 0.1, 0.5, 0.9])),
            bands=(*OPTICAL, Band.SCL) if draw(st.integers(0, 5)) else OPTICAL,
            acquisition=draw(st.sampled_from(["take", "take", f"own-{n}"])),
            footprint=turned(ring, draw(st.sampled_from([0, 0, 360, -360]))),
        )
        known = draw(st.booleans())
        scenes.append(scene if known else replace(scene, bounds=None))
        at = [draw(st.floats(-0.02, 1.02)), draw(st.sampled_from([0.005, 0.02, 0.5, 0.985]))]
        places += [(west + a * size, north - b * size) for a, b in (at, at[::-1])]
    for n in range(draw(st.integers(1, 4))):
        west, north = left + draw(metres), top + draw(metres)
        size = draw(st.sampled_from([60_000.0, 200_000.0]))
        ring = turned(unwrapped(west, north, size, epsg), draw(st.sampled_from([0, 0, 360, -360])))
        bands = RADAR if draw(st.integers(0, 5)) else RADAR[:1]
        scenes.append(s1(f"r{n}", hours=draw(hours), footprint=ring, bands=bands))
        places.append((west + size * draw(st.floats(0, 1)), north - draw(st.floats(0, 6_000))))
    lon, lat = grid.to_lonlat(*np.array(places).T, epsg)
    shuffled = draw(st.permutations(range(len(places))))
    table = points(*zip((lon + 180) % 360 - 180, lat, strict=True))
    return table.iloc[shuffled], scenes


@settings(max_examples=200, deadline=None)
@given(
    archive=archives(),
    rules=st.builds(
        MatchRules,
        max_lag_hours=st.sampled_from([1.0, 30.0, 72.0, 1e9]),
        max_candidates=st.integers(1, 8),
        exclude=st.sampled_from([(), ("o0",), ("r0", "o1")]),
    ),
    block=st.integers(1, 20),
)
def test_a_plain_second_way_finds_the_same(
    archive: tuple[pd.DataFrame, list[Scene]], rules: MatchRules, block: int
) -> None:
    table, scenes = archive
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matched_points, "_POINTS_A_BLOCK", block)
        patch.setattr(matched_points, "_POINTS_A_PART", block)
        patch.setattr(cover, "_EDGES_AT_ONCE", block)
        candidates, refusals = matched(table, scenes, rules)
    columns = ["s2_id", "s1_id", "lag_hours", "left", "top", "epsg"]
    for point, lon, lat in table[["point", "lon", "lat"]].itertuples(index=False):
        expected = plainly(lon, lat, scenes, rules)
        found = candidates[candidates["point"] == point]
        why = refusals[refusals["point"] == point]
        if isinstance(expected, str):
            assert (len(found), list(why["reason"])) == (0, [expected])
            if expected != "lag":
                assert list(why["detail"]) == [REASONS[expected]]
        else:
            assert list(found["rank"]) == list(range(len(expected)))
            assert list(found[columns].itertuples(index=False, name=None)) == expected
            assert not len(why)
