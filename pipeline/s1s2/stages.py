"""The stages: read, decide, write. The page to read first.

`sample_points`, `search_scenes`, `match_points`, `cut_chips`, `finish`; and `build`, which goes
round them until there are enough chips. Each does nothing where its work is done already.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Mapping
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd

from s1s2 import cluster as machines
from s1s2 import dense, draw, fill, gather, layout, ledger, match, receipts, store, tables
from s1s2.catalog import require
from s1s2.cluster import Cluster
from s1s2.errors import StoreError
from s1s2.estimate import Estimate, estimate
from s1s2.fill import ShardReport, ShardTask
from s1s2.gather import Part
from s1s2.layout import Folder
from s1s2.progress import track
from s1s2.receipts import Json
from s1s2.run import SOURCES, Run, about, begin, begun_with, sources
from s1s2.scene import Scene

_INPUTS, _SEARCHED = "s1s2:inputs", "s1s2:searched"
_MOST_ROUNDS = 8
_FRUITLESS_ROUNDS = 2
_LEAST_YIELD = 0.1


def sample_points(run: Run, more: Mapping[int, int] | None = None) -> pd.DataFrame:
    """Draw every shard's points, `more` of them where a shard needs that many: `points.parquet`."""
    if not more and begun_with(run.folder) == run.n:
        return tables.read_points(run.folder.points)
    points = _draw(run, Counter(_known_points(run)) | Counter(more or {}))
    notes = {
        "s1s2:n": str(run.n),
        "s1s2:chips_per_shard": str(run.recipe.store.chips_per_shard),
        SOURCES: json.dumps(sources(run), sort_keys=True),
    }
    begin(run)
    tables.write_points(run.folder.points, points, notes)
    return points


def search_scenes(run: Run, part: Part | None = None) -> list[Scene] | None:
    """Ask the catalogs for scenes over new points: `scenes.parquet`; None while parts lack."""
    points = tables.read_points(_needed(run.folder.points, "sample"))
    inputs = _search_inputs(run)
    searched = _searched_points(run, inputs)
    earlier = tables.read_scenes(run.folder.scenes) if searched else []
    new = points[points["position"] >= points["shard"].map(searched).fillna(0)]
    if searched and new.empty:
        return earlier
    with track("search", gather.count(new, run.recipe.search, run.catalogs), "queries") as tick:
        asked = new, run.recipe.search, run.catalogs
        found = gather.gather(*asked, answers=run.folder.answers, part=part or Part(), tick=tick)
    if found is None:
        return None
    scenes, refused = gather.together(earlier, found[0]), found[1]
    gather.check_bands(scenes, refused, run.catalogs)
    counts = json.dumps(_points_by_shard(points), sort_keys=True)
    tables.write_scenes(run.folder.scenes, scenes, {_INPUTS: inputs, _SEARCHED: counts})
    run.say(gather.summary(scenes, refused, run.recipe.search, run.catalogs))
    return tables.read_scenes(run.folder.scenes)


def match_points(run: Run) -> pd.DataFrame:
    """Rank the pairs of scenes of every point: `matchups.parquet`; return the candidates."""
    for sensor, catalog in run.catalogs.items():
        require(catalog, sensor)
    points = tables.read_points(_needed(run.folder.points, "sample"))
    scenes = tables.notes_of(_needed(run.folder.scenes, "search"))
    rules, grid = run.recipe.match, run.recipe.grid
    inputs = _fingerprint(scenes[_INPUTS], scenes[_SEARCHED], _points_by_shard(points), rules, grid)
    if tables.notes_of(run.folder.matchups).get(_INPUTS) != inputs:
        found = tables.read_scenes(run.folder.scenes)
        candidates, refusals = match.match_scenes(points, found, rules, grid)
        notes = {_INPUTS: inputs}
        tables.write_matchups(run.folder.matchups, candidates, refusals, points, notes)
        run.say(match.summary(points, candidates, refusals))
    return tables.read_matchups(run.folder.matchups)[0]


def cut_chips(run: Run, cluster: Cluster, part: Part | None = None) -> list[ShardReport]:
    """Fill the shards that are not yet full, wherever they run; report on all of them."""
    tasks = shard_tasks(run, cluster)
    before = {t.shard: fill.report_on(t) for t in tasks}
    if not all(r.filled for r in before.values()) and dense.was_dealt(run.folder):
        dense.undo(run.folder)
        before = {t.shard: fill.report_on(t) for t in tasks}
    open_ = [t for t in tasks if not before[t.shard].filled]
    todo = [t for t in open_ if (part or Part()).owns(t.shard)]
    if todo:
        run.folder.corpus.unlink(missing_ok=True)
        plans, per_shard = layout.arrays(run.recipe.grid), run.recipe.store.chips_per_shard
        store.create(run.folder, plans, run.n, per_shard, about(run))
    with track("chip", sum(t.slots for t in todo), "chips") as tick:
        machines.run_shards(todo, cluster, lambda report: tick(report.new))
    after = before | {t.shard: fill.report_on(t) for t in open_}
    return [after[t.shard] for t in tasks]


def shard_tasks(run: Run, cluster: Cluster) -> list[ShardTask]:
    """Put together what each shard needs to be filled anywhere."""
    candidates, _ = tables.read_matchups(_needed(run.folder.matchups, "match"))
    counts = candidates.groupby("shard")["point"].nunique().to_dict()
    return [
        ShardTask(
            shard=shard,
            slots=slots,
            n_places=int(counts.get(shard, 0)),
            folder=Folder(run.folder.root.resolve()),  # workers have other working directories
            grid=run.recipe.grid,
            rules=run.recipe.chip,
            chips_per_shard=run.recipe.store.chips_per_shard,
            catalogs={c.name: c for c in run.catalogs.values()},
            threads=cluster.threads,
        )
        for shard, slots in run.slots.items()
    ]


