"""Every bad input: one line, exit code 2, no traceback, nothing half written."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from fakes import Scenes, lonlat, points_file, write_tif
from rasterio.vrt import WarpedVRT

from s1s2.cli import main

INSIDE = lonlat(502_500, 4_997_500, 32631)


@pytest.fixture
def case(scenes: Scenes, tmp_path: Path) -> Callable[..., list[str]]:
    """Return a good command line, with some flags replaced."""
    scenes.s2()
    scenes.s1()
    catalog = scenes.save()
    points = points_file(tmp_path / "points.geojson", [INSIDE])

    def command(**changes: str | None) -> list[str]:
        flags = {
            "catalog": str(catalog),
            "points": str(points),
            "start": "2021-01-01",
            "end": "2021-12-31",
            "chip-size": "128",
            "out": str(tmp_path / "out"),
            **changes,
        }
        return [
            "build",
            *(
                w
                for k, v in flags.items()
                if v is not None
                for w in ("-n" if k == "n" else f"--{k}", v)
            ),
        ]

    return command


def refused(
    argv: list[str],
    capsys: pytest.CaptureFixture[str],
    *words: str,
    out: Path | None = None,
    expected: int = 2,
) -> None:
    try:
        code = main(argv)
    except SystemExit as stop:  # argparse's own errors
        code = stop.code
    error = capsys.readouterr().err
    assert code == expected, error
    last = error.strip().splitlines()[-1]
    assert last.startswith("s1s2: "), error
    assert error.count("s1s2: ") == 1, error
    assert "Traceback" not in error
    for word in words:
        assert word in last, last
    if out is not None:
        assert not out.exists(), "nothing was written"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n": "0"}, ["N = 0", "1 or more"]),
        ({"n": "-5"}, ["N = -5"]),
        ({"n": "many"}, ["'many' is not a whole number"]),
        ({"start": "2022-01-01"}, ["end 2021-12-31 lies before start 2022-01-01"]),
        ({"start": "yesterday"}, ["not a date"]),
        ({"end": "9999-12-31"}, ["end 9999-12-31", "has a next one"]),
        ({"chip-size": "63"}, ["chip size 63 px", "even number from 64 to 1024"]),
        ({"max-lag-hours": "-1"}, ["max_lag_hours"]),
        ({"max-lag-hours": "nan"}, ["max_lag_hours"]),
        ({"catalog": "nowhere.json"}, ["no such catalog or file", "planetary-computer"]),
        ({"catalog": None}, ["no catalog named"]),
        ({"catalog": "earth-search"}, ["no Sentinel-1 product", "--s1-catalog"]),
        ({"points": "nowhere.geojson"}, ["there is no such file"]),
        ({"points": None}, ["give -n N"]),
        ({"workers": "0"}, ["less than 1"]),
    ],
)
def test_flags(
    case: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str | None],
    words: list[str],
) -> None:
    refused(case(**changes), capsys, *words, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sed = 1", ["unknown key sed", "did you mean seed?"]),
        ("[match]\nmax_lag_hour = 3", ["unknown key match.max_lag_hour", "max_lag_hours?"]),
        ("[chip]\nmax_clouds = 3\nbad_asset='x'", ["unknown key chip.max_clouds"]),
        ("[chip]\nmax_cloud_fraction = 3", ["max_cloud_fraction 3", "0 to 1"]),
        ("[store]\nchips_per_shard = 0", ["chips_per_shard 0"]),
        ("seed = [", ["not TOML"]),
        ("sample = 1", ["sample"]),
        ("[sample]\nreserve = nan", ["reserve nan"]),
        ("[sample]\nreserve = inf", ["reserve inf"]),
        ("[sample]\nsouth = 80\nnorth = 10", ["south 80"]),
    ],
)
def test_recipes(
    case: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    words: list[str],
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(text)
    argv = case()
    refused([argv[0], str(recipe), *argv[1:]], capsys, *words, out=tmp_path / "out")


def test_a_recipe_that_is_not_there(
    case: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    argv = case()
    refused([argv[0], "none.toml", *argv[1:]], capsys, "recipe none.toml: there is no such file")


def test_an_unreachable_endpoint(
    case: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("s1s2.transport._FIRST_WAIT_S", 0.01)
    catalog = tmp_path / "far.toml"
    text = Path("catalogs/planetary-computer.toml").read_text()
    catalog.write_text(
        text.replace(
            "https://planetarycomputer.microsoft.com/api/stac/v1", "http://127.0.0.1:9/stac"
        )
    )
    refused(
        case(catalog=str(catalog)),
        capsys,
        "catalog far: http://127.0.0.1:9 cannot be reached",
        out=tmp_path / "out",
        expected=3,
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("not json", ["not readable JSON"]),
        ('{"type": "Catalog"}', ["no ItemCollection"]),
        ('{"type": "FeatureCollection", "features": []}', ["holds no STAC items"]),
        ('{"type": "FeatureCollection", "features": [{"type": "Feature"}]}', ["no STAC items"]),
    ],
)
def test_catalogs_of_items(
    case: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str,
    words: list[str],
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    refused(case(catalog=str(path)), capsys, *words, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("endpoint = 'https://x'\n[s2]\n[s1]\n", ["[s1] needs a collection"]),
        ("[s2]\nlacks='x'\n[s1]\nlacks='x'\n", ["give one of endpoint"]),
        ("endpont = 'x'\n[s2]\nlacks='x'\n[s1]\nlacks='x'\n", ["endpont", "endpoint?"]),
        ("items = 5\n[s2]\nlacks='x'\n[s1]\nlacks='x'\n", ["items"]),
        ("items = 'gone.json'\n[s2]\nlacks='x'\n[s1]\nlacks='x'\n", ["there is no such file"]),
        (
            "endpoint='https://x'\n[s1]\nlacks='x'\n[s2]\ncollection='c'\n[s2.assets]\nB01='b'\n",
            ["names no asset key for B02"],
        ),
    ],
)
def test_catalog_descriptions(
    case: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    words: list[str],
) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    refused(case(catalog=str(path)), capsys, *words, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("lon,lat\n200,10\n", ["row 0 is 200", "expected lon, lat"]),
        ("x,y\n1,2\n", ["expected lon and lat"]),
        ("lon,lat\n", ["holds no points"]),
        ("lon,lat\nabc,1\n", ["cannot be read"]),
        ("", ["cannot be read"]),
    ],
)
def test_points_files(
    case: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str,
    words: list[str],
) -> None:
    path = tmp_path / "p.csv"
    path.write_text(content)
    refused(case(points=str(path)), capsys, *words, out=tmp_path / "out")


def test_a_folder_that_holds_another_recipes_corpus(
    case: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(case()) == 0
    capsys.readouterr()
    refused(
        case(seed="7", **{"max-lag-hours": "24"}),
        capsys,
        "seed (0 there, 7 here)",
        "match.max_lag_hours (72.0 there, 24.0 here)",
    )


def test_a_folder_without_chips_may_be_deleted(
    case: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", *case()[1:]]) == 0
    capsys.readouterr()
    refused(case(seed="7"), capsys, "it has no chips yet: delete it")
    assert (tmp_path / "out/recipe.toml").exists(), "but we do not"


def test_a_folder_that_holds_something_else(
    case: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    refused(case(), capsys, "holds other things than a corpus")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_a_folder_that_cannot_be_written(
    case: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    refused(case(out=str(tmp_path / "file" / "out")), capsys, "cannot be written")


def test_a_corpus_never_shrinks(
    case: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = points_file(tmp_path / "two.geojson", [INSIDE, lonlat(501_500, 4_998_500, 32631)])
    assert main(case(points=str(points), n="2")) == 0
    capsys.readouterr()
    refused(
        case(points=str(points), n="1"), capsys, "begun with N = 2", "ask for that many or more"
    )


def _asset(scenes: Scenes, band: str) -> Path:
    item = next(i for i in scenes.items if band in i["assets"])
    return scenes.folder / item["assets"][band]["href"]


@pytest.mark.parametrize(
    ("band", "spoil", "words"),
    [
        ("B05", lambda p: p.write_bytes(b"<html>nope</html>"), ["band B05", "not a GeoTIFF"]),
        (
            "B05",
            lambda p: write_tif(p, np.ones((300, 300), "float32"), 499_980, 5_000_040, 20, 32631),
            ["band B05", "float32", "expected one of uint16"],
        ),
        (
            "vv",
            lambda p: write_tif(p, np.ones((800, 800), "uint16"), 499_000, 5_001_000, 10, 32631),
            ["band VV", "uint16", "expected one of float32"],
        ),
        (
            "B05",
            lambda p: write_tif(p, np.ones((600, 600), "uint16"), 499_980, 5_000_040, 10, 32631),
            ["pixels of 10 x 10 m, expected 20 m"],
        ),
        (
            "B05",
            lambda p: write_tif(p, np.ones((300, 300), "uint16"), 499_990, 5_000_040, 20, 32631),
            ["off the lattice"],
        ),
        (
            "B05",
            lambda p: write_tif(p, np.ones((300, 300), "uint16"), 2, 49, 20, 4326),
            ["no projected CRS"],
        ),
    ],
)
def test_files_that_are_not_what_they_should_be(
    case: Callable[..., list[str]],
    scenes: Scenes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    band: str,
    spoil: Callable[[Path], object],
    words: list[str],
) -> None:
    spoil(_asset(scenes, band))
    refused(case(), capsys, *words)
    out = tmp_path / "out"
    assert not (out / "corpus.json").exists()
    assert not list((out / "chips.zarr").glob("s1/c/*")), "no shard was begun"
    assert not (out / "receipts").exists()


def test_bad_files_can_be_refused_instead(
    case: Callable[..., list[str]], scenes: Scenes, tmp_path: Path
) -> None:
    _asset(scenes, "B05").write_bytes(b"<html>nope</html>")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[chip]\nbad_asset = 'refuse'\n")
    argv = case()
    assert main([argv[0], str(recipe), *argv[1:]]) == 4
    document = json.loads((tmp_path / "out/corpus.json").read_text())
    assert document["refused"] == {"bad_asset": 1}


def test_a_missing_file_ends_the_candidate(
    case: Callable[..., list[str]], scenes: Scenes, tmp_path: Path
) -> None:
    _asset(scenes, "B05").unlink()
    assert main(case()) == 4
    document = json.loads((tmp_path / "out/corpus.json").read_text())
    assert document["refused"] == {"asset_missing": 1}


def test_a_truncated_file_ends_the_candidate(
    case: Callable[..., list[str]], scenes: Scenes, tmp_path: Path
) -> None:
    path = _asset(scenes, "B04")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    assert main(case()) == 4
    document = json.loads((tmp_path / "out/corpus.json").read_text())
    assert document["refused"] == {"asset_corrupt": 1}


def test_a_band_that_no_scene_has(
    case: Callable[..., list[str]], scenes: Scenes, capsys: pytest.CaptureFixture[str]
) -> None:
    del scenes.items[0]["assets"]["B09"]
    scenes.save()
    refused(case(), capsys, "none of its Sentinel-2 scenes has B09", "[s2.assets]")


def test_an_unreachable_file_is_never_recorded_as_an_outcome(
    case: Callable[..., list[str]],
    scenes: Scenes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scenes.items[0]["assets"]["B05"]["href"] = "http://127.0.0.1:9/B05.tif"
    scenes.save()
    assert main([*case(), "--allow-host", "127.0.0.1:9"]) == 3
    assert "cannot be read now" in capsys.readouterr().err
    assert not (tmp_path / "out/receipts").exists()


@pytest.mark.parametrize(
    "href",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "../../../../etc/passwd",
        "/vsicurl/http://127.0.0.1/x",
        "/vsizip//etc/x.zip/B05.tif",
        "http://169.254.169.254/latest",
        "https://evil.example/B05.tif",
        "s3://bucket/B05.tif",
        "http://user@127.0.0.1/B05.tif",
        "<VRTDataset></VRTDataset>",
        "zip+https://evil.example/x.zip!B05.tif",
        "GTIFF_DIR:1:/etc/passwd",
        "a\x00b",
        "https://[bad/B05.tif",
        "file:///x%00y.tif",
        "https://evil.com\\.blob.core.windows.net/B05.tif",
        "B05\n.tif",
    ],
)
def test_a_catalog_cannot_make_us_read_other_files(
    case: Callable[..., list[str]],
    scenes: Scenes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    href: str,
) -> None:
    scenes.items[0]["assets"]["B05"]["href"] = href
    scenes.save()
    code = main(case())
    error = capsys.readouterr().err
    # a name inside the folder is merely missing; everything else is refused outright
    inside = href in ("<VRTDataset></VRTDataset>", "GTIFF_DIR:1:/etc/passwd")
    assert (code, "refused" in error) == ((4, False) if inside else (2, True)), error
    if code == 4:
        document = json.loads((tmp_path / "out/corpus.json").read_text())
        assert document["refused"] == {"asset_missing": 1}
    else:
        assert not (tmp_path / "out/corpus.json").exists()


def test_a_link_out_of_the_folder_is_refused(
    case: Callable[..., list[str]],
    scenes: Scenes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = _asset(scenes, "B05")
    elsewhere = tmp_path / "secret.tif"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    refused(case(), capsys, "B05_20m.tif", "refused: a local file outside")


def test_a_vrt_that_calls_itself_tif_is_not_opened_even_after_a_warp(
    case: Callable[..., list[str]], scenes: Scenes, capsys: pytest.CaptureFixture[str]
) -> None:
    """GDAL up to 3.11 opens any driver by content, and a WarpedVRT brings the VRT driver back."""
    path = _asset(scenes, "B05")
    with rasterio.open(_asset(scenes, "B04")) as source, WarpedVRT(source, crs="EPSG:4326") as vrt:
        vrt.read(1, window=((0, 1), (0, 1)))
    real = path.with_name("real.tif")
    path.rename(real)
    path.write_text(
        f'<VRTDataset rasterXSize="300" rasterYSize="300"><SRS>EPSG:32631</SRS><GeoTransform>'
        f'499980, 20, 0, 5000040, 0, -20</GeoTransform><VRTRasterBand dataType="UInt16" band="1">'
        f"<SimpleSource><SourceFilename>{real}</SourceFilename><SourceBand>1</SourceBand>"
        f"</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with rasterio.open(path) as file:
        assert file.driver == "VRT", "the attack works where the driver is left open"
    refused(case(), capsys, "band B05: not a GeoTIFF")


def test_stages_want_their_predecessors(
    case: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    refused(["search", "-o", out], capsys, "no corpus was begun there")
    assert main(["sample", *case()[1:]]) == 0
    capsys.readouterr()
    refused(["match", "-o", out], capsys, "scenes.parquet: not there yet; run s1s2 search first")
    refused(["chip", "-o", out], capsys, "matchups.parquet: not there yet; run s1s2 match first")
    refused(["chip", "-o", out, "--part", "0/4"], capsys, "--part 0/4: expected I/N")
    refused(["verify", out], capsys, "unfinished (0 of 1 shards)")
    refused(["show", str(tmp_path / "no")], capsys, "holds no corpus")
    refused(["show", out, "--chips", "1"], capsys, "unfinished")


def test_help_is_light() -> None:
    """Nothing heavy is imported to print help or an error of usage."""
    code = (
        "import sys\nfrom s1s2.cli import main\n"
        "try:\n    main(['build', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'torch', 'rasterio', 'zarr', 'dask', 'pandas', 'pydantic', 'xarray'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"
    assert "--max-lag-hours" in done.stdout


@pytest.mark.hostile
def test_ids_are_data_and_never_paths(
    case: Callable[..., list[str]], scenes: Scenes, tmp_path: Path
) -> None:
    """One climbs out of every folder and is stored as it is; one of 10 MB is no id at all."""
    climbing = "../../../../tmp/evil"
    scenes.items[0]["id"] = climbing
    scenes.items.append(scenes.items[0] | {"id": "x" * 10_000_000})
    scenes.save()
    before = {p for p in tmp_path.rglob("*") if p.is_file()}
    assert main(case()) == 0
    written = {p for p in tmp_path.rglob("*") if p.is_file()} - before
    assert all(p.is_relative_to(tmp_path / "out") for p in written)
    assert not [p for p in written if "evil" in p.name]
    index = pd.read_parquet(tmp_path / "out/chips.parquet")
    assert list(index["s2_id"]) == [climbing]
