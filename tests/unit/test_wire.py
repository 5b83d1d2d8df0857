"""The wire: what passes is tried again by its cause, what is final is said, nothing is followed."""

import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from fakes import _Quiet, serving

from s1s2 import connections, wire
from s1s2.errors import ContractError, ReadError
from s1s2.wire import Part, Place, Traffic, Wire

CONTENT = bytes(range(256)) * 8
SETUP, FINISH = _Quiet.setup, _Quiet.finish
SECRET = "sig=CANARYCANARY"  # noqa: S105  # nobody's


@dataclass
class Files:
    """A server of one file whose answers can be spoilt, one by one."""

    spoilt: list[Callable[[_Quiet], None]] = field(default_factory=list)
    """What is done instead of the next answers."""
    paths: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    url: str = ""

    @contextmanager
    def running(self) -> Iterator["Files"]:
        files = self

        class Handler(_Quiet):
            def do_HEAD(self) -> None:
                files.methods.append("HEAD")

            def do_GET(self) -> None:
                files.methods.append("GET")
                files.paths.append(self.path)
                if files.spoilt:
                    files.spoilt.pop(0)(self)
                else:
                    give(self)

        with serving(Handler) as self.url:
            yield self


def give(
    handler: _Quiet, status: int = 206, *, headers: dict | None = None, sent: int | None = None
) -> None:
    first, last = map(int, handler.headers["Range"].removeprefix("bytes=").split("-"))
    body = CONTENT[first : last + 1]
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    stop = first + len(body) - 1
    found = {"Content-Range": f"bytes {first}-{stop}/{len(CONTENT)}"} | (headers or {})
    for name, value in found.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body[:sent])
    handler.close_connection = sent is not None


def status(code: int, **headers: str) -> Callable[[_Quiet], None]:
    def answer(handler: _Quiet) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def cut(handler: _Quiet) -> None:
    give(handler, sent=5)


def another_range(handler: _Quiet) -> None:
    give(handler, headers={"Content-Range": f"bytes 7-107/{len(CONTENT)}"})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    monkeypatch.setattr(wire, "_WAITS_S", (0.0, 0.0, 0.0))
    with Files().running() as running:
        yield running


@pytest.fixture
def ours() -> Iterator[Wire]:
    opened = Wire(4)
    yield opened
    opened.close()


def place(server: Files, **changes: object) -> Place:
    signed = {"url": lambda href: f"{href}?{SECRET}", "renew": lambda _: None, "private": True}
    return Place(f"{server.url}/c/B04.tif", **(signed | changes))


def test_ranges_are_asked_for_once_and_nothing_else(server: Files, ours: Wire) -> None:
    assert ours.fetch(place(server), 100, 200) == Part(CONTENT[100:200], len(CONTENT))
    assert ours.fetch(place(server), 2000, 9999) == Part(CONTENT[2000:], len(CONTENT))
    assert server.methods == ["GET", "GET"]


