"""A corpus is built straight onto object storage: what is there is what a push leaves, however."""

import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import Scenes, footprint_of, lonlat, points_file
from objects import BUCKET, moto
from torture.launch import KILLED, Order, run
from torture.strikes import COUNTED, Strike

from s1s2 import Corpus, dense, published, receipts, remote, sent
from s1s2.cli import main
from s1s2.errors import StoreError, UnreachableError
from s1s2.layout import Folder
from s1s2.published import CLAIM, CORPUS
from s1s2.remote import Place
from s1s2.report import beside

pytest.importorskip("obstore", reason="obstore is missing: pip install 's1s2[storage]'")

SMALL, LARGE = "6", "14"


@dataclass(frozen=True)
class Ground:
    """What is built from, and what a build and a push of it leave at a URL."""

    recipe: Path
    catalog: Path
    small: dict[str, bytes]
    large: dict[str, bytes]

    def line(self, out: Path, n: str, *more: str, command: str = "build") -> list[str]:
        what = [command, str(self.recipe), "--catalog", str(self.catalog), "-n", n]
        return [*what, "--chip-size", "64", "-o", str(out), *more]

    def build(self, out: Path, n: str, *more: str) -> int:
        return main(self.line(out, n, *more))


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """Points drawn in a region, half of them cloudy, four chips a shard."""
    root = tmp_path_factory.mktemp("ground")
    scenes = Scenes(root / "catalog")
    cloudy = {"scl": lambda scl: scl.__setitem__((slice(None), slice(0, 400)), 9)}
    scenes.s2(size_m=24_000, left=480_000, top=5_012_040, **cloudy)
    scenes.s1(size_m=26_000, left=479_000, top=5_013_000)
    geometry = footprint_of(480_000, 5_012_040, 24_000, 32631)
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    region = {"type": "FeatureCollection", "features": [feature]}
    (root / "region.geojson").write_text(json.dumps(region))
    recipe = root / "recipe.toml"
    recipe.write_text(
        '[sample]\nwithin = "region.geojson"\nspacing_km = 1.0\nreserve = 1.5\n'
        "[store]\nchips_per_shard = 4\n[search]\nstart = 2021-07-01\nend = 2021-07-01\n"
    )
    bare, found = Ground(recipe, scenes.save(), {}, {}), []
    for n in (SMALL, LARGE):
        assert bare.build(root / n, n) == 0
        assert main(["push", str(root / n), f"file://{root}/pushed/{n}"]) == 0
        found.append(tree(root / "pushed" / n))
    return Ground(recipe, bare.catalog, *found)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/store/mine"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store/mine"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 in a process of its own, with one bucket."""
    with moto(tmp_path_factory.mktemp("s3")) as url:
        yield url


@pytest.fixture
def keys(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")


def tree(folder: Path) -> dict[str, bytes]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def pixels(folder: Path) -> list[str]:
    return [name for name in tree(folder) if re.match(r"chips.zarr/\w+/c/", name)]


def told(capsys: pytest.CaptureFixture[str], line: list[str], code: int) -> str:
    """Run a command, look at its exit code, and return what it said in at most one error line."""
    capsys.readouterr()
    assert main(line) == code
    said, err = capsys.readouterr()
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 1
    return said + err


def test_the_objects_are_those_of_a_build_and_a_push(
    ground: Ground, out: Path, url: str, store: Path, tmp_path: Path
) -> None:
    assert ground.build(out, LARGE, "--to", url) == 0
    assert tree(store) == ground.large
    assert not pixels(out)
    kept = {name for name in ground.large if not name.startswith("chips.zarr/")} - {CLAIM}
    assert kept <= set(tree(out))
    assert main(["verify", str(out)]) == 0
    assert main(["pull", url, str(tmp_path / "back")]) == 0
    assert main(["verify", str(tmp_path / "back")]) == 0
    before = tree(out)
    assert ground.build(out, LARGE) == 0, "the folder remembers where its pixels went"
    assert {k: v for k, v in tree(out).items() if k[:5] != "logs/"} == {
        k: v for k, v in before.items() if k[:5] != "logs/"
    }


@pytest.mark.usefixtures("keys")
def test_on_s3_too_also_when_it_grows(ground: Ground, out: Path, tmp_path: Path) -> None:
    where = f"s3://{BUCKET}/{tmp_path.name}"
    for n, expected in ((SMALL, ground.small), (LARGE, ground.large)):
        assert ground.build(out, n, "--to", where) == 0
        place = Place(where)
        assert {name: place.get(name) for name in place.sizes()} == expected
        assert not pixels(out)
        assert main(["verify", str(out)]) == 0


def test_the_id_and_the_receipts_do_not_know_where_pixels_lie(
    ground: Ground, out: Path, url: str, tmp_path: Path
) -> None:
    assert ground.build(tmp_path / "plain", SMALL) == 0
    assert ground.build(out, SMALL, "--to", url) == 0
    plain = {k: v for k, v in tree(tmp_path / "plain").items() if k[:5] != "logs/"}
    away = {k: v for k, v in tree(out).items() if not k.startswith(("logs/", "sent/"))}
    assert away == {k: v for k, v in plain.items() if k not in pixels(tmp_path / "plain")}


def test_a_corpus_that_grows_there_is_one_built_at_once(
    ground: Ground, out: Path, url: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ground.build(out, SMALL, "--to", url) == 0
    assert tree(store) == ground.small
    put, stood = Place.put, []

    def watched(self: Place, name: str, content: bytes, *, replace: bool = False) -> bool:
        stood.append((name, replace, (store / CORPUS).exists()))
        return put(self, name, content, replace=replace)

    monkeypatch.setattr(Place, "put", watched)
    assert ground.build(out, LARGE) == 0
    assert tree(store) == ground.large
    assert not pixels(out)
    changed = {name for name, replaced, _ in stood if replaced and "/c/" in name}
    assert changed
    assert all("/c/1" in name for name in changed), "only the shard that was not full"
    assert not any(there for name, _, there in stood if name != CLAIM), "no corpus meanwhile"


@pytest.mark.parametrize("flags", [["--workers", "2"], ["--join"]])
def test_whoever_fills_a_shard_sends_it(
    ground: Ground, out: Path, url: str, store: Path, flags: list[str]
) -> None:
    assert ground.build(out, LARGE, "--to", url, *flags) == 0
    assert tree(store) == ground.large
    assert not pixels(out)


def test_jobs_of_an_array_send_what_they_fill(
    ground: Ground, out: Path, url: str, store: Path
) -> None:
    assert main(ground.line(out, LARGE, command="sample")) == 0
    for stage in ("search", "match"):
        assert main([stage, "-o", str(out)]) == 0
    assert main(["chip", "-o", str(out), "--part", "1/2", "--to", url]) == 0
    there = {name.split("/")[3] for name in pixels(store)}
    assert there == {"0", "2"}
    assert CORPUS not in tree(store)
    assert not pixels(out)
    assert main(["chip", "-o", str(out), "--part", "2/2"]) == 0
    if CORPUS not in tree(store):  # points that gave no chip leave a shard short: build draws more
        assert ground.build(out, LARGE) == 0
    assert tree(store) == ground.large
    assert not pixels(out)


def test_a_finished_folder_can_send_its_pixels(
    ground: Ground, out: Path, url: str, store: Path
) -> None:
    assert ground.build(out, SMALL) == 0
    assert pixels(out)
    assert ground.build(out, SMALL, "--to", url) == 0
    assert tree(store) == ground.small
    assert not pixels(out)


STEPS: list[tuple[object, str]] = [
    (Place, "put"),
    (Place, "sha256"),
    (Place, "remove"),
    (sent, "write_home"),
    (sent, "write_record"),
    (sent, "free"),
]


class DeadError(BaseException):
    """Power is gone."""


def dying(
    monkeypatch: pytest.MonkeyPatch, count: int, steps: list[tuple[object, str]], *, before: bool
) -> list[str]:
    """Let the process die at one of these calls, before or after it; return those there were."""
    calls: list[str] = []

    def dead(real: Callable[..., object], name: str) -> Callable[..., object]:
        def called(*given: object, **named: object) -> object:
            calls.append(name)
            last = len(calls) > count
            if last and before:
                raise DeadError
            found = real(*given, **named)
            if last:
                raise DeadError
            return found

        return called

    for owner, name in steps:
        monkeypatch.setattr(owner, name, dead(getattr(owner, name), name))
    return calls


@pytest.fixture
def serial(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request at a time, so that steps follow each other."""
    monkeypatch.setattr(remote, "IN_FLIGHT", 1)


