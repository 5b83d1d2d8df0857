"""Damage of every kind is found, never read, and mended byte for byte."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from fakes import Scenes, lonlat, points_file

from s1s2 import Corpus, lease, receipts, recut
from s1s2.chip import Refused
from s1s2.cli import main
from s1s2.errors import ReadError, S1S2Error, StoreError
from s1s2.layout import BESIDE, Folder
from s1s2.verify import verify

PER_SHARD, PAIRS = 5, 16


def command(root: Path, places: list[tuple[float, float]], scenes: Scenes, *more: str) -> list[str]:
    recipe = root / "recipe.toml"
    recipe.write_text(
        f"[store]\nchips_per_shard = {PER_SHARD}\n[sample]\nval_percent = 30\ntest_percent = 0\n"
    )
    points = points_file(root / "p.geojson", places)
    return [
        *("build", str(recipe), "--catalog", str(scenes.save()), "--points", str(points)),
        *("--start", "2021-07-01", "--end", "2021-07-02", "--chip-size", "64"),
        *("-o", str(root / "out"), *more),
    ]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 16 chips in shards of 5, with two points that have no pair."""
    root = tmp_path_factory.mktemp("verify")
    scenes = Scenes(root / "catalog")
    places = []
    for number, (epsg, tile) in enumerate([(32631, "31TFK"), (32633, "33TFK"), (32640, "40TFK")]):
        scenes.s2(epsg=epsg, tile=tile, size_m=12_000)
        scenes.s1(epsg=epsg, size_m=14_000, slice_number=number)
        places += [lonlat(501_500 + 1_700 * i, 4_998_000 - 1_700 * i, epsg) for i in range(6)]
    assert main(command(root, places, scenes, "-n", str(PAIRS))) == 0
    return root / "out"


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture(scope="module")
def dealt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus whose chips were dealt out again: points without a pair left gaps."""
    root = tmp_path_factory.mktemp("dealt")
    scenes = Scenes(root / "catalog")
    scenes.s2(size_m=12_000)
    scenes.s1(size_m=14_000)
    good = [lonlat(501_500 + 1200 * i, 4_998_000 - 1200 * i, 32631) for i in range(8)]
    places = [*good[:3], (50.0, 9.0), (51.0, 9.0), *good[3:]]
    assert main(command(root, places, scenes)) == 4
    assert json.loads((root / "out/receipts/00000.json").read_text())["dealt"]
    return root / "out"


def tree(folder: Path) -> dict[str, bytes]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    names = {p.relative_to(folder): p for p in files}
    return {n.as_posix(): p.read_bytes() for n, p in names.items() if n.parts[0] not in BESIDE}


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """When each file of pixels was written, and that it is the same file."""
    files = (p for p in (folder / "chips.zarr").rglob("*") if p.is_file())
    return {
        p.relative_to(folder).as_posix(): (p.stat().st_mtime_ns, p.stat().st_ino) for p in files
    }


def flip(path: Path, at: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def named(folder: Path) -> set[str]:
    return {problem.name for problem in verify(Folder(folder))}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "count", [60, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(1500)])]
)
def test_bit_rot_anywhere_is_found_and_never_read(out: Path, count: int) -> None:
    """Random flips, cuts and additions over all files."""
    truth = {chip: Corpus(out).read(chip) for chip in range(PAIRS)}
    index = Corpus(out).index.to_csv()
    files = [out / name for name in tree(out)]
    rng = np.random.default_rng(count)
    for number in range(count):
        path = files[rng.integers(len(files))]
        good = path.read_bytes()
        at = int(rng.integers(len(good)))
        if number % 10 == 0:
            path.write_bytes(good[:at])
        elif number % 10 == 1:
            path.write_bytes(good + b"\0")
        else:
            flip(path, at, int(rng.integers(8)))
        assert path.relative_to(out).as_posix() in named(out)
        with suppress(S1S2Error):
            corpus = Corpus(out)
            assert corpus.index.to_csv() == index
            for chip, pixels in truth.items():
                with suppress(S1S2Error):
                    assert same(corpus.read(chip), pixels), path
        path.write_bytes(good)
    assert named(out) == set()


def chunk_of(path: Path, place: int) -> tuple[int, int]:
    """Where a shard's file holds one chip, from the index at its end."""
    content = path.read_bytes()
    table = np.frombuffer(content[-(16 * PER_SHARD + 4) : -4], "<u8").reshape(-1, 2)
    return int(table[place][0]), int(table[place][1])


