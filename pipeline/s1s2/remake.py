"""Make parts of a corpus again that are damaged: tables, receipts, files of pixels.

It happens aside, in a corpus of its own (`.repair`) that shares what is true with the damaged one,
by the stages that made it first. What comes of it is held against what `corpus.json` vouches for,
and only then takes its place: killed at any moment, the corpus is no worse than it was.
"""

import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from s1s2 import cluster as machines
from s1s2 import dense, fill, layout, receipts, recut, scene_tables, stages, store, tables, verify
from s1s2.chip import Refused
from s1s2.cluster import Cluster
from s1s2.errors import StoreError
from s1s2.files import write_bytes
from s1s2.layout import Folder
from s1s2.receipts import Json
from s1s2.recipe import read_recipe
from s1s2.run import Run, Say, about, begun_with, open_run
from s1s2.serving import served

TABLES = ("points.parquet", "scenes.parquet", "matchups.parquet")
"""In the order in which they are made of one another."""
POINTS, SCENES, MATCHUPS = TABLES
_ROT = 2
"""So many letters of a hash in a damaged `corpus.json` may be wrong: by chance 60 of 64 are."""

Key = tuple[object, ...]


@dataclass(frozen=True)
class Means:
    """What a repair may use, and whom it tells."""

    cluster: Cluster
    allow_hosts: tuple[str, ...]
    """Further hosts that pixels may be read from."""
    say: Say


@dataclass
class Job:
    """One repair: what it may use, what `corpus.json` says, and what came of it so far."""

    folder: Folder
    means: Means
    said: bytes
    """`corpus.json` as it was found, damaged or not."""
    document: Json | None
    """The same, if it is proven."""
    failed: set[str] = field(default_factory=set)
    """Files that could not be made again."""
    changed: bool = False
    """A file was made again, and is rightly not what it was."""

    def vouches(self, name: str, path: Path) -> bool:
        """Say whether `corpus.json` knows a file by its hash, as far as it can be read.

        Args:
            name: The file's name below the corpus.
            path: Where it lies.
        """
        if not path.is_file():
            return False
        digest = receipts.sha256_of(path)
        if self.document is not None:
            return bool(self.document["files"].get(name) == digest)
        hashes = re.findall(r'"([^"]{64})"', self.said.decode("ascii", "replace"))
        return any(sum(a != b for a, b in zip(digest, h, strict=True)) <= _ROT for h in hashes)

    def vouches_for(self, name: str) -> bool:
        """Say the same of a file of the corpus."""
        return self.vouches(name, self.folder.root / name)

    def tell(self, what: str) -> None:
        """Say one line."""
        self.means.say(f"repair  {what}")

    def fail(self, name: str, why: str) -> None:
        """Note that a file could not be made again."""
        self.failed.add(name)
        self.tell(f"{name}: {why}; it was left as it is")


def make_again(
    job: Job, wrong: Collection[str], lost: Collection[int], broken: Collection[int]
) -> None:
    """Make again what takes the stages of a build.

    Args:
        job: The repair.
        wrong: Tables.
        lost: Shards without a true receipt.
        broken: Shards whose receipt is true, and whose files are not.

    Raises:
        ReadError, UnreachableError: If a catalog cannot be read now.
    """
    if not (wrong or lost or broken):
        return
    with aside(job, wrong) as begun, _in_reach(begun, SCENES in wrong or lost or broken) as run:
        for name in TABLES:
            if name in wrong:
                _make_table(job, run, name)
        if lost and not job.failed:
            _fill_again(job, run, lost)
        for shard in sorted(broken):
            _cut_again(job, run, shard)


@contextmanager
def aside(job: Job, wrong: Collection[str]) -> Iterator[Run]:
    """Begin a corpus aside that shares with the damaged one all tables but the wrong ones."""
    folder, root = Folder(job.folder.root / ".repair"), job.folder.root.resolve()
    shutil.rmtree(folder.root, ignore_errors=True)
    folder.root.mkdir()
    for name in (job.folder.recipe.name, *TABLES):
        if name not in wrong:
            (folder.root / name).symlink_to(root / name)
    recipe, n = read_recipe(job.folder.recipe, {}), _wanted(job) if POINTS in wrong else None
    try:
        yield open_run(folder.root, recipe, n, job.means.allow_hosts, job.means.say)
    finally:
        shutil.rmtree(folder.root, ignore_errors=True)


def _wanted(job: Job) -> int | None:
    """Return how many chips were asked for, if what says so can be read."""
    if said := re.search(rb'"wanted": (\d+)', job.said):
        return int(said[1])
    try:
        return begun_with(job.folder) or None
    except StoreError:
        return None


@contextmanager
def _in_reach(run: Run, needed: object) -> Iterator[Run]:
    """Start what serves the catalogs, if they are needed."""
    if not needed:
        yield run
        return
    with served(run) as reached:
        yield reached


def _make_table(job: Job, run: Run, name: str) -> None:
    """Make a table again, and put it in its place if it is what it was, or does as well."""
    if name == POINTS:
        stages.sample_points(run, stages.searched_points(run))
    elif name == SCENES:
        stages.search_scenes(run)
    else:
        stages.match_points(run)
    made, place = run.folder.root / name, job.folder.root / name
    if job.vouches(name, made):
        job.tell(f"{name}: made again, byte for byte as it was")
    elif lacking := next(_lacking(job, name, made), None):
        job.fail(name, f"made again it lacks what a chip was cut from ({lacking})")
        return
    else:
        job.changed = True
        job.tell(f"{name}: made again; not what it was, but with all that chips were cut from")
    made.replace(place)
    made.symlink_to(place.resolve())


