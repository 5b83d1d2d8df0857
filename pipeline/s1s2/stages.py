"""The stages: read, decide, write. The page to read first.

`sample_points`, `search_scenes`, `match_points`, `cut_chips`, and `build`, which goes round them
until there are enough chips. Each does nothing where its work is done already.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely

from s1s2 import __version__, fill, gather, layout, ledger, match, recipe, sample, store, tables
from s1s2.bands import Sensor, bands_of
from s1s2.catalog import Catalog, require
from s1s2.chip import Pair
from s1s2.errors import CatalogError, RecipeError, StoreError
from s1s2.estimate import Estimate, estimate
from s1s2.fill import Cluster, Place, ShardTask
from s1s2.files import write_bytes
from s1s2.gather import Part
from s1s2.land import land_mask
from s1s2.layout import Folder
from s1s2.progress import track
from s1s2.radiometry import baseline_offset
from s1s2.recipe import Recipe
from s1s2.scene import Scene

logger = logging.getLogger(__name__)

_MOST_ROUNDS = 8
_FRUITLESS_ROUNDS = 2
_LEAST_YIELD = 0.1


@dataclass(frozen=True)
class Run:
    """One corpus being built: where, what, from whom, how many."""

    folder: Folder
    recipe: Recipe
    catalogs: Mapping[Sensor, Catalog]
    n: int
    say: Callable[[str], None] = field(default=lambda _: None, compare=False)
    """Told one line of each stage."""

    @property
    def slots(self) -> dict[int, int]:
        """Chips wanted in each shard."""
        return layout.shard_slots(self.n, self.recipe.store)


def open_run(
    out: Path,
    wanted: Recipe,
    n: int | None,
    allow_hosts: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Run:
    """Check that a folder may hold this corpus; nothing is written yet.

    Args:
        out: The corpus' folder, new or begun with the same recipe.
        wanted: The recipe.
        n: Chips wanted; None for as many as the folder was begun with, or as there are own points.
        allow_hosts: Further hosts that pixels may be read from.
        say: Told one line of each stage.

    Raises:
        RecipeError: If the folder holds another recipe's corpus, or more chips than asked for.
        StoreError: If it holds anything else.
        CatalogError: If a catalog cannot be loaded.
    """
    folder = Folder(out)
    begun = int(tables.notes_of(folder.points).get("s1s2:n", 0))
    if folder.recipe.exists():
        there = recipe.read_recipe(folder.recipe, {})
        if differing := recipe.differences(there, wanted):
            msg = (
                f"{out} holds another recipe's corpus: {' · '.join(differing)}; build into another "
                "folder, or use the same recipe"
            )
            raise RecipeError(msg)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        msg = f"{out} holds other things than a corpus; build into a new or empty folder"
        raise StoreError(msg)
    n = chips_wanted(wanted, n or begun or None)
    if n < begun:
        msg = f"{out} was begun with N = {begun}, asked for {n}: a corpus grows but never shrinks"
        raise RecipeError(msg)
    run = Run(folder, wanted, recipe.catalogs_of(wanted, allow_hosts), n, say)
    if begun and wanted.sample.points and len(run.slots) != len(layout.shard_slots(begun, wanted.store)):
        msg = f"{out}: own points are shared out among its shards; build N = {n} into another folder"
        raise RecipeError(msg)
    return run


def chips_wanted(wanted: Recipe, n: int | None) -> int:
    """Return N, checked; with own points and no N, one chip for each point.

    Raises:
        RecipeError: If N is not given or less than 1.
    """
    if n is None:
        if not wanted.sample.points:
            msg = "how many chips? give -n N"
            raise RecipeError(msg)
        n = len(tables.read_places(Path(wanted.sample.points)))
    if n < 1:
        msg = f"N = {n}: expected the number of chips wanted, 1 or more"
        raise RecipeError(msg)
    return n


def begin(run: Run) -> None:
    """Write the resolved recipe, so that the folder is this corpus from now on."""
    if not run.folder.recipe.exists():
        write_bytes(run.folder.recipe, recipe.to_toml(run.recipe).encode())


def sample_points(run: Run, more: Mapping[int, int] | None = None) -> pd.DataFrame:
    """Draw the points of every shard and write `points.parquet`.

    Args:
        run: The corpus.
        more: Points to add to a shard's stream, by shard.
    """
    notes = {"s1s2:n": str(run.n), "s1s2:chips_per_shard": str(run.recipe.store.chips_per_shard)}
    there = tables.read_points(run.folder.points) if run.folder.points.exists() else None
    if there is not None and not more and tables.notes_of(run.folder.points)["s1s2:n"] == str(run.n):
        return there
    begin(run)
    points = _own(run) if run.recipe.sample.points else _drawn(run, _counts(there), more or {})
    tables.write_points(run.folder.points, points, notes)
    return points


def _counts(points: pd.DataFrame | None) -> dict[int, int]:
    return {} if points is None else {int(k): int(v) for k, v in points["shard"].value_counts().items()}


def _own(run: Run) -> pd.DataFrame:
    spec = run.recipe.sample
    return sample.share_points(tables.read_places(Path(spec.points)), len(run.slots), spec)


def _drawn(run: Run, have: Mapping[int, int], more: Mapping[int, int]) -> pd.DataFrame:
    spec, per_shard = run.recipe.sample, run.recipe.store.chips_per_shard
    wanted = {
        shard: max(have.get(shard, 0) + more.get(shard, 0), sample.wanted_points(slots, spec))
        for shard, slots in run.slots.items()
    }
    accept, bounds = _acceptable(spec)
    block = sample.wanted_points(per_shard, spec)
    return sample.draw_points(spec, run.recipe.seed, wanted, block, accept, bounds)


def _acceptable(
    spec: sample.SampleSpec,
) -> tuple[sample.Accept, tuple[float, float, float, float]]:
    """Return what may be a point (land, and inside the region if there is one), and its bounds."""
    land = land_mask()
    if not spec.within:
        return land, (-180.0, -90.0, 180.0, 90.0)
    region = tables.read_region(Path(spec.within))
    shapely.prepare(region)

    def inside(
        lon: "np.ndarray[Any, np.dtype[np.float64]]", lat: "np.ndarray[Any, np.dtype[np.float64]]"
    ) -> "np.ndarray[Any, np.dtype[np.bool_]]":
        return land(lon, lat) & shapely.contains_xy(region, lon, lat)

    west, south, east, north = region.bounds
    return inside, (west, south, east, north)


def search_scenes(run: Run, part: Part | None = None) -> list[Scene] | None:
    """Ask the catalogs for scenes over the points and write `scenes.parquet`.

    Returns:
        The scenes; None while other jobs of the array have queries left.
    """
    points = tables.read_points(_needed(run.folder.points, "sample"))
    key = _fingerprint(points[["point", "lon", "lat"]], run.recipe.search, run.catalogs)
    if tables.notes_of(run.folder.scenes).get("s1s2:inputs") == key:
        return tables.read_scenes(run.folder.scenes)
    able = {s: c for s, c in run.catalogs.items() if c.product(s).collection}
    total = sum(len(gather.queries(points, run.recipe.search, s, c)) for s, c in able.items())
    with track("search", total, "queries") as tick:
        found = gather.gather(
            points, run.recipe.search, able, run.folder.answers, part or Part(), tick
        )
    if found is None:
        return None
    scenes, refused = found
    _check_scenes(scenes, refused, run.catalogs)
    tables.write_scenes(run.folder.scenes, scenes, {"s1s2:inputs": key})
    counts = Counter(s.sensor for s in scenes)
    unusable = "".join(f" · refused {k} {v}" for k, v in sorted(refused.items()))
    run.say(
        f"search  {counts[Sensor.S2]:,} Sentinel-2 · {counts[Sensor.S1]:,} Sentinel-1 scenes · "
        f"offset: {_OFFSET_WORDS[run.catalogs[Sensor.S2].s2.offset]}{unusable}"
    )
    return tables.read_scenes(run.folder.scenes)


_OFFSET_WORDS = {
    "baseline": "-1000 from processing baseline 04.00 on",
    "applied": "applied by the provider",
}


def _check_scenes(
    scenes: list[Scene], refused: Counter[str], catalogs: Mapping[Sensor, Catalog]
) -> None:
    """Stop where a catalog's description cannot be right: no scene of a sensor has some band."""
    for sensor, catalog in catalogs.items():
        ours = [s for s in scenes if s.sensor is sensor]
        lacking = set.intersection(*(set(s.missing_bands) for s in ours)) if ours else set()
        if not ours and refused["no_assets"]:
            lacking = set(bands_of(sensor))
        if lacking:
            names = ", ".join(sorted(lacking))
            keys = ", ".join(catalog.product(sensor).assets[b] for b in sorted(lacking))
            msg = (
                f"catalog {catalog.name}: none of its {sensor.title} scenes has {names} (asset keys "
                f"{keys}); correct [{sensor}.assets] in the catalog's TOML"
            )
            raise CatalogError(msg)


