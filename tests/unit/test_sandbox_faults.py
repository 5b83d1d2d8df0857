"""Faults are decided by seed and count alone, and a file of them says what is wrong with it."""

from pathlib import Path

import pytest

from s1s2.errors import RecipeError
from s1s2.sandbox.faults import KINDS, Fault, Faults, Injector, load_faults, read_faults
from s1s2.sandbox.injection import target_of


def struck(fault: Fault, requests: int = 1000, seed: int = 7) -> list[int]:
    injector = Injector(Faults(seed, (fault,)))
    found = [injector.decide("search", "/search").fault for _ in range(requests)]
    return [number for number, fault in enumerate(found) if fault]


def test_a_share_is_a_share_and_the_same_every_time() -> None:
    half = struck(Fault("hang", "search", share=0.3))
    assert 250 < len(half) < 350
    assert half == struck(Fault("hang", "search", share=0.3))
    assert half != struck(Fault("hang", "search", share=0.3), seed=8)
    assert struck(Fault("hang", "search")) == list(range(1000))
    assert not struck(Fault("hang", "search", share=0))


def test_faults_begin_after_and_end_after_most() -> None:
    assert struck(Fault("hang", "search", after=3, most=2)) == [3, 4]
    assert len(struck(Fault("hang", "search", share=0.1, most=5))) == 5


def test_a_request_meets_one_fault_and_every_latency() -> None:
    faults = (
        Fault("latency", seconds=1.5),
        Fault("latency", seconds=0.5),
        Fault("status", "search", most=1),
        Fault("hang", "search"),
    )
    injector = Injector(Faults(0, faults))
    first, second = (injector.decide("search", "/search") for _ in range(2))
    assert (first.delay_s, first.fault) == (2.0, faults[2])
    assert (second.delay_s, second.fault) == (2.0, faults[3])
    assert injector.decide("blob", "/a/b/c").fault is None
    report = injector.report()
    assert report["requests"] == {"search": 2, "blob": 1}
    assert [(f["matched"], f["done"]) for f in report["faults"]] == [(3, 3), (3, 3), (2, 1), (1, 1)]


def test_paths_choose_requests() -> None:
    only_red = Fault("corrupt", "/acc/*/B04.tif")
    assert only_red.matches("blob", "/acc/con/32/V/B04.tif")
    assert not only_red.matches("blob", "/acc/con/32/V/B02.tif")
    assert target_of("/api/stac/v1/search") == "search"
    assert target_of("/api/sas/v1/token/acc/con") == "token"
    assert target_of("/acc/con/a.tif") == "blob"
    assert target_of("/api/stac/v1/collections/x/items") == target_of("/") == "other"


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(
        'seed = 7\n[[fault]]\nkind = "status"\non = "search"\nshare = 0.5\nstatus = 429\n'
        'retry_after_s = 2\n[[fault]]\nkind = "redirect"\nto = "http://127.0.0.2:1"\n'
    )
    status = Fault("status", "search", share=0.5, status=429, retry_after_s=2)
    assert load_faults(path) == Faults(7, (status, Fault("redirect", to="http://127.0.0.2:1")))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"kind": "latenzy", "seconds": 1}, r"kind 'latenzy': expected one of latency, status"),
        ({"kind": "hang", "shar": 1}, "unknown key 'shar': did you mean 'share'?"),
        ({"share": 1}, "no kind: expected one of"),
        ({"kind": "hang", "share": 1.5}, "share 1.5: expected a number from 0 to 1"),
        ({"kind": "hang", "most": -1}, "most -1: expected a whole number, 0 or more"),
        ({"kind": "hang", "after": True}, "after True: expected a whole number, 0 or more"),
        ({"kind": "hang", "on": "blobs"}, "on 'blobs': expected search, token, blob, any, or a"),
        ({"kind": "loop", "on": "blob"}, "on 'blob': expected 'search', for loop is about"),
        ({"kind": "status", "status": 200}, "status 200: expected an error of HTTP, 400 to 599"),
        ({"kind": "latency"}, "seconds: a latency needs them"),
        ({"kind": "redirect", "to": "host"}, "to 'host': expected an address such as http://"),
        ({"kind": "redirect"}, "to: a redirect needs an address"),
    ],
)
def test_a_mistake_is_one_line(table: dict, said: str) -> None:
    with pytest.raises(RecipeError) as raised:
        read_faults({"fault": [table]}, "f.toml")
    assert said in str(raised.value)
    assert str(raised.value).startswith("faults f.toml: fault 1: ")


def test_all_mistakes_are_told(tmp_path: Path) -> None:
    tables = [{"kind": "hang", "share": 2, "most": "all"}, {"kind": "x"}]
    with pytest.raises(RecipeError, match=r"seed.*fault 1: share 2.*most 'all'.*fault 2: kind 'x'"):
        read_faults({"seed": "a", "fault": tables}, "f.toml")
    with pytest.raises(RecipeError, match="not readable TOML"):
        load_faults(tmp_path / "none.toml")


def test_every_kind_is_described() -> None:
    assert all(KINDS.values())
