"""Cut chips of a corpus again, from what their rows say: to prove them, or to mend a shard.

A row names its point, its scenes and its offset, so that only its own pair is read, and no pair
that was refused at the time.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from rasterio.errors import NotGeoreferencedWarning

from s1s2 import receipts, scene_tables
from s1s2.chip import Chip, Pair, Refused, cut
from s1s2.errors import ContractError
from s1s2.layout import Folder
from s1s2.progress import track
from s1s2.reader import CogReader
from s1s2.receipts import Json
from s1s2.run import Run
from s1s2.scene import Scene


def cut_again(
    run: Run, rows: Sequence[Json], threads: int
) -> Iterator[tuple[Json, Chip | Refused]]:
    """Cut chips from their scenes, several at once.

    Args:
        run: The corpus, its catalogs in reach.
        rows: The chips, as their receipts have them.
        threads: Chips read at once.

    Yields:
        Each row, in order, and what came of it.

    Raises:
        ReadError: If an asset cannot be read now, but perhaps another day.
    """
    # rasterio hides this one while it warps, but not from other threads; our arrays are placed
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    reader = CogReader({c.name: c for c in run.catalogs.values()})
    ids = {row[key] for row in rows for key in ("s2_id", "s1_id")}
    scenes = {(s.catalog, s.id): s for s in scene_tables.read_scenes(run.folder.scenes, ids)}

    def again(row: Json) -> Chip | Refused:
        pair = _pair(row, scenes)
        if isinstance(pair, Refused):
            return pair
        try:
            return cut(pair, reader, run.recipe.grid, run.recipe.chip)
        except ContractError as error:
            return Refused("bad_asset", str(error))

    pool = ThreadPoolExecutor(threads)
    done = False
    try:
        yield from zip(rows, pool.map(again, rows), strict=True)
        done = True
    finally:
        # who stops in the middle does not wait for reads that may take a minute to time out
        pool.shutdown(wait=done, cancel_futures=True)
        reader.close()


def _pair(row: Json, scenes: Mapping[tuple[str, str], Scene]) -> Pair | Refused:
    s2 = scenes.get((row["catalog"], row["s2_id"]))
    s1 = scenes.get((row["s1_catalog"], row["s1_id"]))
    if s2 is None or s1 is None:
        return Refused("no_scene", "the table of scenes does not hold its scenes")
    return Pair(row["point"], row["lon"], row["lat"], s2, s1, row["dn_offset"])


def compare(run: Run, count: int | None, seed: int, threads: int) -> Iterator[tuple[Json, str]]:
    """Cut the chips of a corpus again and compare.

    Args:
        run: The corpus, finished and proven, its catalogs in reach.
        count: How many chips; None for all.
        seed: Which, if not all.
        threads: Chips read at once.

    Yields:
        The row of each chip, and in what it differs: empty if in nothing.

    Raises:
        ReadError, UnreachableError: If a catalog cannot be read now.
    """
    total = sum(len(receipt["rows"]) for _, receipt in receipts.read_each(run.folder))
    number = total if count is None else min(count, total)
    with track("deep", number, "chips") as tick:
        for rows in _sample(run.folder, total, number, seed):
            for row, outcome in cut_again(run, rows, threads):
                yield row, difference(row, outcome)
                tick(1)


def difference(row: Json, outcome: Chip | Refused) -> str:
    """Say in what a chip that was cut again differs from its row; empty if in nothing."""
    if isinstance(outcome, Refused):
        return f"cut again it is refused: {outcome.reason}: {outcome.detail}"
    keys = [key for key, value in outcome.row.items() if row[key] != value]
    if "sha256" in keys:
        return f"cut again its pixels differ, from {row['s2_id']} and {row['s1_id']}"
    return f"cut again its row differs in {', '.join(keys)}" if keys else ""


def _sample(folder: Folder, total: int, count: int, seed: int) -> Iterator[list[Json]]:
    """Yield the rows of some chips, shard by shard."""
    chosen = np.random.default_rng(seed).choice(total, count, replace=False)
    first, wanted = 0, set(chosen.tolist())
    for _, receipt in receipts.read_each(folder):
        rows = [row for place, row in enumerate(receipt["rows"], first) if place in wanted]
        first += len(receipt["rows"])
        if rows:
            yield rows