def test_the_chips_of_a_damaged_file_are_named(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = out / "chips.zarr/s1/c/1/0/0/0"
    good = path.read_bytes()
    for place in (1, 2, 4):
        flip(path, chunk_of(path, place)[0] + 7)
    assert main(["verify", str(out)]) == 5
    said = capsys.readouterr()
    assert said.out == (
        "shard 1: chips.zarr/s1/c/1/0/0/0: content differs from its receipt · chips 6 to 7, 9\n"
    )
    assert "1 problem(s); s1s2 verify" in said.err
    assert "--repair builds again what is damaged" in said.err
    path.write_bytes(good)
    flip(path, len(good) - 1)
    assert [p.chips for p in verify(Folder(out))] == [(5, 6, 7, 8, 9)], "the shard's own index"
    path.write_bytes(good[:-1])
    assert [p.chips for p in verify(Folder(out))] == [(5, 6, 7, 8, 9)]
    path.unlink()
    assert [str(p) for p in verify(Folder(out))] == [
        "shard 1: chips.zarr/s1/c/1/0/0/0: missing · chips 5 to 9"
    ]


def test_damage_that_no_chip_feels_is_found(out: Path) -> None:
    path = out / "chips.zarr/scl/c/3/0/0"
    first, length = chunk_of(path, 0)
    table = bytearray(path.read_bytes())
    assert first + length <= len(table)
    path.write_bytes(b"\0" + bytes(table))  # offsets count from the start: chunks move, then
    assert named(out) == {"chips.zarr/scl/c/3/0/0"}


ADDED = ["pairs.png", "README.md", "notes/of/mine.txt", ".leases/corpus"]


def test_what_people_add_is_no_damage_and_what_lies_among_pixels_is(out: Path) -> None:
    for name in ADDED:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")
    assert named(out) == set()
    extra = {"chips.zarr/s1/c/9/x", "chips.zarr/notes.txt", "receipts/00009.json", "receipts/.x"}
    for name in extra:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("{}")
    assert named(out) == extra
    assert main(["verify", str(out), "--repair"]) == 0
    assert all((out / "put-away" / name).read_text() == "{}" for name in extra)
    assert all((out / name).read_text() == "mine" for name in ADDED[:-1])


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(out: Path) -> None:
        content = (out / name).read_bytes()
        assert old.encode() in content
        (out / name).write_bytes(content.replace(old.encode(), new.encode(), 1))

    return change


def without(*names: str) -> Callable[[Path], None]:
    def remove(out: Path) -> None:
        for name in names:
            shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()

    return remove


def middle(*names: str) -> Callable[[Path], None]:
    def spoil(out: Path) -> None:
        for name in names:
            flip(out / name, (out / name).stat().st_size // 2)

    return spoil


def both(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(out: Path) -> None:
        for one in changes:
            one(out)

    return change


def without_hash(out: Path) -> None:
    """As corpora were finished that knew no hash of `corpus.json`, and none of the receipts."""
    document = json.loads((out / "corpus.json").read_text())
    for key in ("sha256", "recipe", "chips_per_shard"):
        del document[key]
    files = document["files"]
    document["files"] = {k: v for k, v in files.items() if not k.startswith("receipts/")}
    (out / "corpus.json").write_bytes(receipts.to_json(document))


DAMAGE = {
    "image": (middle("chips.zarr/s2_10m/c/1/0/0/0"), {"chips.zarr/s2_10m/c/1/0/0/0"}),
    "images": (without("chips.zarr/s1/c/0/0/0/0", "chips.zarr/scl/c/0/0/0"), None),
    "column": (middle("chips.zarr/epsg/c/2"), {"chips.zarr/epsg/c/2"}),
    "receipt": (edit("receipts/00001.json", "31", "32"), {"receipts/00001.json"}),
    "not json": (middle("receipts/00002.json"), {"receipts/00002.json"}),
    "receipt and image": (without("receipts/00003.json", "chips.zarr/s1/c/3/0/0/0"), None),
    "all receipts": (without("receipts"), None),
    "index": (middle("chips.parquet"), {"chips.parquet"}),
    "refusals": (without("refusals.parquet"), {"refusals.parquet"}),
    "points": (middle("points.parquet"), {"points.parquet"}),
    "scenes": (middle("scenes.parquet"), {"scenes.parquet"}),
    "matchups": (without("matchups.parquet"), {"matchups.parquet"}),
    "tables": (middle("points.parquet", "scenes.parquet", "matchups.parquet"), None),
    "recipe": (without("recipe.toml"), {"recipe.toml"}),
    "metadata": (edit("chips.zarr/s1/zarr.json", "0.01", "0.02"), {"chips.zarr/s1/zarr.json"}),
    "top metadata": (without("chips.zarr/zarr.json"), {"chips.zarr/zarr.json"}),
    "all pixels": (without("chips.zarr"), None),
    "corpus.json": (edit("corpus.json", '"mean": 1', '"mean": 2'), {"corpus.json"}),
    "a hash": (middle("corpus.json"), {"corpus.json"}),
    "half of it": (lambda out: os.truncate(out / "corpus.json", 3000), {"corpus.json"}),
    "nothing of it": (lambda out: os.truncate(out / "corpus.json", 0), {"corpus.json"}),
    "no hash of itself": (without_hash, {"corpus.json"}),
    "corpus.json and more": (
        both(
            middle("corpus.json", "points.parquet", "chips.parquet", "chips.zarr/s1/zarr.json"),
            without("receipts/00001.json", "chips.zarr/s1/c/2/0/0/0", "matchups.parquet"),
        ),
        {"corpus.json"},
    ),
    "everything else": (
        without(
            *("points.parquet", "scenes.parquet", "matchups.parquet", "recipe.toml"),
            *("chips.parquet", "refusals.parquet", "chips.zarr", "receipts"),
        ),
        None,
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_repair_brings_back_every_byte(
    built: Path, out: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, wanted = DAMAGE[damage]
    spoil(out)
    found = named(out)
    assert found, "there is something to mend"
    assert wanted is None or found == wanted
    before, intact = stamps(out), tree(out).items() & tree(built).items()
    assert main(["verify", str(out)]) == 5
    capsys.readouterr()
    assert main(["verify", str(out), "--repair"]) == 0
    assert tree(out) == tree(built)
    assert "verified 16 chips" in capsys.readouterr().out
    after = stamps(out)
    touched = {name for name, _ in intact if before.get(name) != after.get(name)}
    assert touched <= {"chips.zarr/zarr.json"}, "what is intact is left alone"


@pytest.mark.parametrize(
    "loss", ["receipts/00000.json", "receipts", "chips.zarr/s1/c/1/0/0/0", "corpus.json"]
)
def test_dealt_corpora_are_mended_too(dealt: Path, tmp_path: Path, loss: str) -> None:
    out = tmp_path / "out"
    shutil.copytree(dealt, out)
    if loss == "corpus.json":
        middle(loss)(out)
    else:
        without(loss)(out)
    before = stamps(out)
    assert main(["verify", str(out), "--repair"]) == 0
    assert tree(out) == tree(dealt)
    touched = {name for name, stamp in stamps(out).items() if before.get(name) != stamp}
    assert not touched - {loss, "chips.zarr/zarr.json"}


def test_a_repair_may_be_stopped_anywhere_and_run_again(
    built: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before its first write, before its second, and so on, always on the same folder."""
    DAMAGE["corpus.json and more"][0](out)
    real = os.fsync
    for allowed in range(200):
        left = allowed

        def stop(file: int) -> None:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            real(file)

        monkeypatch.setattr("os.fsync", stop)
        code = main(["verify", str(out), "--repair"])
        monkeypatch.setattr("os.fsync", real)
        if code == 0:
            break
        assert code == 130
        assert (out / "corpus.json").exists()
    assert allowed > 5
    assert tree(out) == tree(built)


def own_catalog(built: Path, out: Path) -> Path:
    """Give a copy of the corpus a copy of its catalog, and return that."""
    catalog = out.parent / "catalog"
    shutil.copytree(built.parent / "catalog", catalog)
    recipe = out / "recipe.toml"
    text = recipe.read_text().replace(str(built.parent / "catalog"), str(catalog))
    points = str(built.parent / "p.geojson")
    command = ["build", str(recipe.with_name("moved.toml")), "-n", str(PAIRS)]
    shutil.rmtree(out)
    out.mkdir()
    moved = out.parent / "moved.toml"
    moved.write_text(text)
    assert points in text
    command[1] = str(moved)
    assert main([*command, "-o", str(out)]) == 0
    return catalog


def brighten(catalog: Path) -> None:
    import rasterio

    for path in catalog.glob("*31TFK*/*_B03_10m.tif"):
        with rasterio.open(path, "r+") as file:
            file.write(file.read(1) + 1, 1)


def test_what_is_made_again_differently_never_takes_its_place(
    built: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The archive serves other pixels than then: a repair says so and changes nothing."""
    brighten(own_catalog(built, out))
    flip(out / "chips.zarr/s2_10m/c/0/0/0/0", 50)
    (out / "receipts/00001.json").unlink()
    (out / "refusals.parquet").unlink()
    before = tree(out)
    capsys.readouterr()
    assert main(["verify", str(out), "--repair"]) == 5
    said = capsys.readouterr()
    assert "cut again its pixels differ" in said.out
    assert "shard 1 is not what it was: its catalog serves other scenes or pixels" in said.out
    assert "could not be mended" in said.err
    assert tree(out) == before
    with pytest.raises(StoreError, match=r"chip 5 \(shard 1\) is not proven"):
        Corpus(out).read(5)


def test_deep_compares_with_the_archive(
    built: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = own_catalog(built, out)
    assert main(["verify", str(out), "--deep"]) == 0
    assert "cut again 16 chips from their scenes: the same pixels" in capsys.readouterr().out
    assert main(["verify", str(out), "--sample", "3", "--seed", "5"]) == 0
    assert "cut again 3 chips" in capsys.readouterr().out
    brighten(catalog)
    assert main(["verify", str(out)]) == 0, "the corpus is what it was"
    capsys.readouterr()
    assert main(["verify", str(out), "--deep"]) == 5
    said = capsys.readouterr()
    assert said.out.count("cut again its pixels differ, from S2B_MSIL2A_20210701") == 6
    assert "6 of 16 chips are not what their scenes give now" in said.err


def test_deep_needs_the_archive(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(*_: object) -> None:
        msg = "scene S2B: does not answer"
        raise ReadError(msg, "unreachable")

    monkeypatch.setattr("s1s2.recut.cut", away)
    assert main(["verify", str(out), "--deep"]) == 3
    assert "does not answer" in capsys.readouterr().err


def test_differences_are_named() -> None:
    row = {"s2_id": "A", "s1_id": "B", "lag_hours": 1.0, "sha256": "0"}

    class Cut:
        def __init__(self, **changes: object) -> None:
            self.row = row | changes

    assert not recut.difference(row, Cut())  # type: ignore[arg-type]
    assert "row differs in lag_hours" in recut.difference(row, Cut(lag_hours=2.0))  # type: ignore[arg-type]
    assert "refused: cloud: 90%" in recut.difference(row, Refused("cloud", "90%"))


def test_an_unfinished_corpus_is_neither_verified_nor_mended(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / "corpus.json").unlink()
    for words in (["verify", str(out)], ["verify", str(out), "--repair"], ["show", str(out)]):
        assert main(words) == 2
        assert "unfinished (4 of 4 shards); run the same s1s2 build" in capsys.readouterr().err
    with pytest.raises(StoreError, match="unfinished"):
        Corpus(out)


def test_only_one_mends_at_a_time(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out / "chips.parquet").unlink()
    with lease.of_corpus(Folder(out), "build"):
        assert main(["verify", str(out), "--repair"]) == 6
    assert "is held: build" in capsys.readouterr().err


def test_too_much_is_lost(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out / "recipe.toml").unlink()
    os.truncate(out / "corpus.json", 10)
    assert main(["verify", str(out), "--repair"]) == 2
    assert "put back one of them from a copy" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (
            without("receipts/00001.json"),
            r"chip 6 \(shard 1\) is not proven: .*01.json: missing",
        ),
        (middle("receipts/00001.json"), r"chip 6 \(shard 1\) is not proven: .*01.json: not the"),
        (without("chips.zarr/s1/c/1/0/0/0"), "chip 6 is damaged .*s1/c/1/0/0/0 is missing"),
        (
            lambda out: os.truncate(out / "chips.zarr/scl/c/1/0/0", 40),
            "chip 6 is damaged .*scl/c/1/0/0 has 40 bytes, expected",
        ),
        (middle("chips.zarr/s1/zarr.json"), "chips.zarr/s1/zarr.json: not the one"),
        (middle("chips.zarr/zarr.json"), "chips.zarr/zarr.json: not the one"),
    ],
)
def test_a_row_that_is_not_proven_is_refused(
    out: Path, loss: Callable[[Path], None], said: str
) -> None:
    loss(out)
    with pytest.raises(StoreError, match=said):
        Corpus(out).read(6)
    with pytest.raises(StoreError, match=said):
        Corpus(out).dataset()[6]


def test_the_index_of_another_corpus_is_refused(built: Path, out: Path) -> None:
    """As after a build that went on underneath: nothing of the old one is mixed with the new."""
    corpus = Corpus(out)
    table = (out / "chips.parquet").read_bytes()
    (out / "chips.parquet").write_bytes((built / "points.parquet").read_bytes())
    with pytest.raises(StoreError, match=r"chips.parquet: not the one .* open it again"):
        corpus.chips()
    (out / "chips.parquet").write_bytes(table)
    assert len(corpus.chips()) == PAIRS


@pytest.mark.parametrize("name", ["corpus.json", "chips.parquet"])
def test_commands_refuse_damage_in_one_line(
    out: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    middle(name)(out)
    assert main(["show", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "s1s2 verify" in said
