"""How the stages before the pixels grow with the number of points: `sample`, `match`, `search`.

The scenes are those of the sandbox's archive, which has the true tiles, orbits and repeat cycles:
one cycle of both missions over all land (115,000 optical and 15,000 radar scenes) is worked out
once and repeated, as the missions do, over the default recipe's 48 days. A corpus has those of them
that hold one of its points: a million points have some 550,000 scenes and 39 million (point, scene)
hits. Offline search reads a week of items, 83,000 optical and 9,000 radar scenes in two partitions
of stac-geoparquet. Every stage runs in a process of its own, from and to files, as on the command
line. What is worked out once is kept in `build/scale`.

    python tests/benchmarks/scale.py [--most 1000000]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
import stac_geoparquet.arrow
from table import keep

from s1s2 import recipe, scene_tables, stages, tables
from s1s2.bands import Sensor
from s1s2.items import scenes_from_items
from s1s2.layout import Folder
from s1s2.run import Run
from s1s2.sandbox import stac
from s1s2.sandbox.archive import Archive
from s1s2.schemas import SCENES

KEPT = Path("build/scale")
SIZES = (10_000, 100_000, 1_000_000)
BEGINS, DAYS, WEEK = datetime(2019, 8, 1, tzinfo=UTC), 48, 7
CYCLE_DAYS = {Sensor.S1: 12, Sensor.S2: 10}
COLLECTIONS = {Sensor.S1: "sentinel-1-rtc", Sensor.S2: "sentinel-2-l2a"}
STAMP, STAMP_AT = "%Y%m%dT%H%M%S", {Sensor.S1: 17, Sensor.S2: 11}
AT_ONCE = 8192


# --- what there is to be found


def items(sensor: Sensor, days: int) -> Iterator[list[dict]]:
    """The archive's items of some days over the whole Earth, some at a time."""
    ends = BEGINS + timedelta(days=days) - timedelta(microseconds=1)
    found = Archive(0).scenes(COLLECTIONS[sensor], None, BEGINS, ends)
    while some := list(islice(found, AT_ONCE)):
        yield [stac.item(s, "https://stac.example", "https://store.example") for s in some]


def cycle(sensor: Sensor) -> pa.Table:
    """All scenes of one repeat cycle, one version of each."""
    path = KEPT / f"cycle-{sensor}.parquet"
    if not path.exists():
        catalog = recipe.load_catalog("planetary-computer")
        parts = (
            scene_tables.table_of(scenes_from_items(some, catalog, sensor)[0])
            for some in items(sensor, CYCLE_DAYS[sensor])
        )
        pq.write_table(scene_tables.latest(pa.concat_tables(parts)), path)
    return pq.read_table(path).replace_schema_metadata(None)


def week() -> Path:
    """A folder of stac-geoparquet with a week's items of both sensors, each in row groups."""
    folder = KEPT / "week"
    for sensor, collection in COLLECTIONS.items():
        path = folder / f"{collection}.parquet"
        if not path.exists():
            folder.mkdir(exist_ok=True)
            parts = [
                pa.table(stac_geoparquet.arrow.parse_stac_items_to_arrow(some))
                for some in items(sensor, WEEK)
            ]
            pq.write_table(pa.concat_tables(parts), path, row_group_size=AT_ONCE)
    return folder


