"""Matching: who goes with whom, and why not. No files, no catalog."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import shapely
from fakes import footprint_of, lonlat
from hypothesis import given
from hypothesis import strategies as st

from s1s2.bands import OPTICAL, RADAR, Band, Sensor
from s1s2.cover import Side
from s1s2.errors import RecipeError
from s1s2.grid import GridSpec
from s1s2.match import MatchRules, match_scenes
from s1s2.scene import Scene, continuous, edge_sagitta_m

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
    return match_scenes(table, optical, radar, rules or MatchRules(), GRID)


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
