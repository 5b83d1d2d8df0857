"""Fill one shard from its points, in order.

A shard is a pure function of its points, its scenes and the recipe: whoever fills it, in whatever
company, writes the same bytes.
"""

import logging
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from s1s2 import layout, lease, receipts, scene_lookup, sending, sent, store, tables
from s1s2.bands import RADAR, S2_10M, S2_20M
from s1s2.catalog import Catalog
from s1s2.chip import Chip, ChipRules, Pair, Refused, cut
from s1s2.errors import HeldError
from s1s2.grid import GridSpec
from s1s2.layout import Codec, Folder
from s1s2.lease import Lease
from s1s2.progress import Tick
from s1s2.radiometry import DB_INVALID, baseline_offset
from s1s2.reader import IN_FLIGHT, CogReader, Reader
from s1s2.receipts import Json
from s1s2.scene import Scene
from s1s2.wire import Traffic

logger = logging.getLogger(__name__)

_ADDED_AT_ONCE = 1 << 16  # numbers


@dataclass(frozen=True)
class Place:
    """One point of a shard, with its pairs in the order they are tried."""

    point: int
    cell: int
    split: str
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class ShardTask:
    """All that is needed to fill one shard, on any machine that reaches the folder.

    It is small: points, pairs and scenes are read where the shard is filled.
    """

    shard: int
    slots: int
    """Chips wanted."""
    n_places: int
    """Points it may be filled from: those of its points that have a pair."""
    folder: Folder
    grid: GridSpec
    rules: ChipRules
    chips_per_shard: int
    catalogs: dict[str, Catalog] = field(repr=False)
    codec: Codec = "lz4"
    """How pixels are packed."""
    threads: int = 16
    """Chips read at once."""
    sharers: int = 1
    """Processes that fill shards meanwhile, this one included: they share the catalogs' budgets."""
    to: str = ""
    """URL that the shard's files go to once it is filled; empty if they stay."""

    @property
    def in_flight(self) -> int:
        """Requests that this process may have under way at once."""
        shares = [c.budget.shared_by(self.sharers).reads for c in self.catalogs.values()]
        return min(IN_FLIGHT, *shares)


@dataclass(frozen=True)
class ShardReport:
    """What became of one shard."""

    shard: int
    chips: int
    slots: int
    new: int
    """Chips cut in this run."""
    filled: bool = True
    """False where points are left to try, or files to be sent."""
    held: str = ""
    """Who fills it at this moment, if that is somebody else."""
    traffic: Traffic = field(default_factory=Traffic)
    """What was asked of servers in this run."""

    @property
    def short(self) -> int:
        """Chips wanted and not found."""
        return self.slots - self.chips


def places_of(task: ShardTask) -> list[Place]:
    """Read a shard's points that have a pair, in the order they are tried."""
    points = tables.read_points(task.folder.points, task.shard)
    candidates, _ = tables.read_matchups(task.folder.matchups, task.shard)
    ids = {*candidates["s2_id"], *candidates["s1_id"]}
    scenes = {(s.catalog, s.id): s for s in scene_lookup.read_scenes(task.folder, ids)}
    pairs: dict[int, list[Pair]] = {}
    rows = points.set_index("point")[["lon", "lat", "cell", "split"]].to_dict("index")
    for c in candidates.sort_values(["position", "rank"]).to_dict("records"):
        point, s2 = int(c["point"]), scenes[c["s2_catalog"], c["s2_id"]]
        s1 = scenes[c["s1_catalog"], c["s1_id"]]
        lon, lat = float(rows[point]["lon"]), float(rows[point]["lat"])
        pair = Pair(point, lon, lat, s2, s1, _offset(s2, task.catalogs[s2.catalog]))
        pairs.setdefault(point, []).append(pair)
    return [
        Place(point, int(rows[point]["cell"]), str(rows[point]["split"]), tuple(tried))
        for point, tried in pairs.items()
    ]


def _offset(scene: Scene, catalog: Catalog) -> int:
    if catalog.s2.offset == "applied":
        return 0
    return baseline_offset(scene.processing_baseline or "")


def is_filled(task: ShardTask, receipt: Json | None) -> bool:
    """Say whether a shard needs nothing more: it is cut, and its files are where they belong."""
    if receipt is None or not _is_enough(task, receipt):
        return False
    return (sent.is_away if task.to else sent.is_there)(task.folder, receipt)


