"""The stages: read, decide, write. The page to read first.

`sample_points`, `search_scenes`, `match_points`, `cut_chips`, `finish`; `build` goes round them
until there are enough chips. Each does nothing where its work is done already. None of them takes
a lease of the corpus: whoever calls them holds one.
"""

import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from s1s2 import (
    away,
    dense,
    draw,
    fill,
    gather,
    layout,
    lease,
    ledger,
    matched,
    receipts,
    scene_lookup,
    scene_tables,
    sent,
    store,
    tables,
)
from s1s2 import cluster as machines
from s1s2.bands import Sensor
from s1s2.catalog import require
from s1s2.cluster import Cluster
from s1s2.errors import HeldError, StoreError
from s1s2.fill import ShardReport, ShardTask
from s1s2.gather import Part
from s1s2.layout import Folder
from s1s2.progress import count_reads, note, track
from s1s2.receipts import Json
from s1s2.run import SOURCES, Run, about, begin, begun_with, sources

_INPUTS, _SEARCHED = "s1s2:inputs", "s1s2:searched"
_POLL_S = 2.0
_PATIENCE_S = 60.0
"""How long those who help may take to let go of a shard."""


def sample_points(run: Run, more: Mapping[int, int] | None = None) -> pd.DataFrame:
    """Draw every shard's points, `more` of them where a shard needs that many: `points.parquet`."""
    if not more and begun_with(run.folder) == run.n:
        return tables.read_points(run.folder.points)
    points = _draw(run, Counter(known_points(run)) | Counter(more or {}))
    notes = {
        "s1s2:n": str(run.n),
        "s1s2:chips_per_shard": str(run.recipe.store.chips_per_shard),
        "s1s2:codec": run.recipe.store.codec,
        SOURCES: json.dumps(sources(run), sort_keys=True),
    }
    begin(run)
    tables.write_points(run.folder.points, points, notes)
    return points


def search_scenes(run: Run, part: Part | None = None) -> int | None:
    """Ask the catalogs for scenes over new points: `scenes.parquet`.

    Returns:
        How many scenes there are; None while answers of other jobs are missing.
    """
    try:
        return _search(run, part or Part())
    finally:
        scene_tables.give_back()


def _search(run: Run, part: Part) -> int | None:
    points = tables.read_points(_needed(run.folder.points, "sample"))
    inputs = _search_inputs(run)
    searched = searched_points(run)
    new = points[points["position"] >= points["shard"].map(searched).fillna(0)]
    if searched and new.empty:
        return scene_tables.count_rows(run.folder.scenes)
    with track("search", gather.count(new, run.recipe.search, run.catalogs), "queries") as tick:
        asked = new, run.recipe.search, run.catalogs
        found = gather.gather(*asked, answers=run.folder.answers, part=part, tick=tick, say=note)
    if found is None:
        return None
    scenes, refused = found
    if searched:
        scenes = gather.together(scene_tables.read_table(run.folder.scenes), scenes)
    gather.check_bands(scenes, refused, run.catalogs)
    counts = json.dumps(_points_by_shard(points), sort_keys=True)
    scene_tables.write_scenes(run.folder.scenes, scenes, {_INPUTS: inputs, _SEARCHED: counts})
    run.say(gather.summary(scenes, refused, run.recipe.search, run.catalogs))
    return len(scenes)


def match_points(run: Run) -> int:
    """Rank the pairs of scenes of every point: `matchups.parquet`; return how many there are."""
    for sensor, catalog in run.catalogs.items():
        require(catalog, sensor)
    points = tables.read_points(_needed(run.folder.points, "sample"))
    scenes = tables.notes_of(_needed(run.folder.scenes, "search"))
    rules, grid = run.recipe.match, run.recipe.grid
    inputs = _fingerprint(scenes[_INPUTS], scenes[_SEARCHED], _points_by_shard(points), rules, grid)
    if tables.notes_of(run.folder.matchups).get(_INPUTS) != inputs:
        optical = scene_tables.read_side(run.folder.scenes, Sensor.S2)
        radar = scene_tables.read_side(run.folder.scenes, Sensor.S1)
        found = matched.match_scenes(points, optical, radar, rules, grid)
        tables.write_matchups(run.folder.matchups, found.parts(), {_INPUTS: inputs})
        run.say(found.summary())
    return tables.count_pairs(run.folder.matchups)


