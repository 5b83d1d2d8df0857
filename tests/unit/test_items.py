"""The habits of real items, one by one."""

import copy
from collections import Counter
from typing import Any

import pytest
import shapely

from s1s2.bands import Sensor, bands_of
from s1s2.catalog import PLANETARY_COMPUTER_S1, PLANETARY_COMPUTER_S2, Catalog
from s1s2.errors import redact
from s1s2.items import (
    ItemRefused,
    deduplicate,
    fields_read,
    parse_time,
    scene_from_item,
    scenes_from_items,
)
from s1s2.scene import Scene

CATALOG = Catalog(name="pc", s1=PLANETARY_COMPUTER_S1, s2=PLANETARY_COMPUTER_S2, items="/x")
SQUARE = {"type": "Polygon", "coordinates": [[[3, 45], [4, 45], [4, 46], [3, 46], [3, 45]]]}

OPTICAL: dict[str, Any] = {
    "type": "Feature",
    "id": "S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531",
    "collection": "sentinel-2-l2a",
    "geometry": SQUARE,
    "assets": {str(b): {"href": f"https://h/{b}.tif"} for b in bands_of(Sensor.S2)},
    "properties": {
        "datetime": "2019-06-29T21:25:29.024000Z",
        "platform": "Sentinel-2B",
        "proj:epsg": 32606,
        "s2:mgrs_tile": "06VVN",
        "s2:processing_baseline": "02.12",
        "eo:cloud_cover": 31.4,
        "s2:datatake_id": "GS2B_20190629T212529_012081_N02.12",
        "s2:datastrip_id": "S2B_OPER_MSI_L2A_DS_ESRI_20201006T080533_S20190629T212530_N02.12",
        "s2:generation_time": "2020-10-06T08:05:31.830Z",
    },
}
RADAR: dict[str, Any] = {
    "type": "Feature",
    "id": "S1A_x_rtc",
    "collection": "sentinel-1-rtc",
    "geometry": SQUARE,
    "assets": {"vv": {"href": "https://h/vv.tiff"}, "vh": {"href": "https://h/vh.tiff"}},
    "properties": {
        "datetime": "2024-04-19 04:59:10+00:00",
        "platform": "SENTINEL-1A",
        "proj:epsg": 32632,
        "start_datetime": "2024-04-19 04:59:04.220006+00:00",
        "end_datetime": "2024-04-19 04:59:16.220006+00:00",
        "sar:instrument_mode": "IW",
    },
}


def parse(item: dict[str, Any], **changes: object) -> Scene:
    changed = copy.deepcopy(item)
    for key, value in changes.items():
        changed["properties"][key.replace("__", ":")] = value
        if value is None:
            del changed["properties"][key.replace("__", ":")]
    sensor = Sensor.S1 if item is RADAR else Sensor.S2
    return scene_from_item(changed, CATALOG, sensor)


def test_the_datatakes_start_gives_way_to_the_datastrips() -> None:
    """Trap 7: `datetime` is the datatake's start, up to 15 minutes before the tile is sensed."""
    assert parse(OPTICAL).sensed_at == parse_time("2019-06-29T21:25:30Z")
    later = parse(OPTICAL, datetime="2019-06-29T21:40:00Z")
    assert later.sensed_at == parse_time("2019-06-29T21:40:00Z"), "a tile's own time is kept"
    assert parse(OPTICAL, s2__datastrip_id=None).sensed_at == parse_time("2019-06-29T21:25:29.024Z")


@pytest.mark.parametrize("place", ["proj:epsg", "proj:code", "asset"])
def test_the_zone_is_found_wherever_it_stands(place: str) -> None:
    """Trap 4: pystac rewrites proj:epsg to proj:code."""
    item = copy.deepcopy(OPTICAL)
    del item["properties"]["proj:epsg"]
    if place == "asset":
        item["assets"]["B04"]["proj:code"] = "EPSG:32606"
    else:
        item["properties"][place] = 32606 if place == "proj:epsg" else "EPSG:32606"
    assert parse(item).epsg == 32606


@pytest.mark.parametrize("name", ["SENTINEL-1A", "Sentinel-1C", "sentinel-1d"])
def test_platforms_in_every_spelling(name: str) -> None:
    assert parse(RADAR, platform=name).platform == name.lower()


