"""The main job on the simulated planet: growth, modes, sources, nasty places, faults, clients."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import geopandas
import numpy as np
import pytest
import rasterio
import requests
from rasterio.windows import Window

from s1s2 import Corpus, scene_tables, tables
from s1s2.catalog import SANDBOX
from s1s2.cli import main
from s1s2.grid import to_lonlat
from s1s2.layout import BESIDE
from s1s2.sandbox.process import running

SMALL = ("--chip-size", "64")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[str]:
    """One server for many commands; without it each starts its own."""
    with running() as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("S1S2_SANDBOX", address)
        yield address


def build(out: Path, *flags: str) -> int:
    return main(["build", "--catalog", "sandbox", "-o", str(out), *flags])


def tree(folder: Path) -> dict[str, bytes]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    names = {p.relative_to(folder): p for p in files}
    return {n.as_posix(): p.read_bytes() for n, p in names.items() if n.parts[0] not in BESIDE}


@pytest.fixture(scope="module")
def twenty(sandbox: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert sandbox
    out = tmp_path_factory.mktemp("corpora") / "twenty"
    assert build(out, "-n", "20", *SMALL) == 0
    return out


@pytest.mark.slow
def test_a_corpus_grows_to_the_bytes_of_one_built_at_once(twenty: Path, tmp_path: Path) -> None:
    grown, at_once = tmp_path / "grown", tmp_path / "at_once"
    shutil.copytree(twenty, grown)
    assert build(grown, "-n", "50", *SMALL) == 0
    assert build(at_once, "-n", "50", *SMALL) == 0
    assert tree(grown) == tree(at_once)
    first, more = Corpus(twenty), Corpus(at_once)
    assert len(more) == 50
    for k in range(20):
        assert all(np.array_equal(first.read(k)[a], more.read(k)[a]) for a in first.read(k))


def test_two_workers_write_the_same_bytes(twenty: Path, tmp_path: Path) -> None:
    assert build(tmp_path / "two", "-n", "20", *SMALL, "--workers", "2") == 0
    assert tree(tmp_path / "two") == tree(twenty)


def test_the_same_corpus_from_stac_geoparquet(twenty: Path, sandbox: str, tmp_path: Path) -> None:
    """All items over the points, exported by a library that knows nothing of us."""
    from pystac_client import Client
    from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

    points = tables.read_points(twenty / "points.parquet")
    places = [[lon, lat] for lon, lat in zip(points["lon"], points["lat"], strict=True)]
    # some lie so close to 180 degrees that footprints reach over it: no harm, they are asked too
    places += [[lon - 360 if lon > 0 else lon + 360, lat] for lon, lat in places if abs(lon) > 170]
    client = Client.open(f"{sandbox}/api/stac/v1")
    (tmp_path / "items").mkdir()
    for collection in ("sentinel-2-l2a", "sentinel-1-rtc"):
        search = client.search(
            collections=[collection],
            intersects={"type": "MultiPoint", "coordinates": places},
            datetime="2019-07-31T23:00:00Z/2019-09-17T23:59:59Z",
        )
        items = [
            json.loads(json.dumps(i).replace(sandbox, SANDBOX)) for i in search.items_as_dicts()
        ]
        batches = parse_stac_items_to_arrow(items, schema="FullFile")
        to_parquet(batches, tmp_path / "items" / f"{collection}.parquet")
    catalog = tmp_path / "sandbox.toml"
    described = Path("catalogs/sandbox.toml").read_text()
    endpoint = next(x for x in described.splitlines() if x.startswith("endpoint"))
    catalog.write_text(described.replace(endpoint, "items = 'items'"))
    out = tmp_path / "parquet"
    assert main(["build", "--catalog", str(catalog), "-o", str(out), "-n", "20", *SMALL]) == 0
    ours, theirs = tree(out), tree(twenty)
    same = [name for name in theirs if name.startswith(("chips", "receipts", "refusals"))]
    assert len(same) > 5
    assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}


def test_a_corpus_says_everywhere_that_it_is_simulated(
    twenty: Path, sandbox: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(twenty, "-n", "20", *SMALL) == 0
    said = capsys.readouterr().out
    assert "SIMULATED DATA" in said.splitlines()[0]
    assert "20 verified pairs" in said
    assert "|lag| median" in said
    assert "\nnext " in said
    document = json.loads((twenty / "corpus.json").read_text())
    assert document["simulated"] is True
    assert "SIMULATED" in document["name"]
    assert json.loads((twenty / "chips.zarr/zarr.json").read_text())["attributes"]["simulated"]
    assert main(["show", str(twenty)]) == 0
    assert "SIMULATED" in capsys.readouterr().out
    assert main(["verify", str(twenty)]) == 0
    kept = b"".join(tree(twenty).values())
    assert urlsplit(sandbox).netloc.encode() not in kept, "today's address was kept"
    assert b"sig=" not in kept


def test_pairs_are_close_in_time_and_refusals_have_reasons(twenty: Path) -> None:
    index = Corpus(twenty).index
    assert (index["lag_hours"].abs() <= 72).all()
    assert index["lag_hours"].abs().median() < 48
    refusals = tables.read_refusals(twenty / "refusals.parquet")
    assert set(refusals["reason"]) <= {"cloud", "shadow", "s2_nodata", "s1_invalid", "lag"}
    assert (index["s2_valid_fraction"] == 1).all()


NASTY = {
    "antimeridian, Taveuni, west of it": (179.93, -16.86),
    "antimeridian, Taveuni, east of it": (-179.96, -16.80),
    "antimeridian, Chukotka": (-179.7, 68.5),
    "antimeridian, Wrangel Island": (179.99, 71.2),
    "border of zones 31 and 32": (6.0, 50.0),
    "border of zones 36 and 37, south": (36.0, -10.0),
    "Norway, 32V": (5.4, 60.4),
    "Svalbard, 31X to 33X": (16.0, 78.5),
    "Svalbard, border at 21 E": (21.0, 79.0),
    "Taymyr": (100.0, 75.0),
    "Ellesmere Island": (-75.0, 80.0),
    "a small island, Graciosa": (-28.0, 39.05),
    "a small island, Ascension": (-14.36, -7.94),
    "a small island, Niue": (-169.87, -19.06),
    "the equator": (20.0, 0.001),
}


def tile_corners() -> dict[str, tuple[float, float]]:
    """Corners of four 100 km squares: covered by the overlap of tiles alone."""
    x, y = np.array([500_000.0, 600_000.0]), np.array([5_000_000.0, 5_100_000.0])
    lon, lat = to_lonlat(x, y, 32635)
    return {f"tile corner {k}": (float(lon[k]), float(lat[k])) for k in range(2)}


@pytest.mark.usefixtures("sandbox")
def test_nasty_places(tmp_path: Path) -> None:
    places = NASTY | tile_corners()
    file = tmp_path / "places.csv"
    file.write_text("lon,lat\n" + "".join(f"{x},{y}\n" for x, y in places.values()))
    out = tmp_path / "nasty"
    # clouds are not what is asked here
    recipe = tmp_path / "nasty.toml"
    recipe.write_text(
        "[chip]\nmax_cloud_fraction = 1.0\nmax_shadow_fraction = 1.0\n"
        "[match]\nmax_scene_cloud_fraction = 1.0\nmax_lag_hours = 144.0\n"
    )
    line = ["build", str(recipe), "--catalog", "sandbox", "-o", str(out), "--points", str(file)]
    assert main([*line, *SMALL]) == 0
    index = Corpus(out).index.set_index("point")
    names = dict(enumerate(places))
    assert {names[k] for k in index.index} == set(places)
    for point, row in index.iterrows():
        lon, lat = places[names[point]]
        assert (row["lon"], row["lat"]) == (lon, lat)
        a, _, c, _, e, f = row["transform"]
        x, y = to_lonlat(np.array([c + 32 * a]), np.array([f + 32 * e]), row["epsg"])
        apart = (x[0] - lon + 180) % 360 - 180
        assert abs(apart) * np.cos(np.radians(lat)) < 0.001, names[point]
        assert abs(y[0] - lat) < 0.001, names[point]
    arrays = [Corpus(out).read(k) for k in range(len(places))]
    assert all((a["s2_10m"] > 0).all() and (a["s1"] > -32768).mean() > 0.99 for a in arrays)


FAULTS = """
seed = 3
[[fault]]
kind = "status"
on = "search"
share = 0.2
status = 503
most = 3
[[fault]]
kind = "status"
on = "blob"
share = 0.05
status = 500
most = 30
[[fault]]
kind = "cut"
on = "blob"
share = 0.05
most = 20
[[fault]]
kind = "duplicate"
on = "search"
share = 0.5
[[fault]]
kind = "malformed"
on = "search"
share = 0.3
"""


@pytest.mark.slow
def test_faults_change_nothing(twenty: Path, tmp_path: Path) -> None:
    (tmp_path / "faults.toml").write_text(FAULTS)
    with running(faults=tmp_path / "faults.toml") as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("S1S2_SANDBOX", address)
        code, tries = 3, 0
        while code == 3 and tries < 5:  # what cannot be read now is gone on with
            code, tries = build(tmp_path / "out", "-n", "20", *SMALL), tries + 1
        counted = requests.get(f"{address}/faults", timeout=5).json()
    assert code == 0
    done = {f["kind"]: f["done"] for f in counted["faults"]}
    assert done["cut"] > 0
    assert done["status"] > 0
    ours, theirs = Corpus(tmp_path / "out"), Corpus(twenty)
    # a malformed item is a scene less: other pairs may be chosen, but pixels are never wrong
    both = ours.index.merge(theirs.index, on=["point", "s2_id", "s1_id"])
    assert len(both) >= 5
    assert (both["sha256_x"] == both["sha256_y"]).all()
    assert main(["verify", str(tmp_path / "out")]) == 0


def signed(address: str) -> Callable[[str], str]:
    def sign(href: str) -> str:
        account, container = urlsplit(href).path.split("/")[1:3]
        service = f"{address}/api/sas/v1/token/{account}/{container}"
        return f"{href}?{requests.get(service, timeout=10).json()['token']}"

    return sign


@pytest.mark.filterwarnings("ignore")  # of odc-stac's own
@pytest.mark.parametrize(
    ("collection", "band"), [("sentinel-2-l2a", "B04"), ("sentinel-1-rtc", "vv")]
)
def test_odc_stac_loads_both_sensors_unchanged(sandbox: str, collection: str, band: str) -> None:
    """A client that nobody here wrote: search, sign, load, and the pixels of a plain window."""
    import odc.stac
    from odc.geo.geobox import GeoBox
    from pystac_client import Client

    found = Client.open(f"{sandbox}/api/stac/v1").search(
        collections=[collection], bbox=(9.40, 55.40, 9.43, 55.42), max_items=1
    )
    item = next(found.items())
    item.assets[band].href = signed(sandbox)(item.assets[band].href)
    with rasterio.open(item.assets[band].href) as file:
        assert file.block_shapes == [(512, 512)]
        assert file.overviews(1)[0] == 2
        assert (file.tags(1, ns="IMAGE_STRUCTURE").get("NBITS") == "15") == (band == "B04")
        window = Window(file.width // 2, file.height // 2, 200, 150)
        wanted = file.read(1, window=window)
        grid = GeoBox((150, 200), file.window_transform(window), file.crs)
    loaded = odc.stac.load([item], bands=[band], geobox=grid)[band].to_numpy()[0]
    assert (wanted > 0).all()
    assert np.array_equal(loaded, wanted)


def test_without_a_token_nothing_is_read(sandbox: str, twenty: Path) -> None:
    scene = scene_tables.read_scenes(twenty / "scenes.parquet")[0]
    href = next(iter(scene.hrefs.values())).replace("http://sandbox.invalid", sandbox)
    assert requests.head(href, timeout=10).status_code == 403
    token = signed(sandbox)(href)
    assert requests.head(token, timeout=10).status_code == 200
    assert requests.head(token.replace("sig=", "sig=x"), timeout=10).status_code == 403


def test_tokens_that_expire_are_renewed(tmp_path: Path) -> None:
    """The library renews a token of less than a minute at every read; ours lives 3 s."""
    with running(token_lifetime_s=3.0) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("S1S2_SANDBOX", address)
        assert build(tmp_path / "a", "-n", "2", *SMALL) == 0
        time.sleep(3.2)
        assert build(tmp_path / "a", "-n", "4", *SMALL) == 0


def test_a_command_that_needs_it_starts_the_sandbox_and_stops_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("S1S2_SANDBOX", raising=False)
    before = sandboxes()
    assert build(tmp_path / "own", "-n", "1", *SMALL) == 0
    assert sandboxes() == before


def sandboxes() -> set[str]:
    """Return the processes of sandboxes of this test's own."""
    mine = str(os.getpid())
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = status.read_text().rpartition(")")[2].split()[1]
            if parent == mine and b"s1s2.sandbox" in (status.parent / "cmdline").read_bytes():
                found.add(status.parent.name)
        except OSError:
            continue
    return found


def test_stages_one_by_one_give_the_same_chips(twenty: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "staged")
    assert main(["sample", "--catalog", "sandbox", "-n", "20", *SMALL, "-o", out]) == 0
    for stage in ("search", "match", "chip"):
        assert main([stage, "-o", out]) == 0
    staged = geopandas.read_parquet(Path(out) / "chips.parquet")
    built = geopandas.read_parquet(twenty / "chips.parquet")
    assert list(staged["sha256"]) == list(built["sha256"])[: len(staged)]
