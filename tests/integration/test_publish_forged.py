"""A published corpus whose hashes agree and whose contents lie is refused in one line.

Whoever can write to a store can make hashes that agree; so none of these is found by a hash.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from chipsets import three_zones
from fastcrc.crc32 import iscsi as crc32c

from s1s2 import receipts
from s1s2.cli import main
from s1s2.published import CLAIM, CORPUS

pytest.importorskip("obstore", reason="obstore is missing: pip install 's1s2[storage]'")

N, PER_SHARD = 12, 5
PIXELS = "chips.zarr/s1/c/1/0/0/0"
RECEIPT = "receipts/00001.json"
Forgery = Callable[[Path], None]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 12 chips in shards of 5, as it lies in a store."""
    root = tmp_path_factory.mktemp("forged")
    three_zones(root, N, per_shard=PER_SHARD)
    shutil.rmtree(root / "out/logs", ignore_errors=True)
    return root / "out"


# ---- forgeries, and hashes that agree with them ----


def agree(store: Path) -> None:
    """Make every hash one of what lies there."""
    document = json.loads((store / CORPUS).read_text())
    for name in document["files"] if isinstance(document["files"], dict) else ():
        if (store / name).is_file():
            document["files"][name] = receipts.sha256_of(store / name)
    (store / CORPUS).write_bytes(receipts.to_json(receipts.sealed(document)))


def index(change: Callable[[pa.Table], pa.Table], name: str = "chips") -> Forgery:
    def forge(store: Path) -> None:
        path = store / f"{name}.parquet"
        pq.write_table(change(pq.read_table(path)), path)

    return forge


