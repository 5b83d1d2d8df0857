"""One interface to an API and to items on disk; both give the same scenes, whatever the weather."""

import json
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import stac_geoparquet.arrow
from fakes import Scenes, StacServer, lonlat, points_file

from s1s2 import gather, scene_tables, search
from s1s2.answers import Answers
from s1s2.bands import Sensor
from s1s2.cli import main
from s1s2.errors import CatalogError
from s1s2.gather import Part
from s1s2.recipe import load_catalog
from s1s2.search import SearchSpec
from s1s2.transport import Pace

SPEC = SearchSpec(date(2021, 7, 1), date(2021, 7, 20))


@pytest.fixture
def archive(scenes: Scenes) -> Scenes:
    """A few passes over one place, one of them reprocessed, one cut off, one of HH+HV."""
    for day in (1, 6, 11):
        scenes.s2(when=f"2021-07-{day:02d}T10:50:31.024Z", size_m=2400)
        scenes.s1(when=f"2021-07-{day:02d}T17:30:00Z", size_m=2400)
    scenes.s2(
        when="2021-07-06T10:50:31.024Z",
        size_m=2400,
        baseline="05.00",
        generation="2023-01-01T00:00:00.000Z",
    )
    scenes.s2(when="2021-06-30T10:50:31.024Z", size_m=2400)
    for number, item in enumerate(scenes.items):
        for asset in item["assets"].values():
            asset["href"] = f"https://store.example/{number}/{asset['href']}"
    return scenes


@pytest.fixture
def points() -> pd.DataFrame:
    lon, lat = lonlat(500_700, 4_999_500, 32631)
    return pd.DataFrame(
        {"point": [0], "lon": [lon], "lat": [lat], "cell": [5400073], "shard": [0], "position": [0]}
    )


def api_toml(path: Path, url: str) -> Path:
    text = Path("catalogs/planetary-computer.toml").read_text()
    text = text.replace("https://planetarycomputer.microsoft.com/api/stac/v1", url)
    path.write_text(text.replace("per_second = 4.0", "per_second = 1000.0"))
    return path


def items_toml(path: Path, items: Path) -> Path:
    text = Path("catalogs/planetary-computer.toml").read_text()
    path.write_text(
        text.replace(
            'endpoint = "https://planetarycomputer.microsoft.com/api/stac/v1"', f'items = "{items}"'
        )
    )
    return path


def gathered(
    toml: Path,
    points: pd.DataFrame,
    answers: Path,
    spec: SearchSpec = SPEC,
    say: Callable[[str], None] = lambda _: None,
    tick: Callable[[int], None] = lambda _: None,
) -> pa.Table:
    catalog = load_catalog(str(toml))
    catalogs = {Sensor.S2: catalog, Sensor.S1: catalog}
    rest = {"answers": answers, "part": Part(), "tick": tick, "say": say}
    found = gather.gather(points, spec, catalogs, **rest)
    assert found is not None
    return found[0]


def test_api_and_geoparquet_and_json_give_the_same_table(
    archive: Scenes, points: pd.DataFrame, tmp_path: Path
) -> None:
    parquet = tmp_path / "items.parquet"
    stac_geoparquet.arrow.to_parquet(
        stac_geoparquet.arrow.parse_stac_items_to_arrow(archive.items, schema="FullFile"), parquet
    )
    tables_written = {}
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    with StacServer(archive.items).running() as server:
        sources = {
            "api": api_toml(tmp_path / "pc.toml", server.url),
            "parquet": items_toml(tmp_path / "a/pc.toml", parquet),
            "json": items_toml(tmp_path / "b/pc.toml", archive.save()),
        }
        for name, toml in sources.items():
            scenes = gathered(toml, points, tmp_path / f"answers-{name}")
            scene_tables.write_scenes(tmp_path / f"{name}.scenes", scenes, {})
            tables_written[name] = (tmp_path / f"{name}.scenes").read_bytes()
            assert scene_tables.read_table(tmp_path / f"{name}.scenes").equals(scenes)
    assert tables_written["api"] == tables_written["parquet"] == tables_written["json"]
    counts = {sensor: scene_tables.count(scenes, sensor) for sensor in Sensor}
    assert counts == {Sensor.S2: 3, Sensor.S1: 3}, "the reprocessed once, the day before not at all"
    assert set(scenes["s2:processing_baseline"].to_pylist()) == {"03.01", "05.00", None}


