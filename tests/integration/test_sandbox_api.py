"""The sandbox's STAC API as foreign clients see it, and its faults as seen from outside."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import rustac
from pystac_client import Client
from shapely.geometry import Point, box, mapping, shape
from shapely.geometry.base import BaseGeometry
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from s1s2.bands import Sensor
from s1s2.errors import CatalogError
from s1s2.recipe import load_catalog
from s1s2.sandbox import paging
from s1s2.sandbox.faults import Fault, Faults
from s1s2.sandbox.process import running
from s1s2.sandbox.query import STANDARD
from s1s2.sandbox.server import Server, address_of, application, listen
from s1s2.search import ApiSource, Query
from s1s2.transport import Pace

S2, S1 = "sentinel-2-l2a", "sentinel-1-rtc"
NEWEST = datetime(2021, 7, 31, 10, tzinfo=UTC)
BODY = bytes(range(256)) * 400


class MadeUp:
    """A catalogue of items that nobody sensed: five of each time, some over 180 degrees."""

    def __init__(self, n_items: int = 300) -> None:
        self.looked_at = 0
        self.rows = {name: [self._row(name, k) for k in range(n_items)] for name in (S2, S1)}
        for rows in self.rows.values():
            rows.sort(key=lambda row: (row["when"], row["id"]), reverse=True)

    @staticmethod
    def _row(name: str, k: int) -> dict[str, Any]:
        west, south = (-180 + k * 7 % 353 if k % 50 else 178.5), -60 + k * 11 % 120
        when = NEWEST - timedelta(hours=6 * (k // 5), minutes=3 * (name == S1))
        footprint = box(west, south, west + 3, south + 2)
        return {"of": name, "id": f"{name[9]}_{k:04d}", "when": when, "k": k, "shape": footprint}

    def collections(self, root: str) -> list[dict[str, Any]]:
        return [_collection(name, root) for name in self.rows]

    def scenes(
        self, name: str, area: BaseGeometry | None, begins: datetime, ends: datetime
    ) -> Iterator[dict[str, Any]]:
        for row in self.rows[name]:
            self.looked_at += 1
            if begins <= row["when"] <= ends and (area is None or row["shape"].intersects(area)):
                yield row

    def scene(self, name: str, identity: str) -> dict[str, Any] | None:
        return next((row for row in self.rows[name] if row["id"] == identity), None)

    def item(self, row: dict[str, Any], root: str, blobs: str) -> dict[str, Any]:
        home = f"{root}/collections/{row['of']}"
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "stac_extensions": [],
            "id": row["id"],
            "collection": row["of"],
            "geometry": mapping(row["shape"]),
            "bbox": list(row["shape"].bounds),
            "properties": {
                "datetime": row["when"].isoformat().replace("+00:00", "Z"),
                "platform": f"Sentinel-2{'AB'[row['k'] % 2]}",
                "eo:cloud_cover": row["k"] % 101 * 1.0,
            },
            "links": _links(
                self=f"{home}/items/{row['id']}", parent=home, collection=home, root=f"{root}/"
            ),
            "assets": {
                f"B{n:02d}": {
                    "href": f"{blobs}/acc/con/{row['id']}/B{n:02d}.tif",
                    "title": "-" * 80,
                }
                for n in range(1, 13)
            },
        }


def _collection(name: str, root: str) -> dict[str, Any]:
    home = f"{root}/collections/{name}"
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "title": name,
        "description": "SIMULATED DATA",
        "license": "proprietary",
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2015-06-27T00:00:00Z", None]]},
        },
        "links": _links(self=home, parent=f"{root}/", root=f"{root}/", items=f"{home}/items"),
    }


def _links(**places: str) -> list[dict[str, str]]:
    return [{"rel": r, "type": "application/json", "href": href} for r, href in places.items()]


async def _blob(_: Request) -> Response:
    return Response(BODY, media_type="image/tiff")


async def _token(_: Request) -> Response:
    return Response(b'{"token": "sig=x", "msft:expiry": "2030-01-01T00:00:00Z"}')


BLOBS = (
    Route("/api/sas/v1/token/{account}/{container}", _token),
    Route("/acc/con/{p:path}", _blob),
)


@contextmanager
def live(*faults: Fault, catalogue: MadeUp | None = None, **how: object) -> Iterator[str]:
    """Serve a made-up catalogue from a thread."""
    app = application(catalogue or MadeUp(), BLOBS, Faults(7, faults), **how)
    server, bound = Server(app), listen()
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([bound])))
    thread.start()
    try:
        assert server.ready.wait(20)
        yield address_of(bound)
    finally:
        server.should_exit = True
        thread.join()
        bound.close()


@pytest.fixture(scope="module")
def catalogue() -> MadeUp:
    return MadeUp()


@pytest.fixture(scope="module")
def api(catalogue: MadeUp) -> Iterator[str]:
    with live(catalogue=catalogue) as url:
        yield f"{url}/api/stac/v1"


def ids_of(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


def chosen(
    catalogue: MadeUp, wanted: Callable[[dict[str, Any]], bool] = lambda _: True, name: str = S2
) -> list[str]:
    return ids_of([row for row in catalogue.rows[name] if wanted(row)])


def searched(api: str, **asked: object) -> list[str]:
    found = Client.open(api).search(**{"collections": [S2], "limit": 70, **asked})
    return [item["id"] for item in found.items_as_dicts()]


def posted(api: str, **asked: object) -> requests.Response:
    return requests.post(f"{api}/search", json=asked, timeout=20)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pages_hold_everything_once_newest_first(api: str, catalogue: MadeUp, method: str) -> None:
    for limit in (1, 41, 250, 300):
        n = 6 if limit == 1 else None
        found = searched(api, method=method, limit=limit, max_items=n)
        assert found == chosen(catalogue)[:n]
    both = searched(api, method=method, collections=[S2, S1], limit=64)
    rows = sorted(
        (row for rows in catalogue.rows.values() for row in rows),
        key=lambda row: (row["when"], row["id"]),
        reverse=True,
    )
    assert both == ids_of(rows)


def test_pages_are_of_the_form_that_planetary_computer_sends(api: str) -> None:
    page = posted(api, collections=[S2], limit=2)
    assert page.headers["content-type"] == "application/geo+json"
    document = page.json()
    assert "numberMatched" not in document
    following = next(link for link in document["links"] if link["rel"] == "next")
    assert following["method"] == "POST"
    assert following["body"]["token"] == f"next:{S2}:{document['features'][-1]['id']}"
    assert following["body"]["collections"] == [S2]
    assert len(posted(api, collections=[S2]).json()["features"]) == 250
    items = requests.get(f"{api}/collections/{S2}/items", timeout=20).json()
    assert len(items["features"]) == 10
    link = next(link for link in items["links"] if link["rel"] == "next")
    after = requests.get(link["href"], timeout=20).json()
    assert after["features"][0]["id"] == searched(api, max_items=11)[-1]


def test_a_search_looks_at_no_more_than_it_sends(api: str, catalogue: MadeUp) -> None:
    before = catalogue.looked_at
    posted(api, collections=[S2], limit=20)
    assert catalogue.looked_at - before == 21


def test_places(api: str, catalogue: MadeUp) -> None:
    point = Point(-165.5, -26.5)
    at = {"type": "MultiPoint", "coordinates": [[-165.5, -26.5], [0.5, 0.5]]}
    wanted = chosen(catalogue, lambda row: row["shape"].intersects(shape(at)))
    assert searched(api, intersects=at) == searched(api, intersects=at, method="GET") == wanted
    assert set(searched(api, intersects=mapping(point))) <= set(wanted)
    corners = (-20, -10, 30, 25)
    inside = chosen(catalogue, lambda row: row["shape"].intersects(box(*corners)))
    assert 5 < len(inside) < 60
    for bbox in (corners, (-20, -10, 0, 30, 25, 9000)):
        assert searched(api, bbox=bbox) == searched(api, bbox=bbox, method="GET") == inside


def test_a_box_over_the_antimeridian_holds_both_sides_and_no_more(
    api: str, catalogue: MadeUp
) -> None:
    both = box(178, -90, 182, 90) | box(-182, -90, -178, 90)
    wanted = chosen(catalogue, lambda row: row["shape"].intersects(both))
    found = searched(api, bbox=(178, -90, -178, 90))
    assert found == searched(api, bbox=(178, -90, -178, 90), method="GET") == wanted
    sides = {catalogue.scene(S2, i)["shape"].bounds[0] > 0 for i in found}
    assert sides == {True, False}
    assert len(found) < 30


def test_times(api: str, catalogue: MadeUp) -> None:
    day = NEWEST - timedelta(days=3)
    exact = chosen(catalogue, lambda row: row["when"] == day)
    assert len(exact) == 5
    stamp = day.isoformat().replace("+00:00", "Z")
    assert searched(api, datetime=stamp) == exact
    assert searched(api, datetime=f"{stamp}/..") == chosen(catalogue, lambda r: r["when"] >= day)
    assert searched(api, datetime=f"../{stamp}") == chosen(catalogue, lambda r: r["when"] <= day)
    raw = posted(api, collections=[S2], datetime="2021-07-20/2021-07-21").json()["features"]
    last = max(item["properties"]["datetime"] for item in raw)
    assert last < "2021-07-21T00:00:01Z", "a date is its midnight, at the end too"
    for wrong in ("2021-07-21T00:00:00", "yesterday", "2021-07-22T00:00:00Z/2021-07-21T00:00:00Z"):
        assert posted(api, collections=[S2], datetime=wrong).status_code == 400


def test_ids(api: str, catalogue: MadeUp) -> None:
    some = chosen(catalogue)[3:9]
    for method in ("GET", "POST"):
        assert searched(api, ids=some[::-1], method=method) == some
        assert searched(api, ids=[*some, "nothing"], limit=2, method=method) == some
    west = catalogue.scene(S2, some[0])["shape"].bounds[0]
    assert not searched(api, ids=some[:1], bbox=(west + 10, -90, west + 11, 90))


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"eo:cloud_cover": {"lt": 20}}, lambda row: row["k"] % 101 < 20),
        ({"eo:cloud_cover": {"gte": 20, "lte": 21}}, lambda row: row["k"] % 101 in (20, 21)),
        ({"platform": {"eq": "Sentinel-2B"}}, lambda row: row["k"] % 2),
        ({"platform": {"neq": "Sentinel-2B"}}, lambda row: not row["k"] % 2),
        ({"platform": {"in": ["Sentinel-2A", "x"]}}, lambda row: not row["k"] % 2),
        ({"id": {"startsWith": "2_00"}}, lambda row: row["k"] < 100),
        ({"id": {"endsWith": "7"}}, lambda row: row["k"] % 10 == 7),
        ({"platform": {"contains": "-2A"}}, lambda row: not row["k"] % 2),
        ({"nowhere": {"neq": 3}}, lambda _: False),
        ({"platform": {"gt": 3}}, lambda _: False),
    ],
)
def test_the_query_extension(
    api: str, catalogue: MadeUp, query: dict, wanted: Callable[[dict], bool]
) -> None:
    found = chosen(catalogue, wanted)
    assert searched(api, query=query) == found
    sent = requests.get(
        f"{api}/search",
        {"collections": S2, "query": json.dumps(query), "limit": 300},
        timeout=20,
    )
    assert ids_of(sent.json()["features"]) == found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("eo:cloud_cover < 20", lambda row: row["k"] % 101 < 20),
        (
            "platform = 'Sentinel-2B' AND eo:cloud_cover <= 3",
            lambda r: r["k"] % 101 < 4 and r["k"] % 2,
        ),
        ("id = '2_0003' OR id = '2_0008'", lambda row: row["k"] in (3, 8)),
        ("NOT platform LIKE '%A'", lambda row: row["k"] % 2),
        ("datetime > TIMESTAMP('2021-07-31T05:00:00Z')", lambda row: row["k"] < 5),
        (
            "S_INTERSECTS(geometry, POINT(-178.5 -59))",
            lambda r: r["shape"].covers(Point(-178.5, -59)),
        ),
        ("nowhere = 3", lambda _: False),
        ("nowhere IS NULL AND id = '2_0003'", lambda row: row["k"] == 3),
    ],
)
def test_cql2(api: str, catalogue: MadeUp, text: str, wanted: Callable[[dict], bool]) -> None:
    import cql2

    found = chosen(catalogue, wanted)
    assert searched(api, filter=text, filter_lang="cql2-text", method="GET") == found
    as_json = cql2.parse_text(text).to_json()
    assert searched(api, filter=as_json, filter_lang="cql2-json") == found
    sent = {"filter": json.dumps(as_json), "filter-lang": "cql2-json"}
    answer = requests.get(f"{api}/search", {"collections": S2, "limit": 300, **sent}, timeout=20)
    assert ids_of(answer.json()["features"]) == found


def test_any_property_sorts(api: str, catalogue: MadeUp, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = sorted(catalogue.rows[S2], key=lambda row: (row["k"] % 101, -row["k"]))
    keys = [
        {"field": "properties.eo:cloud_cover", "direction": "asc"},
        {"field": "id", "direction": "desc"},
    ]
    assert searched(api, sortby=keys) == ids_of(rows)
    assert searched(api, sortby="+eo:cloud_cover,-id", method="GET") == ids_of(rows)
    assert searched(api, sortby="datetime,id") == chosen(catalogue)[::-1]
    assert searched(api, sortby="-nowhere") == chosen(catalogue)
    monkeypatch.setattr(paging, "MOST_SORTED", 299)
    refused = posted(api, collections=[S2], sortby=[{"field": "id", "direction": "asc"}])
    assert refused.status_code == 400
    assert "more than 299 items to sort" in refused.json()["description"]


def test_fields(api: str) -> None:
    def first(**fields: object) -> dict[str, Any]:
        return posted(api, collections=[S2], limit=1, fields=fields).json()["features"][0]

    part = first(include=["properties.datetime", "assets.B04.href"])
    assert set(part) == {"id", "collection", "properties", "assets"}
    assert set(part["properties"]) == {"datetime"}
    assert set(part["assets"]["B04"]) == {"href"}
    whole = first()
    assert first(exclude=["assets", "properties.platform"])["properties"].keys() == {
        "datetime",
        "eo:cloud_cover",
    }
    assert first(include=["geometry"], exclude=["geometry"])["geometry"] == whole["geometry"]
    assert first(include=["properties.datetime"], exclude=["properties"])["properties"]
    found = Client.open(api).search(collections=[S2], fields="id,-geometry", max_items=1, limit=1)
    assert list(found.items_as_dicts()) == [{"id": whole["id"], "collection": S2}]


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({}, 422, "collection is required"),
        ({"collections": [S2], "limit": 1001}, 400, "limit 1001: expected at most 1000"),
        ({"collections": [S2], "limit": 0}, 400, "limit: Input should be greater than 0"),
        ({"collections": [S2], "bbox": [1, 2, 3]}, 400, "bbox: expected 4 or 6 numbers, got 3"),
        ({"collections": [S2], "intersects": {"type": "Dot"}}, 400, "not a valid geometry"),
        ({"collections": [S2], "intersects": {"type": "Point"}}, 400, "not a valid geometry"),
        ({"collections": [S2], "filter": {"op": "no", "args": []}}, 400, "not valid CQL2"),
        ({"collections": [S2], "query": {"a": {"is": 1}}}, 400, "unknown 'is'"),
        ({"collections": [S2], "token": f"next:{S2}:gone"}, 400, "expected one from a rel=next"),
        ({"collections": [S2], "token": "next"}, 400, "expected one from a rel=next"),
        ({"collections": S2}, 400, "collections: Input should be a valid list"),
    ],
)
def test_a_refusal_is_one_line_of_json(api: str, asked: dict, status: int, said: str) -> None:
    answer = posted(api, **asked)
    assert answer.status_code == status
    assert set(answer.json()) == {"code", "description"}
    assert said in answer.json()["description"]


def test_what_there_is_not(api: str) -> None:
    for path in ("collections/x", f"collections/{S2}/items/x", "collections/x/items", "x"):
        answer = requests.get(f"{api}/{path}", timeout=20)
        assert answer.status_code == 404
        assert answer.json()["code"] == "NotFound"
    assert not searched(api, collections=["x"])


def test_pystac_client_finds_its_way(api: str, catalogue: MadeUp) -> None:
    client = Client.open(api)
    assert {collection.id for collection in client.get_collections()} == {S2, S1}
    item = client.get_collection(S2).get_item("2_0007")
    assert item is not None
    assert item.assets["B04"].href.endswith("/acc/con/2_0007/B04.tif")
    assert "eo:cloud_cover" in client.get_merged_queryables([S2])["properties"]
    for extension in ("item-search#query", "item-search#sort", "item-search#fields"):
        assert any(c.endswith(extension) for c in client.get_conforms_to())
    assert catalogue.scene(S2, item.id) is not None


def test_rustac_finds_the_same(api: str, catalogue: MadeUp) -> None:
    """A client in Rust, that nobody here wrote."""

    async def ask(**asked: object) -> list[dict[str, Any]]:
        return await rustac.search(api, collections=[S2], limit=70, **asked)

    assert ids_of(asyncio.run(ask())) == chosen(catalogue)
    found = asyncio.run(ask(bbox=[-20, -10, 30, 25], datetime="2021-07-10T00:00:00Z/.."))
    since = datetime(2021, 7, 10, tzinfo=UTC)
    area = box(-20, -10, 30, 25)
    assert ids_of(found) == chosen(
        catalogue, lambda row: row["when"] >= since and row["shape"].intersects(area)
    )
    clear = asyncio.run(ask(filter="eo:cloud_cover < 5", sortby="id", method="GET"))
    assert ids_of(clear) == sorted(chosen(catalogue, lambda row: row["k"] % 101 < 5))


def source(url: str, tmp_path: Path) -> ApiSource:
    text = Path("catalogs/planetary-computer.toml").read_text()
    path = tmp_path / "pc.toml"
    path.write_text(text.replace("https://planetarycomputer.microsoft.com", url))
    catalog = load_catalog(str(path))
    return ApiSource(catalog, Pace(catalog.budget))


QUERY = Query(Sensor.S2, ((-129.5, 18.0), (-80.5, -25.0)), datetime(2015, 1, 1, tzinfo=UTC), NEWEST)


def test_our_client_sees_loops_and_duplicates(tmp_path: Path) -> None:
    with live() as url:
        right = ids_of(list(source(url, tmp_path).items(QUERY)))
        assert right
    with (
        live(Fault("loop", "search")) as url,
        pytest.raises(CatalogError, match="repeats itself at page 2"),
    ):
        list(source(url, tmp_path).items(QUERY))
    with live(Fault("duplicate", "search")) as url:
        twice = ids_of(list(source(url, tmp_path).items(QUERY)))
    assert set(twice) == set(right)
    assert len(twice) > len(right)


def counts(url: str) -> dict[str, Any]:
    return requests.get(f"{url}/faults", timeout=20).json()


def got(url: str, path: str = "/acc/con/a.tif", **how: object) -> requests.Response:
    return requests.get(url + path, timeout=5, allow_redirects=False, **how)


def test_faults_of_files_are_seen_and_counted() -> None:
    faults = (
        Fault("latency", "blob", seconds=0.2, most=1),
        Fault("status", "blob", status=429, retry_after_s=3, most=1),
        Fault("expired", "blob", most=1),
        Fault("redirect", "blob", to="http://127.0.0.2:9/", most=1),
        Fault("wrong", "blob", most=1),
        Fault("corrupt", "blob", most=1),
        Fault("cut", "blob", most=1),
        Fault("wrong", "token", most=1),
    )
    with live(*faults) as url:
        begun = time.monotonic()
        busy = got(url)
        assert time.monotonic() - begun > 0.2
        assert (busy.status_code, busy.headers["retry-after"]) == (429, "3")
        expired = got(url)
        assert expired.status_code == 403
        assert expired.headers["x-ms-error-code"] == "AuthenticationFailed"
        assert "<Code>AuthenticationFailed</Code>" in expired.text
        moved = got(url, "/acc/con/a.tif?sig=x")
        assert moved.headers["location"] == "http://127.0.0.2:9/acc/con/a.tif?sig=x"
        assert got(url).text.startswith("<VRTDataset")
        corrupt = got(url).content
        assert len(corrupt) == len(BODY)
        assert 300 < sum(a != b for a, b in zip(corrupt, BODY, strict=True)) < 500
        with got(url, stream=True) as cut:
            assert cut.headers["content-length"] == str(len(BODY))
            with pytest.raises(requests.exceptions.ChunkedEncodingError, match="51200 bytes read"):
                _ = cut.content
        assert "html" in got(url, "/api/sas/v1/token/acc/con").text
        assert got(url, "/api/sas/v1/token/acc/con").json()["token"]
        assert got(url).content == BODY
        told = counts(url)
        assert told["requests"] == {"blob": 7, "token": 2}
        assert [fault["done"] for fault in told["faults"]] == [1] * len(faults)


def test_faults_of_searches_are_seen_and_counted() -> None:
    faults = (
        Fault("status", "search", status=503, most=1),
        Fault("wrong", "search", most=1),
        Fault("duplicate", "search", most=1),
        Fault("malformed", "search", after=0, most=12),
        Fault("loop", "search", most=1),
        Fault("cut", "search", most=1),
    )
    with live(*faults) as url:
        api, asked = f"{url}/api/stac/v1", {"collections": [S2], "limit": 5}
        assert posted(api, **asked).status_code == 503
        assert posted(api, **asked).headers["content-type"].startswith("text/html")
        assert len(posted(api, **asked).json()["features"]) == 8
        pages = [posted(api, **asked).json()["features"] for _ in range(12)]
        assert {manner for page in pages for manner in map(malformation, page)} == {
            "",
            "no geometry",
            "bad time",
            "bad id",
        }
        loop = next(li for li in posted(api, **asked).json()["links"] if li["rel"] == "next")
        assert (loop["body"], loop["href"]) == (asked, f"{api}/search")
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            posted(api, **asked)
        assert ids_of(posted(api, **asked).json()["features"]) == [f"2_000{k}" for k in "43210"]
        told = counts(url)
        assert told["requests"] == {"search": 18}
        assert [fault["done"] for fault in told["faults"]] == [1, 1, 1, 12, 1, 1]
        assert told["faults"][3] == {"kind": "malformed", "on": "search", "matched": 15, "done": 12}


def malformation(item: dict[str, Any]) -> str:
    if "geometry" not in item:
        return "no geometry"
    if item["properties"]["datetime"] == "yesterday":
        return "bad time"
    return "" if isinstance(item["id"], str) else "bad id"


def test_a_hanging_server_hangs_for_one_request_alone() -> None:
    with live(Fault("hang", "blob", most=1)) as url:
        with pytest.raises(requests.exceptions.ReadTimeout):
            requests.get(f"{url}/acc/con/a.tif", timeout=0.3)
        assert got(url).content == BODY
        assert counts(url)["faults"] == [{"kind": "hang", "on": "blob", "matched": 2, "done": 1}]


VALIDATED = ("core", "features", "item-search", "filter", "item-search#fields")
"""`features` validates collections too. `#sort` and `#query` cannot pass: there the validator posts
`collections` as text, and numbers too, which the specification forbids."""
UNAVOIDABLE = ("NameResolutionError", "response contained fewer than 5 fields ['id', 'coll")
"""Schemas are on the internet; and of one nested field the validator wants at least five fields
and, a line further on, at most five."""


@pytest.mark.slow
def test_the_validator_finds_nothing_but_schemas_it_cannot_fetch() -> None:
    validator = Path(sys.executable).with_name("stac-api-validator")
    with live(manners=STANDARD) as url:
        line = [str(validator), "--root-url", f"{url}/api/stac/v1/", "--collection", S2]
        line += ["--geometry", json.dumps(mapping(box(-60, -60, 60, 60)))]
        line += ["--fields-nested-property", "properties.eo:cloud_cover"]
        line += [part for name in VALIDATED for part in ("--conformance", name)]
        told = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    _, _, errors = told.stdout.partition("Errors:")
    assert "Validating" in told.stderr or "Validating" in told.stdout, told.stderr
    wrong = [error for error in errors.splitlines() if error.startswith("- ")]
    assert not [error for error in wrong if not any(known in error for known in UNAVOIDABLE)]


def test_documents_are_right_by_the_models_of_stac_pydantic(api: str) -> None:
    """What the validator would have asked schemas for."""
    import stac_pydantic
    import stac_pydantic.api as models

    def document(path: str) -> dict[str, Any]:
        return requests.get(f"{api}/{path}", timeout=20).json()

    models.LandingPage.model_validate(document(""))
    models.Collections.model_validate(document("collections"))
    stac_pydantic.Collection.model_validate(document(f"collections/{S2}"))
    stac_pydantic.Item.model_validate(document(f"collections/{S2}/items/2_0007"))
    models.ItemCollection.model_validate(posted(api, collections=[S2]).json())


@pytest.mark.slow
def test_a_server_lives_as_long_as_its_context() -> None:
    with running(seed=3) as url:
        assert "SIMULATED DATA" in requests.get(url, timeout=20).text
        assert searched(f"{url}/api/stac/v1", max_items=1, limit=1)
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "f.toml").write_text('[[fault]]\nkind = "hangs"\n')
    with (
        pytest.raises(CatalogError, match=r"did not start: faults .*: kind 'hangs': expected one"),
        running(faults=tmp_path / "f.toml"),
    ):
        pass


def test_a_server_dies_with_a_parent_that_is_killed() -> None:
    program = (
        "import time\nfrom s1s2.sandbox.process import running\n"
        "with running() as url:\n    print(url, flush=True)\n    time.sleep(100)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout as said:
        url = said.readline().strip()
    assert requests.get(f"{url}/faults", timeout=20).json()["requests"] == {}
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until = time.monotonic() + 10
    with pytest.raises(requests.ConnectionError):  # noqa: PT012
        while time.monotonic() < until:
            requests.get(f"{url}/faults", timeout=5)
            time.sleep(0.1)


def test_importing_what_starts_a_server_is_cheap() -> None:
    heavy = "{'fastapi', 'starlette', 'uvicorn', 'numpy', 'shapely', 'requests'}"
    program = f"import sys, s1s2.sandbox.process; print({heavy} & set(sys.modules))"
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "set()"
