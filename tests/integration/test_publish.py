"""A corpus goes to object storage and comes back, whole or in part, proven on every way."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chipsets import three_zones
from fastcrc.crc32 import iscsi as crc32c
from objects import BUCKET, moto

from s1s2 import Corpus, receipts, remote, tables
from s1s2.cli import main
from s1s2.published import CLAIM, CORPUS
from s1s2.remote import Place
from s1s2.report import beside
from s1s2.show import summary

pytest.importorskip("obstore", reason="obstore is missing: pip install 's1s2[storage]'")

N, PER_SHARD = 16, 5
SECRET = "wJalrXUtnFEMI-bPxRfiCY"  # noqa: S105  # of the fake store


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 16 chips in three zones and two splits, shards of 5, with things beside it."""
    root = tmp_path_factory.mktemp("publish")
    three_zones(root, N, per_shard=PER_SHARD)
    (root / "out/README.md").write_text("a card\n")
    (root / "out/report").mkdir()
    (root / "out/report/map.png").write_bytes(b"a picture")
    return root / "out"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 in a process of its own, with one bucket."""
    with moto(tmp_path_factory.mktemp("s3")) as url:
        yield url


@pytest.fixture
def keys(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3"))
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.fixture(params=["s3", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return f"file://{tmp_path}/store/first"
    request.getfixturevalue("keys")
    return f"s3://{BUCKET}/{tmp_path.parent.name}/{tmp_path.name}"


@pytest.fixture
def near(tmp_path: Path, built: Path) -> str:
    """A corpus published in a folder."""
    where = f"file://{tmp_path}/store/near"
    assert main(["push", str(built), where]) == 0
    return where


def tree(folder: Path) -> dict[str, bytes]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}
    return {k: v for k, v in found.items() if not k.startswith(("logs/", ".leases/"))}


def said(capsys: pytest.CaptureFixture[str], line: list[str], code: int) -> str:
    """Run a command, look at its exit code, and return what it said in one error line."""
    capsys.readouterr()
    assert main(line) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert SECRET not in out + err
    assert len(err.splitlines()) <= 1
    return out + err


def result(capsys: pytest.CaptureFixture[str], line: list[str]) -> dict[str, object]:
    capsys.readouterr()
    assert main([*line, "--json"]) == 0
    found = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    (last,) = [event for event in found if event["event"] == "result"]
    return dict(last)


def flip(url: str, name: str, at: int = 40) -> bytes:
    """Change a byte of a published object; return what it was."""
    before = Place(url).get(name)
    assert before is not None
    after = bytearray(before)
    after[at] ^= 1
    Place(url).put(name, bytes(after), replace=True)
    return before


def remove(url: str, name: str) -> None:
    import obstore
    from obstore.store import from_url

    if url.startswith("s3:"):
        obstore.delete(from_url(url, client_options={"allow_http": True}), name)
    else:
        (Path(url.removeprefix("file://")) / name).unlink()


def pixels(url: str, array: str = "s2_10m", shard: int = 1) -> str:
    tail = "0/0" if array == "scl" else "0/0/0"
    name = f"chips.zarr/{array}/c/{shard}/{tail}"
    assert name in Place(url).sizes()
    return name


def test_what_was_pushed_comes_back_and_neither_is_done_twice(
    url: str, built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = tree(built)
    done = result(capsys, ["push", str(built), url])
    assert done["sent"] == len(files) - 1  # corpus.json is counted by nobody
    assert set(Place(url).sizes()) == {*files, CLAIM}
    back = tmp_path / "back"
    assert result(capsys, ["pull", url, str(back)])["fetched"] == len(files) - 1
    assert tree(back) == files
    assert main(["verify", str(back)]) == 0
    again = result(capsys, ["push", str(built), url])
    assert (again["sent"], again["kept"]) == (0, len(files) - 1)
    assert result(capsys, ["push", str(built), url, "--trust-store"])["sent"] == 0
    again = result(capsys, ["pull", url, str(back)])
    assert (again["fetched"], again["kept"]) == (0, len(files) - 1)


KILLED = """
import os, sys
from s1s2 import cli, remote
put, count = remote.Place.put, iter(range({after}))
def counted(self, name, content, *, replace=False):
    if next(count, None) is None:
        os._exit(9)
    return put(self, name, content, replace=replace)
