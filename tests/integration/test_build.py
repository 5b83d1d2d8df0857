"""A recipe and a catalog in, a corpus out: the main job on scenes with known pixels."""

import json
import shutil
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import xarray
import zarr
from fakes import (
    OPTICAL,
    Scenes,
    centres,
    file_server,
    footprint_of,
    lonlat,
    optical_dn,
    points_file,
    radar_power,
)
from shapely.geometry import shape

from s1s2 import Corpus
from s1s2.cli import main
from s1s2.errors import StoreError
from s1s2.layout import BESIDE

S2_10M = ["B02", "B03", "B04", "B08"]
S2_20M = ["B01", "B05", "B06", "B07", "B8A", "B09", "B11", "B12"]


def build(out: Path, catalog: Path | str, points: Path, *more: str) -> int:
    return main(
        [
            "build",
            "--catalog",
            str(catalog),
            "--points",
            str(points),
            "--start",
            "2021-01-01",
            "--end",
            "2023-12-31",
            "--chip-size",
            "128",
            "-o",
            str(out),
            *more,
        ]
    )


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.relative_to(folder).parts[0] not in BESIDE
    }


@pytest.fixture
def plain(scenes: Scenes, tmp_path: Path) -> tuple[Path, Path]:
    """One optical and one radar scene over six points."""
    scenes.s2(size_m=12_000)
    scenes.s1(size_m=16_000)
    places = [lonlat(501_500 + 1500 * i, 4_998_000 - 1200 * i, 32631) for i in range(6)]
    return scenes.save(), points_file(tmp_path / "points.geojson", places)


