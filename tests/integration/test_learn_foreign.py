"""BigEarthNet and EuroSAT in the layout they are downloaded in, made up and small."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.transform import from_origin

from s1s2.bands import OPTICAL, RADAR, Sensor
from s1s2.errors import ContractError

pytest.importorskip("torch", reason="torch is not installed: pip install 's1s2[learn]'")

from s1s2.learn import (
    encoders,
    evaluate,
    foreign,
    labelled,
    resnet,
    results,
    settings,
    units,
)
from s1s2.learn.units import BANDS

SIZES = {"B01": 20, "B09": 20} | dict.fromkeys(["B02", "B03", "B04", "B08"], 120)


def tif(path: Path, bands: np.ndarray, x: float = 500_000, epsg: int = 32631) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = bands.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=bands.dtype,
        crs=f"EPSG:{epsg}", transform=from_origin(x, 5_000_000, 10, 10),
    ) as file:  # fmt: skip
        file.write(bands)


def optical(folder: Path, base: int) -> None:
    for number, band in enumerate(OPTICAL):
        size = SIZES.get(str(band), 60)
        pixels = np.full((1, size, size), base + number, "uint16")
        pixels[0, 0, 0] += 500
        tif(folder / f"{folder.name}_{band}.tif", pixels)


def radar(folder: Path) -> None:
    for band, level in zip(RADAR, (-10.25, -17.5), strict=True):
        pixels = np.full((1, 120, 120), level, "float32")
        pixels[0, 5, 5] = np.nan
        tif(folder / f"{folder.name}_{band}.tif", pixels)


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    rows = []
    for number, (split, cloudy, snow) in enumerate(
        [
            ("train", False, False),
            ("test", False, False),
            ("test", True, False),
            ("train", False, True),
        ]
    ):
        scene = f"S2A_MSIL2A_2017061{number}T101031_N9999_R022_T3{number}UUP"
        twin = f"S1B_IW_GRDH_1SDV_2017061{number}T165809"
        s2, s1 = f"{scene}_26_57", f"{twin}_3{number}UUP_26_57"
        optical(tmp_path / "BigEarthNet-S2" / scene / s2, 1000 * (number + 1))
        radar(tmp_path / "BigEarthNet-S1" / twin / s1)
        rows.append({
            "patch_id": s2, "s1_name": s1, "split": split, "labels": ["Pastures", "Mixed forest"],
            "contains_seasonal_snow": snow, "contains_cloud_or_shadow": cloudy,
        })  # fmt: skip
    table = pd.DataFrame(rows)
    hard = table["contains_seasonal_snow"] | table["contains_cloud_or_shadow"]
    table[~hard].to_parquet(tmp_path / "metadata.parquet")
    name = "metadata_for_patches_with_snow_cloud_or_shadow.parquet"
    table[hard].to_parquet(tmp_path / name)
    return tmp_path


def test_version_2_keeps_its_splits_and_leaves_snow_out(v2: Path) -> None:
    data = foreign.open_foreign(v2)
    assert data is not None
    assert data.name == "BigEarthNet v2"
    assert data.split.tolist() == ["train", "test", "test"]
    assert data.cloudy.tolist() == [False, False, True]
    assert len(set(data.cell.tolist())) == 3
    names = [c for c, there in zip(data.classes, data.truth[0], strict=True) if there]
    assert (len(data.classes), names) == (19, ["Pastures", "Mixed forest"])


def test_patches_come_as_a_corpus_stores_chips(v2: Path) -> None:
    data = foreign.bigearthnet_v2(v2)
    chips = data.read(np.array([1, 0]))
    s2, s1 = chips[Sensor.S2].numpy(), chips[Sensor.S1].numpy()
    assert (s2.shape, s2.dtype) == ((2, 12, 120, 120), np.uint16)
    assert (s1.shape, s1.dtype) == ((2, 2, 120, 120), np.int16)
    assert [int(v) for v in s2[0, :, 60, 60]] == [2000 + k for k in range(12)]
    assert (s2[0, OPTICAL.index("B01")] == 2500).sum() == 36  # one pixel of 60 m
    assert (s2[0, OPTICAL.index("B11")] == 2510).sum() == 4  # one of 20 m
    assert (s1[0, 0, 0, 0], s1[0, 1, 0, 0], s1[0, 0, 5, 5]) == (-1025, -1750, -32768)


def test_version_1_pairs_by_its_descriptions_and_groups_labels(tmp_path: Path) -> None:
    wkt = rasterio.crs.CRS.from_epsg(32631).to_wkt()
    for number, labels in enumerate([["Rice fields", "Airports"], ["Peatbogs"], ["Pastures"]]):
        s2 = tmp_path / "BigEarthNet-v1.0" / f"S2A_MSIL2A_20170613T101031_{number}_45"
        s1 = tmp_path / "BigEarthNet-S1-v1.0" / f"S1A_IW_GRDH_1SDV_20170613T1658_{number}"
        optical(s2, 1000)
        radar(s1)
        corner = {"ulx": 5e5, "uly": 5e6, "lrx": 501_200, "lry": 4_998_800}
        said = {"labels": labels, "coordinates": corner, "projection": wkt}
        (s2 / f"{s2.name}_labels_metadata.json").write_text(json.dumps(said))
        twin = {"corresponding_s2_patch": s2.name}
        (s1 / f"{s1.name}_labels_metadata.json").write_text(json.dumps(twin))
    (tmp_path / "patches_with_seasonal_snow.csv").write_text(f"{s2.name}\n")
    data = foreign.open_foreign(tmp_path)
    assert data is not None
    named = [[c for c, t in zip(data.classes, row, strict=True) if t] for row in data.truth]
    assert named == [["Arable land"], ["Inland wetlands"]]
    assert set(data.split.tolist()) <= {"train", "val", "test"}
    assert data.read(np.array([0]))[Sensor.S2].shape == (1, 12, 120, 120)
    (s1 / f"{s1.name}_labels_metadata.json").unlink()
    (tmp_path / "patches_with_seasonal_snow.csv").unlink()
    with pytest.raises(ContractError, match="1 patches without a radar twin"):
        foreign.bigearthnet_v1(tmp_path)


def test_eurosat_has_one_class_a_chip_and_bands_in_our_order(tmp_path: Path) -> None:
    order = [*range(1, 9), 9, 10, 11, 12, 8.5]  # B01..B09 B10 B11 B12 B8A
    bands = np.stack([np.full((64, 64), int(100 * k), "uint16") for k in order])
    for number, name in enumerate(["AnnualCrop", "Forest", "Forest"]):
        tif(tmp_path / "ds" / name / f"{name}_{number}.tif", bands, x=200_000 + 400_000 * number)
    data = foreign.open_foreign(tmp_path)
    assert data is not None
    assert (data.classes, data.exclusive, data.sensors) == (
        ("AnnualCrop", "Forest"), True, (Sensor.S2,)
    )  # fmt: skip
    assert data.truth.astype(int).tolist() == [[1, 0], [0, 1], [0, 1]]
    found = data.read(np.array([0]))[Sensor.S2][0, :, 0, 0].tolist()
    assert found == [100, 200, 300, 400, 500, 600, 700, 800, 850, 900, 1100, 1200]


def untrained(run: Path, *sensors: Sensor) -> Path:
    """A run's folder with encoders that learnt nothing."""
    for sensor in sensors:
        bands = len(BANDS[sensor])
        scaling = units.Scaling((0.0,) * bands, (1.0,) * bands)
        trained = encoders.Trained(sensor, "resnet18", scaling, resnet.resnet("resnet18", bands))
        encoders.save_encoder(encoders.encoder_path(run, sensor), trained, {})
    return run