class TestConnections:
    """How many are made: the server's side of each is another port of ours."""

    @pytest.fixture
    def ports(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        seen: list[int] = []
        monkeypatch.setattr(_Quiet, "setup", lambda h: (seen.append(h.client_address[1]), SETUP(h)))
        return seen

    def test_one_serves_many_requests(self, server: Files, ours: Wire, ports: list[int]) -> None:
        for start in range(0, 500, 50):
            assert ours.fetch(place(server), start, start + 50).data == CONTENT[start : start + 50]
        assert len(ports) == 1

    def test_one_that_was_not_read_to_its_end_serves_nobody(
        self, server: Files, ours: Wire, ports: list[int]
    ) -> None:
        server.spoilt = [lambda handler: give(handler, 503), another_range]
        assert ours.fetch(place(server), 0, 99).data == CONTENT[:99]
        assert len(ports) == 3

    def test_one_that_its_server_closed_is_not_used_again(
        self, server: Files, ours: Wire, ports: list[int]
    ) -> None:
        closed = threading.Event()

        def last(handler: _Quiet) -> None:
            give(handler)
            handler.wfile.flush()
            handler.connection.shutdown(socket.SHUT_WR)
            closed.set()

        server.spoilt = [last]
        ours.fetch(place(server), 0, 9)
        assert closed.wait(10)
        assert ours.fetch(place(server), 0, 9).data == CONTENT[:9]
        assert len(ports) == 2
        assert not ours.traffic().again, "it was not tried"

    def test_none_stays_open_once_the_wire_is_closed(
        self, server: Files, ours: Wire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ended = threading.Event()
        monkeypatch.setattr(_Quiet, "finish", lambda h: (FINISH(h), ended.set()))
        server.spoilt = [lambda handler: (give(handler), ours.close())]
        ours.fetch(place(server), 0, 9)
        assert ended.wait(10)


@pytest.mark.parametrize(
    "fault",
    [*map(status, (403, 408, 429, 500, 503, 400)), cut, another_range],
    ids=["403", "408", "429", "500", "503", "400", "cut short", "another range"],
)
class TestPassing:
    def test_it_is_outlived(
        self, server: Files, ours: Wire, fault: Callable[[_Quiet], None]
    ) -> None:
        server.spoilt = [fault, fault]
        assert ours.fetch(place(server), 0, 99).data == CONTENT[:99]
        asked = ours.traffic()
        assert (asked.requests, asked.n_bytes, asked.again.total()) == (3, 99, 2)

    def test_what_stays_is_unreachable_and_leaks_nothing(
        self, server: Files, ours: Wire, fault: Callable[[_Quiet], None]
    ) -> None:
        server.spoilt = [fault] * 4
        with pytest.raises(ReadError, match="cannot be read now") as caught:
            ours.fetch(place(server), 0, 99)
        assert caught.value.reason == "unreachable"
        assert "CANARY" not in "".join(traceback.format_exception(caught.value))
        assert caught.value.__context__ is None
        assert server.spoilt == [], "as many tries as there are waits, and one"


def test_nobody_there_is_unreachable(ours: Wire, server: Files) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(ReadError, match="ConnectionRefusedError") as caught:
        ours.fetch(place(server), 0, 9)
    assert caught.value.reason == "unreachable"
    assert "CANARY" not in "".join(traceback.format_exception(caught.value))


def test_a_server_that_never_answers_is_not_waited_for(
    ours: Wire, server: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "READ_S", 0.1)
    held = threading.Event()
    server.spoilt = [lambda _: held.wait(20) and None] * 4
    with pytest.raises(ReadError, match="TimeoutError"):
        ours.fetch(place(server), 0, 9)
    held.set()


@pytest.mark.hostile
@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}], ids=["kept", "closed after"])
def test_a_body_that_trickles_for_ever_is_given_up(
    ours: Wire, server: Files, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    for name, value in {"_LONGEST_S": 0.2, "_LOOK_S": 0.05, "_WAITS_S": ()}.items():
        monkeypatch.setattr(wire, name, value)
    stopped = threading.Event()

    def trickle(handler: _Quiet) -> None:
        give(handler, sent=5, headers=headers)
        while not stopped.wait(0.02):
            handler.wfile.write(b"x")

    server.spoilt = [trickle]
    with pytest.raises(ReadError, match=r"cut short|IncompleteRead"):
        ours.fetch(place(server), 0, 2000)
    stopped.set()


@pytest.mark.hostile
def test_a_small_answer_is_not_blown_up(ours: Wire, server: Files) -> None:
    server.spoilt = [lambda handler: give(handler, headers={"Content-Encoding": "gzip"})]
    assert ours.fetch(place(server), 0, 99).data == CONTENT[:99]


def test_the_server_says_how_long_to_wait(
    ours: Wire, server: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    clock = SimpleNamespace(wait=lambda s: waited.append(s) or False)
    monkeypatch.setattr(ours, "_closed", clock)
    server.spoilt = [status(429, Retry_After="7"), status(503, Retry_After="9" * 17)]
    ours.fetch(place(server), 0, 9)
    monkeypatch.undo()
    assert waited == [7, 30]


def test_closing_ends_the_wait_of_others(
    ours: Wire, server: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_WAITS_S", (1000.0,))
    server.spoilt = [lambda h: (ours.close(), status(503)(h))]
    with pytest.raises(ReadError, match="HTTP 503"):
        ours.fetch(place(server), 0, 9)


def test_a_refused_signature_is_renewed_before_the_next_try(ours: Wire, server: Files) -> None:
    tokens, dropped = ["sig=old", "sig=new"], []

    def renew(url: str) -> None:
        dropped.append(url.partition("?")[2])
        tokens.pop(0)

    server.spoilt = [status(403)]
    signing = place(server, url=lambda href: f"{href}?{tokens[0]}", renew=renew)
    assert ours.fetch(signing, 0, 9).data == CONTENT[:9]
    assert dropped == ["sig=old"]
    assert [p.partition("?")[2] for p in server.paths] == ["sig=old", "sig=new"]


@pytest.mark.parametrize("code", [404, 410])
def test_a_file_that_is_gone_is_final_at_once(ours: Wire, server: Files, code: int) -> None:
    server.spoilt = [status(code)]
    with pytest.raises(ReadError, match="does not exist") as caught:
        ours.fetch(place(server), 0, 9)
    assert caught.value.reason == "asset_missing"
    assert len(server.paths) == 1


@pytest.mark.hostile
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(ours: Wire, server: Files, code: int) -> None:
    """To another address of loopback, as a stand-in for a metadata service."""
    reached: list[str] = []

    class Elsewhere(_Quiet):
        def do_GET(self) -> None:
            reached.append(self.path)
            give(self)

    elsewhere = ThreadingHTTPServer(("127.0.0.2", 0), Elsewhere)
    threading.Thread(target=elsewhere.serve_forever, args=(0.01,), daemon=True).start()
    try:
        target = f"http://127.0.0.2:{elsewhere.server_address[1]}/latest?{SECRET}"
        server.spoilt = [status(code, Location=target)]
        with pytest.raises(ContractError, match="leads elsewhere") as caught:
            ours.fetch(place(server), 0, 9)
    finally:
        elsewhere.shutdown()
        elsewhere.server_close()
    assert reached == []
    assert "CANARY" not in "".join(traceback.format_exception(caught.value))


def test_a_server_without_ranges_is_named_and_its_file_not_downloaded(
    ours: Wire, server: Files
) -> None:
    server.spoilt = [status(200)]
    assert ours.fetch(place(server), 0, 9) == Part(b"", 0), "an empty file is a whole file"
    begun = time.monotonic()
    server.spoilt = [
        lambda h: (h.send_response(200), h.send_header("Content-Length", "10" * 6), h.end_headers())
    ]
    with pytest.raises(ContractError, match="ignores ranges"):
        ours.fetch(place(server), 0, 9)
    assert time.monotonic() - begun < 5


def test_a_range_beyond_the_end_tells_the_size(ours: Wire, server: Files) -> None:
    server.spoilt = [status(416, Content_Range="bytes */2048")]
    assert ours.fetch(place(server), 4000, 5000) == Part(b"", 2048)


@pytest.mark.hostile
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_names_that_resolve_to_this_machine_are_refused(
    ours: Wire, server: Files, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """Before a byte is sent: a name is only as good as what it resolves to."""
    port = int(server.url.rpartition(":")[2])
    here = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: here)
    server.url = f"{scheme}://metadata.example:{port}"
    with pytest.raises(ContractError, match="address of this machine or its network"):
        ours.fetch(place(server, private=False), 0, 9)
    assert server.paths == []
    server.url = f"http://metadata.example:{port}"
    assert ours.fetch(place(server, private=True), 0, 9).data == CONTENT[:9]


def test_a_proxy_is_used_where_the_environment_names_one(
    ours: Wire, server: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Proxy(_Quiet):
        def do_CONNECT(self) -> None:
            asked.append(self.path)
            status(502)(self)

    monkeypatch.delenv("no_proxy", raising=False)
    with serving(Proxy) as url:
        monkeypatch.setenv("https_proxy", url)
        server.url = "https://files.example"
        with pytest.raises(ReadError, match="ProxyError"):
            ours.fetch(place(server, private=False), 0, 9)
    assert set(asked) == {"files.example:443"}


@pytest.mark.parametrize(
    "proxy", ["https://proxy.example", "socks5://p.example", "http://[::1", "http://p.example:abc"]
)
def test_a_proxy_that_cannot_be_used_is_named(
    ours: Wire, server: Files, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("https_proxy", proxy)
    server.url = "https://files.example"
    with pytest.raises(ContractError, match="expected http://HOST:PORT"):
        ours.fetch(place(server, private=False), 0, 9)


@pytest.mark.hostile
def test_a_proxy_whose_answer_never_ends_is_given_up(
    ours: Wire, server: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"_LONGEST_S": 0.2, "_LOOK_S": 0.05, "_WAITS_S": ()}.items():
        monkeypatch.setattr(wire, name, value)
    stopped = threading.Event()

    class Proxy(_Quiet):
        def do_CONNECT(self) -> None:
            self.send_response(200)
            self.flush_headers()
            while not stopped.wait(0.01):
                self.wfile.write(b"X-More: of it\r\n")

    monkeypatch.delenv("no_proxy", raising=False)
    with serving(Proxy) as url:
        monkeypatch.setenv("https_proxy", url)
        server.url = "https://files.example"
        with pytest.raises(ReadError, match="cannot be read now"):
            ours.fetch(place(server, private=False), 0, 9)
        stopped.set()


@pytest.mark.parametrize(
    ("name", "asked"),
    [("a b.tif", "/c/a%20b.tif"), ("\u00fc%2Fx.tif", "/c/%C3%BC%2Fx.tif")],
    ids=["blank", "letters"],
)
def test_names_are_escaped_once_and_signatures_are_left_alone(
    ours: Wire, server: Files, name: str, asked: str
) -> None:
    signed = place(server, url=lambda href: f"{href}?sig=a%2Bb%3D&se=2024-01-01T00:00:00Z")
    own = replace(signed, href=f"{server.url}/c/{name}")
    assert ours.fetch(own, 0, 9).data == CONTENT[:9]
    assert server.paths == [f"{asked}?sig=a%2Bb%3D&se=2024-01-01T00:00:00Z"]


@pytest.mark.hostile
@pytest.mark.parametrize("host", [f"{'x' * 64}.example", "a..example"], ids=["long", "empty"])
def test_a_host_that_cannot_be_is_unreachable(ours: Wire, server: Files, host: str) -> None:
    server.url = f"http://{host}"
    with pytest.raises(ReadError, match="cannot be read now") as caught:
        ours.fetch(place(server), 0, 9)
    assert "CANARY" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.hostile
def test_an_answer_in_chunks_is_not_read(ours: Wire, server: Files) -> None:
    def chunks(handler: _Quiet) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 0-98/{len(CONTENT)}")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"-1\r\n" + CONTENT)

    server.spoilt = [chunks]
    assert ours.fetch(place(server), 0, 99).data == CONTENT[:99]
    assert ours.traffic().again == {"an answer in chunks": 1}


@pytest.mark.hostile
def test_headers_that_nest_without_end_are_outlived(ours: Wire, server: Files) -> None:
    def nested(handler: _Quiet) -> None:
        handler.wfile.write(
            b"HTTP/1.1 206 x\r\nA: b" + b"\rContent-Type: message/rfc822\r\r" * 2000
        )
        handler.wfile.write(b"\r\n\r\n")
        handler.close_connection = True

    server.spoilt = [nested]
    assert ours.fetch(place(server), 0, 99).data == CONTENT[:99]


def test_what_is_under_way_when_the_wire_is_closed_still_ends(
    ours: Wire, server: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"_LONGEST_S": 0.3, "_LOOK_S": 0.05, "_WAITS_S": ()}.items():
        monkeypatch.setattr(wire, name, value)
    stopped = threading.Event()

    def closing(handler: _Quiet) -> None:
        give(handler, sent=5)
        ours.close()
        while not stopped.wait(0.02):
            handler.wfile.write(b"x")

    server.spoilt = [closing]
    with pytest.raises(ReadError):
        ours.fetch(place(server), 0, 2000)
    stopped.set()


def test_debug_logs_hold_no_signature(
    ours: Wire, server: Files, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ours.fetch(place(server), 0, 9)
    assert "B04.tif?sig=***" in caplog.text
    assert "CANARY" not in caplog.text


def test_files_on_disk_come_the_same_way(ours: Wire, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(CONTENT)
    local = Place(str(path), str, lambda _: None)
    assert ours.fetch(local, 100, 200) == Part(CONTENT[100:200], len(CONTENT))
    assert ours.fetch(local, 2000, 9999) == Part(CONTENT[2000:], len(CONTENT))
    assert ours.fetch(local, 5000, 9999) == Part(b"", len(CONTENT))
    assert ours.traffic() == Traffic(), "nobody was asked"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("gone.tif", "asset_missing"), ("x" * 5000, "asset_missing"), (".", "unreachable")],
)
def test_what_the_disk_says_is_final_only_where_it_is(
    ours: Wire, tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(ReadError) as caught:
        ours.fetch(Place(str(tmp_path / name), str, lambda _: None), 0, 9)
    assert caught.value.reason == reason
