"""Catalogs that are slow, busy, broken or hostile: a search waits, gives up or refuses."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from fakes import Scenes, StacServer, lonlat, serving

from s1s2 import gather, transport
from s1s2.answers import Answers
from s1s2.bands import Sensor
from s1s2.catalog import Budget
from s1s2.cli import main
from s1s2.errors import CatalogError, UnreachableError
from s1s2.gather import Part
from s1s2.recipe import load_catalog
from s1s2.search import SearchSpec
from s1s2.transport import Pace

SPEC = SearchSpec(date(2021, 7, 1), date(2021, 7, 20))
Deed = Callable[["BaseHTTPRequestHandler", bytes], None]
"""What is done to one search: given the connection and the right answer."""


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(transport, "_TIMEOUT_S", (2, 0.5))


@pytest.fixture
def archive(scenes: Scenes) -> Scenes:
    for day in (1, 6, 11):
        scenes.s2(when=f"2021-07-{day:02d}T10:50:31.024Z", size_m=1200)
        scenes.s1(when=f"2021-07-{day:02d}T17:30:00Z", size_m=2400)
    for number, item in enumerate(scenes.items):
        for asset in item["assets"].values():
            asset["href"] = f"https://store.example/{number}/{asset['href']}"
    return scenes


@contextmanager
def catalog_of(archive: Scenes, *deeds: Deed | None, page: int = 100) -> Iterator["Strange"]:
    """A catalog that does deeds to its first searches, and answers the others."""
    strange = Strange(StacServer(archive.items, page=page), list(deeds))
    with serving(strange.handler()) as url:
        strange.stac.url = url
        yield strange


class Strange:
    def __init__(self, stac: StacServer, deeds: list[Deed | None]) -> None:
        self.stac, self.deeds = stac, deeds
        self.asked: list[float] = []
        """When searches came in."""
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        strange = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                send(self, 200, json.dumps(landing_page(strange.stac.url)).encode())

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with strange.counted():
                    deed = strange.deeds.pop(0) if strange.deeds else None
                    body = json.dumps(strange.stac.answer(asked)).encode()
                    (deed or answered)(self, body)

        return Handler

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self._lock:
            self.asked.append(time.monotonic())
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        yield
        with self._lock:
            self._now -= 1

    def search(
        self, folder: Path, say: Callable[[str], None] = lambda _: None, **budget: float
    ) -> pa.Table:
        """Search over one point, both sensors, one request each if all goes well."""
        folder.mkdir(exist_ok=True)
        toml = folder / "odd.toml"
        text = Path("catalogs/planetary-computer.toml").read_text()
        text = text.replace("https://planetarycomputer.microsoft.com/api/stac/v1", self.stac.url)
        rate = budget.get("per_second", 1000.0)
        toml.write_text(text.replace("per_second = 4.0", f"per_second = {rate}"))
        places = budget.get("places", 1)
        lon, lat = lonlat(500_500, 4_999_500, 32631)
        rows = [{"point": n, "lon": lon + 12 * n, "lat": lat} for n in range(int(places))]
        found = gather.gather(
            pd.DataFrame(rows),
            SPEC,
            dict.fromkeys(Sensor, load_catalog(str(toml))),
            answers=folder / "answers",
            part=Part(),
            tick=lambda _: None,
            say=say,
        )
        assert found is not None
        return found[0]


def landing_page(url: str) -> dict[str, Any]:
    link = {"href": f"{url}/search", "method": "POST", "type": "application/geo+json"}
    kinds = ("core", "item-search")
    return {
        "type": "Catalog",
        "id": "odd",
        "description": "odd",
        "stac_version": "1.0.0",
        "conformsTo": [f"https://api.stacspec.org/v1.0.0/{kind}" for kind in kinds],
        "links": [
            *({"rel": rel, "href": url, "type": "application/json"} for rel in ("self", "root")),
            {"rel": "search", **link},
        ],
    }


def send(to: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    to.send_response(status)
    for name, value in ({"Content-Length": str(len(body))} | headers).items():
        to.send_header(name.replace("_", "-"), value)
    to.end_headers()
    to.wfile.write(body)


def answered(to: BaseHTTPRequestHandler, right: bytes) -> None:
    send(to, 200, right)


def status(code: int, **headers: str) -> Deed:
    return lambda to, _: send(to, code, b'{"code": "busy"}', **headers)


def body(text: str) -> Deed:
    return lambda to, _: send(to, 200, text.encode())


def changed(change: Callable[[dict[str, Any]], object]) -> Deed:
    def deed(to: BaseHTTPRequestHandler, right: bytes) -> None:
        document = json.loads(right)
        change(document)
        send(to, 200, json.dumps(document).encode())

    return deed


def cut(to: BaseHTTPRequestHandler, right: bytes) -> None:
    send(to, 200, right[: len(right) // 2], Content_Length=str(len(right)))
    to.close_connection = True


def cut_before_the_body(to: BaseHTTPRequestHandler, _: bytes) -> None:
    to.close_connection = True


def hang(_: BaseHTTPRequestHandler, __: bytes) -> None:
    time.sleep(0.8)


def leads_to(href: str) -> Deed:
    def change(document: dict[str, Any]) -> None:
        document["links"] = [{"rel": "next", "href": href, "method": "GET"}]

    return changed(change)


PASSING = {
    "429": [status(429, Retry_After="0")],
    "every busy status": [status(code) for code in (408, 425, 429, 500, 502, 503, 504)],
    "a date in the past to come back": [status(503, Retry_After=formatdate(0, usegmt=True))],
    "Retry-After is rubbish": [status(503, Retry_After="soon")],
    "no answer": [hang],
    "half an answer": [cut],
    "a connection that closes": [cut_before_the_body],
    "HTML": [body("<html>Our services aren't available right now</html>")],
    "half a JSON": [body('{"type": "FeatureCollection", "features": [')],
    "not text": [lambda to, _: send(to, 200, b"\xff\xfe\x00\x01")],
    "one after another": [cut, hang, status(502)],
}


@pytest.mark.parametrize("deeds", PASSING.values(), ids=PASSING)
def test_what_passes_is_waited_for(archive: Scenes, tmp_path: Path, deeds: list[Deed]) -> None:
    said: list[str] = []
    with catalog_of(archive, *deeds) as server:
        found = server.search(tmp_path, said.append)
    assert len(found) == 6
    assert len(server.asked) == 2 + len(deeds)
    assert len(said) == len(deeds), "every wait is said"
    assert all("search  waits" in line and "catalog odd" in line for line in said)


LASTING = {
    "HTML": (body("<html>maintenance</html>"), 4, "not JSON ('<html>maintenance</html>')"),
    "hangs": (hang, 4, "did not answer in time"),
    "half answers": (cut, 4, "broke off"),
    "busy": (status(503), 8, "answered 503"),
}


@pytest.mark.parametrize(("deed", "attempts", "words"), LASTING.values(), ids=LASTING)
def test_what_does_not_pass_ends_the_search_for_now(
    archive: Scenes, tmp_path: Path, deed: Deed, attempts: int, words: str
) -> None:
    with catalog_of(archive, None, *[deed] * attempts) as server:
        with pytest.raises(UnreachableError) as error:
            server.search(tmp_path)
        assert words in str(error.value)
        assert f", {attempts} times;" in str(error.value)
        assert "again to go on" in str(error.value)
        assert len(server.asked) == 1 + attempts
        assert len(Answers(tmp_path / "answers").known()) == 1, "what was answered is kept"
        assert len(server.search(tmp_path)) == 6
        assert len(server.asked) == 2 + attempts, "and is not asked again"


def test_nobody_there_is_exit_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], archive: Scenes
) -> None:
    with catalog_of(archive) as server:
        text = Path("catalogs/planetary-computer.toml").read_text()
        toml = tmp_path / "gone.toml"
        toml.write_text(
            text.replace("https://planetarycomputer.microsoft.com/api/stac/v1", server.stac.url)
        )
    line = ["build", "-n", "1", "--catalog", str(toml), "-o", str(tmp_path / "out")]
    assert main(line) == 3
    said = capsys.readouterr().err
    assert f"catalog gone: {server.stac.url} cannot be reached" in said
    assert "Connection refused" in said
    assert "waits" in said


REFUSED = {
    "another host": (leads_to("http://127.0.0.2:1/search"), "leads to http://127.0.0.2:1"),
    "another port": (leads_to("http://127.0.0.1:1/search"), "leads to http://127.0.0.1:1"),
    "a file": (leads_to("file:///etc/passwd"), "leads to file:///etc/passwd"),
    "a path": (leads_to("/etc/passwd"), "leads to /etc/passwd"),
    "redirected to another host": (
        status(307, Location="http://127.0.0.2:1/search"),
        "leads to http://127.0.0.2:1",
    ),
    "a search turned into a GET": (status(302, Location="/elsewhere"), "correct the endpoint"),
    "redirected for ever": ([status(307, Location="/search")] * 9, "redirects us for ever"),
    "a refusal": (status(400), "answered 400 Bad Request"),
    "a list": (body("[1, 2]"), "no STAC document"),
    "a link without rel": (changed(lambda d: d.update(links=[{}])), "no STAC document"),
    "a link without href": (changed(lambda d: d.update(links=[{"rel": "next"}])), "understood"),
}


@pytest.mark.hostile
@pytest.mark.parametrize(("deeds", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_refused_at_once(
    archive: Scenes, tmp_path: Path, deeds: Deed | list[Deed], words: str
) -> None:
    deeds = deeds if isinstance(deeds, list) else [deeds]
    with catalog_of(archive, *deeds) as server:
        with pytest.raises(CatalogError) as error:
            server.search(tmp_path)
        assert words in str(error.value)
        assert not isinstance(error.value, UnreachableError)
        assert len(server.asked) <= transport._MOST_REDIRECTS + 1


def test_a_redirect_within_the_host_is_followed(archive: Scenes, tmp_path: Path) -> None:
    with catalog_of(archive, status(308, Location="/search")) as server:
        assert len(server.search(tmp_path)) == 6


@pytest.mark.hostile
def test_an_endless_answer_is_cut_short(
    archive: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_MOST_BYTES", 1 << 20)
    with (
        catalog_of(archive, *[body("[" + " " * (2 << 20) + "]")] * 9) as server,
        pytest.raises(UnreachableError, match="more than 1 MB"),
    ):
        server.search(tmp_path)


@pytest.mark.hostile
def test_a_trickle_is_cut_short(
    archive: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every part comes in time, the whole never does."""

    def trickle(to: BaseHTTPRequestHandler, _: bytes) -> None:
        to.send_response(200)
        to.send_header("Content-Length", "1000000")
        to.end_headers()
        for _part in range(12):
            to.wfile.write(b" " * (1 << 16))
            time.sleep(0.05)

    monkeypatch.setattr(transport, "_WHOLE_S", 0.2)
    with (
        catalog_of(archive, *[trickle] * 9) as server,
        pytest.raises(UnreachableError, match="for one answer"),
    ):
        server.search(tmp_path)