def _lacking(job: Job, name: str, made: Path) -> Iterator[Key]:
    """Yield what a table lacks that chips with a true receipt were cut from."""
    has, needs = _KEYS[name]
    there = has(made)
    for shard in receipts.numbers(job.folder):
        if job.document is None or job.vouches_for(layout.receipt_name(shard)):
            receipt = receipts.read_receipt(job.folder, shard) or {"rows": []}
            yield from (key for row in receipt["rows"] for key in needs(row) if key not in there)


def _points(path: Path) -> set[Key]:
    return set(tables.read_points(path)[["point", "lon", "lat"]].itertuples(index=False, name=None))


def _scenes(path: Path) -> set[Key]:
    return {(scene.catalog, scene.id) for scene in scene_tables.read_scenes(path)}


def _pairs(path: Path) -> set[Key]:
    pairs, _ = tables.read_matchups(path)
    return set(pairs[["point", "s2_id", "s1_id"]].itertuples(index=False, name=None))


_KEYS: dict[str, tuple[Callable[[Path], set[Key]], Callable[[Json], Iterable[Key]]]] = {
    POINTS: (_points, lambda row: [(row["point"], row["lon"], row["lat"])]),
    SCENES: (
        _scenes,
        lambda row: [(row["catalog"], row["s2_id"]), (row["s1_catalog"], row["s1_id"])],
    ),
    MATCHUPS: (_pairs, lambda row: [(row["point"], row["s2_id"], row["s1_id"])]),
}
"""For each table: what is in it, and what a chip's row needs to be in it."""


def _fill_again(job: Job, run: Run, lost: Collection[int]) -> None:
    """Fill shards again whose receipts are lost; all of them, where chips were dealt out."""
    grid, per_shard = run.recipe.grid, run.recipe.store.chips_per_shard
    plans = layout.arrays(grid, run.recipe.store.codec)
    store.create(run.folder, plans, run.n, per_shard, about(run))
    every = _was_dealt(job, lost) or len(lost) == len(run.slots)
    tasks = stages.shard_tasks(run, job.means.cluster)
    if not every:
        chosen = [task for task in tasks if task.shard in lost]
        machines.run_shards(chosen, job.means.cluster, lambda r: _adopt(job, run, r.shard))
        return
    machines.run_shards(tasks, job.means.cluster)
    if job.document is None or job.document["last"]:
        dense.close_gaps(run.folder, plans, per_shard, about(run))
    for shard in sorted(lost):
        _adopt(job, run, shard)


def _was_dealt(job: Job, lost: Collection[int]) -> bool:
    """Say whether chips were dealt out again; all receipts say so, or none."""
    true = (shard for shard in receipts.numbers(job.folder) if shard not in lost)
    receipt = next((receipts.read_receipt(job.folder, shard) for shard in true), None)
    return bool(receipt and receipt.get("dealt"))


def _adopt(job: Job, run: Run, shard: int) -> None:
    """Take over a shard that was filled aside: what is damaged of its files, then its receipt."""
    name = layout.receipt_name(shard)
    if job.document is not None and not job.vouches(name, run.folder.receipt(shard)):
        job.fail(
            name,
            f"filled again from its points shard {shard} is not what it was: its catalog serves "
            "other scenes or pixels now, or another version of s1s2 built it",
        )
        return
    receipt = receipts.read_json(run.folder.receipt(shard))
    _, damaged = verify.read_objects(job.folder, receipt)
    for file in (*damaged, name):
        (job.folder.root / file).parent.mkdir(parents=True, exist_ok=True)
        (run.folder.root / file).replace(job.folder.root / file)
    job.tell(f"shard {shard}: filled again")


def _cut_again(job: Job, run: Run, shard: int) -> None:
    """Write damaged files of a shard again; chips that are lost are cut from their scenes."""
    receipt = receipts.read_json(job.folder.receipt(shard))
    rows, per_shard = receipt["rows"], run.recipe.store.chips_per_shard
    plans = layout.arrays(run.recipe.grid, run.recipe.store.codec)
    contents, wrong = verify.read_objects(job.folder, receipt)
    found = verify.decode(plans, contents, len(rows), per_shard)
    lost = sorted(found.differing(rows) | found.unread)
    cut = recut.cut_again(run, [rows[place] for place in lost], job.means.cluster.threads)
    for place, (row, outcome) in zip(lost, cut, strict=True):
        if isinstance(outcome, Refused) or outcome.row["sha256"] != row["sha256"]:
            job.fail(f"shard {shard}", f"chip {row['chip']}: {recut.difference(row, outcome)}")
            return
        for array, pixels in outcome.arrays.items():
            found.blocks[array][place] = pixels
    for plan in plans:
        name = store.shard_path(job.folder, plan, shard).relative_to(job.folder.root).as_posix()
        if name not in wrong:
            continue
        block = found.blocks[plan.name] if plan.sharded else fill.column(plan, rows)
        content = store.encode(plan, block, per_shard)
        if receipts.sha256(content) != receipt["objects"][name]["sha256"]:
            job.fail(name, "its pixels are back, but other versions of zarr or blosc wrote it")
            continue
        write_bytes(job.folder.root / name, content)
        job.tell(f"{name}: written again")
    if lost:
        chips = verify.ranges([rows[place]["chip"] for place in lost])
        job.tell(f"shard {shard}: chips {chips} cut again")