def expected_chip(row: pd.Series, size: int = 128) -> dict[str, np.ndarray]:
    """What a chip must hold, from the formulas alone."""
    left, top = row["transform"][2], row["transform"][5]
    fine = centres(left, top, size, 10)
    half = centres(left, top, size // 2, 20)
    coarse = centres(left, top, -(-size * 10 // 60), 60)
    s2_20m = []
    for band in S2_20M:
        if band in ("B01", "B09"):
            blocks = optical_dn(band, *coarse)
            s2_20m.append(
                np.kron(blocks, np.ones((3, 3), dtype=np.uint16))[: size // 2, : size // 2]
            )
        else:
            s2_20m.append(optical_dn(band, *half))
    power = np.stack([radar_power(b, *fine) for b in ("VV", "VH")]).astype(np.float64)
    return {
        "s2_10m": np.stack([optical_dn(b, *fine) for b in S2_10M]),
        "s2_20m": np.stack(s2_20m),
        "s1": np.rint(1000 * np.log10(power)).astype(np.int16),
    }


def test_every_pixel_is_where_the_formula_says(plain: tuple[Path, Path], tmp_path: Path) -> None:
    assert build(tmp_path / "out", *plain) == 0
    index = geopandas.read_parquet(tmp_path / "out/chips.parquet")
    pixels = zarr.open_group(tmp_path / "out/chips.zarr", mode="r")
    assert len(index) == 6
    for row in index.to_dict("records"):
        for name, wanted in expected_chip(pd.Series(row)).items():
            np.testing.assert_array_equal(pixels[name][row["chip"]], wanted, err_msg=name)


def test_the_offset_follows_the_baseline_and_never_the_date(scenes: Scenes, tmp_path: Path) -> None:
    """Trap 5: an old scene reprocessed carries +1000, a new one of an old baseline does not."""
    scenes.s2(baseline="05.00", when="2021-07-01T10:50:31Z")
    scenes.s2(baseline="03.01", when="2023-07-01T10:50:31Z", epsg=32633, tile="33TWK")
    scenes.s1(when="2021-07-01T17:30:00Z")
    scenes.s1(when="2023-07-01T17:30:00Z", epsg=32633, slice_number=2)
    places = [lonlat(502_500, 4_997_500, epsg) for epsg in (32631, 32633)]
    points = points_file(tmp_path / "points.geojson", places)
    assert build(tmp_path / "out", scenes.save(), points) == 0
    corpus = Corpus(tmp_path / "out")
    assert list(corpus.index["dn_offset"]) == [-1000, 0]
    assert list(corpus.index["processing_baseline"]) == ["05.00", "03.01"]
    for row in corpus.index.to_dict("records"):
        wanted = expected_chip(pd.Series(row))["s2_10m"]
        np.testing.assert_array_equal(corpus.read(row["chip"])["s2_10m"], wanted)


def test_the_same_bytes_in_every_mode(plain: tuple[Path, Path], tmp_path: Path) -> None:
    """In this process, on dask workers, as a job array, over HTTP: one corpus."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[store]\nchips_per_shard = 2\n")
    catalog, points = plain
    modes = {"one": [], "workers": ["--workers", "2"], "threads": ["--threads", "1"]}
    for name, flags in modes.items():
        assert (
            main(
                [
                    "build",
                    str(recipe),
                    "--catalog",
                    str(catalog),
                    "--points",
                    str(points),
                    "--start",
                    "2021-01-01",
                    "--end",
                    "2023-12-31",
                    "--chip-size",
                    "128",
                    "-o",
                    str(tmp_path / name),
                    *flags,
                ]
            )
            == 0
        )
    array = tmp_path / "array"
    assert (
        main(
            [
                "sample",
                str(recipe),
                "--catalog",
                str(catalog),
                "--points",
                str(points),
                "--start",
                "2021-01-01",
                "--end",
                "2023-12-31",
                "--chip-size",
                "128",
                "-o",
                str(array),
            ]
        )
        == 0
    )
    assert main(["search", "-o", str(array), "--part", "2/2"]) == 0
    assert not (array / "scenes.parquet").exists()
    assert main(["search", "-o", str(array), "--part", "1/2"]) == 0
    assert main(["match", "-o", str(array)]) == 0
    assert main(["chip", "-o", str(array), "--part", "2/2"]) == 0
    assert not (array / "corpus.json").exists()
    assert main(["chip", "-o", str(array), "--part", "1/2"]) == 0
    first = tree(tmp_path / "one")
    assert len([n for n in first if n.startswith("receipts/")]) == 3
    for name in ("workers", "threads", "array"):
        assert tree(tmp_path / name) == first, name


def test_a_dask_cluster_can_be_joined(plain: tuple[Path, Path], tmp_path: Path) -> None:
    from distributed import LocalCluster

    assert build(tmp_path / "here", *plain) == 0
    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1"
    ) as cluster:
        address = cluster.scheduler_address
        assert build(tmp_path / "there", *plain, "--scheduler", address) == 0
    assert tree(tmp_path / "there") == tree(tmp_path / "here")


def test_running_again_does_nothing(plain: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert build(out, *plain) == 0
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    shutil.rmtree(plain[0].parent / next(p.name for p in plain[0].parent.iterdir() if p.is_dir()))
    assert build(out, *plain) == 0, "no pixel is read again"
    for stage in ("search", "match", "chip"):
        assert main([stage, "-o", str(out)]) == 0
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()} == before


def test_a_corpus_grows_without_changing_what_is_there(
    plain: tuple[Path, Path], tmp_path: Path
) -> None:
    """N chips are the first N of a larger corpus, built at once or grown."""
    assert build(tmp_path / "grown", *plain, "-n", "3") == 0
    small = Corpus(tmp_path / "grown")
    pixels = [small.read(i) for i in range(3)]
    rows = small.index.copy()
    assert build(tmp_path / "grown", *plain, "-n", "6") == 0
    assert build(tmp_path / "whole", *plain, "-n", "6") == 0
    assert tree(tmp_path / "grown") == tree(tmp_path / "whole")
    grown = Corpus(tmp_path / "grown")
    pd.testing.assert_frame_equal(pd.DataFrame(grown.index[:3]), pd.DataFrame(rows))
    for chip, there in enumerate(pixels):
        for name, values in there.items():
            np.testing.assert_array_equal(grown.read(chip)[name], values)


def test_too_few_chips_is_exit_code_4_and_keeps_what_there_is(
    scenes: Scenes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes.s2()
    scenes.s1()
    inside, outside = lonlat(502_500, 4_997_500, 32631), (40.0, 10.0)
    points = points_file(tmp_path / "points.geojson", [outside, inside])
    assert build(tmp_path / "out", scenes.save(), points, "-n", "2") == 4
    printed = capsys.readouterr()
    assert "1 of 2 chips" in printed.err
    assert "point 0: no_s2: no Sentinel-2 scene of the period covers the point" in printed.out
    corpus = Corpus(tmp_path / "out")
    assert len(corpus) == 1
    refusals = pd.read_parquet(tmp_path / "out/refusals.parquet")
    assert refusals[["point", "stage", "reason"]].to_numpy().tolist() == [[0, "match", "no_s2"]]
    assert zarr.open_group(tmp_path / "out/chips.zarr", mode="r")["s1"].shape[0] == 1


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("cloud", {"s2": {"scl": lambda scl: scl.__setitem__((slice(None), slice(0, 140)), 9)}}),
        ("shadow", {"s2": {"scl": lambda scl: scl.__setitem__((slice(None), slice(0, 140)), 3)}}),
        (
            "s2_nodata",
            {"s2": {"scl": lambda scl: scl.__setitem__((slice(None), slice(0, 140)), 0)}},
        ),
        ("s2_nodata", {"s2": {"edit": lambda band, dn: dn * 0 if band == "B11" else dn}}),
        ("s1_invalid", {"s1": {"edit": lambda _, power: power * 0}}),
        ("s1_invalid", {"s1": {"edit": lambda _, power: power * np.nan}}),
        ("s1_invalid", {"s1": {"edit": lambda _, power: power * 0 - 32768}}),
    ],
)
def test_pixels_decide(
    scenes: Scenes, tmp_path: Path, reason: str, change: dict[str, dict[str, object]]
) -> None:
    """Trap 13 and the gates: nodata without a tag, zero-filled and non-finite radar, clouds."""
    scenes.s2(**change.get("s2", {}))
    scenes.s1(**change.get("s1", {}))
    points = points_file(tmp_path / "p.geojson", [lonlat(502_500, 4_997_500, 32631)])
    assert build(tmp_path / "out", scenes.save(), points) == 4
    refusals = pd.read_parquet(tmp_path / "out/refusals.parquet")
    assert list(refusals["reason"]) == [reason]
    assert refusals["s2_id"].notna().all()


def test_the_next_candidate_is_tried(scenes: Scenes, tmp_path: Path) -> None:
    scenes.s1(when="2021-07-01T17:30:00Z")
    scenes.s2(when="2021-07-01T10:50:31Z", scl=lambda scl: scl.fill(8))
    clear = scenes.s2(when="2021-06-30T10:50:31Z")
    points = points_file(tmp_path / "p.geojson", [lonlat(502_500, 4_997_500, 32631)])
    assert build(tmp_path / "out", scenes.save(), points) == 0
    corpus = Corpus(tmp_path / "out")
    assert list(corpus.index["s2_id"]) == [clear["id"]]
    assert corpus.about["refused"] == {"cloud": 1}


def test_zones_lattices_and_hemispheres(scenes: Scenes, tmp_path: Path) -> None:
    """Trap 10: zones 1 to 60, both hemispheres, above 72 north, a lattice of 40 modulo 60."""
    places = []
    for number, (epsg, left, top) in enumerate(
        [
            (32601, 300_000, 7_000_020),
            (32660, 699_960, 7_000_020),
            (32701, 300_000, 8_000_020),
            (32760, 699_960, 8_000_020),
            (32731, 499_980, 6_000_040),
            (32633, 499_980, 8_800_020),
            (32632, 600_000, 8_000_040),
        ]
    ):
        assert top % 60 == (40 if epsg > 32700 else 0)
        scenes.s2(epsg=epsg, left=left, top=top, tile=f"{epsg % 100:02d}XA{'ABCDEFG'[number]}")
        scenes.s1(epsg=epsg, left=left - 1000, top=top + 1000, slice_number=number)
        places.append(lonlat(left + 2_500, top - 2_500, epsg))
    points = points_file(tmp_path / "p.geojson", places)
    assert build(tmp_path / "out", scenes.save(), points) == 0
    corpus = Corpus(tmp_path / "out")
    assert len(corpus) == 7
    assert not corpus.index["s1_warped"].any()
    for row in corpus.index.to_dict("records"):
        for name, wanted in expected_chip(pd.Series(row)).items():
            np.testing.assert_array_equal(corpus.read(row["chip"])[name], wanted, err_msg=name)


def test_chips_on_the_antimeridian(tmp_path: Path) -> None:
    """Trap 6: the footprint goes beyond 180, or jumps, or is cut into a MultiPolygon."""
    left, top, size = 345_540, 7_000_020, 6_000  # crosses 180 degrees in zone 1
    ring = footprint_of(left, top, size, 32601)["coordinates"][0]
    wests = [x if x > 0 else x + 360 for x, _ in ring]
    assert min(wests) < 180 < max(wests)
    beyond = {
        "type": "Polygon",
        "coordinates": [[[x, y] for x, (_, y) in zip(wests, ring, strict=True)]],
    }
    jumping = {"type": "Polygon", "coordinates": [[list(p) for p in ring]]}
    assert min(x for x, _ in ring) < 0 < max(x for x, _ in ring)
    import antimeridian

    cut = antimeridian.fix_polygon(shape(beyond))
    assert cut.geom_type == "MultiPolygon"
    forms = {"beyond": beyond, "jumping": jumping, "cut": cut.__geo_interface__}
    centre = lonlat(left + 3_000, top - 3_000, 32601)
    for name, geometry in forms.items():
        some = Scenes(tmp_path / name)
        some.s2(epsg=32601, left=left, top=top, tile="01WAB", geometry=geometry)
        some.s1(epsg=32601, left=left, top=top, size_m=6_000, geometry=geometry)
        points = points_file(tmp_path / f"{name}.geojson", [centre])
        assert build(tmp_path / f"out-{name}", some.save(), points) == 0, name
        corpus = Corpus(tmp_path / f"out-{name}")
        row = corpus.index.iloc[0]
        np.testing.assert_array_equal(corpus.read(0)["s2_10m"], expected_chip(row)["s2_10m"])
        west, _, east, _ = row.geometry.bounds
        assert -180 <= west < east <= 180
        assert row.geometry.area < 0.01, "the outline does not go round the Earth"


def test_radar_of_another_zone_is_warped_in_linear_power(scenes: Scenes, tmp_path: Path) -> None:
    """The radar of zone 32 under a chip of zone 31: bilinear, XSCALE 1, within interpolation."""
    left, top = 699_960, 5_000_040
    scenes.s2(left=left, top=top)
    x, y = lonlat(left + 3000, top - 3000, 32631)
    import rasterio.warp

    xs, ys = rasterio.warp.transform("EPSG:4326", "EPSG:32632", [x], [y])
    radar = {"left": round(xs[0] / 10) * 10 - 5000, "top": round(ys[0] / 10) * 10 + 5000}
    scenes.s1(epsg=32632, **radar, size_m=10_000, formula_epsg=32631)
    points = points_file(tmp_path / "p.geojson", [(x, y)])
    assert build(tmp_path / "out", scenes.save(), points) == 0
    corpus = Corpus(tmp_path / "out")
    assert corpus.index["s1_warped"].all()
    wanted = expected_chip(corpus.index.iloc[0])["s1"]
    assert np.abs(corpus.read(0)["s1"].astype(int) - wanted).max() <= 1, "a hundredth of a dB"


def test_stale_projection_metadata_of_radar_does_no_harm(scenes: Scenes, tmp_path: Path) -> None:
    """Trap 3: proj:* of sentinel-1-rtc items is sometimes wrong; the file decides."""
    scenes.s2()
    item = scenes.s1()
    item["properties"] |= {
        "proj:shape": [1, 2],
        "proj:bbox": [0, 0, 1, 1],
        "proj:transform": [10, 0, 7, 0, -10, 7, 0, 0, 1],
    }
    points = points_file(tmp_path / "p.geojson", [lonlat(502_500, 4_997_500, 32631)])
    assert build(tmp_path / "out", scenes.save(), points) == 0
    corpus = Corpus(tmp_path / "out")
    np.testing.assert_array_equal(corpus.read(0)["s1"], expected_chip(corpus.index.iloc[0])["s1"])


def test_a_stale_optical_lattice_is_corrected_by_the_file(scenes: Scenes, tmp_path: Path) -> None:
    item = scenes.s2()
    scenes.s1()
    for asset in item["assets"].values():
        asset["proj:transform"][2] += 17
    points = points_file(tmp_path / "p.geojson", [lonlat(502_500, 4_997_500, 32631)])
    assert build(tmp_path / "out", scenes.save(), points) == 0
    row = Corpus(tmp_path / "out").index.iloc[0]
    assert (row["transform"][2] - 499_980) % 60 == 0


def test_over_http_with_ranges(scenes: Scenes, tmp_path: Path) -> None:
    """Trap 12: radar files end in .tiff, optical ones in .tif; both open over HTTP."""
    scenes.s2()
    scenes.s1()
    with file_server(scenes.folder) as url:
        for item in scenes.items:
            for asset in item["assets"].values():
                asset["href"] = f"{url}/{asset['href']}"
        catalog = tmp_path / "remote.json"
        catalog.write_text(json.dumps({"type": "FeatureCollection", "features": scenes.items}))
        points = points_file(tmp_path / "p.geojson", [lonlat(502_500, 4_997_500, 32631)])
        host = url.removeprefix("http://")
        assert build(tmp_path / "out", catalog, points, "--allow-host", host) == 0
    corpus = Corpus(tmp_path / "out")
    for name, wanted in expected_chip(corpus.index.iloc[0]).items():
        np.testing.assert_array_equal(corpus.read(0)[name], wanted, err_msg=name)


def test_planetary_computers_fifteen_bit_files(scenes: Scenes, tmp_path: Path) -> None:
    scenes.s2(tif={"nbits": 15, "tiled": True, "blockxsize": 512, "blockysize": 512})
    scenes.s1()
    import rasterio

    b04 = scenes.folder / scenes.items[0]["assets"]["B04"]["href"]
    with rasterio.open(b04) as file:
        assert file.tags(1, ns="IMAGE_STRUCTURE")["NBITS"] == "15"
    points = points_file(tmp_path / "p.geojson", [lonlat(502_500, 4_997_500, 32631)])
    assert build(tmp_path / "out", scenes.save(), points) == 0
    corpus = Corpus(tmp_path / "out")
    for name, wanted in expected_chip(corpus.index.iloc[0]).items():
        np.testing.assert_array_equal(corpus.read(0)[name], wanted, err_msg=name)


def test_read_without_us(plain: tuple[Path, Path], tmp_path: Path) -> None:
    assert build(tmp_path / "out", *plain) == 0
    data = xarray.open_zarr(tmp_path / "out/chips.zarr")
    assert data["s2_10m"].dims == ("chip", "band_10m", "y", "x")
    assert data["s1"].dtype.kind == "f", "scale_factor and _FillValue are understood"
    decibels = Corpus(tmp_path / "out").read(2)["s1"] / 100
    np.testing.assert_allclose(data["s1"].sel(chip=2).to_numpy(), decibels, atol=1e-4)
    index = geopandas.read_parquet(tmp_path / "out/chips.parquet")
    assert index.crs == 4326
    times = pd.to_datetime(data["s2_time"].to_numpy())
    assert list(times) == list(index["s2_time"].dt.tz_localize(None))
    assert data["epsg"].to_numpy().tolist() == index["epsg"].tolist()
    np.testing.assert_array_equal(data["transform"].to_numpy(), np.stack(index["transform"]))
    a, b, c, d, e, f = index["transform"][0]
    assert (a, b, d, e) == (10, 0, 0, -10)
    outline = index.geometry.to_crs(int(index["epsg"][0]))[0].bounds
    np.testing.assert_allclose([c, f], [outline[0], outline[3]], atol=0.01)


def test_all_metadata_a_chip_needs_is_there(plain: tuple[Path, Path], tmp_path: Path) -> None:
    assert build(tmp_path / "out", *plain) == 0
    index = geopandas.read_parquet(tmp_path / "out/chips.parquet")
    wanted = [
        "chip",
        "point",
        "lon",
        "lat",
        "geometry",
        "cell",
        "split",
        "epsg",
        "transform",
        "s2_id",
        "s1_id",
        "s2_time",
        "s1_time",
        "lag_hours",
        "s2_platform",
        "s1_platform",
        "s1_orbit_state",
        "s1_relative_orbit",
        "s2_relative_orbit",
        "processing_baseline",
        "dn_offset",
        "cloud_fraction",
        "shadow_fraction",
        "water_fraction",
        "s2_valid_fraction",
        "s1_valid_fraction",
        "s1_warped",
        "catalog",
    ]
    assert set(wanted) <= set(index.columns)
    assert index[wanted].notna().all().all()
    assert index["lag_hours"].iloc[0] == pytest.approx(6 + 39 / 60 + 28.976 / 3600, abs=1e-6)
    assert list(map(str, Corpus.bands)) == OPTICAL


def test_drawn_points_go_round_until_there_are_enough(
    scenes: Scenes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Points drawn inside a region, more in a second round, each shard from its own stream."""
    scenes.s2(
        size_m=24_000,
        left=480_000,
        top=5_012_040,
        scl=lambda scl: scl.__setitem__((slice(None), slice(0, 700)), 9),
    )
    scenes.s1(size_m=26_000, left=479_000, top=5_013_000)
    region = tmp_path / "region.geojson"
    geometry = footprint_of(480_000, 5_012_040, 24_000, 32631)
    region.write_text(
        json.dumps(
            {
                "type": "FeatureCollection",
                "features": [{"type": "Feature", "properties": {}, "geometry": geometry}],
            }
        )
    )
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[sample]\nwithin = "region.geojson"\nspacing_km = 1.0\nreserve = 1.0\n'
        "[store]\nchips_per_shard = 4\n[search]\nstart = 2021-07-01\nend = 2021-07-01\n"
    )
    code = main(
        [
            "build",
            str(recipe),
            "--catalog",
            str(scenes.save()),
            "-n",
            "8",
            "--chip-size",
            "64",
            "-o",
            str(tmp_path / "out"),
        ]
    )
    printed = capsys.readouterr()
    assert code == 0, printed
    assert printed.out.count("chip    ") > 1, "it took more than one round"
    corpus = Corpus(tmp_path / "out")
    assert len(corpus) == 8
    assert list(corpus.index["chip"]) == list(range(8))
    points = geopandas.read_parquet(tmp_path / "out/points.parquet")
    assert points["point"].is_unique
    for name, wanted in expected_chip(corpus.index.iloc[5], 64).items():
        np.testing.assert_array_equal(corpus.read(5)[name], wanted, err_msg=name)


def test_own_points_that_fail_leave_no_gaps(scenes: Scenes, tmp_path: Path) -> None:
    """Chips move up over shards that ran short, and running again still does nothing."""
    scenes.s2(size_m=12_000)
    scenes.s1(size_m=16_000)
    good = [lonlat(501_500 + 1500 * i, 4_998_000 - 1200 * i, 32631) for i in range(6)]
    places = [
        good[0],
        (50.0, 9.0),
        good[1],
        (51.0, 9.0),
        good[2],
        good[3],
        (52.0, 9.0),
        good[4],
        good[5],
    ]
    points = points_file(tmp_path / "p.geojson", places)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "[store]\nchips_per_shard = 3\n[search]\nstart = 2021-07-01\nend = 2021-07-01\n"
    )
    out = tmp_path / "out"
    command = [
        "build",
        str(recipe),
        "--catalog",
        str(scenes.save()),
        "--points",
        str(points),
        "--chip-size",
        "128",
        "-o",
        str(out),
    ]
    assert main(command) == 4
    corpus = Corpus(out)
    assert list(corpus.index["chip"]) == list(range(6))
    assert list(corpus.index["point"]) == [0, 2, 4, 5, 7, 8]
    assert zarr.open_group(out / "chips.zarr", mode="r")["chip"][:].tolist() == list(range(6))
    for row in corpus.index.to_dict("records"):
        for name, wanted in expected_chip(pd.Series(row)).items():
            np.testing.assert_array_equal(corpus.read(row["chip"])[name], wanted, err_msg=name)
    assert main(["verify", str(out)]) == 0
    before = tree(out)
    assert main(command) == 4
    assert tree(out) == before
    assert corpus.about["refused"] == {"no_s2": 3}


GAPPED = [0, -1, 1, -1, 2, 3, -1, 4, 5]


@pytest.fixture
def gapped(scenes: Scenes, tmp_path: Path) -> list[str]:
    """A build of own points, three of nine without scenes, three chips a shard."""
    scenes.s2(size_m=12_000)
    scenes.s1(size_m=16_000)
    places = [
        lonlat(501_500 + 1500 * i, 4_998_000 - 1200 * i, 32631) if i >= 0 else (50.0 + n, 9.0)
        for n, i in enumerate(GAPPED)
    ]
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "[store]\nchips_per_shard = 3\n[search]\nstart = 2021-07-01\nend = 2021-07-01\n"
    )
    points = points_file(tmp_path / "p.geojson", places)
    return [
        *("build", str(recipe), "--catalog", str(scenes.save()), "--points", str(points)),
        *("--chip-size", "128", "-o", str(tmp_path / "out")),
    ]


@pytest.mark.parametrize("loss", ["receipts/00000.json", "chips.zarr/s1/c/1/0/0/0", "chips.zarr"])
def test_what_is_lost_is_built_again(gapped: list[str], tmp_path: Path, loss: str) -> None:
    """Also after chips were dealt out again, when a shard is no longer its own points'."""
    out = tmp_path / "out"
    assert main(gapped) == 4
    before = tree(out)
    lost = out / loss
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    if loss.startswith("chips.zarr"):
        with pytest.raises(StoreError, match=r"missing|damaged"):
            Corpus(out).read(4)
    assert main(gapped) == 4
    assert tree(out) == before
    assert main(["verify", str(out)]) == 0


def test_parts_leave_gaps_to_one_of_them(
    gapped: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(gapped) == 4
    whole = tree(tmp_path / "out")
    array = str(tmp_path / "array")
    assert main(["sample", *gapped[1:-1], array]) == 0
    for stage in ("search", "match"):
        assert main([stage, "-o", array]) == 0
    for part in ("1/2", "2/2"):
        assert main(["chip", "-o", array, "--part", part]) == 0
    assert "all shards are there, with gaps" in capsys.readouterr().out
    assert main(["chip", "-o", array]) == 4
    assert tree(tmp_path / "array") == whole


def test_litter_of_killed_writes_is_swept(plain: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert build(out, *plain) == 0
    before = tree(out)
    litter = [
        out / "chips.zarr/s1/c/0/0/0/.0.abcd.partial",
        out / "receipts/.00000.json.ef01.partial",
        out / ".chips.zarr.2345.partial/zarr.json",
    ]
    for path in litter:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    (out / "corpus.json").unlink()
    assert build(out, *plain) == 0
    assert tree(out) == before


def test_a_corpus_whose_sources_changed_is_not_gone_on_with(
    plain: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog, points = plain
    toml = tmp_path / "own.toml"
    text = Path("catalogs/planetary-computer.toml").read_text()
    endpoint = 'endpoint = "https://planetarycomputer.microsoft.com/api/stac/v1"'
    text = text.replace(endpoint, f'items = "{catalog}"').replace('"planetary-computer"', '"none"')
    toml.write_text(text)
    assert build(tmp_path / "out", toml, points) == 0
    toml.write_text(text.replace('offset = "baseline"', 'offset = "applied"'))
    assert build(tmp_path / "out", toml, points) == 2
    assert "begun with other content of s1_catalog, s2_catalog" in capsys.readouterr().err
    toml.write_text(text.replace("in_flight = 4", "in_flight = 1"))
    assert build(tmp_path / "out", toml, points) == 0, "how hard to ask is no content"
    points_file(points, [lonlat(502_000, 4_997_000, 32631)])
    assert build(tmp_path / "out", toml, points) == 2
    assert "sample.points" in capsys.readouterr().err


def test_hrefs_that_arrive_signed_are_stored_unsigned(scenes: Scenes, tmp_path: Path) -> None:
    """Trap 11: whoever saved signed items hands on a secret that soon expires."""
    scenes.s2()
    scenes.s1()
    for item in scenes.items:
        for asset in item["assets"].values():
            asset["href"] = f"https://a.blob.core.windows.net/{asset['href']}?se=2026&sig=CANARY%3D"
    points = points_file(tmp_path / "p.geojson", [lonlat(502_500, 4_997_500, 32631)])
    assert build(tmp_path / "out", scenes.save(), points) == 2, "that host is not allowed"
    files = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert {"scenes.parquet", "matchups.parquet"} <= {p.name for p in files}
    assert not [p for p in files if b"CANARY" in p.read_bytes()]


def test_drawn_points_that_run_out_leave_no_gaps(scenes: Scenes, tmp_path: Path) -> None:
    """A region too small for what is asked: what there is, row by row, and the same again."""
    half_cloudy = {"scl": lambda scl: scl.__setitem__((slice(None), slice(0, 300)), 9)}
    scenes.s2(size_m=12_000, **half_cloudy)
    scenes.s1(size_m=16_000)
    region = tmp_path / "region.geojson"
    geometry = footprint_of(499_980, 5_000_040, 12_000, 32631)
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    region.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[sample]\nwithin = "region.geojson"\nspacing_km = 1.0\nreserve = 1.0\n'
        "[store]\nchips_per_shard = 4\n[search]\nstart = 2021-07-01\nend = 2021-07-01\n"
    )
    line = [
        *("build", str(recipe), "--catalog", str(scenes.save()), "-n", "60", "--chip-size", "64"),
        *("-o", str(tmp_path / "out")),
    ]
    assert main(line) == 4
    corpus = Corpus(tmp_path / "out")
    assert 4 < len(corpus) < 60
    assert list(corpus.index["chip"]) == list(range(len(corpus)))
    before = tree(tmp_path / "out")
    assert main(line) == 4
    assert tree(tmp_path / "out") == before
    for name, wanted in expected_chip(corpus.index.iloc[-1], 64).items():
        np.testing.assert_array_equal(corpus.read(len(corpus) - 1)[name], wanted, err_msg=name)


def test_workers_elsewhere_write_to_the_right_folder(
    plain: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative folder is the client's, wherever the workers were started."""
    from distributed import LocalCluster

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1"
    ) as cluster:
        monkeypatch.chdir(tmp_path)
        assert build(Path("out"), *plain, "--scheduler", cluster.scheduler_address) == 0
    assert Corpus(tmp_path / "out").read(0)["s1"].any()
    assert not list((tmp_path / "elsewhere").iterdir())