def is_cut(task: ShardTask, receipt: Json | None) -> bool:
    """Say whether a shard needs no more chips, wherever its files are."""
    if receipt is None or not _is_enough(task, receipt):
        return False
    return sent.is_there(task.folder, receipt)


def _is_enough(task: ShardTask, receipt: Json) -> bool:
    """Say whether a shard is full, or all its points were tried."""
    return len(receipt["rows"]) >= task.slots or len(receipt["tried"]) >= task.n_places


def report_on(task: ShardTask) -> ShardReport:
    """Say how full a shard is, from its receipt."""
    receipt = receipts.read_receipt(task.folder, task.shard)
    chips = len(receipt["rows"]) if receipt else 0
    return ShardReport(task.shard, chips, task.slots, 0, is_filled(task, receipt))


def fill_shard(task: ShardTask, tick: Tick = lambda _: None) -> ShardReport:
    """Fill one shard and write its receipt; a shard already filled is left alone.

    Where its files belong to a URL they go there then, also those of a shard filled before. One
    that ran short before is gone on with, from its own verified rows, when it has more points or
    more slots now. One that somebody else fills is left to them; the report says so.

    Args:
        task: The shard.
        tick: Told of every chip that is cut.

    Raises:
        UnreachableError: If a catalog or the store does not answer now; what is cut is kept.
    """
    try:
        with (
            lease.of_shard(task.folder, task.shard) as held,
            CogReader(task.catalogs, task.in_flight) as reader,
        ):
            report = replace(_fill(task, reader, held, tick), traffic=reader.traffic)
            if task.to:
                held.check()
                sending.settle(task.folder, task.shard, task.to)
            return report
    except HeldError as error:
        return replace(report_on(task), held=str(error))


def _fill(task: ShardTask, reader: Reader, held: Lease, tick: Tick) -> ShardReport:
    # rasterio hides this one while it warps, but not from other threads; our arrays are placed
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    receipt = receipts.read_receipt(task.folder, task.shard)
    if receipt is not None and _is_lost(task, receipt):
        logger.warning("shard %d is damaged and will be filled again", task.shard)
        receipt = None
    if receipt is not None and is_cut(task, receipt):
        return ShardReport(task.shard, len(receipt["rows"]), task.slots, 0)
    plans = layout.arrays(task.grid, task.codec)
    rows, refused, tried, blocks = _start(task, receipt, plans)
    new: list[Chip] = []
    known = set(tried)
    todo = [p for p in places_of(task) if p.point not in known]
    for place, chip, reasons in _in_order(todo, reader, task, task.slots - len(rows)):
        tried.append(place.point)
        refused += reasons
        if chip is not None:
            new.append(chip)
            number = task.shard * task.chips_per_shard + len(rows)
            rows.append({"chip": number, "cell": place.cell, "split": place.split, **chip.row})
            tick(1)
    full = {p.name: _block(p, blocks, new, rows) for p in plans}
    objects = (
        store.write_shard(task.folder, plans, task.shard, full, task.chips_per_shard)
        if rows
        else {}
    )
    held.check()
    receipts.write_receipt(
        task.folder,
        task.shard,
        {
            "format_version": layout.FORMAT_VERSION,
            "shard": task.shard,
            "rows": rows,
            "refused": refused,
            "tried": tried,
            "objects": objects,
            "sums": sums(full, rows),
        },
    )
    return ShardReport(task.shard, len(rows), task.slots, len(new))


def _is_lost(task: ShardTask, receipt: Json) -> bool:
    """Say whether a shard's files are neither here nor there; what is to be read is here then."""
    if not task.to:
        return bool(sent.damage(task.folder, receipt))
    if sent.is_away(task.folder, receipt) and is_cut(task, receipt):
        return False
    return bool(sending.fetch(task.folder, receipt, task.to))


def _start(
    task: ShardTask, receipt: Json | None, plans: Sequence[layout.ArrayPlan]
) -> tuple[list[Json], list[Json], list[int], dict[str, NDArray[Any]]]:
    """Return rows, refusals, tried points and pixels of a shard that was left short, or nothing."""
    if receipt is None or not receipt["rows"]:
        tried = list(receipt["tried"]) if receipt else []
        refused = list(receipt["refused"]) if receipt else []
        return [], refused, tried, {}
    first = task.shard * task.chips_per_shard
    blocks = store.read_rows(task.folder, plans, first, len(receipt["rows"]))
    return list(receipt["rows"]), list(receipt["refused"]), list(receipt["tried"]), blocks