def test_the_scenes_table_is_stac_geoparquet(
    archive: Scenes, points: pd.DataFrame, tmp_path: Path
) -> None:
    scenes = gathered(
        items_toml(tmp_path / "pc.toml", archive.save()), points, tmp_path / "answers"
    )
    scene_tables.write_scenes(tmp_path / "scenes.parquet", scenes, {})
    items = list(
        stac_geoparquet.arrow.stac_table_to_items(pq.read_table(tmp_path / "scenes.parquet"))
    )
    assert [i["id"] for i in items] == scenes["id"].to_pylist()
    radar = next(i for i in items if i["collection"] == "sentinel-1-rtc")
    assert radar["assets"]["VV"]["href"].startswith("https://store.example/")
    assert radar["properties"]["proj:code"] == "EPSG:32631"


def test_pages_are_followed_to_the_last(
    archive: Scenes, points: pd.DataFrame, tmp_path: Path
) -> None:
    with StacServer(archive.items, page=1).running() as server:
        scenes = gathered(api_toml(tmp_path / "pc.toml", server.url), points, tmp_path / "answers")
    assert len(scenes) == 6
    assert all(q["collections"] for q in server.searches), "Planetary Computer wants collections"
    assert all("T" in q["datetime"] for q in server.searches), (
        "full times: a date loses its last day"
    )
    assert any("token" in q for q in server.searches)


def test_the_last_day_is_included(archive: Scenes, points: pd.DataFrame, tmp_path: Path) -> None:
    toml = items_toml(tmp_path / "pc.toml", archive.save())
    for spec, number in (
        (SearchSpec(date(2021, 7, 1), date(2021, 7, 11)), 6),
        (SearchSpec(date(2021, 7, 1), date(2021, 7, 10)), 4),
        (SearchSpec(date(2021, 7, 11), date(2021, 7, 11)), 2),
    ):
        found = gathered(toml, points, tmp_path / str(spec.end) / str(spec.start), spec)
        assert len(found) == number


def test_what_was_answered_is_not_asked_again(
    archive: Scenes, points: pd.DataFrame, tmp_path: Path
) -> None:
    """A search that broke off goes on with what is missing."""
    apart = [points.assign(point=n, lon=points["lon"] + 40 * n) for n in range(3)]
    points = pd.concat(apart, ignore_index=True)
    with StacServer(archive.items, page=100, faults=[200, 400]).running() as server:
        toml = api_toml(tmp_path / "pc.toml", server.url)
        toml.write_text(toml.read_text().replace("in_flight = 4", "in_flight = 1"))
        with pytest.raises(CatalogError, match="answered 400"):
            # who reads the answers is slower than who asks: nothing is asked after the failure
            gathered(toml, points, tmp_path / "answers", tick=lambda _: time.sleep(0.2))
        kept, asked = len(Answers(tmp_path / "answers").known()), len(server.searches)
        assert (kept, asked) == (1, 2)
        assert len(gathered(toml, points, tmp_path / "answers")) == 6
        total = gather.count(points, SPEC, dict.fromkeys(Sensor, load_catalog(str(toml))))
        assert total == 6
        assert len(server.searches) - asked == total - kept
    assert not list((tmp_path / "answers").glob("*.partial"))


def test_places_by_the_antimeridian_are_asked_for_both_ways(tmp_path: Path) -> None:
    """Trap 6: Planetary Computer writes footprints beyond 180; planar servers then miss -179.9."""
    some = Scenes(tmp_path / "s")
    ring = [[179.0, 60.0], [181.0, 60.0], [181.0, 61.0], [179.0, 61.0], [179.0, 60.0]]
    some.s2(
        epsg=32601,
        left=345_540,
        top=6_700_020,
        size_m=1200,
        geometry={"type": "Polygon", "coordinates": [ring]},
    )
    query = search.Query(Sensor.S2, ((-179.9, 60.5),), SPEC.begins, SPEC.ends)
    with StacServer(some.items).running() as server:
        catalog = load_catalog(str(api_toml(tmp_path / "pc.toml", server.url)))
        source = search.open_source(catalog, Pace(catalog.budget))
        assert len(list(source.items(query))) == 1
    catalog = load_catalog(str(some.save()))
    local = search.open_source(catalog, Pace(catalog.budget))
    assert len(list(local.items(query))) == 1