def match_points(run: Run) -> pd.DataFrame:
    """Rank the pairs of scenes of every point and write `matchups.parquet`; return the candidates."""
    for sensor, catalog in run.catalogs.items():
        require(catalog, sensor)
    points = tables.read_points(_needed(run.folder.points, "sample"))
    scenes = tables.read_scenes(_needed(run.folder.scenes, "search"))
    before = tables.notes_of(run.folder.scenes)["s1s2:inputs"]
    shares = points[["point", "shard", "position"]]
    key = _fingerprint(shares, before, run.recipe.match, run.recipe.grid)
    if tables.notes_of(run.folder.matchups).get("s1s2:inputs") != key:
        candidates, refusals = match.match_scenes(points, scenes, run.recipe.match, run.recipe.grid)
        notes = {"s1s2:inputs": key}
        tables.write_matchups(run.folder.matchups, candidates, refusals, points, notes)
        reasons = Counter(refusals["reason"])
        run.say(
            f"match   {candidates['point'].nunique():,} of {len(points):,} points have a pair"
            + "".join(f" · {reason} {count:,}" for reason, count in reasons.most_common())
        )
    return tables.read_matchups(run.folder.matchups)[0]


def cut_chips(run: Run, cluster: Cluster, part: Part | None = None) -> list[fill.ShardReport]:
    """Fill the shards that are not yet full; a task fills a shard, wherever it runs."""
    tasks = shard_tasks(run, cluster)
    mine = [t for t in tasks if (part or Part()).owns(t.shard)]
    todo = [t for t in mine if not fill.is_filled(t, store.read_receipt(run.folder, t.shard))]
    if todo:
        run.folder.corpus.unlink(missing_ok=True)
        notes = about(run)
        plans = layout.arrays(run.recipe.grid)
        store.create(run.folder, plans, run.n, run.recipe.store.chips_per_shard, notes)
    with track("chip", sum(t.slots for t in todo), "chips") as tick:
        fill.run_shards(todo, cluster, lambda report: tick(report.new))
    return [_report(run, t) for t in tasks]


