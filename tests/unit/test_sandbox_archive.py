"""The simulated archive: which scenes exist, where and when, and how they read as STAC items."""

import json
import time
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import rasterio
import requests
import shapely
from rasterio.windows import Window
from shapely import MultiPoint, Point, box
from stac_pydantic import Collection, Item

from s1s2 import grid
from s1s2.bands import Sensor
from s1s2.catalog import PLANETARY_COMPUTER_S1, PLANETARY_COMPUTER_S2, Catalog
from s1s2.items import ItemRefused, deduplicate, scene_from_item
from s1s2.land import land_mask
from s1s2.match import MatchRules
from s1s2.matched import match_scenes
from s1s2.sample import SampleSpec, draw_points
from s1s2.sandbox import orbits, stac, stac_cover, tiles
from s1s2.sandbox.archive import Archive, Scene, stac_time
from s1s2.sandbox.coasts import LandRows
from s1s2.sandbox.process import running
from s1s2.sandbox.scenes import (
    COVER_COLLECTION,
    S1_COLLECTION,
    S2_COLLECTION,
    S2_TILE_M,
    OpticalScene,
    RadarScene,
)
from s1s2.sandbox.slices import PER_ORBIT
from s1s2.scene import Scene as Parsed
from s1s2.side import Side

ROOT, BLOBS = "http://127.0.0.1:1/api/stac/v1", "http://127.0.0.1:1/blobs"
CATALOG = Catalog(
    name="sandbox",
    s1=PLANETARY_COMPUTER_S1,
    s2=PLANETARY_COMPUTER_S2,
    endpoint=ROOT,
    simulated=True,
)
BOTH = pytest.mark.parametrize("collection", [S2_COLLECTION, S1_COLLECTION])
NASTY = {
    "Fiji, west of the antimeridian": (179.99, -16.77),
    "Fiji, east of it": (-179.99, -16.77),
    "Chukotka, west of it": (179.99, 68.0),
    "Chukotka, east of it": (-179.99, 68.0),
    "a zone border in the plain": (12.0, 52.0),
    "Bergen, in the wide zone 32V": (5.3, 60.4),
    "Svalbard, in 33X": (15.6, 78.2),
    "between 33X and 35X": (21.0, 80.0),
    "as far north as Sentinel-2 sees": (-40.0, 82.4),
    "Easter Island": (-109.35, -27.1),
    "Tristan da Cunha": (-12.28, -37.11),
    "Ushuaia": (-68.3, -54.8),
}


@pytest.fixture(scope="module")
def archive() -> Archive:
    return Archive()


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def find(
    archive: Archive, collection: str, area: object, begins: str, ends: str
) -> list[OpticalScene | RadarScene]:
    return list(archive.scenes(collection, area, day(begins), day(ends)))


def parsed(scene: Scene) -> Parsed:
    sensor = Sensor.S2 if isinstance(scene, OpticalScene) else Sensor.S1
    return scene_from_item(stac.item(scene, ROOT, BLOBS), CATALOG, sensor)


def usable(scene: Scene) -> bool:
    return isinstance(scene, OpticalScene) or scene.polarisations == ("VV", "VH")


# --- the tiling grid


def every_square() -> dict[str, tuple[int, float, float]]:
    land, found = LandRows(), {}
    for south in (True, False):
        squares = tiles._squares(land, south=south)
        for zone, touched in tiles._zones(squares):
            names = tiles._names(zone, squares)
            epsg = (32700 if south else 32600) + zone
            found |= {names[n]: (epsg, squares.left[n], squares.top[n]) for n in touched}
    return found


def test_tiles_are_where_recorded_items_have_them(real: Path) -> None:
    squares, checked = every_square(), set()
    for path in sorted((real / "stac/_extracted").glob("*.json")):
        for item in json.loads(path.read_text()).get("features", []):
            where = _recorded_corner(item)
            # one fixture gives tile 60CWE with the zone and corner of another tile
            if where is None or where[0][:2] != f"{where[1][0] % 100:02d}":
                continue
            tile, corner = where
            north = int(tile[:2]) and tile[2] >= "N"
            if tile in squares:
                assert squares[tile] == corner, item["id"]
                checked.add(tile)
            else:  # south of 60 S
                assert not north, tile
                assert tile[2] in "CDEF", tile
    assert len(checked) > 60


