"""A corpus in the layouts of other libraries: the same numbers, splits and places, whole or not."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tacotoolbox
from chipsets import three_zones
from tacotoolbox._exceptions import TacoCreationError

from s1s2 import Corpus, export, receipts
from s1s2.bands import OPTICAL, RADAR
from s1s2.cli import main
from s1s2.errors import StoreError
from s1s2.files import write_bytes
from s1s2.loader.finish import View
from s1s2.store import IMAGES, digest

N, PER_PART = 16, 4


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 16 chips in three zones and two splits, shards of 5."""
    root = tmp_path_factory.mktemp("export")
    three_zones(root, N, per_shard=5)
    return root / "out"


@pytest.fixture
def corpus(built: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    found = Corpus(built)
    chip = sum(array.nbytes for array in found.read(0).values())
    monkeypatch.setattr(export, "_PART_BYTES", PER_PART * chip)
    return found


def command(corpus: Path, form: str, out: Path) -> list[str]:
    return ["export", str(corpus), "--to", form, "-o", str(out)]


def tree(folder: Path) -> dict[str, bytes]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


READ = """
import json, sys, webdataset
from s1s2.store import IMAGES, digest
for sample in webdataset.WebDataset(sys.argv[1:], shardshuffle=False).decode():
    arrays = {name: sample[f"{name}.npy"] for name in IMAGES}
    forms = {name: [str(array.dtype), list(array.shape)] for name, array in arrays.items()}
    print(json.dumps([sample["__key__"], sample["json"], forms, digest(arrays)]))
"""
"""In a process of its own: the library leaves its files to be closed by the garbage collector."""


def test_webdataset_reads_every_chip_of_every_split(corpus: Corpus, tmp_path: Path) -> None:
    pytest.importorskip("webdataset", reason="webdataset is missing: pip install 's1s2[dev]'")
    out = tmp_path / "tars"
    assert main(command(corpus.folder.root, "webdataset", out)) == 0
    rows, seen = corpus.index.set_index("chip"), []
    for split, count in corpus.about["splits"].items():
        tars = sorted(str(p) for p in out.glob(f"{split}-*.tar"))
        assert len(tars) == -(-count // PER_PART)
        if not tars:
            continue
        done = subprocess.run(
            [sys.executable, "-c", READ, *tars], capture_output=True, text=True, check=True
        )
        for line in done.stdout.splitlines():
            key, said, forms, digest = json.loads(line)
            chip = said["chip"]
            assert key == f"{chip:08d}"
            assert said["split"] == split
            for name in ("split", "s2_id", "s1_id", "epsg", "lag_hours", "sha256"):
                assert said[name] == rows.loc[chip, name]
            assert digest == rows.loc[chip, "sha256"]
            stored = corpus.read(chip)
            assert forms == {k: [str(a.dtype), list(a.shape)] for k, a in stored.items()}
            seen.append(chip)
    assert sorted(seen) == list(range(N))


READ_LITDATA = """
import json, sys, warnings
import litdata
from s1s2.store import IMAGES, digest
for folder in sys.argv[1:]:
    dataset = litdata.StreamingDataset(folder)
    served = [dataset[k] for k in range(len(dataset))] + list(dataset)
    for sample in served:
        arrays = {name: sample[name] for name in IMAGES}
        forms = {name: [str(array.dtype), list(array.shape)] for name, array in arrays.items()}
        print(json.dumps([json.loads(sample["json"]), list(sample), forms, digest(arrays)]))
print(json.dumps("torchvision" in sys.modules))
"""
WRITE_LITDATA = """
import json, sys
from litdata.streaming.writer import BinaryWriter
from s1s2 import Corpus
from s1s2.proof import ProvenPixels
from s1s2.store import IMAGES
corpus, out, per_chunk, said = Corpus(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:]
writer, pixels = BinaryWriter(out, chunk_size=per_chunk), ProvenPixels(corpus.folder, corpus.about)
for k, row in enumerate(said):
    arrays = pixels.read(json.loads(row)["chip"])
    writer[k] = {name: arrays[name] for name in IMAGES} | {"json": row}
writer.done()
writer.merge()
"""


def with_litdata(code: str, home: Path, *arguments: str) -> list[Any]:
    """Run a program that needs litData in a process of its own, with a home of its own."""
    pytest.importorskip(
        "litdata",
        reason="litdata is missing, and its torchvision with it: pip install 's1s2[bench]'",
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, check=False, env=os.environ | {"HOME": str(home)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def chunk(content: bytes) -> list[list[bytes]]:
    """Return by chip the fields of a chunk, read as litData's documents describe it."""
    (count,) = struct.unpack_from("<I", content)
    places = struct.unpack_from(f"<{count + 1}I", content, 4)
    assert places[-1] == len(content)
    chips = []
    for start, end in pairwise(places):
        sizes = struct.unpack_from("<5I", content, start)
        ends = np.cumsum([start + 20, *sizes])
        assert ends[-1] == end
        chips.append([content[a:b] for a, b in pairwise(ends)])
    return chips


def test_litdata_chunks_hold_every_chip_of_every_split(corpus: Corpus, tmp_path: Path) -> None:
    """Read without the library, so that this is held where it is missing."""
    assert main(command(corpus.folder.root, "litdata", tmp_path)) == 0
    numbers = {1: "int16", 4: "uint8", 5: "uint16"}
    seen = []
    for split in {s for s, count in corpus.about["splits"].items() if count}:
        index = json.loads((tmp_path / split / "index.json").read_text())
        for entry in index["chunks"]:
            content = (tmp_path / split / entry["filename"]).read_bytes()
            chips = chunk(content)
            assert (entry["chunk_bytes"], entry["chunk_size"]) == (len(content), len(chips))
            for *fields, row in chips:
                said, arrays = json.loads(row), {}
                for name, field in zip(IMAGES, fields, strict=True):
                    kind, rank = struct.unpack_from("<2I", field)
                    shape = struct.unpack_from(f"<{rank}I", field, 8)
                    pixels = np.frombuffer(field, numbers[kind], offset=8 + 4 * rank)
                    arrays[name] = pixels.reshape(shape)
                assert said["split"] == split
                assert digest(arrays) == corpus.index["sha256"][said["chip"]]
                seen.append(said["chip"])
    assert sorted(seen) == list(range(N))


def test_litdata_streams_every_chip_of_every_split(corpus: Corpus, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(command(corpus.folder.root, "litdata", out)) == 0
    folders = [str(path.parent) for path in sorted(out.glob("*/index.json"))]
    *served, vision = with_litdata(READ_LITDATA, tmp_path, *folders)
    assert not vision, "litData reads them without torchvision"
    rows, seen = corpus.index.set_index("chip"), []
    for said, names, forms, sha256 in served:
        chip = said["chip"]
        assert names == [*IMAGES, "json"]
        assert said["split"] == rows.loc[chip, "split"]
        assert sha256 == rows.loc[chip, "sha256"]
        stored = corpus.read(chip)
        assert forms == {k: [str(a.dtype), list(a.shape)] for k, a in stored.items()}
        seen.append(chip)
    assert sorted(seen) == sorted([*range(N)] * 2), "each once by its number, once in the stream"


def test_litdata_chunks_are_those_that_litdata_writes(corpus: Corpus, tmp_path: Path) -> None:
    out, theirs = tmp_path / "out", tmp_path / "theirs"
    assert main(command(corpus.folder.root, "litdata", out)) == 0
    ours = {path.name: path.read_bytes() for path in (out / "train").glob("*.bin")}
    said = [chip[-1].decode() for name in sorted(ours) for chip in chunk(ours[name])]
    with_litdata(
        WRITE_LITDATA, tmp_path, str(corpus.folder.root), str(theirs), str(PER_PART), *said
    )
    assert ours == {path.name: path.read_bytes() for path in theirs.glob("*.bin")}
    mine, other = (json.loads((f / "index.json").read_text()) for f in (out / "train", theirs))
    assert mine["chunks"] == other["chunks"]
    config = mine["config"]
    assert config == {key: other["config"][key] for key in config}


READ_TACO = """
import json, sys
from datetime import UTC
import rasterio, tacoreader
from s1s2.store import digest
files = sys.argv[1:]
whole = tacoreader.load(files, backend="pandas")
for number, row in enumerate(whole.data.to_pandas().to_dict("records")):
    images, inside = {}, whole.data.read(number)
    for sensor, (_, said) in zip(("s2", "s1"), inside.to_pandas().iterrows(), strict=True):
        with rasterio.open(inside.read(sensor)) as file:
            images[sensor] = file.read()
            place = [file.crs.to_epsg(), list(file.transform)[:6], list(file.scales)[0]]
            assert list(images[sensor].shape) == list(said["stac:tensor_shape"])
        when = said["stac:time_start"].tz_localize(UTC).isoformat()
        images[sensor] = [place, when, said["scaling:scale_factor"], digest({"": images[sensor]})]
    when = [row[f"stac:time_{k}"].tz_localize(UTC).isoformat() for k in ("start", "end")]
    print(json.dumps([row["chip"], row["split"], row["stac:crs"], list(row["stac:geotransform"]),
                      when, row["s2_id"], row["simulated"], images]))
west = whole.sql("SELECT * FROM data WHERE lon < 20 AND cloud_fraction < 0.5")
print(json.dumps(sorted(west["chip"].tolist())))
print(json.dumps(whole.collection["description"]))
print(json.dumps([tacoreader.load(file).collection["extent"]["spatial"] for file in files]))
"""


def test_tacoreader_reads_every_chip_of_every_split(corpus: Corpus, tmp_path: Path) -> None:
    pytest.importorskip("tacoreader", reason="tacoreader is missing: pip install 's1s2[dev]'")
    assert main(command(corpus.folder.root, "taco", tmp_path)) == 0
    files = sorted(str(p) for p in tmp_path.glob("*.tacozip"))
    assert len(files) == sum(-(-k // PER_PART) for k in corpus.about["splits"].values())
    done = subprocess.run(
        [sys.executable, "-c", READ_TACO, *files], capture_output=True, text=True, check=True
    )
    *chips, west, description, extents = map(json.loads, done.stdout.splitlines())
    rows, dataset = corpus.index.set_index("chip"), corpus.dataset(view=View("raw"))
    assert sorted(said[0] for said in chips) == list(range(N))
    for chip, split, crs, transform, when, s2_id, simulated, images in chips:
        row = rows.loc[chip]
        a, b, left, d, e, top = row["transform"]
        assert split == {"val": "validation"}.get(row["split"], row["split"])
        assert (crs, s2_id, simulated) == (f"EPSG:{row['epsg']}", row["s2_id"], False)
        assert transform == [left, a, b, top, d, e], "in the order of GDAL"
        assert when == sorted(row[f"{k}_time"].isoformat() for k in ("s2", "s1"))
        for sensor, scale in (("s2", 1e-4), ("s1", 0.01)):
            place, seen, said, pixels = images[sensor]
            assert place == [row["epsg"], list(row["transform"]), scale]
            assert seen == row[f"{sensor}_time"].isoformat()
            assert said == pytest.approx(scale)
            assert pixels == digest({"": dataset[chip][sensor].numpy()})
    assert west == sorted(rows.index[rows["lon"] < 20].tolist())
    assert 0 < len(west) < N
    assert "Contains modified Copernicus Sentinel data 2021." in description
    points = rows[["lon", "lat"]]
    for place, extent in enumerate((points.min(), points.max())):
        ends = np.array(extents).reshape(-1, 2, 2)[:, place]
        assert (ends.max(axis=0) if place else ends.min(axis=0)) == pytest.approx(extent.to_numpy())
    with zipfile.ZipFile(files[0]) as file:
        assert {member.date_time for member in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert file.testzip() is None


def test_what_tacotoolbox_cannot_write_is_one_line_and_a_long_name_no_fault(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.about["name"] = "Süd/" * 100
    assert export.export(corpus, "taco", tmp_path / "long").written > 0

    def full(*_: object, **__: object) -> None:
        msg = "no space left"
        raise TacoCreationError(msg)

    monkeypatch.setattr(tacotoolbox, "create", full)
    with pytest.raises(StoreError, match=r"-000000\.tacozip: tacotoolbox cannot write it"):
        export.export(corpus, "taco", tmp_path / "out")


def test_a_layout_whose_library_is_lacking_says_so_and_writes_nothing(
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(export, "find_spec", lambda _: None)
    assert main(command(corpus.folder.root, "taco", tmp_path)) == 2
    assert capsys.readouterr().err.endswith(
        "--to taco needs tacotoolbox: pip install 's1s2[taco]'\n"
    )
    assert not list(tmp_path.iterdir())


def test_an_export_says_what_it_is(corpus: Corpus, tmp_path: Path) -> None:
    assert main(command(corpus.folder.root, "webdataset", tmp_path)) == 0
    about = json.loads((tmp_path / "export.json").read_text())
    receipts.check_seal(about)
    assert about["finished"]
    assert about["corpus_id"] == corpus.about["corpus_id"]
    assert about["splits"] == corpus.about["splits"]
    assert about["attribution"]
    assert about["fields"]["s2_10m.npy"]["bands"] == ["B02", "B03", "B04", "B08"]
    for name, said in about["parts"].items():
        assert receipts.sha256_of(tmp_path / "parts" / f"{name}.json") == said
    with tarfile.open(next(tmp_path.glob("train-*.tar"))) as tar:
        members = tar.getmembers()
    assert {m.mtime for m in members} == {0}
    assert {(m.uid, m.uname) for m in members} == {(0, "")}


def test_geotiffs_lie_where_the_chips_do(corpus: Corpus, tmp_path: Path) -> None:
    assert main(command(corpus.folder.root, "geotiff", tmp_path)) == 0
    dataset = corpus.dataset(view=View("raw"))
    for row in corpus.index.to_dict("records"):
        for sensor, bands in (("s2", OPTICAL), ("s1", RADAR)):
            when = row[f"{sensor}_time"].strftime("%Y%m%dT%H%M%S")
            path = tmp_path / row["split"] / f"{row['chip']:08d}_{sensor}_{when}.tif"
            shown = re.match(rf"\d+_{sensor}_(?P<date>\d{{8}}T\d{{6}})", path.name)
            assert shown, "as docs/loader.md tells torchgeo"
            assert shown["date"] == when
            with rasterio.open(path) as file:
                assert file.crs.to_epsg() == row["epsg"]
                assert list(file.transform)[:6] == list(row["transform"])
                assert file.descriptions == tuple(str(b) for b in bands)
                assert file.nodata == (0 if sensor == "s2" else -32768)
                assert file.scales == ((1e-4,) * 12 if sensor == "s2" else (0.01,) * 2)
                assert file.tags()["SCENE"] == row[f"{sensor}_id"]
                np.testing.assert_array_equal(file.read(), dataset[row["chip"]][sensor].numpy())
    assert len(list(tmp_path.rglob("*.tif"))) == 2 * N


@pytest.mark.parametrize(
    ("form", "left"),
    [("webdataset", 8), ("litdata", 8), ("litdata", 12), ("taco", 8), ("geotiff", 14)],
)
def test_an_export_that_was_killed_goes_on_and_is_the_same(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, left: int
) -> None:
    """Killed while a later part is written: `left` writes come through."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    first = export.export(corpus, form, whole)
    assert first.kept == 0

    def killed(path: Path, content: bytes) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(f".{path.name}.0.partial").write_bytes(content[:10])
            raise KeyboardInterrupt
        write_bytes(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(export, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            export.export(corpus, form, out)
    assert not json.loads((out / "export.json").read_text())["finished"]
    assert list(out.rglob(".*.partial"))
    done = export.export(corpus, form, out)
    assert done.kept > 0
    assert done.kept + done.written == first.written
    assert tree(out) == tree(whole)
    kind = {"webdataset": "tar", "litdata": "bin", "taco": "tacozip", "geotiff": "tif"}[form]
    file = next(out.rglob(f"*.{kind}"))
    content = bytearray(file.read_bytes())
    content[600] ^= 1
    file.write_bytes(content)
    assert export.export(corpus, form, out).written == 1, "what is damaged is written again"
    for index in out.glob("*/index.json"):
        index.write_text("{}")
    assert export.export(corpus, form, out).written == 0
    assert tree(out) == tree(whole)


def test_what_is_damaged_is_not_exported(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, out = tmp_path / "corpus", tmp_path / "out"
    shutil.copytree(corpus.folder.root, copy)
    path = copy / "chips.zarr/s1/c/1/0/0/0"
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    assert main(command(copy, "webdataset", out)) == 2
    assert "chip 5 is damaged" in capsys.readouterr().err
    assert not json.loads((out / "export.json").read_text())["finished"]
    (copy / "receipts/00000.json").write_text("{}")
    assert main(command(copy, "webdataset", tmp_path / "other")) == 2
    assert "not the one this corpus was finished with" in capsys.readouterr().err


def test_pixels_that_are_not_those_of_the_receipt_are_not_exported(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = export.ProvenPixels.read

    def other(self: export.ProvenPixels, chip: int) -> dict[str, Any]:
        return read(self, chip if chip != 7 else 8)

    monkeypatch.setattr(export.ProvenPixels, "read", other)
    with pytest.raises(StoreError, match="chip 7: its pixels differ from the digest"):
        export.export(corpus, "webdataset", tmp_path / "out")


def test_no_folder_is_written_into_that_holds_something_else(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = corpus.folder.root
    before = tree(root)
    (tmp_path / "notes.txt").write_text("dear")
    assert main(command(root, "webdataset", tmp_path)) == 2
    assert "holds other things than an export" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    for inside in (root, root / "tars"):
        assert main(command(root, "geotiff", inside)) == 2
        assert "lies in the corpus itself" in capsys.readouterr().err
    out = tmp_path / "out"
    assert main(command(root, "webdataset", out)) == 0
    capsys.readouterr()
    assert main(command(root, "geotiff", out)) == 2
    assert "holds an export whose layout is webdataset, not geotiff" in capsys.readouterr().err
    (out / "export.json").write_text("{")
    assert main(command(root, "webdataset", out)) == 2
    assert "export.json: damaged; export into another folder" in capsys.readouterr().err
    assert tree(root) == before