@pytest.mark.hostile
def test_pages_that_repeat_themselves_end(archive: Scenes, tmp_path: Path) -> None:
    with catalog_of(archive, page=1) as server:
        server.stac.loop = True
        with pytest.raises(CatalogError, match="repeats itself at page 2"):
            server.search(tmp_path)


@pytest.mark.hostile
def test_odd_items_are_counted_and_none_comes_twice(archive: Scenes, tmp_path: Path) -> None:
    def odd(document: dict[str, Any]) -> None:
        first = document["features"][0]
        without = {key: value for key, value in first.items() if key != "geometry"}
        bent = {**first, "geometry": {"type": "Polygon", "coordinates": [[[0], ["a", 1]]]}}
        document["features"] += [None, first, 7, {"id": "x"}, {"id": 5}, without, bent]

    with catalog_of(archive, changed(odd), changed(odd)) as server:
        found = server.search(tmp_path)
    assert len(found) == 6
    assert len(set(found["id"].to_pylist())) == 6


def test_a_server_that_wants_a_rest_gets_it_from_all_threads(
    archive: Scenes, tmp_path: Path
) -> None:
    with catalog_of(archive, status(429, Retry_After="1")) as server:
        server.search(tmp_path, places=4)
    first, *others = server.asked
    late = [when - first for when in others if when - first > 0.5]
    assert len(late) >= len(others) - 3, "but for what was under way"
    assert min(late) >= 0.9


