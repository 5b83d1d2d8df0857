"""Headers are read once, whoever asks, and not kept for ever."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fakes import write_tif

from s1s2 import headers
from s1s2.errors import ContractError, ReadError
from s1s2.headers import Headers, read_header
from s1s2.wire import Part, Place


class Counting:
    """A wire to files in memory."""

    def __init__(self, content: bytes) -> None:
        self.content, self.asked = content, []
        self.hold = threading.Event()
        self.hold.set()

    def fetch(self, place: Place, start: int, stop: int) -> Part:
        self.asked.append((place.href, start, stop))
        self.hold.wait(5)
        return Part(self.content[start:stop], len(self.content))


def place(name: str) -> Place:
    return Place(name, str, lambda _: None)


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    path = tmp_path / "a.tif"
    write_tif(path, np.ones((600, 600), np.uint16), 300_000, 5_000_040, 10, 32631)
    return path.read_bytes()


def test_all_who_ask_meanwhile_wait_for_the_same_request(content: bytes) -> None:
    wire = Counting(content)
    wire.hold.clear()
    with ThreadPoolExecutor(8) as pool:
        known = Headers(wire, pool)
        asked = [known.get(place("a")) for _ in range(20)]
        wire.hold.set()
        assert len({id(a.result()) for a in asked}) == 1
    assert len(wire.asked) == 1


def test_a_failure_is_not_kept(content: bytes) -> None:
    wire = Counting(b"<html>")
    with ThreadPoolExecutor(1) as pool:
        known = Headers(wire, pool)
        with pytest.raises(ContractError):
            known.get(place("a")).result()
        wire.content = content
        assert known.get(place("a")).result().width == 600


def test_what_is_forgotten_is_read_anew(content: bytes) -> None:
    wire = Counting(content)
    with ThreadPoolExecutor(1) as pool:
        known = Headers(wire, pool)
        for _ in range(2):
            known.get(place("a")).result()
            known.forget(place("a"))
    assert len(wire.asked) == 2


def test_memory_is_bounded_and_the_last_used_stays(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Counting(content)
    with ThreadPoolExecutor(1) as pool:
        known = Headers(wire, pool)
        one = headers._bytes_of(known.get(place("0"))) or 2624
        monkeypatch.setattr(headers, "_KEPT_BYTES", 3 * max(one, 2624))
        for name in ["1", "2", "0", "3", "4", "5", "0"]:
            known.get(place(name)).result()
            known.get(place("0")).result()
        assert len(known._known) <= 3
        assert known._bytes <= 3 * max(one, 2624)
    assert [name for name, *_ in wire.asked].count("0") == 1


def test_one_request_where_the_header_is_at_the_start_and_few_where_it_is_not(
    content: bytes,
) -> None:
    asked = []

    def fetch(start: int, stop: int) -> Part:
        asked.append((start, stop))
        return Part(content[start:stop], len(content))

    read_header(fetch)
    assert asked == [(0, 32_768)]
    far = bytearray(content) + bytes(100_000) + content[8:]
    asked.clear()
    moved = len(content) + 100_000 - 8
    far[4:8] = (moved + int.from_bytes(content[4:8], "little")).to_bytes(4, "little")
    content = bytes(far)
    assert read_header(fetch).width == 600
    assert len(asked) <= 3


def test_a_header_that_sends_us_around_for_ever_is_refused(
    monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(headers, "_MOST_FETCHES", 1)
    monkeypatch.setattr(headers.geotiff, "OPENING", 64)
    with pytest.raises(ContractError, match="scattered"):
        read_header(lambda start, stop: Part(content[start:stop], len(content)))
    with pytest.raises(ReadError, match="cut off"):
        read_header(lambda start, stop: Part(content[start:stop][:90], 90))