def _in_order(
    places: Sequence[Place], reader: Reader, task: ShardTask, wanted: int
) -> Iterator[tuple[Place, Chip | None, list[Json]]]:
    """Try points side by side, hand out their outcomes in order, and stop at the last chip wanted.

    No more points are under way than chips are wanted, so little is read for nothing.
    """
    if wanted <= 0:
        return
    queue = iter(places)
    pool = ThreadPoolExecutor(task.threads)
    running: deque[tuple[Place, Future[tuple[Chip | None, list[Json]]]]] = deque()

    def start(count: int) -> None:
        for place in islice(queue, max(0, count)):
            running.append((place, pool.submit(_try_place, place, reader, task)))

    done = False
    try:
        start(min(task.threads, wanted))
        while running and wanted > 0:
            place, future = running.popleft()
            chip, reasons = future.result()
            wanted -= chip is not None
            start(min(task.threads, wanted) - len(running))
            yield place, chip, reasons
        done = True
    finally:
        # who stops in the middle does not wait for reads that may take a minute to time out
        pool.shutdown(wait=done, cancel_futures=True)


def _try_place(place: Place, reader: Reader, task: ShardTask) -> tuple[Chip | None, list[Json]]:
    """Try a point's pairs, best first; return the first good chip, and why the others were not."""
    reasons: list[Json] = []
    for pair in place.pairs:
        outcome = cut(pair, reader, task.grid, task.rules)
        if isinstance(outcome, Chip):
            return outcome, reasons
        reasons.append(_reason(place, pair, outcome))
    return None, reasons


def _reason(place: Place, pair: Pair, outcome: Refused) -> Json:
    return {
        "point": place.point,
        "reason": outcome.reason,
        "detail": outcome.detail,
        "s2_id": pair.s2.id,
        "s1_id": pair.s1.id,
    }


def _block(
    plan: layout.ArrayPlan,
    blocks: dict[str, NDArray[Any]],
    new: Sequence[Chip],
    rows: Sequence[Json],
) -> NDArray[Any]:
    """Return all of a shard's values of one array: images old and new, columns from the rows."""
    if not plan.sharded:
        return column(plan, rows)
    fresh = [chip.arrays[plan.name][None] for chip in new]
    parts = [blocks[plan.name], *fresh] if blocks else fresh
    return np.concatenate(parts) if parts else np.empty((0, *plan.tail), dtype=plan.dtype)


def column(plan: layout.ArrayPlan, rows: Sequence[Json]) -> NDArray[Any]:
    """Return a shard's values of an array that is no image, from its rows."""
    values = [_value(plan.name, row) for row in rows]
    return np.array(values, dtype=plan.dtype).reshape((len(rows), *plan.tail))


def _value(name: str, row: Json) -> Any:  # noqa: ANN401  # whatever the column holds
    if name.endswith("_time"):
        return round(datetime.fromisoformat(row[name]).timestamp() * 1000)
    return row[name]


def sums(blocks: dict[str, NDArray[Any]], rows: Sequence[Json]) -> Json:
    """Return count, sum and sum of squares of the stored numbers, by split and band.

    Valid pixels only. Whole numbers, so shards add up to the same statistics in any order.
    """
    splits = np.array([row["split"] for row in rows], dtype=object)
    result: Json = {}
    for split in sorted(set(splits)):
        chosen = splits == split
        of_split = result.setdefault(split, {})
        for name, bands, nodata in (
            ("s2_10m", S2_10M, 0),
            ("s2_20m", S2_20M, 0),
            ("s1", RADAR, DB_INVALID),
        ):
            for index, band in enumerate(bands):
                of_split[str(band)] = _moments(blocks[name][chosen, index], nodata)
    return result


def _moments(values: NDArray[Any], nodata: int) -> list[int]:
    """Return count, sum and sum of squares of what is not nodata, as whole numbers.

    A few at a time: what fits into a processor's cache is added up in a fifth of the time.
    """
    count = total = squares = 0
    for part in np.array_split(values.ravel(), max(1, -(-values.size // _ADDED_AT_ONCE))):
        valid = part != nodata
        numbers = (part if valid.all() else part[valid]).astype(np.int64)
        count += len(numbers)
        total += int(numbers.sum())
        squares += int(np.einsum("i,i->", numbers, numbers))
    return [count, total, squares]