def test_radar_times_with_a_space() -> None:
    assert parse(RADAR).sensed_at == parse_time("2024-04-19T04:59:10Z")
    item = copy.deepcopy(RADAR)
    item["properties"]["datetime"] = None
    scene = scene_from_item(item, CATALOG, Sensor.S1)
    assert scene.sensed_at == parse_time("2024-04-19T04:59:10.220Z"), "the middle of the slice"


def test_a_reprocessed_recording_is_used_once() -> None:
    old = parse(OPTICAL)
    item = copy.deepcopy(OPTICAL)
    item["id"] = old.id.replace("20201006", "20230101")
    new = parse(
        item,
        s2__processing_baseline="05.00",
        s2__datatake_id="GS2B_20190629T212529_012081_N05.00",
        s2__datastrip_id="S2B_OPER_MSI_L2A_DS_X_20230101T000000_S20190629T212530_N05.00",
    )
    assert deduplicate([old, new]) == deduplicate([new, old]) == [new]
    second_later = parse(
        item, s2__datastrip_id="S2B_OPER_MSI_L2A_DS_X_20230101T000000_S20190629T212531_N05.00"
    )
    assert len(deduplicate([old, second_later])) == 1, "reprocessing moves the start by a second"
    other_strip = parse(item, s2__datastrip_id="S2B_X_S20190629T213530_N02.12")
    assert len(deduplicate([old, other_strip])) == 2, "a tile split over two datastrips"
    other_tile = parse(OPTICAL, s2__mgrs_tile="06VWN")
    assert len(deduplicate([old, other_tile])) == 2


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({**OPTICAL, "collection": "sentinel-2-l1c"}, "other_collection"),
        ({**OPTICAL, "geometry": None}, "no_geometry"),
        ({**OPTICAL, "assets": {"thumbnail": {"href": "x"}}}, "no_assets"),
        ({key: value for key, value in OPTICAL.items() if key != "assets"}, "no_assets"),
        ({**OPTICAL, "id": "x" * 1000}, "bad_item"),
        ({**OPTICAL, "id": 7}, "bad_item"),
        ({**OPTICAL, "properties": {}}, "bad_item"),
        ({**OPTICAL, "geometry": {"type": "Polygon", "coordinates": []}}, "no_geometry"),
        ({**OPTICAL, "geometry": {"type": "Nonsense"}}, "bad_item"),
        (
            {
                **OPTICAL,
                "assets": {"B01": {"href": "x", "proj:transform": [60], "proj:shape": [1]}},
            },
            "bad_item",
        ),
        ({}, "bad_item"),
    ],
)
def test_unusable_items_are_refused_with_a_reason(item: dict[str, Any], reason: str) -> None:
    with pytest.raises(ItemRefused) as caught:
        scene_from_item(item, CATALOG, Sensor.S2)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("item", "changes", "reason"),
    [
        (OPTICAL, {"s2__processing_baseline": None}, "no_baseline"),
        (OPTICAL, {"s2__processing_baseline": "N9999"}, "no_baseline"),
        (OPTICAL, {"datetime": "soon"}, "bad_item"),
        (OPTICAL, {"proj__epsg": 4326}, "not_utm"),
        (OPTICAL, {"proj__epsg": 32690}, "not_utm"),
        (OPTICAL, {"proj__epsg": float("inf")}, "bad_item"),
        (OPTICAL, {"datetime": "0001-01-01T00:00:00+14:00"}, "bad_item"),
        (OPTICAL, {"sat__relative_orbit": 10**12}, "bad_item"),
        (OPTICAL, {"s2__product_type": "S2MSI1C"}, "other_product"),
        (RADAR, {"sar__instrument_mode": "EW"}, "other_mode"),
    ],
)
def test_unusable_properties(item: dict[str, Any], changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ItemRefused) as caught:
        parse(item, **changes)
    assert caught.value.reason == reason


def test_a_radar_slice_processed_twice_is_used_once() -> None:
    old = parse(RADAR)
    item = copy.deepcopy(RADAR)
    item["id"] = "S1A_y_rtc"
    new = scene_from_item(
        {**item, "properties": {**item["properties"], "created": "2025-01-01"}}, CATALOG, Sensor.S1
    )
    assert deduplicate([new, old]) == deduplicate([old, new]) == [new]


def test_signatures_never_survive_in_an_error() -> None:
    text = "https://a.blob.core.windows.net/c/x.tif?st=2026&se=2027&sp=rl&sv=1&sr=c&sig=CANARY%3D"
    assert "CANARY" not in redact(text)
    assert "CANARY" not in str(ItemRefused(text, "bad_item"))