def _recorded_corner(item: dict) -> tuple[str, tuple[int, float, float]] | None:
    properties = item["properties"]
    name = properties.get("s2:mgrs_tile") or properties.get("grid:code")
    for asset in item["assets"].values():
        if "proj:transform" not in asset or asset.get("proj:shape", [0])[0] not in (
            *(10_980, 5_490, 1_830),
        ):
            continue
        holders = [(h, k) for h in (properties, asset) for k in ("proj:epsg", "proj:code")]
        code = next((h[k] for h, k in holders if h.get(k)), None)
        if code is None or name is None:
            return None
        transform = asset["proj:transform"]
        epsg = int(str(code).removeprefix("EPSG:"))
        return str(name)[-5:].zfill(5), (epsg, transform[2], transform[5])
    return None


def test_norway_and_svalbard_have_their_exceptions() -> None:
    names = tiles.land_tiles().name
    zones = {band: {n[:2] for n in names if n[2] == band} for band in "VX"}
    assert {"33", "35"} <= zones["X"]
    assert not {"32", "34", "36"} & zones["X"]
    assert "32VKM" in names  # Bergen's west: in zone 31 by longitude alone
    assert not [n for n in names if n.startswith("31V") and n[3] in "GH"]


def test_tiles_lie_on_the_lattice_and_overlap_at_zone_borders() -> None:
    grid_ = tiles.land_tiles()
    assert 18_000 < len(grid_.name) < 26_000
    assert len(set(grid_.name)) == len(grid_.name)
    assert set(np.unique(grid_.left % 60)) == {0.0}
    south = grid_.epsg >= 32700
    assert set(np.unique(grid_.top[south] % 60)) == {40.0}
    assert set(np.unique(grid_.top[~south] % 60)) == {0.0}
    here = shapely.STRtree(grid_.outline).query(Point(12.0, 52.0), predicate="intersects")
    assert {grid_.name[n][:2] for n in here} == {"32", "33"}


def test_all_land_lies_well_inside_a_tile() -> None:
    grid_ = tiles.land_tiles()
    points = draw_points(SampleSpec(), 1, {0: 3000}, block=3000, accept=land_mask())
    inner = shapely.buffer(grid_.outline, -0.03)
    tree = shapely.STRtree(inner)
    places = [shapely.points(points["lon"] + turn, points["lat"]) for turn in (0.0, 360.0, -360.0)]
    found = {int(n) for turned in places for n in tree.query(turned, predicate="intersects")[0]}
    assert found == set(range(len(points)))


# --- orbits


def test_absolute_and_relative_orbits_are_those_of_recorded_items() -> None:
    recorded = [  # of ids and properties of real items
        ("S1A", 136, 41333, "2022-01-06T00:22:20"),
        ("S1A", 51, 53498, "2024-04-19T04:58:51"),
        ("S1A", 80, 58252, "2025-03-11T04:42:40"),
        ("S2A", 116, 18417, "2018-12-31T23:59:57"),
        ("S2B", 43, 12081, "2019-06-29T21:25:30"),
        ("S2B", 78, 16978, "2020-06-06T08:30:47"),
        ("S2A", 141, 47900, "2024-08-23T17:55:43"),
        ("S2B", 98, 39020, "2024-08-25T17:48:04"),
        ("S2A", 22, 162, "2015-07-04T10:10:01"),
    ]
    for platform, relative, absolute, at in recorded:
        units = orbits.S2_UNITS if platform < "S1" or platform[1] == "2" else orbits.S1_UNITS
        us = orbits.microseconds(day(at))
        assert orbits.absolute_orbit(units, platform, relative, us) == absolute, (platform, at)


def test_radar_slices_meet_recorded_ones(archive: Archive) -> None:
    # the slice recorded from 04:58:39 to 04:59:04
    there = find(archive, S1_COLLECTION, Point(15.5, 31.48), "2024-04-19T04:00", "2024-04-19T06:00")
    assert len(there) == 1
    for scene in there:
        assert scene.platform == "S1A"
        assert (scene.relative_orbit, scene.absolute_orbit) == (51, 53498)
        assert scene.orbit_state == "descending"
        assert abs(stac_time(scene) - day("2024-04-19T04:58:51.7")) < timedelta(seconds=25)


