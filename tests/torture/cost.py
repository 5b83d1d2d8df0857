"""What safety costs in processor time and size: one corpus, built with and without it."""

import os
import resource
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from s1s2 import store
from s1s2.layout import ArrayPlan, Folder
from s1s2.receipts import Json
from torture import ground, sabotage
from torture.launch import Order, run

SIZE_PX, N_CHIPS = 256, 24
_MARK = "harness: seconds"


@dataclass(frozen=True)
class Cost:
    """Of the same corpus, with all safety and without any."""

    seconds: tuple[float, float]
    """Of the processor, user and system, the least of some builds each."""
    sizes: tuple[int, int]
    """Of the corpus, in bytes."""


def measured(home: Path, rounds: int) -> Cost:
    """Build by turns with safety and without, so that both meet the same machine."""
    with ground.prepared(home, size_px=SIZE_PX, n=N_CHIPS) as here:
        ground.built(here, home / "first")  # the sandbox renders once
        seconds: dict[Callable[[], None], list[float]] = {timed: [], timed_bare: []}
        sizes: dict[Callable[[], None], int] = {}
        for _ in range(rounds):
            for how, taken in seconds.items():
                folder = home / "measured"
                taken.append(_seconds(here.build(folder, before=how)))
                sizes[how] = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
                shutil.rmtree(folder)
    least = [min(taken) for taken in seconds.values()]
    return Cost((least[0], least[1]), (sizes[timed], sizes[timed_bare]))


def timed() -> None:
    """Let the process say in the end what it took of the processor."""
    import multiprocessing.util as at_end

    at_end.Finalize(None, _say, exitpriority=0)


def timed_bare() -> None:
    """The same, with no checksum, no hash, no reading back, no flush, no rename and no lease."""
    timed()
    sabotage.without_checksums()
    sabotage.without_renames()
    sabotage.without_leases()
    store.write_shard = _write_shard
    store.digest = lambda _: ""
    os.fsync = lambda _: None


def _write_shard(
    folder: Folder,
    plans: Sequence[ArrayPlan],
    shard: int,
    blocks: Mapping[str, NDArray[Any]],
    per_shard: int,
) -> Json:
    objects = {}
    for plan in plans:
        path = store.shard_path(folder, plan, shard)
        store.write_bytes(path, store.encode(plan, blocks[plan.name], per_shard))
        name = path.relative_to(folder.root).as_posix()
        objects[name] = {"size": path.stat().st_size, "sha256": ""}
    return objects


def _say() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    os.write(1, f"\n{_MARK} {used.ru_utime + used.ru_stime:.3f}\n".encode())


def _seconds(order: Order) -> float:
    ended = run(order)
    assert ended.code == 0, ended.said
    return float(ended.said.split(_MARK)[1].split()[0])
