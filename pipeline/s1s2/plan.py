"""What a build of one corpus will cost: its points and queries are counted, nothing is asked."""

import os
import time
import zlib

import numpy as np

from s1s2 import draw, gather
from s1s2.estimate import Estimate, Machine, estimate
from s1s2.progress import duration
from s1s2.run import Run

_ROUNDS, _REFERENCE_S = 8, 0.0021
"""What `machine_speed` does, and how long each took where the estimate's figures were measured."""


def plan(run: Run, *, workers: int, threads: int) -> Estimate:
    """Say what a build will cost on this machine; nothing is asked or written.

    Args:
        run: The corpus.
        workers: Processes that read.
        threads: Chips each of them reads at once.
    """
    recipe = run.recipe
    points = draw.draw(
        recipe.sample,
        recipe.grid,
        recipe.seed,
        run.slots,
        per_shard=recipe.store.chips_per_shard,
    )
    remote = {s: c for s, c in run.catalogs.items() if c.endpoint}
    return estimate(
        run.n,
        points=len(points),
        searches=gather.count(points, recipe.search, remote),
        budget=next((c.budget for c in remote.values()), None),
        spec=recipe.grid,
        chips_per_shard=recipe.store.chips_per_shard,
        codec=recipe.store.codec,
        machine=Machine(workers, threads, processors(), machine_speed()),
        sandbox=any(c.sandbox for c in run.catalogs.values()),
        away=bool(run.url),
    )


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine_speed() -> float:
    """Measure how fast a processor of this machine is, in a twentieth of a second of its time."""
    packed = zlib.compress(np.arange(1 << 16, dtype=np.int64).tobytes(), 1)
    seconds = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        zlib.decompress(packed)  # sorting, or sines, differ more among machines than builds do
        sum(number * number for number in range(1 << 15))
        seconds.append(time.process_time() - began)
    return _REFERENCE_S / max(min(seconds), 1e-5)  # the others were disturbed


def lines(cost: Estimate, run: Run) -> list[str]:
    """Say it in lines."""
    where = f"{cost.disk_gb:,.2f} GB in {run.folder.root}"
    return [
        f"funnel  {cost.points:,} points · {cost.pairs:,} pairs looked at · {cost.chips:,} chips",
        f"search  {cost.searches:,} queries · {duration(cost.search_hours * 3600)}",
        (
            f"chip    {cost.reads:,} requests · {cost.read_gb:,.1f} GB read · "
            f"{duration(cost.chip_hours * 3600)}"
        ),
        f"disk    {where}{f' at a time · {cost.store_gb:,.2f} GB at {run.url}' if run.url else ''}",
        f"memory  {cost.memory_mb:,} MB",
        f"time    {duration(cost.hours * 3600)} in all",
        *(f"basis   {line}" for line in cost.basis),
    ]