def write_scenes(folder: Folder) -> int:
    """Write the scenes of all days that hold a point; return how many (point, scene) hits."""
    points = tables.read_points(folder.points)
    tree = shapely.STRtree(shapely.points(points["lon"], points["lat"]))
    hits, sides = 0, []
    for sensor in Sensor:
        scenes = cycle(sensor)
        feet = shapely.from_wkb(scenes["geometry"].to_numpy(zero_copy_only=False))
        found = tree.query(feet, predicate="intersects")[0]
        counts = np.bincount(found, minlength=len(scenes))
        scenes, counts = scenes.filter(pa.array(counts > 0)), counts[counts > 0]
        repeats = range(-(-DAYS // CYCLE_DAYS[sensor]))
        every = pa.concat_tables([repeated(scenes, sensor, n) for n in repeats])
        there = pc.less(every["datetime"], pa.scalar(BEGINS + timedelta(days=DAYS)))
        hits += int(np.tile(counts, len(repeats))[there.to_numpy()].sum())
        every = every.filter(there)
        order = pc.sort_indices(every, sort_keys=[("id", "ascending")]).to_numpy().astype(np.int64)
        sides.append((every, order))

    def groups() -> Iterator[pa.Table]:
        for scenes, order in sides:
            for start in range(0, len(order), tables.ROWS_A_GROUP):
                rows = order[start : start + tables.ROWS_A_GROUP]
                yield scenes.take(pa.array(rows)).combine_chunks()

    notes = {"s1s2:inputs": "", "s1s2:searched": "{}"}
    tables.write_groups(folder.scenes, SCENES, groups(), notes, ["Polygon", "MultiPolygon"])
    return hits


def repeated(scenes: pa.Table, sensor: Sensor, number: int) -> pa.Table:
    """The same scenes some cycles later: another time, which the id holds, another datatake."""
    when = pc.add(scenes["datetime"], pa.scalar(timedelta(days=number * CYCLE_DAYS[sensor])))
    at, length = STAMP_AT[sensor], len("20190801T000000")
    start, end = (
        pc.utf8_slice_codeunits(scenes["id"], *cut) for cut in ((0, at), (at + length, 256))
    )
    stamp = pc.utf8_slice_codeunits(pc.strftime(when, format=STAMP), 0, length)
    changed = {
        "id": pc.binary_join_element_wise(start, stamp, end, ""),
        "datetime": when,
        "s1s2:acquisition": pc.binary_join_element_wise(
            scenes["s1s2:acquisition"], str(number), "+"
        ),
    }
    columns = [changed.get(f.name, scenes[f.name]).cast(f.type) for f in SCENES]
    return pa.table(columns, schema=SCENES)


# --- a stage, in a process of its own


def run_of(folder: Path, n: int) -> Run:
    """A corpus of so many points: none is in reserve."""
    ends = BEGINS + timedelta(days=WEEK - 1)
    searched = {"search.end": ends.date(), "catalog": str((KEPT / "week").resolve())}
    changes = {"sample.reserve": 1.0, "catalog": "planetary-computer"}
    wanted = recipe.read_recipe(None, changes | (searched if folder.name == "week" else {}))
    return Run(Folder(folder), wanted, recipe.catalogs_of(wanted, ()), n)


STAGES: dict[str, Callable[[Run], object]] = {
    "sample": stages.sample_points,
    "match": stages.match_points,
    "search": stages.search_scenes,
}


def stage(name: str, folder: Path, n: int) -> None:
    """Run one stage and print what it took."""
    run = run_of(folder, n)
    begun, before = time.perf_counter(), time.process_time()
    STAGES[name](run)
    took, cpu = time.perf_counter() - begun, time.process_time() - before
    wrote = {"sample": run.folder.points, "match": run.folder.matchups, "search": run.folder.scenes}
    # of this program alone: what getrusage tells begins with the parent's
    told = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
    rows = pq.read_metadata(wrote[name]).num_rows
    print(json.dumps({"seconds": took, "cpu": cpu, "peak_mb": int(told) // 1024, "rows": rows}))


def measured(name: str, folder: Path, n: int) -> dict:
    """Run one stage in a process of its own."""
    program = [sys.executable, __file__, "--stage", name, "--folder", str(folder), "--most", str(n)]
    done = subprocess.run(program, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("--most", type=int, default=SIZES[-1], help="points, at most")
    words.add_argument("--stage", choices=STAGES, help="run this one alone, in --folder")
    words.add_argument("--folder", type=Path)
    asked = words.parse_args()
    if asked.stage:
        stage(asked.stage, asked.folder, asked.most)
        return
    KEPT.mkdir(parents=True, exist_ok=True)
    week()
    rows = []
    print(f"{'stage':8}{'points':>10}{'seconds':>9}{'CPU s':>8}{'us CPU/point':>14}", end="")
    print(f"{'peak MB':>9}{'rows':>11}")
    for n in [s for s in SIZES if s <= asked.most]:
        with tempfile.TemporaryDirectory(dir=KEPT) as name:
            corpus, offline = Folder(Path(name) / "corpus"), Folder(Path(name) / "week")
            for what, folder in (("sample", corpus), ("match", corpus), ("search", offline)):
                hits = write_scenes(corpus) if what == "match" else 0
                if what == "search":
                    offline.root.mkdir()
                    offline.points.write_bytes(corpus.points.read_bytes())
                took = measured(what, folder.root, n)
                cpu_us = took["cpu"] / n * 1e6
                print(
                    f"{what:8}{n:10,}{took['seconds']:9.1f}{took['cpu']:8.1f}{cpu_us:14.0f}", end=""
                )
                print(f"{took['peak_mb']:9,}{took['rows']:11,}", flush=True)
                row = {"setting": f"{what}, {n:,} points", "who": "s1s2", "points": n, **took}
                row |= {"rate": n / took["seconds"], "cpu_ms": cpu_us / 1000, "hits": hits}
                rows.append(row)
    keep("scale", rows)


if __name__ == "__main__":
    main()