def test_optical_swaths_meet_recorded_ones(archive: Archive) -> None:
    # recorded on 2024-08-23 and -25: S2A R141 with 0 % and S2B R098 with 74.75 % nodata
    there = find(archive, S2_COLLECTION, Point(-105.0, 40.2), "2024-08-23", "2024-08-26")
    tile = {(s.platform, s.relative_orbit): s for s in there if s.tile == "13TDE"}
    assert tile["S2A", 141].valid_fraction == 1
    assert tile["S2B", 98].valid_fraction == pytest.approx(0.2525, abs=0.02)
    # its datastrip starts a few minutes further north
    late = tile["S2B", 98].sensed_at - day("2024-08-25T17:48:04")
    assert timedelta(0) < late < timedelta(minutes=7)
    assert tile["S2B", 98].sun_zenith == pytest.approx(33.66, abs=0.5)
    assert tile["S2B", 98].sun_azimuth == pytest.approx(147.2, abs=2)


# --- what a search finds


@BOTH
def test_a_search_is_lazy_and_newest_first(archive: Archive, collection: str) -> None:
    begin = time.perf_counter()
    scenes = list(
        islice(archive.scenes(collection, None, day("2014-01-01"), day("2030-01-01")), 300)
    )
    assert time.perf_counter() - begin < 5
    keys = [(stac_time(s), s.id) for s in scenes]
    assert keys == sorted(keys, reverse=True)
    assert len(set(keys)) == 300
    assert keys[0][0] > day("2026-06-20")