def cut_chips(
    run: Run, cluster: Cluster, tasks: Sequence[ShardTask], *, patient: bool = True
) -> list[ShardReport]:
    """Fill shards wherever they run; report on every shard of the corpus.

    Args:
        run: The corpus.
        cluster: Where shards are filled.
        tasks: Of `open_shards`, all or some.
        patient: Wait for shards that somebody else fills, and take over from who dies.

    Raises:
        HeldError: If somebody else fills a shard, and `patient` is off.
    """
    left, again = list(tasks), Counter[str]()
    with track("chip", sum(fill.report_on(t).short for t in left), "chips") as tick:
        while left:
            done = machines.run_shards(left, cluster, _count, tick)
            again += sum((r.traffic.again for r in done), Counter[str]())
            held = {r.shard: r.held for r in done if r.held}
            left = [t for t in left if t.shard in held]
            if held and not patient:
                raise HeldError(" · ".join(held.values()))
            if held:
                run.say(f"chip    waits for {len(held):,} shards: {next(iter(held.values()))}")
                time.sleep(_POLL_S)
    if again:
        causes = " · ".join(f"{cause} {count:,}" for cause, count in again.most_common())
        run.say(f"chip    {again.total():,} requests for pixels were made again: {causes}")
    return [fill.report_on(t) for t in shard_tasks(run, cluster)]


def _count(report: ShardReport) -> None:
    asked = report.traffic
    count_reads(asked.requests, asked.n_bytes, asked.again)


def open_shards(run: Run, cluster: Cluster) -> list[ShardTask]:
    """Return the shards that are not yet full, or not sent, and make the place for their pixels."""
    tasks = shard_tasks(run, cluster)
    todo = [t for t in tasks if not fill.report_on(t).filled]
    if todo and run.url:
        away.claim(run.folder, run.url)
    if any(map(_lacks_chips, todo)) and dense.was_dealt(run.folder):
        dense.undo(run.folder)
        todo = tasks
    if todo:
        run.folder.corpus.unlink(missing_ok=True)
        plans = layout.arrays(run.recipe.grid, run.recipe.store.codec)
        scene_lookup.prepare(run.folder)
        store.create(run.folder, plans, run.n, run.recipe.store.chips_per_shard, about(run))
    return todo


def _lacks_chips(task: ShardTask) -> bool:
    return not fill.is_cut(task, receipts.read_receipt(task.folder, task.shard))


def shard_tasks(run: Run, cluster: Cluster) -> list[ShardTask]:
    """Put together what each shard needs to be filled anywhere."""
    counts, url = tables.count_matched(_needed(run.folder.matchups, "match")), run.url
    return [
        ShardTask(
            shard=shard,
            slots=slots,
            n_places=counts.get(shard, 0),
            folder=Folder(run.folder.root.resolve()),  # workers have other working directories
            grid=run.recipe.grid,
            rules=run.recipe.chip,
            chips_per_shard=run.recipe.store.chips_per_shard,
            codec=run.recipe.store.codec,
            catalogs={c.name: c for c in run.catalogs.values()},
            threads=cluster.threads,
            to=url,
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
    if last and dense.has_gaps(run.folder, per_shard):
        if not alone:
            return None
        with lease.of_shards(run.folder, range(len(run.slots)), _PATIENCE_S):
            plans = layout.arrays(grid, run.recipe.store.codec)
            dense.close_gaps(run.folder, plans, per_shard, about(run), run.url)
    if run.url:
        sent.sweep(run.folder)
    if run.folder.answers.exists():  # scenes.parquet holds them; who is killed later leaves none
        shutil.rmtree(run.folder.answers)
    scene_lookup.discard(run.folder)
    return ledger.finish(run.folder, grid, run.n, about(run) | {"last": last})


def _search_inputs(run: Run) -> str:
    catalogs = [run.catalogs[sensor].search_key for sensor in sorted(run.catalogs)]
    return _fingerprint(run.recipe.search, catalogs)


def searched_points(run: Run) -> dict[int, int]:
    """Return how many points of each shard were searched already, as it would be done now."""
    notes = tables.notes_of(run.folder.scenes)
    if notes.get(_INPUTS) != _search_inputs(run):
        return {}
    return {int(shard): count for shard, count in json.loads(notes[_SEARCHED]).items()}


def _draw(run: Run, least: Mapping[int, int]) -> pd.DataFrame:
    recipe = run.recipe
    per_shard = recipe.store.chips_per_shard
    return draw.draw(
        recipe.sample, recipe.grid, recipe.seed, run.slots, per_shard=per_shard, more=least
    )


def known_points(run: Run) -> dict[int, int]:
    """Return how many points each shard has."""
    there = run.folder.points.exists()
    return _points_by_shard(tables.read_points(run.folder.points)) if there else {}


def _points_by_shard(points: pd.DataFrame) -> dict[int, int]:
    """Return how many points each shard has; with the recipe, that says which they are."""
    shards, counts = np.unique(points["shard"].to_numpy(np.int64), return_counts=True)
    return dict(zip(shards.tolist(), counts.tolist(), strict=True))


def _needed(path: Path, stage: str) -> Path:
    if not path.exists():
        msg = f"{path}: not there yet; run s1s2 {stage} first"
        raise StoreError(msg)
    return path


def _fingerprint(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()
