"""Items of stac-geoparquet: only the row groups and columns that may answer are read."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
import stac_geoparquet.arrow
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s1s2.bands import Sensor
from s1s2.catalog import PLANETARY_COMPUTER_S1, PLANETARY_COMPUTER_S2, Catalog
from s1s2.errors import CatalogError
from s1s2.items import scenes_from_items
from s1s2.sandbox import stac
from s1s2.sandbox.archive import Archive
from s1s2.search import ItemsSource, Query

BEGINS = datetime(2019, 8, 1, tzinfo=UTC)
FIJI = shapely.union_all([shapely.box(177, -19, 180, -15), shapely.box(-180, -19, -178, -15)])
PRODUCTS = {"s1": PLANETARY_COMPUTER_S1, "s2": PLANETARY_COMPUTER_S2}


def catalog(path: Path) -> Catalog:
    return Catalog(name="c", items=str(path), **PRODUCTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same items of eight days on both sides of the antimeridian, as JSON and as tables."""
    folder = tmp_path_factory.mktemp("items")
    archive, features = Archive(0), []
    for sensor, collection in ((Sensor.S1, "sentinel-1-rtc"), (Sensor.S2, "sentinel-2-l2a")):
        found = archive.scenes(collection, FIJI, BEGINS, BEGINS + timedelta(days=8))
        items = [stac.item(s, "https://stac.example", "https://store.example") for s in found]
        features += items
        table = pa.table(stac_geoparquet.arrow.parse_stac_items_to_arrow(items))
        (folder / "tables").mkdir(exist_ok=True)
        pq.write_table(table, folder / f"tables/{sensor}.parquet", row_group_size=9)
    document = {"type": "FeatureCollection", "features": features}
    (folder / "all.json").write_text(json.dumps(document))
    return folder


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    places=st.lists(
        st.tuples(st.floats(176, 183), st.floats(-19.5, -14.5)), min_size=1, max_size=4
    ),
    sensor=st.sampled_from(Sensor),
    day=st.integers(-1, 8),
    days=st.integers(1, 9),
)
def test_tables_answer_as_plain_items_do(
    folder: Path, places: list[tuple[float, float]], sensor: Sensor, day: int, days: int
) -> None:
    around = tuple((lon - 360 if lon > 180 else lon, lat) for lon, lat in places)
    begins = BEGINS + timedelta(days=day)
    query = Query(sensor, around, begins, begins + timedelta(days=days))
    answers = []
    for path in (folder / "all.json", folder / "tables"):
        items = list(ItemsSource(catalog(path)).items(query))
        scenes, refused = scenes_from_items(items, catalog(path), sensor)
        answers.append((sorted(scenes, key=lambda s: s.id), refused))
    assert answers[0] == answers[1]


def test_a_footprint_that_cannot_be_read_refuses_its_item_alone(
    folder: Path, tmp_path: Path
) -> None:
    table = pq.read_table(folder / "tables/s2.parquet")
    feet = table["geometry"].to_pylist()
    feet[0] = shapely.to_wkb(shapely.Polygon([(0, 80), (90, 80), (179, 80), (-90, 80)]))
    at = table.schema.get_field_index("geometry")
    table = table.set_column(at, table.schema.field(at), pa.chunked_array([feet], pa.binary()))
    pq.write_table(table, tmp_path / "s2.parquet")
    query = Query(Sensor.S2, ((178.0, -17.8),), BEGINS, BEGINS + timedelta(days=8))
    (whole, _), (scenes, refused) = (
        scenes_from_items(list(ItemsSource(catalog(path)).items(query)), catalog(path), Sensor.S2)
        for path in (folder / "tables/s2.parquet", tmp_path / "s2.parquet")
    )
    wrong = table["id"][0].as_py()
    assert refused == {"bad_item": 1}
    assert {s.id for s in scenes} == {s.id for s in whole} - {wrong}
    assert scenes


def test_a_geometry_that_is_no_wkb_is_named(folder: Path, tmp_path: Path) -> None:
    table = pq.read_table(folder / "tables/s2.parquet")
    at = table.schema.get_field_index("geometry")
    wrong = pa.chunked_array([[b"\x01\x03\x00"] * len(table)], pa.binary())
    pq.write_table(table.set_column(at, table.schema.field(at), wrong), tmp_path / "s2.parquet")
    query = Query(Sensor.S2, ((178.0, -17.8),), BEGINS, BEGINS + timedelta(days=8))
    with pytest.raises(CatalogError, match=r"s2\.parquet is not stac-geoparquet"):
        list(ItemsSource(catalog(tmp_path / "s2.parquet")).items(query))


def test_only_what_may_answer_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "tables/s2.parquet"
    groups = pq.ParquetFile(path).metadata.num_row_groups
    whole = pq.ParquetFile(path).read().nbytes
    read: list[tuple[int, int]] = []
    plain = pq.ParquetFile.read_row_group

    def counted(self: pq.ParquetFile, number: int, columns: list[str]) -> pa.Table:
        table = plain(self, number, columns)
        read.append((number, table.nbytes))
        return table

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    source, fiji = ItemsSource(catalog(path)), ((178.0, -17.8),)

    def asked(place: tuple[tuple[float, float], ...], day: int) -> tuple[int, int, int]:
        """How many items, row groups and bytes."""
        read.clear()
        begins = BEGINS + timedelta(days=day)
        found = list(source.items(Query(Sensor.S2, place, begins, begins + timedelta(days=1))))
        return len(found), len({number for number, _ in read}), sum(size for _, size in read)

    assert asked(fiji, 30) == (0, 0, 0)
    assert groups > 8
    items, some, size = zip(*(asked(fiji, day) for day in range(8)), strict=True)
    assert sum(items) > 0
    assert max(some) < groups / 2
    assert sum(size) < whole / 2
    nowhere = [asked(((0.0, 0.0),), day) for day in range(8)]
    assert [items for items, _, _ in nowhere] == [0] * 8
    assert sum(size for _, _, size in nowhere) < whole / 10, "no asset is read for nothing"


def test_a_table_that_does_not_say_its_times_is_read_whole(folder: Path, tmp_path: Path) -> None:
    table = pq.read_table(folder / "tables/s2.parquet")
    pq.write_table(table, tmp_path / "s2.parquet", row_group_size=9, write_statistics=False)
    query = Query(Sensor.S2, ((178.0, -17.8),), BEGINS, BEGINS + timedelta(days=8))
    ours, theirs = (
        [item["id"] for item in ItemsSource(catalog(path)).items(query)]
        for path in (tmp_path / "s2.parquet", folder / "tables/s2.parquet")
    )
    assert ours == theirs
    assert ours


def test_a_damaged_table_is_named(folder: Path, tmp_path: Path) -> None:
    content = bytearray((folder / "tables/s2.parquet").read_bytes())
    for place in range(4, len(content) // 2, 7):
        content[place] ^= 0xFF
    (tmp_path / "s2.parquet").write_bytes(content)
    query = Query(Sensor.S2, ((178.0, -17.8),), BEGINS, BEGINS + timedelta(days=8))
    with pytest.raises(CatalogError, match=r"s2\.parquet is not stac-geoparquet"):
        list(ItemsSource(catalog(tmp_path / "s2.parquet")).items(query))