@dataclass(frozen=True)
class Begun:
    """A corpus to go on with again and again."""

    ground: Ground
    home: Path
    grows: bool
    """It is small, finished and published; else its points are paired, and nothing is cut."""

    def prepare(self) -> None:
        url = f"file://{self.home}/store"
        if self.grows:
            assert self.ground.build(self.home / "begun", SMALL, "--to", url) == 0
            shutil.copytree(self.home / "store", self.home / "begun-store")
            return
        out = self.home / "begun"
        assert main(self.ground.line(out, LARGE, command="sample")) == 0
        assert main(["search", "-o", str(out)]) == main(["match", "-o", str(out)]) == 0

    def dies_and_goes_on(self, patch: pytest.MonkeyPatch, count: int, *, before: bool) -> bool:
        """Let a build die at a step, and go on with it; say whether there was such a step."""
        out, store, url = self.home / "out", self.home / "store", f"file://{self.home}/store"
        for folder in (out, store):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.home / "begun", out)
        if self.grows:
            shutil.copytree(self.home / "begun-store", store)
        with patch.context() as inner:
            calls, died = dying(inner, count, STEPS, before=before), False
            try:
                assert self.ground.build(out, LARGE, "--to", url) == 0
            except DeadError:
                died = True
        folder = Folder(out)
        cut = {k: folder.receipt(k).stat().st_mtime_ns for k in receipts.numbers(folder)}
        assert self.ground.build(out, LARGE, "--to", url) == 0, (count, calls[-1])
        assert tree(store) == self.ground.large, (count, calls[-1])
        assert not pixels(out), (count, calls[-1])
        if not self.grows:
            there = {k: folder.receipt(k).stat().st_mtime_ns for k in cut}
            assert there == cut, "what was cut is not cut again"
        return died