def ring(*places: tuple[float, ...]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[list(p) for p in places]]}


GEOMETRIES: dict[str, Any] = {
    "plain": SQUARE,
    "minus nought": ring((-0.0, 45), (1, 45), (1, 46), (-0.0, 46), (-0.0, 45)),
    "beyond 180": ring((179, 0), (181, 0), (181, 1), (179, 1), (179, 0)),
    "jumping at 180": ring((179, 0), (-179, 0), (-179, 1), (179, 1), (179, 0)),
    "with heights": ring((3, 45, 7), (4, 45, 7), (4, 46, 7), (3, 45, 7)),
    "crossing itself": ring((3, 45), (4, 46), (4, 45), (3, 46), (3, 45)),
    "open": ring((3, 45), (4, 45), (4, 46), (3, 46)),
    "flat": ring((3, 45), (4, 45), (3, 45), (3, 45)),
    "with a hole": {
        "type": "Polygon",
        "coordinates": [
            *SQUARE["coordinates"],
            [[3.2, 45.2], [3.2, 45.4], [3.4, 45.4], [3.2, 45.2]],
        ],
    },
    "two parts": {
        "type": "MultiPolygon",
        "coordinates": [SQUARE["coordinates"], [[[8, 45], [9, 45], [9, 46], [8, 45]]]],
    },
    "none": None,
    "two places": ring((3, 45), (3, 45)),
    "not numbers": ring((3, 45), ("x", 45), (4, 46), (3, 45)),
    "not even places": {"type": "Polygon", "coordinates": [[7, 8, 9, 7]]},
    "endless": ring((3, 45), (float("inf"), 45), (4, 46), (3, 45)),
    "a word": "somewhere",
    "a point": {"type": "Point", "coordinates": [3, 45]},
}


@pytest.mark.parametrize("together", [True, False])
def test_many_at_once_are_what_one_by_one_are(*, together: bool) -> None:
    """Whatever stands beside them: an item that is malformed must not change another."""
    items = [{**OPTICAL, "id": name, "geometry": g} for name, g in GEOMETRIES.items()]
    items += [{**OPTICAL, "properties": {}}, {"id": 7}, RADAR, {**OPTICAL, "id": "last"}]
    scenes, reasons = [], Counter[str]()
    for item in items:
        try:
            scenes.append(scene_from_item(item, CATALOG, Sensor.S2))
        except ItemRefused as refusal:
            reasons[refusal.reason] += 1
    groups = [items] if together else [[i, {**OPTICAL, "id": "beside"}] for i in items]
    found, refused = [], Counter[str]()
    for group in groups:
        some, why = scenes_from_items(group, CATALOG, Sensor.S2)
        found += [s for s in some if s.id != "beside"]
        refused += why
    assert [s.id for s in found] == [s.id for s in scenes]
    assert [shapely.to_wkb(s.footprint) for s in found] == [
        shapely.to_wkb(s.footprint) for s in scenes
    ]
    assert found == scenes
    assert refused == reasons
    assert {"plain", "minus nought", "beyond 180", "jumping at 180", "with a hole", "last"} <= {
        s.id for s in scenes
    }
    assert len(scenes) < len(items)


@pytest.mark.parametrize("item", [OPTICAL, RADAR])
def test_what_is_asked_for_is_all_that_is_read(item: dict[str, Any]) -> None:
    sensor = Sensor.S1 if item is RADAR else Sensor.S2
    whole = copy.deepcopy(item)
    for number, asset in enumerate(whole["assets"].values()):
        asset |= {"proj:shape": [183, 183], "proj:transform": [60, 0, number, 0, -60, 0], "x": 1}
    whole["properties"] |= {"s2:product_uri": "S2B_x_R043_y", "created": "2024-05-01", "y": 2}
    trimmed: dict[str, Any] = {"properties": {}, "assets": {key: {} for key in whole["assets"]}}
    for path in fields_read(CATALOG.product(sensor)):
        match path.split("."):
            case ["assets", key, name] if name in whole["assets"][key]:
                trimmed["assets"][key][name] = whole["assets"][key][name]
            case ["properties", name] if name in whole["properties"]:
                trimmed["properties"][name] = whole["properties"][name]
            case [name]:
                trimmed[name] = whole[name]
    assert scene_from_item(trimmed, CATALOG, sensor) == scene_from_item(whole, CATALOG, sensor)
    assert len(str(trimmed)) < len(str(whole))