def judged(run: Path, data: labelled.Labelled, out: Path) -> pd.DataFrame:
    spec = settings.EvaluateSpec(
        fractions=(1.0,), seeds=1, size_px=32, batch_size=2, epochs=1, least_steps=1, most_steps=1,
        resamples=5,
    )  # fmt: skip
    found = evaluate.evaluate([run], data, out, spec, lambda _: None)
    return results.summarise(found, data, spec).table()


@pytest.mark.parametrize("foreign_set", ["EuroSAT", "BigEarthNet"])
def test_a_run_is_judged_on_chips_from_elsewhere(
    v2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, foreign_set: str
) -> None:
    monkeypatch.setattr(resnet, "_WIDTHS", (4, 8, 8, 16))
    run = untrained(tmp_path / "run", *Sensor)
    if foreign_set == "EuroSAT":
        for number in range(4):
            name = "AnnualCrop" if number % 2 else "Forest"
            bands = np.full((13, 64, 64), 1000 + number, "uint16")
            tif(tmp_path / "ds" / name / f"{name}_{number}.tif", bands)
        data = foreign.eurosat(tmp_path / "ds")
    else:
        data = foreign.bigearthnet_v2(v2)
    split = np.array(["train", "train", "test", "test"])[: len(data.split)]
    data = dataclasses.replace(data, split=split)
    table = judged(run, data, tmp_path / "out")
    exclusive = foreign_set == "EuroSAT"
    assert set(table["sensor"]) == ({"s2"} if exclusive else {"s1", "s2", "fusion"})
    assert set(table["way"]) == {"scratch", "probe:run", "finetune:run"}
    assert table["score"].between(0, 1).all()
    if exclusive:
        radar_alone = untrained(tmp_path / "radar", Sensor.S1)
        with pytest.raises(ContractError, match="EuroSAT shows s2: no run has the encoders"):
            judged(radar_alone, data, tmp_path / "out")


def test_a_folder_of_neither_is_none_and_a_missing_file_is_named(v2: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert foreign.open_foreign(tmp_path / "empty") is None
    data = foreign.bigearthnet_v2(v2)
    lost = next((v2 / "BigEarthNet-S2").glob("*/*_26_57/*_B04.tif"))
    lost.unlink()
    with pytest.raises(ContractError, match=r"B04\.tif: cannot be read as GeoTIFF"):
        data.read(np.arange(3))
