"""The corpus of real scenes against the files themselves, read by rasterio and none of our code."""

import gzip
import json
from pathlib import Path

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import stac_geoparquet.arrow
import yaml
import zarr
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from s1s2.bands import Sensor
from s1s2.catalog import PLANETARY_COMPUTER_S1, PLANETARY_COMPUTER_S2, Catalog, Product
from s1s2.cli import main
from s1s2.items import ItemRefused, scene_from_item
from s1s2.recipe import load_catalog
from s1s2.scene import Scene

S2_10M = ["B02", "B03", "B04", "B08"]
S2_20M = ["B01", "B05", "B06", "B07", "B8A", "B09", "B11", "B12"]


def build(real: Path, out: Path, *more: str) -> int:
    return main(
        [
            "build",
            "-n",
            "4",
            "--catalog",
            str(real / "all.json"),
            "--points",
            str(real / "places.geojson"),
            "--start",
            "2017-01-01",
            "--end",
            "2024-01-01",
            "--max-lag-hours",
            "72",
            *more,
            "-o",
            str(out),
        ]
    )


@pytest.fixture(scope="module")
def corpus(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("real") / "out"
    assert build(real, out, "--chip-size", "192") == 0
    return out


@pytest.fixture(scope="module")
def items(real: Path) -> dict[str, dict]:
    return {i["id"]: i for i in json.loads((real / "all.json").read_text())["features"]}


def window(path: Path, row: dict, gsd: int, size: int) -> np.ndarray:
    with rasterio.open(path) as file:
        assert file.crs.to_epsg() == row["epsg"]
        column, line = ~file.transform @ (row["transform"][2], row["transform"][5])
        assert column == round(column)
        assert line == round(line)
        assert file.res == (gsd, gsd)
        return file.read(1, window=Window(round(column), round(line), size, size))


def test_four_pairs_and_the_fifth_place_refused(corpus: Path) -> None:
    index = geopandas.read_parquet(corpus / "chips.parquet")
    assert [i.split("_T")[1][:5] for i in index["s2_id"]] == ["32VNJ", "36MXB", "22JGS", "43RCP"]
    assert index["lag_hours"].round(3).tolist() == [-5.152, 8.303, -52.705, 67.122]
    assert index["dn_offset"].tolist() == [0, -1000, 0, 0]
    assert index["s1_warped"].tolist() == [False, False, False, True]
    refusals = geopandas.pd.read_parquet(corpus / "refusals.parquet")
    assert refusals[["point", "reason"]].to_numpy().tolist() == [[4, "no_s1"]]


def test_every_optical_pixel_is_the_files(corpus: Path, items: dict, real: Path) -> None:
    index = geopandas.read_parquet(corpus / "chips.parquet").to_dict("records")
    pixels = zarr.open_group(corpus / "chips.zarr", mode="r")
    for row in index:
        for array, bands in (("s2_10m", S2_10M), ("s2_20m", S2_20M), ("scl", ["SCL"])):
            for number, band in enumerate(bands):
                gsd = 60 if band in ("B01", "B09") else 10 if array == "s2_10m" else 20
                path = real / items[row["s2_id"]]["assets"][band]["href"]
                dn = window(path, row, gsd, 1920 // gsd).astype(int)
                if band != "SCL" and float(row["processing_baseline"]) >= 4:
                    dn = np.where(dn > 0, np.maximum(dn - 1000, 1), 0)
                if gsd == 60:
                    dn = np.kron(dn, np.ones((3, 3), int))
                stored = pixels[array][row["chip"]]
                stored = stored if band == "SCL" else stored[number]
                np.testing.assert_array_equal(stored, dn, err_msg=f"{row['s2_id']} {band}")


def test_every_radar_pixel_is_the_files(corpus: Path, items: dict, real: Path) -> None:
    index = geopandas.read_parquet(corpus / "chips.parquet").to_dict("records")
    pixels = zarr.open_group(corpus / "chips.zarr", mode="r")
    for row in index:
        for number, band in enumerate(("vv", "vh")):
            path = real / items[row["s1_id"]]["assets"][band]["href"]
            if row["s1_warped"]:
                with (
                    rasterio.open(path) as file,
                    WarpedVRT(
                        file,
                        crs=f"EPSG:{row['epsg']}",
                        transform=rasterio.Affine(*row["transform"]),
                        width=192,
                        height=192,
                        resampling=Resampling.bilinear,
                        XSCALE=1,
                        YSCALE=1,
                    ) as vrt,
                ):
                    power = vrt.read(1)
            else:
                power = window(path, row, 10, 192)
            wanted = np.rint(1000 * np.log10(power.astype(float)))
            difference = np.abs(pixels["s1"][row["chip"], number] - wanted)
            assert difference.max() <= (1 if row["s1_warped"] else 0), row["s1_id"]


def test_truth_recorded_before_the_files_were_written(corpus: Path, real: Path) -> None:
    """Sample points of truth.json, by coordinates: an independent chain to the same numbers."""
    truth = json.loads((real / "truth.json").read_text())["items"]
    index = geopandas.read_parquet(corpus / "chips.parquet").to_dict("records")
    pixels = zarr.open_group(corpus / "chips.zarr", mode="r")
    compared = 0
    for row in index:
        left, top = row["transform"][2], row["transform"][5]
        for number, band in enumerate(S2_10M):
            for point in truth[row["s2_id"]]["bands"][band]["points"]:
                x, y = int((point["x"] - left) // 10), int((top - point["y"]) // 10)
                if 0 <= x < 192 and 0 <= y < 192:
                    stored = pixels["s2_10m"][row["chip"], number, y, x] / 10_000
                    assert stored == pytest.approx(point["reflectance"], abs=1.01e-4)
                    compared += 1
    assert compared > 40


@pytest.mark.parametrize("chip", [0, 1, 3])  # fields; on the coast (2) infrared says too little
def test_radar_lies_on_the_optics(corpus: Path, chip: int) -> None:
    """Smoothed infrared and radar agree best where neither is shifted by more than two pixels."""
    pixels = zarr.open_group(corpus / "chips.zarr", mode="r")
    infrared = smooth(pixels["s2_10m"][chip, S2_10M.index("B08")].astype(float))
    radar = smooth(pixels["s1"][chip].astype(float).mean(axis=0))
    scores = {
        (dx, dy): abs(
            np.corrcoef(
                infrared[20:-20, 20:-20].ravel(),
                np.roll(radar, (dy, dx), (0, 1))[20:-20, 20:-20].ravel(),
            )[0, 1]
        )
        for dx in range(-15, 16)
        for dy in range(-15, 16)
    }
    best = max(scores, key=lambda shift: scores[shift])
    assert scores[best] > 0.5
    assert np.hypot(*best) <= 2, best


def smooth(values: np.ndarray) -> np.ndarray:
    spectrum = np.fft.rfft2(values - values.mean())
    size = len(values)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    return np.fft.irfft2(spectrum * np.exp(-((frequency / 0.06) ** 2)))


def test_one_chip_of_256_pixels(real: Path, tmp_path: Path) -> None:
    """Only 43RCP is large enough, by 20 m: margins must follow from the footprints' edges."""
    assert build(real, tmp_path / "out") == 4
    index = geopandas.read_parquet(tmp_path / "out/chips.parquet")
    assert len(index) == 1
    assert "43RCP" in index["s2_id"][0]
    assert list(index["transform"][0]) == [10, 0, 336060, 0, -10, 3372720]
    assert index["lag_hours"][0] == pytest.approx(67.122, abs=1e-3), "not the pair 511 h apart"


def test_a_static_catalog_of_the_same_items_gives_the_same_chips(
    real: Path, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    catalog = tmp_path / "own.toml"
    text = Path("catalogs/planetary-computer.toml").read_text()
    text = text.replace(
        'endpoint = "https://planetarycomputer.microsoft.com/api/stac/v1"',
        f'items = "{real / "static"}"\nfolders = ["{real}"]',
    )
    catalog.write_text(text.replace('"planetary-computer"', '"none"'))
    assert (
        main(
            [
                "build",
                "-n",
                "4",
                "--catalog",
                str(catalog),
                "--points",
                str(real / "places.geojson"),
                "--start",
                "2017-01-01",
                "--end",
                "2024-01-01",
                "--chip-size",
                "192",
                "-o",
                str(out),
            ]
        )
        == 0
    )
    both = [geopandas.read_parquet(p / "chips.parquet") for p in (corpus, out)]
    assert both[0]["sha256"].tolist() == both[1]["sha256"].tolist()


def features(document: object) -> list[dict]:
    """Return the items of a STAC answer, however it was saved."""
    kind = document.get("type") if isinstance(document, dict) else None
    found = document.get("features", []) if kind == "FeatureCollection" else []
    return [document] if kind == "Feature" else [f for f in found if isinstance(f, dict)]


def cassette(path: Path) -> list[dict]:
    """Return the items of recorded HTTP answers."""
    found = []
    for answer in yaml.safe_load(path.read_text())["interactions"]:
        body = answer["response"]["body"].get("string") or b"{}"
        body = body.encode() if isinstance(body, str) else body
        body = gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
        found += features(json.loads(body)) if body.lstrip().startswith(b"{") else []
    return found


def recorded(real: Path) -> list[tuple[str, dict]]:
    """Return every item below `stac/`: documents, recorded answers, stac-geoparquet."""
    found = []
    for path in sorted((real / "stac").rglob("*")):
        if path.suffix == ".json":
            items = features(json.loads(path.read_text()))
        elif path.suffix == ".yaml" and "cassettes" in path.parts:
            items = cassette(path)
        elif path.suffix == ".parquet":
            items = list(stac_geoparquet.arrow.stac_table_to_items(pq.read_table(path)))
        else:
            continue
        found += [(path.stem, item) for item in items]
    return found


def test_every_recorded_stac_item_is_parsed_or_refused_with_a_reason(real: Path) -> None:
    products = {
        "planetary-computer": load_catalog("planetary-computer"),
        "earth-search": load_catalog("earth-search"),
    }
    outcomes: dict[str, list[str]] = {}
    everything = recorded(real)
    assert len(everything) > 257, "more than those extracted"
    for source, item in everything:
        for name, catalog in products.items():
            for sensor in Sensor:
                if not catalog.product(sensor).collection:
                    continue
                try:
                    scene = scene_from_item(item, catalog, sensor)
                    assert isinstance(scene, Scene)
                    outcome = "scene"
                except ItemRefused as refusal:
                    outcome = refusal.reason if str(item["id"])[:20] in str(refusal) else "unnamed"
                outcomes.setdefault(f"{source}/{name}/{sensor}", []).append(outcome)
    ours = outcomes["pc__sentinel-2-l2a/planetary-computer/s2"]
    assert ours.count("scene") >= 0.9 * len(ours), ours
    assert set(outcomes["earthsearch-v1__sentinel-2-c1-l2a/earth-search/s2"]) == {"scene"}
    assert "scene" in outcomes["pc__sentinel-1-rtc/planetary-computer/s1"]
    for key, found in outcomes.items():
        assert "unnamed" not in found, key
        if "grd" in key or "slc" in key or "l1c" in key:
            assert "scene" not in found, key


def test_recorded_items_keep_what_matters(real: Path) -> None:
    ours = ("pc__sentinel-2-l2a", "pc__sentinel-1-rtc")
    items = {i["id"]: i for source, i in recorded(real) if source in ours}
    catalog = Catalog(name="pc", s1=PLANETARY_COMPUTER_S1, s2=PLANETARY_COMPUTER_S2, items="x")
    s2 = scene_from_item(
        items["S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531"], catalog, Sensor.S2
    )
    assert s2.sensed_at.isoformat() == "2019-06-29T21:25:30+00:00", "the datastrip's start"
    assert (s2.tile, s2.epsg, s2.relative_orbit) == ("06VVN", 32606, 43)
    assert s2.bounds == (399_960, 6_690_240, 509_760, 6_800_040)
    assert s2.cloud_fraction == pytest.approx(0.00314306)
    s1 = next(
        scene_from_item(i, catalog, Sensor.S1)
        for i in items.values()
        if i["collection"] == "sentinel-1-rtc"
        and {"vv", "vh"} <= set(i["assets"])
        and i["properties"]["sar:instrument_mode"] == "IW"
    )
    assert s1.platform.startswith("sentinel-1")
    assert isinstance(catalog.s1, Product)