def _report(run: Run, task: ShardTask) -> fill.ShardReport:
    receipt = store.read_receipt(run.folder, task.shard)
    chips = len(receipt["rows"]) if receipt else 0
    filled = fill.is_filled(task, receipt)
    return fill.ShardReport(task.shard, chips, task.slots, chips, filled)


def shard_tasks(run: Run, cluster: Cluster) -> list[ShardTask]:
    """Put together what every shard needs: its points in order, their pairs, their scenes."""
    points = tables.read_points(_needed(run.folder.points, "sample"))
    candidates, _ = tables.read_matchups(_needed(run.folder.matchups, "match"))
    scenes = {(s.catalog, s.id): s for s in tables.read_scenes(run.folder.scenes)}
    rules = {c.name: c.s2.offset for c in run.catalogs.values()}
    places: dict[int, list[Place]] = {shard: [] for shard in run.slots}
    rows = points.set_index("point")
    for (shard, _position, point), group in candidates.groupby(["shard", "position", "point"]):
        row = rows.loc[point]
        pairs = tuple(
            _pair(int(point), row, scenes[c2, s2], scenes[c1, s1], rules)
            for c2, s2, c1, s1 in zip(
                group["s2_catalog"], group["s2_id"], group["s1_catalog"], group["s1_id"], strict=True
            )
        )
        place = Place(int(point), int(row["cell"]), str(row["split"]), pairs)
        places[int(shard)].append(place)
    return [
        ShardTask(
            shard=shard,
            slots=slots,
            places=tuple(places[shard]),
            folder=run.folder,
            grid=run.recipe.grid,
            rules=run.recipe.chip,
            chips_per_shard=run.recipe.store.chips_per_shard,
            catalogs={c.name: c for c in run.catalogs.values()},
            threads=cluster.threads,
        )
        for shard, slots in run.slots.items()
    ]


