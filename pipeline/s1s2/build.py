"""Round the stages until there are enough chips: one builder at a time, and those who help it."""

import time
from contextlib import ExitStack
from dataclasses import replace
from math import ceil

from s1s2 import away, fill, gather, lease, ledger, receipts, sent, stages
from s1s2 import cluster as machines
from s1s2.catalog import require
from s1s2.cluster import Cluster
from s1s2.errors import HeldError, StoreError
from s1s2.fill import ShardReport
from s1s2.gather import Part
from s1s2.progress import note
from s1s2.push import Pushed
from s1s2.receipts import Json
from s1s2.run import Run

_MOST_ROUNDS = 8
_FRUITLESS_ROUNDS = 2
_LEAST_YIELD = 0.1
_POLL_S = 2.0
_PATIENCE_S = 60.0
"""Jobs of an array wait so long for each other where they begin and where they end."""


def build(run: Run, cluster: Cluster, *, join: bool = False) -> Json:
    """Go round the stages until every shard is full, or further points do not help.

    Args:
        run: The corpus.
        cluster: Where shards are filled.
        join: Help whoever builds this corpus already, and take over if they die.

    Returns:
        The content of `corpus.json`; it counts fewer chips than wanted where points ran out.

    Raises:
        HeldError: If another builds this corpus, and `join` is off.
    """
    told = ""
    while (done := finished(run)) is None:
        with ExitStack() as stack:
            try:
                stack.enter_context(lease.of_corpus(run.folder, "build"))
            except HeldError as error:
                if not join:
                    msg = f"{error}; wait for it, or help with --join"
                    raise HeldError(msg) from error
                if str(error) != told:
                    told = str(error)
                    run.say(f"join    {told}; this process helps")
            else:
                return _rounds(run, cluster)
        if not _help(run, cluster):
            time.sleep(_POLL_S)
    return done


def _rounds(run: Run, cluster: Cluster) -> Json:
    for sensor, catalog in run.catalogs.items():
        require(catalog, sensor)
    if run.url:
        away.check(run.folder, run.url)
    if not run.folder.scenes.exists():
        gather.check(run.catalogs, note)
    points = stages.sample_points(run)
    found, fruitless = -1, 0
    for _ in range(_MOST_ROUNDS):
        stages.search_scenes(run)
        stages.match_points(run)
        reports = stages.cut_chips(run, cluster, stages.open_shards(run, cluster))
        before, found = found, sum(r.chips for r in reports)
        fruitless = fruitless + 1 if found == before else 0
        run.say(_chips_line(run, reports))
        known = len(points)
        if found < run.n and fruitless < _FRUITLESS_ROUNDS:
            points = stages.sample_points(run, _needed_points(run, reports))
        if len(points) == known:
            break
    if (document := stages.finish(run, reports, last=True)) is None:
        msg = f"{run.folder.root}: a shard is not filled; run the same command again to go on"
        raise StoreError(msg)
    return document


def _help(run: Run, cluster: Cluster) -> bool:
    """Fill shards that nobody fills yet, the last first; say whether there were any chips to cut.

    Tables, Zarr's metadata and `corpus.json` stay the holder's affair.
    """
    if not (run.folder.matchups.exists() and run.folder.zarr.exists()) or _is_unclaimed(run):
        return False
    tasks = [t for t in stages.shard_tasks(run, cluster) if not fill.report_on(t).filled]
    return any(r.new for r in machines.run_shards(tasks[::-1], cluster))


def _is_unclaimed(run: Run) -> bool:
    """Say whether the URL that pixels go to still holds what was finished before, or nothing."""
    home = sent.home_of(run.folder)
    return bool(run.url) and (home is None or home.published)


def publish(run: Run) -> Pushed | None:
    """Bring the rest of a finished corpus to the URL of its pixels; None if it stands there.

    Raises:
        HeldError: If another works on this corpus, and goes on doing so.
    """
    if away.is_published(run.folder):
        return None
    with lease.of_corpus(run.folder, "publish", _PATIENCE_S):
        return None if away.is_published(run.folder) else away.publish(run.folder)


def search(run: Run, part: Part | None) -> int | None:
    """Find scenes, alone or as one job of many; say how many, None while other parts lack.

    Raises:
        HeldError: If another works on this corpus alone.
    """
    if part is not None:  # answers are whole files of their own, and the last job joins them
        return stages.search_scenes(run, part)
    with lease.of_corpus(run.folder, "search"):
        return stages.search_scenes(run)


def chip(run: Run, cluster: Cluster, part: Part | None) -> tuple[list[ShardReport], Json | None]:
    """Cut chips and finish the corpus if that was the last of them; alone, or as one job of many.

    Returns:
        Reports on all shards; the content of `corpus.json`, or None as long as there is none.

    Raises:
        HeldError: If another builds this corpus, or fills a shard of this part.
    """
    if part is None:
        with lease.of_corpus(run.folder, "chip"):
            reports = stages.cut_chips(run, cluster, stages.open_shards(run, cluster))
            return reports, stages.finish(run, reports)
    with lease.of_corpus(run.folder, "chip", _PATIENCE_S):
        mine = [t for t in stages.open_shards(run, cluster) if part.owns(t.shard)]
    reports = stages.cut_chips(run, replace(cluster, jobs=part.count), mine, patient=False)
    if not all(r.filled for r in reports):
        return reports, None
    with lease.of_corpus(run.folder, "chip", _PATIENCE_S):
        return reports, stages.finish(run, reports, alone=False)


def finished(run: Run) -> Json | None:
    """Return `corpus.json` if there is nothing left to do for this corpus."""
    if not run.folder.corpus.exists():
        return None
    done = ledger.open_corpus(run.folder)
    found, is_there = receipts.read_all(run.folder), sent.is_away if run.url else sent.is_there
    whole = len(found) == len(run.slots) and all(
        is_there(run.folder, receipt) for receipt in found.values()
    )
    return done if whole and done["last"] and done["wanted"] == run.n else None


def _needed_points(run: Run, reports: list[ShardReport]) -> dict[int, int]:
    """Return how many points a short shard needs in all, by how many gave a chip so far."""
    have = stages.known_points(run)
    share = max(sum(r.chips for r in reports) / max(1, sum(have.values())), _LEAST_YIELD)
    return {r.shard: have.get(r.shard, 0) + ceil(r.short / share) for r in reports if r.short}


def _chips_line(run: Run, reports: list[ShardReport]) -> str:
    full = sum(not r.short for r in reports)
    chips = sum(r.chips for r in reports)
    return f"chip    {chips:,} of {run.n:,} chips · {full:,} of {len(reports):,} shards full"
