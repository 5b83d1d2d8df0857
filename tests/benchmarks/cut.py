"""How long cutting chips takes beside merely reading the same windows with rasterio.

Fake scenes in Planetary Computer's layout (15-bit, 512 px blocks) on the local disk. Prints ratios:
absolute times say more about the machine. Run it with `make bench`.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import rasterio
from fakes import Scenes, lonlat, points_file
from rasterio.windows import from_bounds

from s1s2 import Corpus
from s1s2.cli import main

ROUNDS, CHIPS = 5, 24


def scenes_of(folder: Path) -> tuple[Path, Path]:
    scenes = Scenes(folder)
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512}
    scenes.s2(size_m=24_000, tif={**layout, "nbits": 15})
    scenes.s1(size_m=26_000)
    places = [
        lonlat(502_000 + 3_500 * (i % 6), 4_998_000 - 4_500 * (i // 6), 32631) for i in range(CHIPS)
    ]
    return scenes.save(), points_file(folder / "points.geojson", places)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def build(catalog: Path, points: Path, out: Path, *flags: str) -> None:
    line = ["build", "--catalog", str(catalog), "--points", str(points), "-o", str(out)]
    code = main([*line, "--start", "2021-07-01", "--end", "2021-07-02", *flags])
    assert code == 0, code


def read_only(folder: Path, corpus: Corpus) -> None:
    """Read every window of the corpus again: the least that any builder on rasterio must do."""
    files = sorted(p for p in folder.rglob("*.tif*") if p.is_file())
    for row in corpus.index.itertuples():
        a, _, c, _, e, f = row.transform
        for path in files:
            with rasterio.open(path, driver="GTiff") as file:
                window = from_bounds(c, f + e * 256, c + a * 256, f, file.transform)
                file.read(1, window=window)


def run() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        catalog, points = scenes_of(root / "catalog")
        build(catalog, points, root / "warm")
        corpus = Corpus(root / "warm")
        times: dict[str, list[float]] = {}
        for number in range(ROUNDS):
            for label, work in {
                "reading alone, one thread": lambda: read_only(root / "catalog", corpus),
                "build, 1 thread": lambda n=number: build(
                    catalog, points, root / f"one-{n}", "--threads", "1"
                ),
                "build, 8 threads": lambda n=number: build(catalog, points, root / f"eight-{n}"),
            }.items():
                times.setdefault(label, []).append(timed(work))
        base = statistics.median(times["reading alone, one thread"])
        for label, values in times.items():
            middle = statistics.median(values)
            spread = f"{min(values):.2f} to {max(values):.2f} s"
            print(f"{label:28} {middle / base:5.2f} x reading alone   ({spread}, {CHIPS} chips)")


if __name__ == "__main__":
    run()