def with_column(name: str, values: Callable[[pa.ChunkedArray], Any]) -> Callable[..., pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        return table.set_column(table.schema.get_field_index(name), name, values(table[name]))

    return change


def receipt(change: Callable[[dict[str, Any]], object]) -> Forgery:
    def forge(store: Path) -> None:
        said = json.loads((store / RECEIPT).read_text())
        change(said)
        (store / RECEIPT).write_text(json.dumps(said))

    return forge


def rows(**values: object) -> Forgery:
    return receipt(lambda said: [row.update(values) for row in said["rows"]])


def file(change: Callable[[bytes], bytes]) -> Forgery:
    """Change a file of pixels, and what its receipt says of it."""

    def forge(store: Path) -> None:
        content = change((store / PIXELS).read_bytes())
        (store / PIXELS).write_bytes(content)
        proof = {"size": len(content), "sha256": receipts.sha256(content)}
        receipt(lambda said: said["objects"].update({PIXELS: proof}))(store)

    return forge


def entries(start: int, length: int) -> Forgery:
    """Let the index of a file of pixels, whose checksum is right, name another place."""

    def change(content: bytes) -> bytes:
        said = np.tile(np.array([start, length], "<u8"), PER_SHARD).tobytes()
        return content[: -len(said) - 4] + said + crc32c(said).to_bytes(4, "little")

    return file(change)


def a_chunk(blosc: bytes) -> bytes:
    """A file of pixels whose chunks are all these bytes, whose checksums are right."""
    chunk = blosc + crc32c(blosc).to_bytes(4, "little")
    said = np.tile(np.array([0, len(chunk)], "<u8"), PER_SHARD).tobytes()
    return chunk + said + crc32c(said).to_bytes(4, "little")


def document(**values: object) -> Forgery:
    def forge(store: Path) -> None:
        said = json.loads((store / CORPUS).read_text()) | values
        (store / CORPUS).write_text(json.dumps(said))

    return forge


def whole(name: str, content: bytes) -> Forgery:
    return lambda store: (store / name).write_bytes(content) and None


TABLES = {
    "the index lacks a column": (index(lambda t: t.drop(["lag_hours"])), "(lag_hours)"),
    "a column of it is of another type": (
        index(with_column("chip", lambda c: c.cast(pa.string()))),
        "(types)",
    ),
    "it is no table": (whole("chips.parquet", b"PAR1 or not"), "chips.parquet: damaged"),
    "it says nothing of its geometry": (
        index(lambda t: t.replace_schema_metadata({})),
        "chips.parquet: damaged",
    ),
    "its geometry has no known CRS": (
        index(
            lambda t: t.replace_schema_metadata(
                {"geo": t.schema.metadata[b"geo"].replace(b'"id"', b'"Id"')[:-9] + b"9" * 9}
            )
        ),
        "chips.parquet: damaged",
    ),
    "its geometries are none": (
        index(with_column("geometry", lambda c: pa.array([b"\0\1"] * len(c)))),
        "chips.parquet: damaged",
    ),
    "it names a chip that is not there": (
        index(with_column("chip", lambda c: pc.add(c, 7))),
        "does not name chips 0 to 11",
    ),
    "it names no number": (
        index(with_column("chip", lambda c: pa.nulls(len(c), pa.int64()))),
        "chips.parquet",
    ),
    "a point is missing": (index(lambda t: t.slice(1), "points"), "11 points"),
    "a point is there twice": (
        index(lambda t: pa.concat_tables([t, t.slice(0, 1)]), "points"),
        "13 points",
    ),
    "the pairs are missing": (index(lambda t: t.slice(0, 0), "matchups"), "0 pairs"),
    "the scenes are missing": (index(lambda t: t.slice(0, 0), "scenes"), "0 scenes"),
    "the points are scenes": (
        lambda store: shutil.copy(store / "scenes.parquet", store / "points.parquet") and None,
        "points.parquet: its columns are not",
    ),
    "the recipe is no text": (whole("recipe.toml", b"\xff\xfe"), "UnicodeDecodeError"),
}
RECEIPTS = {
    "no JSON": (whole(RECEIPT, b"{"), "no receipt of a corpus"),
    "a list": (whole(RECEIPT, b"[]"), "no receipt of a corpus"),
    "no rows": (receipt(lambda said: said.pop("rows")), "it does not say rows"),
    "rows of another kind": (receipt(lambda said: said.update(rows={})), "its rows is no list"),
    "too few rows": (receipt(lambda said: said["rows"].pop()), "IndexError"),
    "rows that are none": (receipt(lambda said: said.update(rows=[7] * 5)), "TypeError"),
    "rows of other chips": (rows(chip=3), "not those of chips from 5 on"),
    "a row without outline": (
        receipt(lambda said: said["rows"][2].pop("outline")),
        "KeyError: 'outline'",
    ),
    "an outline of two corners": (rows(outline=[[1, 2], [3, 4]]), "not as s1s2 writes"),
    "a zone in words": (rows(epsg="north"), "not as s1s2 writes"),
    "a short transform": (rows(transform=[1.0]), "not as s1s2 writes"),
    "a time that is none": (rows(s2_time="yesterday"), "not as s1s2 writes"),
    "a number that is none": (rows(lag_hours=float("nan")), "not as s1s2 writes"),
    "a number without end": (rows(point=10**30), "not as s1s2 writes"),
    "no point": (rows(point=None), "not as s1s2 writes"),
    "no scene": (rows(s1_id=None), "not as s1s2 writes"),
    "a split of its own": (rows(split="mine"), "'mine' is no split"),
    "no size": (
        receipt(lambda said: said["objects"].update({PIXELS: {"sha256": ""}})),
        "it does not say size",
    ),
    "a size in words": (
        receipt(lambda said: said["objects"][PIXELS].update(size="9")),
        "its size is no int",
    ),
    "no file of radar": (receipt(lambda said: said["objects"].pop(PIXELS)), "KeyError"),
    "a file elsewhere": (
        receipt(lambda said: said["objects"].update({"../x": {}})),
        "no file of a corpus",
    ),
}
DAMAGE = {
    "a size that lies": (
        receipt(lambda said: said["objects"][PIXELS].update(size=7)),
        "bytes, expected 7",
    ),
    "a size below nought": (
        receipt(lambda said: said["objects"][PIXELS].update(size=-7)),
        "bytes, expected -7",
    ),
    "a file without room for its index": (file(lambda content: content[-9:]), "too few for"),
    "an index that does not match": (file(lambda content: content[:-1] + b"?"), "its checksum"),
    "chunks beyond the file": (entries(1 << 40, 9), "a chunk that is not there"),
    "chunks that are none": (entries(2**64 - 1, 2**64 - 1), "a chunk that is not there"),
    "empty chunks": (entries(0, 0), "a chunk of 0 bytes"),
    "chunks much longer than a chip": (
        file(lambda _: a_chunk(bytes(70_000))),
        "a chunk of 70,004 bytes",
    ),
    "chunks of another chip": (entries(0, 4), "content differs from its checksum"),
    "chunks that cannot be unpacked": (file(lambda _: a_chunk(b"\2\1!\2" * 9)), "differs from"),
    "chunks that say they are 2 GB": (
        file(lambda _: a_chunk(b"\2\1\x21\2\xff\xff\xff\x7f\0\1\0\0\x24\0\0\0" + bytes(20))),
        "differs from",
    ),
    "pixels of another size": (file(lambda _: a_chunk(bytes(16))), "differs from"),
}
DOCUMENTS = {
    "no chip in a shard": ({"chips_per_shard": 0}, "chips_per_shard 0"),
    "shards in words": ({"chips_per_shard": "5"}, "its chips_per_shard is no int"),
    "shards without end": ({"chips_per_shard": 10**12}, "in a shard"),
    "fewer chips than none": ({"chips": -3}, "-3 chips"),
    "as many chips as there are": ({"chips": True}, "its chips is no int"),
    "chips of seven pixels": ({"chip_size_px": 7}, "chip size 7 px"),
    "another codec": ({"codec": "rar"}, "codec 'rar'"),
    "no identity": ({"corpus_id": None}, "its corpus_id is no str"),
    "a list of files": ({"files": ["points.parquet"]}, "its files is no dict"),
    "a receipt without number": ({"files": {"receipts/abc.json": ""}}, "no file of a corpus"),
    "a name with a nought": ({"files": {"receipts/\0.json": ""}}, "no file of a corpus"),
}


# ---- what comes of them ----


def refused(
    capsys: pytest.CaptureFixture[str], built: Path, root: Path, forgery: Forgery, *flags: str
) -> tuple[int, str]:
    """Publish a forged corpus, pull of it; return the exit code and all that was said."""
    shutil.copytree(built, root / "store")
    forgery(root / "store")
    agree(root / "store")
    capsys.readouterr()
    code = main(["pull", f"file://{root}/store", str(root / "out"), *flags])
    out, err = capsys.readouterr()
    assert len(err.splitlines()) == 1, err
    assert "Traceback" not in out + err
    assert not (root / "out" / CORPUS).exists()
    assert not list((root / "out").rglob("*.partial"))
    return code, out + err


def left(root: Path) -> list[str]:
    """Return the files of the folder that was pulled into, but for whose it is."""
    found = (p.relative_to(root / "out") for p in (root / "out").rglob("*") if p.is_file())
    return [path.as_posix() for path in found if path.parts[0] != ".leases"]


@pytest.mark.hostile
@pytest.mark.parametrize("name", TABLES)
def test_a_part_is_not_taken_by_tables_that_lie(
    built: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    forgery, expected = TABLES[name]
    code, text = refused(capsys, built, tmp_path, forgery, "-n", str(N))
    assert expected in text
    assert code == 2
    assert left(tmp_path) == []


@pytest.mark.hostile
@pytest.mark.parametrize("name", RECEIPTS)
def test_a_part_is_not_taken_by_receipts_that_lie(
    built: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    forgery, expected = RECEIPTS[name]
    code, text = refused(capsys, built, tmp_path, forgery, "-n", "10")
    assert expected in text
    assert code == 2
    assert "receipts/00001.json" not in left(tmp_path)


@pytest.mark.hostile
@pytest.mark.parametrize("name", DAMAGE)
def test_a_part_is_not_taken_of_pixels_that_lie(
    built: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was taken before stays, to be gone on with, and is whole."""
    forgery, expected = DAMAGE[name]
    code, text = refused(capsys, built, tmp_path, forgery, "-n", "10")
    assert expected in text
    assert code == 5
    assert "receipts/00001.json" not in left(tmp_path)


@pytest.mark.hostile
@pytest.mark.parametrize("flags", [[], ["-n", "3"]], ids=["whole", "part"])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_nothing_is_begun_with_a_corpus_that_lies_of_itself(
    built: Path, tmp_path: Path, name: str, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    values, expected = DOCUMENTS[name]
    code, text = refused(capsys, built, tmp_path, document(**values), *flags)
    assert expected in text
    assert code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.hostile
@pytest.mark.parametrize("claim", [{"beside": []}, {"beside": {}}, {"corpus_sha256": 7}])
def test_a_corpus_is_not_pulled_whole_beside_a_claim_that_lies(
    built: Path, tmp_path: Path, claim: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def forge(store: Path) -> None:
        (store / CLAIM).write_bytes(receipts.to_json(receipts.sealed(claim)))

    code, text = refused(capsys, built, tmp_path, forge)
    assert f"{CLAIM}: damaged" in text
    assert code == 2
    assert left(tmp_path) == [".pull.json"], "whose the folder is: what is mended is gone on with"


@pytest.mark.hostile
def test_the_folder_of_a_refused_part_takes_another(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "store")
    rows(epsg="north")(tmp_path / "store")
    agree(tmp_path / "store")
    assert main(["pull", f"file://{tmp_path}/store", str(tmp_path / "out"), "-n", "10"]) == 2
    assert main(["pull", f"file://{built}", str(tmp_path / "out"), "-n", "4"]) == 0
