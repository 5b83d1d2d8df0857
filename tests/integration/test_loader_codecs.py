"""A corpus of another codec: other bytes, the same chips; gone on with, proven and mended in it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import Scenes, lonlat, points_file

from s1s2 import Corpus, tables
from s1s2.cli import main
from s1s2.layout import BESIDE
from s1s2.report.card import card
from s1s2.verify import verify

GOOD = [lonlat(501_500 + 1_200 * i, 4_998_000 - 1_200 * i, 32631) for i in range(7)]
INNER = {"lz4": ["bytes", "blosc", "crc32c"], "zstd": ["bytes", "blosc", "crc32c"],
         "none": ["bytes", "crc32c"]}  # fmt: skip


def command(root: Path, out: str, *more: str) -> list[str]:
    return [
        *("build", str(root / "recipe.toml"), "--catalog", str(root / "catalog")),
        *("--points", str(root / "p.geojson"), "--chip-size", "64", "-o", str(root / out), *more),
        *("--start", "2021-07-01", "--end", "2021-07-02"),
    ]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpora of 7 chips in shards of 3, one a codec; two points without a pair leave gaps."""
    root = tmp_path_factory.mktemp("codecs")
    (root / "recipe.toml").write_text(
        "[store]\nchips_per_shard = 3\n[sample]\nval_percent = 0\ntest_percent = 0\n"
    )
    scenes = Scenes(root / "catalog")
    scenes.s2(size_m=12_000)
    scenes.s1(size_m=14_000)
    scenes.save()
    points_file(root / "p.geojson", [*GOOD[:2], (50.0, 9.0), (51.0, 9.0), *GOOD[2:]])
    assert main(command(root, "lz4")) == 4, "fewer chips than points"
    for codec in ("zstd", "none"):
        assert main(command(root, codec, "--codec", codec)) == 4
    return root


def tree(folder: Path) -> dict[str, bytes]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    names = {p.relative_to(folder): p for p in files}
    return {n.as_posix(): p.read_bytes() for n, p in names.items() if n.parts[0] not in BESIDE}


def test_the_chips_are_the_same_and_the_corpus_says_its_codec(root: Path) -> None:
    chips = {codec: Corpus(root / codec) for codec in INNER}
    digests = {codec: list(corpus.index["sha256"]) for codec, corpus in chips.items()}
    assert digests["lz4"] == digests["zstd"] == digests["none"]
    for codec, corpus in chips.items():
        assert corpus.about["codec"] == codec
        assert f'codec = "{codec}"' in corpus.about["recipe"]
        told = card(corpus.about, corpus.index, tables.read_refusals(corpus.folder.refusals))
        assert ("chunks are not packed" if codec == "none" else f"packed with {codec},") in told
        assert verify(corpus.folder) == []
        for array, wanted in {"s1": INNER[codec], "epsg": ["bytes", "crc32c"]}.items():
            said = json.loads((root / codec / "chips.zarr" / array / "zarr.json").read_text())
            inner = said["codecs"][0].get("configuration", {}).get("codecs", said["codecs"])
            assert [c["name"] for c in inner] == wanted
        first, other = corpus.read(4), chips["lz4"].read(4)
        assert all(np.array_equal(first[name], other[name]) for name in other)
    sizes = {c: sum(len(b) for n, b in tree(root / c).items() if "/c/" in n) for c in INNER}
    assert sizes["zstd"] < sizes["lz4"] < sizes["none"]
    assert len({corpus.about["corpus_id"] for corpus in chips.values()}) == 3


@pytest.mark.parametrize("codec", ["zstd", "none"])
def test_what_is_lost_is_built_and_mended_in_the_same_codec(
    root: Path, tmp_path: Path, codec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(root / codec, out)
    whole = tree(out)
    shard = out / "chips.zarr/s1/c/1/0/0/0"
    content = bytearray(shard.read_bytes())
    content[70] ^= 1
    shard.write_bytes(content)
    (out / "chips.zarr/s2_10m/zarr.json").unlink()
    (out / "receipts/00000.json").unlink()
    assert main(["verify", str(out)]) == 5
    assert "chips 3" in capsys.readouterr().out
    assert main(["verify", str(out), "--repair"]) == 0
    assert tree(out) == whole
    # killed before it was finished, and begun again
    (out / "corpus.json").unlink()
    shutil.rmtree(out / "chips.zarr/s2_20m")
    assert main(command(root, str(out), "--codec", codec)) == 4
    assert tree(out) == whole


def test_one_corpus_has_one_codec(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(root, "zstd")) == 2
    assert "store.codec ('zstd' there, 'lz4' here)" in capsys.readouterr().err
    recipe = root / "wrong.toml"
    recipe.write_text('[store]\ncodec = "gzip"\n')
    assert main(["build", str(recipe), "-n", "3", "--catalog", "sandbox"]) == 2
    assert "store.codec: Input should be 'lz4', 'zstd' or 'none'" in capsys.readouterr().err


def test_a_loader_gives_the_same_batches_whatever_the_codec(root: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    batches = {}
    for codec in INNER:
        with Corpus(root / codec).loader(3, values="normalised") as loader:
            batches[codec] = [{k: t.clone() for k, t in batch.items()} for batch in loader]
    for codec in ("zstd", "none"):
        for mine, its in zip(batches["lz4"], batches[codec], strict=True):
            assert all(torch.equal(mine[key], its[key]) for key in mine)