def _pair(
    point: int, row: "pd.Series[Any]", s2: Scene, s1: Scene, rules: Mapping[str, str]
) -> Pair:
    baseline = s2.processing_baseline or ""
    offset = baseline_offset(baseline) if rules[s2.catalog] == "baseline" else 0
    return Pair(point, float(row["lon"]), float(row["lat"]), s2, s1, offset)


def finish(run: Run, reports: list[fill.ShardReport]) -> store.Json | None:
    """Write index, refusals and `corpus.json`, if every shard is as full as its points allow."""
    if not all(r.filled for r in reports):
        return None
    if run.folder.corpus.exists():
        return ledger.open_corpus(run.folder)
    return ledger.finish(run.folder, run.recipe.grid, run.n, about(run))


def about(run: Run) -> dict[str, Any]:
    """Return what a corpus says of itself: its name, recipe, catalogs, and whether it is simulated."""
    return {
        "name": run.recipe.name,
        "recipe_sha256": recipe.fingerprint(run.recipe),
        "s1s2_version": __version__,
        "simulated": any(c.simulated for c in run.catalogs.values()),
        "catalogs": {
            str(sensor): {
                "name": c.name,
                "title": c.title,
                "collection": c.product(sensor).collection,
                "licence": c.licence,
                "offset": c.s2.offset if sensor is Sensor.S2 else "none",
            }
            for sensor, c in run.catalogs.items()
        },
    }


def build(run: Run, cluster: Cluster) -> store.Json:
    """Go round the stages until every shard is full, or no further points help.

    Returns:
        The content of `corpus.json`; it holds fewer chips than were wanted if points ran out.
    """
    for sensor, catalog in run.catalogs.items():
        require(catalog, sensor)
    gather.check(run.catalogs)
    more: dict[int, int] = {}
    fruitless, chips = 0, -1
    for _ in range(_MOST_ROUNDS):
        before = tables.notes_of(run.folder.points).get("s1s2:n"), _size(run.folder.points)
        points = sample_points(run, more)
        if more and before[1] == _size(run.folder.points):
            break
        search_scenes(run)
        match_points(run)
        reports = cut_chips(run, cluster)
        found = sum(r.chips for r in reports)
        fruitless = fruitless + 1 if found == chips else 0
        chips = found
        short = {r.shard: r.short for r in reports if r.short}
        run.say(f"chip    {found:,} of {run.n:,} chips · {len(reports) - len(short)} of {len(reports)} shards full")
        if not short or run.recipe.sample.points or fruitless >= _FRUITLESS_ROUNDS:
            break
        share = max(found / max(len(points), 1), _LEAST_YIELD)
        more = {shard: ceil(missing / share) for shard, missing in short.items()}
    done = finish(run, reports)
    if done is None:
        msg = f"{run.folder.root}: a shard was not filled; run the same command again to go on"
        raise StoreError(msg)
    return done


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def plan(run: Run, workers: int) -> Estimate:
    """Say what a build will cost; nothing is written or asked."""
    points = _own(run) if run.recipe.sample.points else _drawn(run, {}, {})
    asked = [
        gather.queries(points, run.recipe.search, sensor, catalog)
        for sensor, catalog in run.catalogs.items()
        if catalog.endpoint
    ]
    budget = next((c.budget for c in run.catalogs.values() if c.endpoint), None)
    searches = sum(map(len, asked))
    return estimate(run.n, len(points), searches, budget, run.recipe.grid, workers)


def _needed(path: Path, stage: str) -> Path:
    if not path.exists():
        msg = f"{path}: not there yet; run s1s2 {stage} first"
        raise StoreError(msg)
    return path


def _fingerprint(table: pd.DataFrame, *values: object) -> str:
    digest = hashlib.sha256(repr(values).encode())
    digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    return digest.hexdigest()