remote.Place.put = counted
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("after", [0, 1, 20])
def test_a_killed_push_leaves_no_corpus_and_goes_on(
    url: str, built: Path, tmp_path: Path, after: int, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [sys.executable, "-c", KILLED.format(after=after), "push", str(built), url]
    assert subprocess.run(line, env=os.environ, check=False).returncode == 9
    assert CORPUS not in Place(url).sizes()
    expected = "push is not finished" if after else "holds no corpus"
    assert expected in said(capsys, ["pull", url, str(tmp_path / "early")], 2)
    # of 20 writes no more than those in flight can have been cut off
    kept = result(capsys, ["push", str(built), url])["kept"]
    assert isinstance(kept, int)
    assert kept >= after - 1 - remote.IN_FLIGHT
    assert main(["pull", url, str(tmp_path / "back")]) == 0
    assert tree(tmp_path / "back") == tree(built)


def test_corpus_json_is_written_after_all_else(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, put = [], Place.put

    def noted(self: Place, name: str, content: bytes, *, replace: bool = False) -> bool:
        names.append(name)
        return put(self, name, content, replace=replace)

    monkeypatch.setattr(Place, "put", noted)
    assert main(["push", str(built), f"file://{tmp_path}/store"]) == 0
    assert (names[0], names[-1]) == (CLAIM, CORPUS)
    assert len(names) == len(set(names)) == len(tree(built)) + 1


@pytest.mark.parametrize("harm", [flip, remove])
def test_a_damaged_object_is_named_and_the_next_push_mends_it(
    url: str,
    built: Path,
    tmp_path: Path,
    harm: Callable[[str, str], object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["push", str(built), url]) == 0
    wrong = [pixels(url), "receipts/00002.json"]
    for name in wrong:
        harm(url, name)
    back = tmp_path / "back"
    text = said(capsys, ["pull", url, str(back)], 5)
    assert all(name in text for name in wrong)
    assert ("missing" if harm is remove else "differs") in text
    assert not (back / CORPUS).exists()
    assert not (back / wrong[0]).exists()
    assert result(capsys, ["push", str(built), url])["sent"] == 2
    # what was fetched stays: what lacked, the receipt's nine files with it
    assert result(capsys, ["pull", url, str(back)])["fetched"] == 2 + 10
    assert tree(back) == tree(built)
    (back / wrong[0]).write_bytes(b"rotten")
    assert result(capsys, ["pull", url, str(back)])["fetched"] == 1
    assert tree(back) == tree(built)


def test_trusting_a_store_compares_sizes_alone(
    near: str, built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(near, pixels(near))
    assert result(capsys, ["push", str(built), near, "--trust-store"])["sent"] == 0
    Place(near).put(pixels(near), b"short", replace=True)
    assert result(capsys, ["push", str(built), near, "--trust-store"])["sent"] == 1


def test_a_store_that_keeps_something_else_is_found_out(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put = Place.put

    def worn(self: Place, name: str, content: bytes, *, replace: bool = False) -> bool:
        bad = name == "scenes.parquet"
        return put(self, name, content[:-1] + b"?" if bad else content, replace=replace)

    where = f"file://{tmp_path}/store"
    with monkeypatch.context() as patch:
        patch.setattr(Place, "put", worn)
        text = said(capsys, ["push", str(built), where], 5)
    assert "scenes.parquet: read back from there it is another" in text
    assert CORPUS not in Place(where).sizes()


def test_a_write_whose_answer_was_lost_is_read_back_before_it_is_believed(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put = Place.put

    def lost(self: Place, name: str, content: bytes, *, replace: bool = False) -> bool:
        other = self.url.endswith("others") and name == "points.parquet"
        put(self, name, content[::-1] if other else content, replace=replace)
        return put(self, name, content, replace=replace)  # it is there already

    monkeypatch.setattr(Place, "put", lost)
    trusted = ["push", str(built), f"file://{tmp_path}/ours", "--trust-store"]
    assert main(trusted) == 0
    trusted[2] = f"file://{tmp_path}/others"
    assert "points.parquet: read back" in said(capsys, trusted, 5)


def test_damage_at_home_is_not_published(
    url: str, built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(built, tmp_path / "worn")
    name = "chips.zarr/s1/c/1/0/0/0"
    content = bytearray((built / name).read_bytes())
    content[9] ^= 4
    (tmp_path / "worn" / name).write_bytes(content)
    (tmp_path / "worn/receipts/00002.json").unlink()
    text = said(capsys, ["push", str(tmp_path / "worn"), url], 5)
    assert f"{name}: is not what its proof says" in text
    assert "receipts/00002.json: missing" in text
    there = Place(url).sizes()
    assert name not in there
    assert CORPUS not in there


def test_a_url_and_a_folder_are_for_one_corpus(
    url: str, built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(built), url]) == 0
    part = tmp_path / "part"
    assert main(["pull", url, str(part), "-n", "3"]) == 0
    mine = Corpus(built).about["corpus_id"][:12]
    assert f"holds another corpus (id {mine})" in said(capsys, ["push", str(part), url], 2)
    for line in (["pull", url, str(part)], ["pull", url, str(part), "-n", "4"]):
        assert "holds another corpus" in said(capsys, line, 2)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter.txt").write_text("dear")
    assert "other things" in said(capsys, ["pull", url, str(tmp_path / "full")], 2)
    Place(f"{url}-else", make=True).put("letter.txt", b"dear")
    assert "other things" in said(capsys, ["push", str(built), f"{url}-else"], 2)
    assert set(Place(f"{url}-else").sizes()) == {"letter.txt"}


def test_a_corpus_that_came_there_by_other_means_is_taken_over(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(built, tmp_path / "copied")
    assert result(capsys, ["push", str(built), f"file://{tmp_path}/copied"])["sent"] == 0


@pytest.mark.parametrize("name", ["../evil", "chips.zarr/../../evil", "/evil", "logs/evil", "a\\b"])
def test_no_name_leads_out_of_the_folder(
    near: str, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = Place(near).get(CORPUS)
    assert content is not None
    document = receipts.parse(content)
    document["files"][name] = receipts.sha256(b"evil")
    forged = receipts.to_json(receipts.sealed(document))
    Place(near).put(CORPUS, forged, replace=True)
    assert "no file of a corpus" in said(capsys, ["pull", near, str(tmp_path / "back")], 2)
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (
            "ftp://host/corpus",
            "expected a URL that begins with one of s3://, gs://, az://, file://",
        ),
        ("corpora/first", "expected a URL that begins"),
        (f"s3://AKIA:{SECRET}@bucket/x", "keys belong into the environment"),
        (f"s3://bucket/x?sig={SECRET}", "keys belong into the environment"),
        ("file://host/corpus", "expected file:/// and the absolute path"),
        ("az://box/corpus", "no credentials in the environment"),
        ("file:///nowhere/at/all", "holds no corpus"),
    ],
)
def test_a_url_that_cannot_be_is_refused(
    where: str,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    assert expected in said(capsys, ["pull", where, str(tmp_path / "back")], 2)


@pytest.mark.usefixtures("keys")
def test_a_store_that_refuses_or_is_silent_is_told_in_one_line(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    back = str(tmp_path / "back")
    for line in (["pull", "s3://no-such-bucket/x", back], ["push", str(built), "s3://no-such/x"]):
        assert "no such bucket or container" in said(capsys, line, 2)
    assert "holds no corpus" in said(capsys, ["pull", f"s3://{BUCKET}/no", back], 2)
    with monkeypatch.context() as patch:
        patch.delenv("AWS_ALLOW_HTTP")
        assert "plain http" in said(capsys, ["pull", f"s3://{BUCKET}/x", back], 2)
    monkeypatch.setattr(remote, "RETRIES", 1)
    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        assert "does not answer now" in said(capsys, ["pull", f"s3://{BUCKET}/x", back], 3)
        assert "does not answer now" in said(capsys, ["push", str(built), f"s3://{BUCKET}/x"], 3)


def test_without_obstore_it_says_how_to_get_it(
    built: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    text = said(capsys, ["push", str(built), "s3://bucket/x"], 2)
    assert "pip install 's1s2[storage]'" in text


def chosen(corpus: Corpus, **conditions: object) -> list[int]:
    return [int(chip) for chip in corpus.chips(**conditions)]  # type: ignore[arg-type]


EAST = (20.0, 40.0, 60.0, 50.0)


@pytest.mark.parametrize(
    ("flags", "conditions", "first"),
    [
        (["-n", "7"], {}, 7),
        (["--split", "val"], {"split": "val"}, N),
        (["--bbox=20,40,60,50"], {"bbox": EAST}, N),
        (
            ["--split", "train", "--bbox=20,40,60,50", "-n", "2"],
            {"split": "train", "bbox": EAST},
            2,
        ),
    ],
)
def test_some_chips_are_a_corpus_of_their_own(
    url: str,
    built: Path,
    tmp_path: Path,
    flags: list[str],
    conditions: dict[str, object],
    first: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, part = Corpus(built), tmp_path / "part"
    assert main(["push", str(built), url]) == 0
    wanted, whole_files, get = chosen(whole, **conditions)[:first], [], Place.get
    assert 0 < len(wanted) < N

    def noted(self: Place, name: str) -> bytes | None:
        whole_files.append(name)
        return get(self, name)

    monkeypatch.setattr(Place, "get", noted)
    done = result(capsys, ["pull", url, str(part), *flags])
    assert done["chips"] == len(wanted)
    assert not [name for name in whole_files if name.startswith("chips.zarr/")]
    assert main(["verify", str(part)]) == 0
    found = Corpus(part)
    assert found.index["chip"].tolist() == list(range(len(wanted)))
    for new, old in enumerate(wanted):
        ours, theirs = found.read(new), whole.read(old)
        assert all((ours[name] == theirs[name]).all() for name in theirs)
    index = whole.index.set_index("chip").loc[wanted].reset_index(drop=True)
    assert found.index.drop(columns="chip").equals(index)
    taken = found.about["taken"]
    assert taken["corpus_id"] == whole.about["corpus_id"]
    assert taken["chips"] == N
    receipt = json.loads((part / "receipts/00000.json").read_text())
    assert receipt["taken"]["chips"] == wanted[:PER_SHARD]
    assert not list(part.glob(".pull*"))
    assert f"taken   from 16 of {taken['corpus_id'][:12]} · " in "\n".join(summary(found))
    card = beside.card(found.about, found.index, tables.read_refusals(found.folder.refusals))
    assert f"taken from 16 of {taken['corpus_id'][:12]} · " in card
    assert "s1s2 build" not in card.split("## Build it again")[1].split("##")[0]
    assert main(["show", str(part), "--chips", "0"]) == 0
    before = tree(part)
    assert result(capsys, ["pull", url, str(part), *flags])["corpus_id"] == done["corpus_id"]
    assert tree(part) == before


def test_a_part_that_was_cut_off_goes_on_to_the_same_bytes(
    near: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pull", near, str(tmp_path / "once"), "-n", "12"]) == 0
    name = pixels(near, shard=2)
    before = flip(near, name)
    part = tmp_path / "part"
    text = said(capsys, ["pull", near, str(part), "-n", "12"], 5)
    assert f"shard 2: {name}: content differs from its checksum · chips 10" in text
    assert not (part / CORPUS).exists()
    assert (part / "receipts/00001.json").exists()
    assert "another pull" in said(capsys, ["pull", near, str(part), "-n", "11"], 2)
    Place(near).put(name, before[:-3], replace=True)
    assert "bytes, expected" in said(capsys, ["pull", near, str(part), "-n", "12"], 5)
    remove(near, name)
    assert f"{name}: missing" in said(capsys, ["pull", near, str(part), "-n", "12"], 5)
    Place(near).put(name, before)
    assert main(["pull", near, str(part), "-n", "12"]) == 0
    assert tree(part) == tree(tmp_path / "once")
    (part / "receipts/00000.json").write_bytes(b"{}")
    (part / "receipts/00001.json").unlink()
    (part / "points.parquet").write_bytes(b"rotten")
    assert main(["pull", near, str(part), "-n", "12"]) == 0
    assert tree(part) == tree(tmp_path / "once")


def test_pixels_that_are_not_those_of_the_row_are_not_taken(
    near: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two chunks change places: size and checksums stay good."""
    name = pixels(near)
    content = Place(near).get(name)
    assert content is not None
    at = len(content) - 16 * PER_SHARD - 4
    index = content[at + 16 : at + 32] + content[at : at + 16] + content[at + 32 : -4]
    swapped = content[:at] + index + crc32c(index).to_bytes(4, "little")
    Place(near).put(name, swapped, replace=True)
    text = said(capsys, ["pull", near, str(tmp_path / "part"), "-n", "7"], 5)
    assert "receipts/00001.json: pixels differ from the digest in it · chips 5" in text
    assert not (tmp_path / "part" / CORPUS).exists()


def test_no_chip_is_as_wished(
    near: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["pull", near, str(tmp_path / "part"), "--bbox=-80,-20,-70,-10"]
    assert "none of 16 chips is as wished for" in said(capsys, line, 2)
    line[-1] = "--bbox=1,2,3"
    with pytest.raises(SystemExit, match="2"):
        main(line)
    line[-1] = "--bbox=1,50,3,40"
    assert "expected west, south, east, north" in said(capsys, line, 2)


def test_a_part_is_not_built_on_and_is_mended_as_what_it_is(
    near: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = tmp_path / "part"
    chips = result(capsys, ["pull", near, str(part), "--split", "train"])["chips"]
    before = tree(part)
    again = ["build", str(part / "recipe.toml"), "-n", str(chips), "-o", str(part)]
    for line in (again, ["match", "-o", str(part)]):
        assert "taken from another corpus" in said(capsys, line, 2)
    assert main(["verify", str(part), "--sample", "3"]) == 0
    (part / "chips.zarr/s1/c/0/0/0/0").unlink()  # its chips are cut again, from their scenes
    content = (part / CORPUS).read_bytes().replace(b'"wanted"', b'"wAnted"')
    (part / CORPUS).write_bytes(content)
    assert main(["verify", str(part), "--repair"]) == 0
    assert tree(part) == before