def test_the_budget_holds_over_all_threads(archive: Scenes, tmp_path: Path) -> None:
    """Pages count, and so do both sensors; four at once at most."""

    def slow(to: BaseHTTPRequestHandler, right: bytes) -> None:
        time.sleep(0.15)
        answered(to, right)

    with catalog_of(archive, *[slow] * 40) as server:
        server.search(tmp_path, places=10, per_second=50.0)
    assert 1 < server.most_at_once <= 4
    assert len(server.asked) == 20
    gaps = sorted(server.asked)
    assert gaps[9] - gaps[0] >= 9 / 50 - 0.02
    with catalog_of(archive, page=1) as server:
        server.search(tmp_path / "pages", per_second=20.0)
    assert len(server.asked) == 6
    assert server.asked[2] - server.asked[0] >= 2 / 20 - 0.02


def test_jobs_share_the_budget() -> None:
    shares = [Budget(4, 4.0).shared_by(jobs) for jobs in (1, 3, 64)]
    assert [
        (s.in_flight, s.per_second * jobs) for s, jobs in zip(shares, (1, 3, 64), strict=True)
    ] == [
        (4, 4.0),
        (1, 4.0),
        (1, 4.0),
    ]


def test_waits_end_when_the_search_does() -> None:
    pace = Pace(Budget(1, 0.001))
    with pace.turn():
        pass
    failed = threading.Event()

    def wait() -> None:
        with pytest.raises(UnreachableError), pace.turn():
            pass
        failed.set()

    thread = threading.Thread(target=wait)
    thread.start()
    pace.stop()
    thread.join(10)
    assert failed.is_set(), "it would have waited for a quarter of an hour"