@BOTH
def test_a_search_by_parts_of_the_time_is_the_whole(archive: Archive, collection: str) -> None:
    area = box(9.5, 46.0, 12.5, 49.0)
    whole = find(archive, collection, area, "2019-08-01", "2019-08-31")
    assert len(whole) > 30
    cut = stac_time(whole[len(whole) // 2])
    later = list(archive.scenes(collection, area, cut, day("2019-08-31")))
    earlier = list(
        archive.scenes(collection, area, day("2019-08-01"), cut - timedelta(microseconds=1))
    )
    assert later + earlier == whole
    assert all(s.footprint.intersects(area) for s in whole)


@BOTH
def test_several_points_find_what_each_finds(archive: Archive, collection: str) -> None:
    places = [(10.0, 50.0), (179.99, -16.77), (-109.35, -27.1), (-179.99, 68.0)]
    window = ("2019-08-01", "2019-08-13")
    each = {s.id for p in places for s in find(archive, collection, Point(p), *window)}
    assert {s.id for s in find(archive, collection, MultiPoint(places), *window)} == each


@BOTH
@pytest.mark.parametrize("place", NASTY)
def test_nasty_places_are_seen(archive: Archive, collection: str, place: str) -> None:
    lon, lat = NASTY[place]
    scenes = find(archive, collection, Point(lon, lat), "2019-06-01", "2019-06-25")
    assert scenes
    for scene in scenes:
        turned = [Point(lon + turn, lat) for turn in (0, 360, -360)]
        assert any(scene.footprint.intersects(p) for p in turned)
        assert np.ptp(shapely.get_coordinates(scene.footprint)[:, 0]) < 90
        x, y = grid.to_utm(np.array([lon]), np.array([lat]), scene.epsg)
        slack = max(shapely.get_coordinates(scene.footprint)[0, 1] / 80, 1) * 1500
        for edge in scene.edges:
            assert edge.a * x[0] + edge.b * y[0] + edge.c > -slack
            assert np.hypot(edge.a, edge.b) == pytest.approx(1)


@BOTH
@pytest.mark.parametrize("lat", [-16.77, 68.0])
def test_the_antimeridian_is_seen_from_both_sides(
    archive: Archive, collection: str, lat: float
) -> None:
    west, east = (
        {s.id for s in find(archive, collection, Point(lon, lat), "2019-07-01", "2019-07-25")}
        for lon in (179.99, -179.99)
    )
    assert len(west & east) > 0.7 * len(west | east)
    across = find(
        archive, collection, box(179.9, lat, 180.1, lat + 0.1), "2019-07-01", "2019-07-25"
    )
    assert west | east <= {s.id for s in across}


@BOTH
def test_an_id_gives_back_its_scene(archive: Archive, collection: str) -> None:
    area = MultiPoint([NASTY[p] for p in NASTY])
    scenes = find(archive, collection, area, "2019-06-01", "2019-06-04")
    assert len(scenes) > 10
    for scene in scenes:
        assert archive.scene(collection, scene.id) == scene
    wrong = scenes[0].id
    swaps = [("2019", "2018"), ("S1A", "S1B"), ("S2A", "S2B"), ("_T", "_T0"), ("2019", "9999")]
    for old, new in swaps:
        if old in wrong:
            assert archive.scene(collection, wrong.replace(old, new, 1)) is None
    assert archive.scene(collection, "") is None
    assert archive.scene(collection, wrong + "0") is None
    assert archive.scene("sentinel-2-l1c", wrong) is None


def test_a_seed_decides_and_nothing_else() -> None:
    area, window = Point(20.0, 5.0), ("2019-08-01", "2019-08-20")
    same = find(Archive(3), S2_COLLECTION, area, *window)
    assert find(Archive(3), S2_COLLECTION, area, *window) == same
    other = find(Archive(4), S2_COLLECTION, area, *window)
    assert {s.cloud_fraction for s in other}.isdisjoint({s.cloud_fraction for s in same})


# --- Sentinel-2


def test_optical_scenes_repeat_and_have_wedges(archive: Archive) -> None:
    scenes = find(archive, S2_COLLECTION, box(8, 46, 12, 50), "2019-08-01", "2019-08-11")
    days = {(s.platform, s.tile, s.relative_orbit): s.datatake_starts for s in scenes}
    for (platform, tile, orbit), at in days.items():
        if platform == "S2A" and ("S2B", tile, orbit) in days:
            assert abs(days["S2B", tile, orbit] - at) == timedelta(days=5)
    partial = [s for s in scenes if s.edges]
    assert 0.2 < len(partial) / len(scenes) < 0.9
    for scene in partial:
        assert 0.005 <= scene.valid_fraction < 1
        square = _utm_square(scene)
        assert scene.valid_fraction == pytest.approx(
            _cut(square, scene).area / square.area, abs=1e-6
        )
    takes = {s.datatake: s.datatake_starts for s in scenes}
    for scene in scenes:
        assert takes[scene.datatake] == scene.datatake_starts
        late = (scene.sensed_at - scene.datatake_starts).total_seconds()
        assert -0.1 <= late < 16 * 60


def _utm_square(scene: OpticalScene) -> shapely.Geometry:
    return box(scene.left, scene.top - S2_TILE_M, scene.left + S2_TILE_M, scene.top)


def _cut(square: shapely.Geometry, scene: Scene) -> shapely.Geometry:
    for e in scene.edges:
        foot, far = np.array([-e.a * e.c, -e.b * e.c]), 1e6
        foot += np.array([e.b, -e.a]) * np.dot(
            np.array(square.centroid.coords[0]) - foot, [e.b, -e.a]
        )
        along, inward = far * np.array([e.b, -e.a]), far * np.array([e.a, e.b])
        half = [foot - along, foot + along, foot + along + inward, foot - along + inward]
        square = square.intersection(shapely.Polygon(half))
    return square


@BOTH
def test_footprints_are_the_data(archive: Archive, collection: str) -> None:
    area = MultiPoint([NASTY[p] for p in NASTY])
    for scene in find(archive, collection, area, "2019-06-01", "2019-06-06"):
        x, y = grid.to_utm(*shapely.get_coordinates(scene.footprint).T, scene.epsg)
        drawn = shapely.Polygon(np.column_stack([x, y]))
        if isinstance(scene, OpticalScene):
            truth = _cut(_utm_square(scene), scene)
        else:
            size = np.array([scene.width, scene.height]) * 10
            left, top = scene.left, scene.top
            assert (left % 10, top % 10) == (0, 0)
            truth = _cut(box(left, top - size[1], left + size[0], top), scene)
        assert drawn.symmetric_difference(truth).area < 1e-4 * truth.area


def test_baselines_and_reprocessed_twins(archive: Archive) -> None:
    area = box(5, 45, 12, 50)
    for window, baseline in {
        ("2019-08-01", "2019-08-12"): "02.12",
        ("2021-08-01", "2021-08-06"): "03.00",
        ("2022-08-01", "2022-08-06"): "04.00",
        ("2024-03-01", "2024-03-06"): "05.10",
    }.items():
        scenes = find(archive, S2_COLLECTION, area, *window)
        first = [s for s in scenes if s.baseline == baseline]
        twins = [s for s in scenes if s.baseline != baseline]
        assert all(s.offset == (1000 if baseline >= "04.00" else 0) for s in first)
        if baseline > "05":
            assert not twins
            continue
        assert 0.002 < len(twins) / len(first) < 0.1
        by_recording = {s.recording: s for s in first}
        for twin in twins:
            assert (twin.baseline, twin.offset) == ("05.00", 1000)
            old = by_recording[twin.recording]
            assert old.generated_at < twin.generated_at
            assert (old.tile, old.sensed_at) == (twin.tile, twin.sensed_at)
        kept = deduplicate([parsed(s) for s in scenes])
        assert {s.processing_baseline for s in kept} == {baseline, "05.00"}
        assert len(kept) == len(first)


def test_no_optical_scene_in_the_polar_night(archive: Archive) -> None:
    svalbard = Point(15.6, 78.2)
    assert find(archive, S2_COLLECTION, svalbard, "2019-06-01", "2019-06-11")
    assert not find(archive, S2_COLLECTION, svalbard, "2019-12-10", "2019-12-31")


def test_clouds_go_with_latitude_and_season(archive: Archive) -> None:
    def mean(lon: float, lat: float, begins: str, ends: str) -> float:
        scenes = find(archive, S2_COLLECTION, Point(lon, lat), begins, ends)
        return float(np.mean([s.cloud_fraction for s in scenes]))

    sahara = mean(5.0, 22.0, "2019-01-01", "2019-12-31")
    congo = mean(22.0, 0.0, "2019-01-01", "2019-12-31")
    assert sahara < 0.4 < congo
    assert mean(10.0, 50.0, "2018-11-15", "2019-02-15") > mean(
        10.0, 50.0, "2019-06-01", "2019-08-31"
    )


def test_the_constellations_change(archive: Archive) -> None:
    place = Point(10.5, 51.0)

    def platforms(collection: str, begins: str, ends: str) -> set[str]:
        return {s.platform for s in find(archive, collection, place, begins, ends)}

    assert platforms(S1_COLLECTION, "2021-11-01", "2021-12-23") == {"S1A", "S1B"}
    assert platforms(S1_COLLECTION, "2021-12-24", "2022-03-01") == {"S1A"}
    assert platforms(S1_COLLECTION, "2025-04-01", "2025-04-20") == {"S1A", "S1C"}
    assert platforms(S1_COLLECTION, "2015-04-01", "2015-05-01") == {"S1A"}
    assert not platforms(S1_COLLECTION, "2014-01-01", "2014-10-01")
    assert platforms(S2_COLLECTION, "2016-06-01", "2016-07-01") == {"S2A"}
    assert platforms(S2_COLLECTION, "2019-06-01", "2019-07-01") == {"S2A", "S2B"}
    assert platforms(S2_COLLECTION, "2025-06-01", "2025-07-01") == {"S2A", "S2B", "S2C"}


# --- Sentinel-1


def test_slices_of_a_datatake_abut(archive: Archive) -> None:
    scenes = find(archive, S1_COLLECTION, box(-5, 38, 30, 60), "2019-08-01", "2019-08-04")
    takes: dict[int, list[RadarScene]] = {}
    for scene in scenes:
        takes.setdefault(scene.datatake, []).append(scene)
    abutting = 0
    for take in takes.values():
        ordered = sorted(take, key=lambda s: s.starts)
        assert len({(s.total_slices, s.platform, s.absolute_orbit) for s in ordered}) == 1
        for one, other in pairwise(ordered):
            if other.slice_number != one.slice_number + 1:
                continue
            assert one.ends == other.starts
            shared = set(one.footprint.exterior.coords) & set(other.footprint.exterior.coords)
            assert len(shared) >= 2
            both = one.footprint.intersection(other.footprint).area
            assert both < 1e-4 * one.footprint.area
            abutting += 1
    assert abutting > 50
    for scene in scenes:
        assert 1 <= scene.slice_number <= scene.total_slices
        assert (scene.ends - scene.starts).total_seconds() == pytest.approx(25, abs=0.01)
        assert np.hypot(*scene.look) == pytest.approx(1)
        near, far = scene.edges[:2]
        middle = shapely.get_coordinates(scene.footprint.centroid)
        x, y = grid.to_utm(middle[:, 0], middle[:, 1], scene.epsg)
        for edge in (near, far):
            assert 115_000 < edge.a * x[0] + edge.b * y[0] + edge.c < 135_000
        # looking right: east when northbound, west when southbound
        assert (scene.look[0] > 0) == (scene.orbit_state == "ascending")


def test_every_land_place_is_seen_every_twelve_days_by_one_unit(archive: Archive) -> None:
    points = draw_points(SampleSpec(), 5, {0: 200}, block=200, accept=land_mask())
    for begins, ends in (("2019-08-01", "2019-08-13"), ("2022-08-01", "2022-08-13")):
        area = MultiPoint(points[["lon", "lat"]].to_numpy())
        scenes = find(archive, S1_COLLECTION, area, begins, ends)
        tree = shapely.STRtree([s.footprint for s in scenes])
        seen = {
            int(n)
            for turn in (0.0, 360.0, -360.0)
            for n in tree.query(
                shapely.points(points["lon"] + turn, points["lat"]), predicate="intersects"
            )[0]
        }
        assert len(seen) == len(points)


def test_some_arctic_slices_are_horizontal_and_no_others(archive: Archive) -> None:
    north = find(archive, S1_COLLECTION, box(-60, 70, -30, 80), "2019-08-01", "2019-08-13")
    kinds = {s.polarisations for s in north}
    assert kinds == {("VV", "VH"), ("HH", "HV")}
    south = find(archive, S1_COLLECTION, box(-60, -40, 30, 60), "2019-08-01", "2019-08-06")
    assert {s.polarisations for s in south} == {("VV", "VH")}


# --- as STAC


@BOTH
def test_items_are_valid_and_parse_to_the_same(archive: Archive, collection: str) -> None:
    area = MultiPoint([NASTY[p] for p in NASTY])
    scenes = find(archive, collection, area, "2019-06-01", "2019-06-03")
    for scene in scenes:
        item = stac.item(scene, ROOT, BLOBS)
        Item.model_validate(item)
        assert json.loads(json.dumps(item)) == item
        if not usable(scene):
            with pytest.raises(ItemRefused, match="none of the assets vv, vh"):
                parsed(scene)
            continue
        there = parsed(scene)
        assert there.id == scene.id
        assert there.epsg == scene.epsg
        assert there.relative_orbit == scene.relative_orbit
        drift = shapely.get_coordinates(there.footprint) - shapely.get_coordinates(scene.footprint)
        assert np.abs(drift).max() < 1e-8
        if isinstance(scene, OpticalScene):
            assert there.sensed_at == max(scene.sensed_at, scene.datatake_starts)
            assert there.cloud_fraction == pytest.approx(scene.cloud_fraction, abs=1e-7)
            assert (there.tile, there.processing_baseline) == (scene.tile, scene.baseline)
            corner = there.bounds[0], there.bounds[3]
            assert corner == (scene.left, scene.top)
            shares = [v for k, v in item["properties"].items() if k.endswith("_percentage")]
            nodata = item["properties"]["s2:nodata_pixel_percentage"]
            assert sum(shares) - nodata == pytest.approx(100, abs=1e-3)
        else:
            assert abs(there.sensed_at - stac_time(scene)) < timedelta(milliseconds=1)
            assert there.orbit_state == scene.orbit_state
            assert not there.missing_bands
    Collection.model_validate(stac.collection(collection, ROOT))


@BOTH
def test_items_have_the_keys_of_recorded_ones(
    archive: Archive, real: Path, collection: str
) -> None:
    recorded = json.loads((real / f"stac/_extracted/pc__{collection}.json").read_text())["features"]
    theirs = next(f for f in recorded if "20240419T" in f["id"])
    scene = find(archive, collection, Point(10.5, 51.0), "2024-04-10", "2024-04-23")[0]
    ours = stac.item(scene, ROOT, BLOBS)
    assert set(ours) == set(theirs)
    assert set(ours["properties"]) == set(theirs["properties"])
    assert set(ours["assets"]) == set(theirs["assets"])
    for key, asset in theirs["assets"].items():
        assert set(ours["assets"][key]) == set(asset), key
    assert {k["rel"] for k in theirs["links"]} <= {k["rel"] for k in ours["links"]}
    same_type = [
        type(ours["properties"][k]) is type(v)
        for k, v in theirs["properties"].items()
        if v is not None
    ]
    assert all(same_type)
    for key in set(theirs["assets"]) - {"tilejson", "rendered_preview"}:
        real_path = theirs["assets"][key]["href"].split(".net/")[1]
        path = ours["assets"][key]["href"].split(BLOBS + "/")[1].split("/", 1)[1]
        assert _pattern(path) == _pattern(real_path), key


def _pattern(path: str) -> list[int]:
    """Lengths of a path's words: dates, orbits and tiles differ, their places do not."""
    return [
        0 if word.isdigit() and len(word) <= 2 else len(word)
        for word in path.replace("/", "_").split("_")
    ]


@BOTH
def test_a_files_path_gives_back_scene_and_asset(archive: Archive, collection: str) -> None:
    area = MultiPoint([NASTY[p] for p in NASTY])
    for scene in find(archive, collection, area, "2019-06-01", "2019-06-02"):
        item = stac.item(scene, ROOT, BLOBS)
        for key, asset in item["assets"].items():
            if not asset["href"].startswith(BLOBS):
                continue
            account, container, path = asset["href"].removeprefix(BLOBS + "/").split("/", 2)
            assert stac.scene_of_path(archive, account, container, path) == (scene, key)
            assert stac.scene_of_path(archive, account, container, path + "x") is None
            assert stac.scene_of_path(archive, account, "other", path) is None
    hosts = stac.item(scene, ROOT, lambda a, c: f"https://{a}.example/{c}")
    assert hosts["assets"][key_of_first(hosts)]["href"].startswith("https://sentinel")


def key_of_first(item: dict) -> str:
    return next(iter(item["assets"]))


# --- the known land cover


def test_layers_of_land_cover_are_found_by_place_at_any_time(archive: Archive) -> None:
    layers = find(archive, COVER_COLLECTION, Point(12.0, 52.0), "2019-06-01", "2019-06-02")
    assert [s.tile for s in layers] == ["33UTT", "32UQC", "32UPC"]
    scenes = find(archive, S2_COLLECTION, Point(12.0, 52.0), "2019-06-01", "2019-06-12")
    grids = {s.tile: (s.epsg, s.left, s.top) for s in scenes}
    assert {s.tile: (s.epsg, s.left, s.top) for s in layers} == grids
    assert not find(archive, COVER_COLLECTION, Point(12.0, 52.0), "2031-06-01", "2031-06-02")
    assert not find(archive, COVER_COLLECTION, Point(-30.0, 30.0), "2019-06-01", "2019-06-02")
    every = find(archive, COVER_COLLECTION, None, "2019-06-01", "2019-06-02")
    assert len(every) == len(tiles.land_tiles().name)
    assert [s.id for s in every] == sorted((s.id for s in every), reverse=True)
    for layer in (*layers, every[0]):
        assert archive.scene(COVER_COLLECTION, layer.id) == layer
        item = stac.item(layer, ROOT, BLOBS)
        Item.model_validate(item)
        account, container, path = (
            item["assets"]["map"]["href"].removeprefix(BLOBS + "/").split("/", 2)
        )
        assert stac.scene_of_path(archive, account, container, path) == (layer, "map")
        assert stac.scene_of_path(archive, account, container, f"x/{path}") is None
    assert archive.scene(COVER_COLLECTION, "33UTT") is None
    Collection.model_validate(stac.collection(COVER_COLLECTION, ROOT))


def test_land_cover_is_read_over_http_and_is_the_truth_of_the_scenes() -> None:
    with running() as address:
        layer = next(i for i in _search(address, COVER_COLLECTION) if i["id"].endswith("32UPE"))
        cover, transform = _pixels(address, layer, "map", 1024)
        clear = _search(
            address,
            S2_COLLECTION,
            query={"s2:mgrs_tile": {"eq": "32UPE"}, "s2:nodata_pixel_percentage": {"lt": 1}},
            sortby=[{"field": "properties.eo:cloud_cover", "direction": "asc"}],
            limit=1,
        )[0]
        classes, _ = _pixels(address, clear, "SCL", 512)
    assert cover.dtype == np.uint8
    codes = {c["value"] for c in layer["assets"]["map"]["classification:classes"]}
    assert set(np.unique(cover)) <= codes == set(stac_cover.CLASSES)
    assert list(transform)[:6] == layer["properties"]["proj:transform"]
    water, seen = classes == 6, np.isin(classes, (4, 5, 6))
    # a pixel of 20 m shows what lies at its middle: nobody can tell where it is half water
    wet = (cover == 80).reshape(512, 2, 512, 2).sum(axis=(1, 3))
    sure = seen & ((wet == 0) | (wet == 4))
    assert sure.mean() > 0.3
    assert water[sure].any()
    assert (water == (wet == 4))[sure].mean() > 0.99


def _search(address: str, collection: str, **asked: object) -> list[dict]:
    place = {"type": "Point", "coordinates": [10.6, 53.9]}
    period = "2019-06-01T00:00:00Z/2019-09-01T00:00:00Z"
    asked |= {"collections": [collection], "intersects": place, "datetime": period}
    answer = requests.post(f"{address}/api/stac/v1/search", json=asked, timeout=60)
    return answer.json()["features"]


def _pixels(address: str, item: dict, key: str, side: int) -> tuple[np.ndarray, rasterio.Affine]:
    """The upper left pixels of a file, and its transform; opened with a token."""
    href = item["assets"][key]["href"]
    signed = requests.get(f"{address}/api/sas/v1/sign", params={"href": href}, timeout=60)
    with rasterio.open(signed.json()["href"]) as file:
        assert file.crs.to_epsg() == item["properties"]["proj:epsg"]
        return file.read(1, window=Window(0, 0, side, side)), file.transform


# --- what it is for


def test_nine_of_ten_land_points_have_a_pair_within_three_days(archive: Archive) -> None:
    points = draw_points(SampleSpec(), 11, {0: 150}, block=150, accept=land_mask())
    area = MultiPoint(points[["lon", "lat"]].to_numpy())
    window = ("2019-08-01", "2019-09-17T23:59:59")
    found = [
        *find(archive, S2_COLLECTION, area, *window),
        *find(archive, S1_COLLECTION, area, *window),
    ]
    scenes = deduplicate([parsed(s) for s in found if usable(s)])
    sides = (Side.of(scenes, Sensor.S2), Side.of(scenes, Sensor.S1))
    found = match_scenes(points, *sides, MatchRules(), grid.GridSpec())
    assert len(np.unique(found.pairs.row)) >= 0.9 * len(points), found.summary()
    assert np.abs(found.pairs.lag_hours).max() <= 72


def test_a_warm_search_takes_milliseconds(archive: Archive) -> None:
    generator = np.random.default_rng(0)
    area = MultiPoint(generator.uniform([10, 44], [20, 54], (16, 2)))
    for collection in (S2_COLLECTION, S1_COLLECTION):
        spent = []
        for _ in range(4):
            begin = time.process_time()
            found = find(archive, collection, area, "2019-08-01", "2019-08-17")
            spent.append(time.process_time() - begin)
        assert len(found) > 50
        assert min(spent) < 0.1  # 0.015 on an idle machine
    assert PER_ORBIT * orbits.SENTINEL_1.revolutions > 40_000