def finish(
    run: Run, reports: list[ShardReport], *, last: bool = False, alone: bool = True
) -> Json | None:
    """Write index, refusals and `corpus.json`, once every shard is as full as its points allow.

    Args:
        run: The corpus.
        reports: On all its shards.
        last: No further points will be drawn, so gaps are closed.
        alone: No other job works on this corpus; gaps are closed only then.

    Returns:
        The content of `corpus.json`; None if a shard is not filled, or gaps wait to be closed.
    """
    last = last or bool(run.recipe.sample.points) or not any(r.short for r in reports)
    if not all(r.filled for r in reports):
        return None
    if run.folder.corpus.exists():
        there = ledger.open_corpus(run.folder)
        if there["wanted"] == run.n and there["last"] >= last:
            return there
    grid, per_shard = run.recipe.grid, run.recipe.store.chips_per_shard
    if last and dense.has_gaps(list(receipts.read_all(run.folder).values()), per_shard):
        if not alone:
            return None
        dense.close_gaps(run.folder, grid, per_shard, about(run))
    document = ledger.finish(run.folder, grid, run.n, about(run) | {"last": last})
    shutil.rmtree(run.folder.answers, ignore_errors=True)
    return document


def build(run: Run, cluster: Cluster) -> Json:
    """Go round the stages until every shard is full, or further points do not help.

    Returns:
        The content of `corpus.json`; it counts fewer chips than wanted where points ran out.
    """
    if (done := finished(run)) is not None:
        return done
    for sensor, catalog in run.catalogs.items():
        require(catalog, sensor)
    if not run.folder.scenes.exists():
        gather.check(run.catalogs)
    points = sample_points(run)
    found, fruitless = -1, 0
    for _ in range(_MOST_ROUNDS):
        search_scenes(run)
        match_points(run)
        reports = cut_chips(run, cluster)
        before, found = found, sum(r.chips for r in reports)
        fruitless = fruitless + 1 if found == before else 0
        run.say(_chips_line(run, reports))
        known = len(points)
        if found < run.n and fruitless < _FRUITLESS_ROUNDS:
            points = sample_points(run, _needed_points(run, reports))
        if len(points) == known:
            break
    if (document := finish(run, reports, last=True)) is None:
        msg = f"{run.folder.root}: a shard is not filled; run the same command again to go on"
        raise StoreError(msg)
    return document


def finished(run: Run) -> Json | None:
    """Return `corpus.json` if there is nothing left to do for this corpus."""
    if not run.folder.corpus.exists():
        return None
    done = ledger.open_corpus(run.folder)
    found = receipts.read_all(run.folder)
    whole = len(found) == len(run.slots) and all(
        receipts.is_there(run.folder, receipt) for receipt in found.values()
    )
    return done if whole and done["last"] and done["wanted"] == run.n else None


def _needed_points(run: Run, reports: list[ShardReport]) -> dict[int, int]:
    """Return how many points a short shard needs in all, by how many gave a chip so far."""
    have = _known_points(run)
    share = max(sum(r.chips for r in reports) / max(1, sum(have.values())), _LEAST_YIELD)
    return {r.shard: have.get(r.shard, 0) + ceil(r.short / share) for r in reports if r.short}


def _search_inputs(run: Run) -> str:
    catalogs = [run.catalogs[sensor].search_key for sensor in sorted(run.catalogs)]
    return _fingerprint(run.recipe.search, catalogs)


def _searched_points(run: Run, inputs: str) -> dict[int, int]:
    """Return how many points of each shard were searched with these inputs already."""
    notes = tables.notes_of(run.folder.scenes)
    if notes.get(_INPUTS) != inputs:
        return {}
    return {int(shard): count for shard, count in json.loads(notes[_SEARCHED]).items()}


def _draw(run: Run, least: Mapping[int, int]) -> pd.DataFrame:
    recipe = run.recipe
    per_shard = recipe.store.chips_per_shard
    return draw.draw(
        recipe.sample, recipe.grid, recipe.seed, run.slots, per_shard=per_shard, more=least
    )


def _known_points(run: Run) -> dict[int, int]:
    there = run.folder.points.exists()
    return _points_by_shard(tables.read_points(run.folder.points)) if there else {}


def _points_by_shard(points: pd.DataFrame) -> dict[int, int]:
    """Return how many points each shard has; with the recipe, that says which they are."""
    shards, counts = np.unique(points["shard"].to_numpy(np.int64), return_counts=True)
    return dict(zip(shards.tolist(), counts.tolist(), strict=True))


def _chips_line(run: Run, reports: list[ShardReport]) -> str:
    full = sum(not r.short for r in reports)
    chips = sum(r.chips for r in reports)
    return f"chip    {chips:,} of {run.n:,} chips · {full:,} of {len(reports):,} shards full"


def plan(run: Run, workers: int) -> Estimate:
    """Say what a build will cost; nothing is asked or written."""
    points = _draw(run, {})
    remote = {s: c for s, c in run.catalogs.items() if c.endpoint}
    searches = gather.count(points, run.recipe.search, remote)
    budget = next((c.budget for c in remote.values()), None)
    return estimate(
        run.n,
        points=len(points),
        searches=searches,
        budget=budget,
        spec=run.recipe.grid,
        workers=workers,
    )


def _needed(path: Path, stage: str) -> Path:
    if not path.exists():
        msg = f"{path}: not there yet; run s1s2 {stage} first"
        raise StoreError(msg)
    return path


def _fingerprint(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()