def test_two_catalogs(scenes: Scenes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sentinel-2 from one catalog, Sentinel-1 from another, each opened by its own rules."""
    radar = Scenes(tmp_path / "radar")
    scenes.s2()
    radar.s1()
    optical_toml = tmp_path / "optics.toml"
    text = Path("catalogs/earth-search.toml").read_text()
    text = text.replace(
        'endpoint = "https://earth-search.aws.element84.com/v1"',
        f'items = "{scenes.folder / "items.json"}"',
    )
    names = {
        "coastal": "B01",
        "blue": "B02",
        "green": "B03",
        "red": "B04",
        "rededge1": "B05",
        "rededge2": "B06",
        "rededge3": "B07",
        "nir": "B08",
        "nir08": "B8A",
        "nir09": "B09",
        "swir16": "B11",
        "swir22": "B12",
        "scl": "SCL",
    }
    item = scenes.items[0]
    item["assets"] = {key: item["assets"][band] for key, band in names.items()}
    item["collection"] = "sentinel-2-c1-l2a"
    scenes.save()
    optical_toml.write_text(text)
    points = points_file(tmp_path / "p.geojson", [lonlat(502_500, 4_997_500, 32631)])
    line = [
        "build",
        "--points",
        str(points),
        "--start",
        "2021-07-01",
        "--end",
        "2021-07-02",
        "--chip-size",
        "128",
        "--catalog",
        str(optical_toml),
        "-o",
        str(tmp_path / "out"),
    ]
    assert main(line) == 2
    assert "GRD in radar geometry" in capsys.readouterr().err
    radar_file = radar.save().rename(radar.folder / "rtc.json")
    assert main([*line, "--s1-catalog", str(radar_file)]) == 0
    about = json.loads((tmp_path / "out/corpus.json").read_text())["catalogs"]
    assert (about["s2"]["name"], about["s1"]["name"]) == ("optics", "rtc")
    index = pd.read_parquet(tmp_path / "out/chips.parquet")
    assert index[["catalog", "s1_catalog"]].to_numpy().tolist() == [["optics", "rtc"]]


def test_match_refuses_a_catalog_without_radar(
    scenes: Scenes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = tmp_path / "optics.toml"
    scenes.s2()
    text = items_toml(tmp_path / "pc.toml", scenes.save()).read_text()
    toml.write_text(text[: text.index("[s1]")] + '[s1]\nlacks = "no radar here"\n')
    points = points_file(tmp_path / "p.geojson", [lonlat(502_500, 4_997_500, 32631)])
    out = str(tmp_path / "out")
    assert (
        main(
            [
                "sample",
                "--points",
                str(points),
                "--start",
                "2021-07-01",
                "--end",
                "2021-07-02",
                "--catalog",
                str(toml),
                "-o",
                out,
            ]
        )
        == 0
    )
    assert main(["search", "-o", out]) == 0
    capsys.readouterr()
    assert main(["match", "-o", out]) == 2
    assert "no Sentinel-1 product that can be paired (no radar here)" in capsys.readouterr().err


def test_growing_asks_only_for_new_points(archive: Scenes, tmp_path: Path) -> None:
    """A larger N, or another round, searches for its new points alone."""
    with StacServer(archive.items, page=100).running() as server:
        toml = api_toml(tmp_path / "pc.toml", server.url)
        recipe = tmp_path / "r.toml"
        recipe.write_text(
            "[search]\nstart = 2021-07-01\nend = 2021-07-10\n[sample]\nreserve = 1.0\n"
        )
        out = tmp_path / "out"
        line = ["sample", str(recipe), "--catalog", str(toml), "-o", str(out)]
        places = []
        for n in ("4", "6"):
            assert main([*line, "-n", n]) == 0
            assert main(["search", "-o", str(out)]) == 0
            places.append(
                {tuple(p) for q in server.searches for p in q["intersects"]["coordinates"]}
            )
            server.searches.clear()
            assert main(["search", "-o", str(out)]) == 0
            assert not server.searches, "nothing is asked twice"
    assert len(places[0]) == 4
    assert len(places[1]) == 2
    assert not places[0] & places[1]
