"""What a corpus says of itself: the card, Croissant, and its scenes as STAC items."""

import json
from pathlib import Path

import mlcroissant
import pyarrow.parquet as pq
import pystac
import pytest
import yaml
from fakes import Scenes, lonlat, points_file
from stac_geoparquet.arrow import stac_table_to_items
from stac_pydantic import Item

from s1s2 import Corpus, tables
from s1s2.cli import main
from s1s2.report import beside
from s1s2.report.card import attribution, card
from s1s2.report.croissant import croissant

NOT_YET = "https://schema.org/datePublished"
"""Croissant recommends the day of publication; a corpus is published by its owner, not by us."""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four chips, two points without one."""
    root = tmp_path_factory.mktemp("card")
    scenes = Scenes(root / "catalog")
    scenes.s2(size_m=12_000, baseline="05.00")
    scenes.s1(size_m=14_000)
    places = [lonlat(501_500 + 1_700 * i, 4_998_000 - 1_700 * i, 32631) for i in range(4)]
    points = points_file(root / "p.geojson", [*places, (-20.0, 10.0), (100.0, 20.0)])
    what = ("--catalog", str(scenes.save()), "--points", str(points), "--chip-size", "64")
    period = ("--start", "2021-07-01", "--end", "2021-07-02")
    assert main(["build", *what, *period, "-o", str(root / "out")]) == 4
    beside.write_card(Corpus(root / "out"))
    return root / "out"


def test_the_front_matter_is_yaml_that_hugging_face_reads(out: Path) -> None:
    text = (out / "README.md").read_text()
    _, front, _ = text.split("---\n", 2)
    said = yaml.safe_load(front)
    assert said["pretty_name"] == Corpus(out).about["name"]
    assert said["license"] == "other"
    assert said["license_name"] == "copernicus-sentinel-data"
    assert said["size_categories"] == ["n<1K"]
    assert said["configs"] == [{"config_name": "index", "data_files": "chips.parquet"}]


def test_the_card_says_what_somebody_needs_to_know(out: Path) -> None:
    text = (out / "README.md").read_text()
    about = Corpus(out).about
    for words in (
        "4 verified pairs",
        about["corpus_id"],
        "05.00 in 4 chips",
        "removed by the baseline",
        "gamma nought, terrain corrected, in dB x 100",
        "at most 72 h",
        "at most 10\N{NO-BREAK SPACE}%",
        "Splits: by cells",
        "2 points have no chip: no Sentinel-2 scene of the period covers the point (`no_s2`)",
        "6 chips were wanted, 4 were found",
        "Contains modified Copernicus Sentinel data 2021.",
    ):
        assert words in text, words
    assert "SIMULATED" not in text


def test_the_cards_lines_of_code_run(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    code = (out / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(out)
    index = Corpus(out).index
    split = index["split"].iloc[0]
    scope: dict[str, object] = {}
    exec(code.replace('"train"', repr(split)).replace("normalised", "physical"), scope)  # noqa: S102
    assert scope["batch"]["s2"].shape[1] == 12  # type: ignore[index]


def test_a_simulated_corpus_claims_no_satellite(out: Path) -> None:
    opened = Corpus(out)
    licence = {"licence": "SIMULATED DATA, CC0-1.0"}
    about = opened.about | {
        "simulated": True,
        "catalogs": {k: v | licence for k, v in opened.about["catalogs"].items()},
    }
    assert attribution(about, opened.index) == ["SIMULATED DATA, CC0-1.0"]
    text = card(about, opened.index, tables.read_refusals(opened.folder.refusals))
    assert "no satellite saw any of it" in text
    assert "license: cc0-1.0\n" in text
    assert "Contains modified Copernicus" not in text


@pytest.mark.filterwarnings("ignore")  # mlcroissant uses pandas and rdflib the old way
def test_croissant_passes_its_own_validator_and_reads_the_index(out: Path) -> None:
    dataset = mlcroissant.Dataset(str(out / "croissant.json"))
    issues = dataset.metadata.ctx.issues
    assert not issues.errors
    assert all(NOT_YET in warning for warning in issues.warnings)
    records = list(dataset.records("chips"))
    index = Corpus(out).index
    assert [record["chips/chip"] for record in records] == index["chip"].tolist()
    assert [record["chips/s2_id"].decode() for record in records] == index["s2_id"].tolist()


def test_croissant_holds_the_geo_terms_and_true_hashes(out: Path) -> None:
    said = json.loads((out / "croissant.json").read_text())
    about = Corpus(out).about
    assert "http://mlcommons.org/croissant/geo/1.0" in said["conformsTo"]
    assert said["geocr:bandConfiguration"]["geocr:totalBands"] == 14
    assert said["geocr:spatialResolution"]["value"] == 10
    south, west, north, east = map(float, said["spatialCoverage"]["geo"]["box"].split())
    assert 44 < south <= north < 46
    assert 2 < west <= east < 4
    files = {f["@id"]: f["sha256"] for f in said["distribution"] if "sha256" in f}
    assert files["chips.parquet"] == about["files"]["chips.parquet"]


def test_the_same_corpus_has_the_same_card(out: Path) -> None:
    before = [(out / name).read_bytes() for name in ("README.md", "croissant.json")]
    beside.write_card(Corpus(out))
    assert [(out / name).read_bytes() for name in ("README.md", "croissant.json")] == before
    assert croissant(Corpus(out).about, Corpus(out).index)["version"] == "1.0.0"


def test_scenes_are_stac_items_one_by_one(out: Path) -> None:
    """By the STAC models of stac-pydantic and pystac; neither asks the network."""
    items = list(stac_table_to_items(pq.read_table(out / "scenes.parquet")))
    assert len(items) == 2
    for item in items:
        Item.model_validate(item)
        assert pystac.Item.from_dict(item).to_dict()["id"] == item["id"]
        assert item["stac_version"] == "1.1.0"