@pytest.mark.usefixtures("serial")
@pytest.mark.parametrize(
    ("grows", "count", "before"),
    [
        *((False, 1, True), (False, 4, False), (False, 30, True)),
        *((True, 2, False), (True, 18, True), (True, 33, False)),
    ],
)
def test_it_may_die_at_a_step_and_goes_on(
    ground: Ground,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    grows: bool,
    count: int,
    before: bool,
) -> None:
    begun = Begun(ground, tmp_path, grows)
    begun.prepare()
    assert begun.dies_and_goes_on(monkeypatch, count, before=before)


@pytest.mark.slow
@pytest.mark.usefixtures("serial")
@pytest.mark.parametrize("grows", [False, True])
@pytest.mark.parametrize("before", [True, False])
def test_it_may_die_at_any_step_and_goes_on(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, grows: bool, before: bool
) -> None:
    begun, count = Begun(ground, tmp_path, grows), 0
    begun.prepare()
    while begun.dies_and_goes_on(monkeypatch, count, before=before):
        count += 5
    assert count > 100


@pytest.mark.usefixtures("serial")
def test_a_shard_that_was_half_sent_may_grow_before_it_is_sent_whole(
    ground: Ground, out: Path, url: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        dying(patch, 16, [(Place, "put")], before=True)  # a claim, ten files of a shard, five
        with pytest.raises(DeadError):
            ground.build(out, SMALL, "--to", url)
    assert len(pixels(store)) == 15
    assert len(pixels(out)) == 10
    assert ground.build(out, LARGE) == 0
    assert tree(store) == ground.large
    assert not pixels(out)


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_it_may_be_killed_at_a_change_of_its_folder(
    ground: Ground, out: Path, url: str, store: Path, share: float
) -> None:
    line = (*ground.line(out, LARGE, "--no-report"), "--to", url)
    counted = COUNTED.search(run(Order(line, out, strike=Strike(-1, "never"))).said)
    assert counted
    shutil.rmtree(out)
    shutil.rmtree(store)
    at = int(int(counted[1]) * share)
    assert run(Order(line, out, strike=Strike(at, "kill"))).code == KILLED
    assert CORPUS not in tree(store)
    assert run(Order(line, out)).code == 0
    assert tree(store) == ground.large
    assert not pixels(out)


def test_a_store_that_falls_silent_is_code_3_and_gone_on_with(
    ground: Ground,
    out: Path,
    url: str,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put, count = Place.put, iter(range(15))

    def silent(self: Place, name: str, content: bytes, *, replace: bool = False) -> bool:
        if next(count, None) is None:
            msg = f"{self.url}: does not answer now (silence); run it again to go on"
            raise UnreachableError(msg)
        return put(self, name, content, replace=replace)

    with monkeypatch.context() as patch:
        patch.setattr(Place, "put", silent)
        assert "does not answer now" in told(capsys, ground.line(out, LARGE, "--to", url), 3)
    assert len(pixels(out)) == 10, "the shard that could not be sent, and no other"
    assert len(pixels(store)) >= 10
    assert ground.build(out, LARGE) == 0
    assert tree(store) == ground.large
    assert not pixels(out)


@pytest.mark.usefixtures("keys")
def test_a_server_that_is_not_there_is_code_3_before_anything_is_cut(
    ground: Ground, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(remote, "RETRIES", 1)
    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        line = ground.line(out, SMALL, "--to", f"s3://{BUCKET}/gone")
        assert "does not answer now" in told(capsys, line, 3)
    assert not list(out.rglob("*.json"))


@pytest.mark.parametrize("there", ["corpus", "building", "things"])
def test_a_url_of_others_is_refused_before_anything_is_cut(
    ground: Ground,
    out: Path,
    url: str,
    store: Path,
    tmp_path: Path,
    there: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "other"
    if there == "things":
        Place(url, make=True).put("letter.txt", b"dear")
    else:
        assert ground.build(other, SMALL, "--to", url) == 0
    if there == "building":
        home = sent.home_of(Folder(other))
        assert home is not None
        Place(url).put(CLAIM, published.claim_of_building(home.token), replace=True)
    before = tree(store)
    text = told(capsys, ground.line(out, SMALL, "--to", url), 2)
    expected = {"corpus": "another corpus (id", "building": "another folder", "things": "letter"}
    assert expected[there] in text
    assert "name another URL" in text
    assert not out.exists()
    assert tree(store) == before


def test_a_folder_does_not_send_to_itself(
    ground: Ground, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ground.build(out, SMALL) == 0
    before = pixels(out)
    assert "other" in told(capsys, ground.line(out, SMALL, "--to", f"file://{out}"), 2)
    assert pixels(out) == before


def test_a_folder_sends_to_one_url(
    ground: Ground, out: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ground.build(out, SMALL, "--to", url) == 0
    other = f"file://{tmp_path}/store/other"
    assert f"sends its pixels to {url}" in told(capsys, ground.line(out, SMALL, "--to", other), 2)
    assert f"lie at {url}" in told(capsys, ["push", str(out), other], 2)
    assert "pushed" in told(capsys, ["push", str(out), url], 0)
    keys = "s3://key:hidden@bucket/x"
    assert "hidden" not in told(capsys, ground.line(out, SMALL, "--to", keys), 2)
    for bad in ("corpora/x", "s3://key:secret@bucket/x"):
        assert "URL" in told(capsys, ground.line(tmp_path / "new", SMALL, "--to", bad), 2)
    assert not (tmp_path / "new").exists()


def test_others_can_tell_a_build_from_a_push_that_is_not_finished(
    ground: Ground,
    out: Path,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        dying(patch, 20, [(Place, "put")], before=True)
        with pytest.raises(DeadError):
            ground.build(out, LARGE, "--to", url)
    assert "its build is not finished" in told(capsys, ["pull", url, str(tmp_path / "b")], 2)
    assert ground.build(tmp_path / "plain", SMALL) == 0
    assert "being built" in told(capsys, ["push", str(tmp_path / "plain"), url], 2)
    assert f"shards at {url} · not published yet" in told(capsys, ["status", str(out)], 0)


@pytest.fixture
def gapped(tmp_path: Path) -> list[str]:
    """A build of own points, three of nine without scenes, three chips a shard; no folder yet."""
    scenes = Scenes(tmp_path / "catalog")
    scenes.s2(size_m=12_000)
    scenes.s1(size_m=16_000)
    places = [
        lonlat(501_500 + 1500 * i, 4_998_000 - 1200 * i, 32631) if i >= 0 else (50.0 + n, 9.0)
        for n, i in enumerate([0, -1, 1, -1, 2, 3, -1, 4, 5])
    ]
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "[store]\nchips_per_shard = 3\n[search]\nstart = 2021-07-01\nend = 2021-07-01\n"
    )
    points = points_file(tmp_path / "p.geojson", places)
    return [
        *("build", str(recipe), "--catalog", str(scenes.save()), "--points", str(points)),
        *("--chip-size", "64", "-o"),
    ]


@pytest.mark.parametrize("died", [None, 13, 27])
@pytest.mark.usefixtures("serial")
def test_gaps_are_closed_there_too(
    gapped: list[str],
    out: Path,
    url: str,
    store: Path,
    tmp_path: Path,
    died: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert main([*gapped, str(tmp_path / "plain")]) == 4
    assert main(["push", str(tmp_path / "plain"), f"file://{tmp_path}/pushed"]) == 0
    if died is not None:
        real = dense.close_gaps

        def closing(*given: Any, **named: Any) -> None:  # noqa: ANN401  # passed on
            dying(monkeypatch, died, STEPS, before=True)
            real(*given, **named)

        with monkeypatch.context():
            monkeypatch.setattr(dense, "close_gaps", closing)
            with pytest.raises(DeadError):
                main([*gapped, str(out), "--to", url])
        monkeypatch.undo()
    assert main([*gapped, str(out), "--to", url]) == 4
    assert tree(store) == tree(tmp_path / "pushed")
    assert not pixels(out)
    assert main([*gapped, str(out)]) == 4
    assert main(["verify", str(out)]) == 0
    (out / "corpus.json").unlink()
    assert main([*gapped, str(out)]) == 4
    assert tree(store) == tree(tmp_path / "pushed")


@pytest.fixture
def away(ground: Ground, out: Path, url: str) -> Path:
    assert ground.build(out, LARGE, "--to", url) == 0
    return out


def flip(store: Path, name: str) -> None:
    content = bytearray((store / name).read_bytes())
    content[len(content) // 3] ^= 1
    (store / name).write_bytes(content)


def test_verify_reads_what_lies_there_and_repair_mends_it(
    ground: Ground, away: Path, url: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(store, "chips.zarr/s2_10m/c/1/0/0/0")
    (store / "chips.zarr/chip/c/2").unlink()
    flip(store, "points.parquet")
    flip(store, CORPUS)
    text = told(capsys, ["verify", str(away)], 5)
    assert f"chips.zarr/s2_10m/c/1/0/0/0: content differs from its receipt at {url}" in text
    assert f"chips.zarr/chip/c/2: missing at {url}" in text
    assert f"{url}/points.parquet: another there" in text
    assert f"{url}/{CORPUS}: another there" in text
    assert main(["verify", str(away), "--repair"]) == 0
    assert tree(store) == ground.large
    assert not pixels(away)


def test_a_lost_receipt_or_record_costs_no_pixels(
    ground: Ground, away: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("receipts/00001.json", "sent/00002.json"):
        (away / name).unlink()
    flip(away, "sent/00000.json")
    assert main(["verify", str(away), "--repair"]) == 0
    assert tree(store) == ground.large
    (away / "sent/00002.json").unlink(missing_ok=True)

    def none(*_: object) -> None:
        pytest.fail("a chip was cut again")

    monkeypatch.setattr("s1s2.fill.cut", none)
    assert ground.build(away, LARGE) == 0
    assert tree(store) == ground.large
    assert not pixels(away)


def test_an_object_that_grew_bad_is_cut_again_when_its_shard_grows(
    ground: Ground, out: Path, url: str, store: Path
) -> None:
    assert ground.build(out, SMALL, "--to", url) == 0
    flip(store, "chips.zarr/s1/c/1/0/0/0")
    assert ground.build(out, LARGE) == 0
    assert tree(store) == ground.large


def test_an_object_that_others_put_there_is_never_replaced(
    ground: Ground, out: Path, url: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Place(url, make=True)
    folder = Folder(out)
    sent.write_home(folder, sent.new_home(url))
    home = sent.home_of(folder)
    assert home is not None
    foreign = "chips.zarr/s1/c/0/0/0/0"
    Place(url).put(CLAIM, published.claim_of_building(home.token))
    Place(url).put(foreign, b"dear")
    shutil.rmtree(out)
    assert main(ground.line(out, SMALL, command="sample")) == 0
    sent.write_home(folder, home)
    for _ in range(2):
        assert foreign in told(capsys, ground.line(out, SMALL), 2)
        assert (store / foreign).read_bytes() == b"dear"
        assert [name for name in pixels(out) if name == foreign], "nothing is freed"


def test_who_opens_the_folder_is_told_where_the_pixels_are(
    away: Path, url: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = Corpus(away)
    back = store.parent / "back"
    assert main(["pull", url, str(back)]) == 0
    for chip in (0, 5, 13):
        here = Corpus(back).read(chip)
        for there in (corpus, Corpus(url)):
            for name, values in there.read(chip).items():
                np.testing.assert_array_equal(values, here[name])
    with pytest.raises(StoreError, match=rf"its pixels lie at {url}; open Corpus"):
        next(iter(corpus.loader(batch_size=4)))
    text = told(capsys, ["status", str(away)], 0)
    assert f"pixels  4 of 4 shards at {url} · published" in text
    page = beside.write(away).read_text()
    assert f"of pixels at {url}, Zarr" in page
    flip(store, "chips.zarr/s1/c/0/0/0/0")
    assert "damaged" in told(capsys, ["show", str(away), "--chips", "0,1,2,3"], 2)
