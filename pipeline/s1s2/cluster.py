"""Where shards are filled: in this process, on dask workers here, on a cluster, as batch jobs."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from s1s2.batch import Batch, started
from s1s2.errors import UnreachableError
from s1s2.fill import ShardReport, ShardTask, fill_shard
from s1s2.progress import Tick

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True)
class Cluster:
    """Where shards are filled; none of it changes a byte."""

    workers: int = 1
    """Processes on this machine; 1 is this one."""
    scheduler: str = ""
    """Address of a dask scheduler to join instead."""
    threads: int = 16
    """Chips each worker reads at once."""
    batch: Batch | None = None
    """Jobs of a batch system to ask for instead."""
    jobs: int = 1
    """Processes like this one that work on other shards meanwhile, this one included."""


def run_shards(
    tasks: Sequence[ShardTask],
    cluster: Cluster,
    report: Callable[[ShardReport], None] = lambda _: None,
    tick: Tick = lambda _: None,
) -> list[ShardReport]:
    """Fill shards wherever the cluster says.

    Args:
        tasks: The shards.
        cluster: Where.
        report: Told of each as it is done.
        tick: Told of new chips: each as it is cut in this process, a shard's at once elsewhere.

    Raises:
        UnreachableError: If the scheduler cannot be joined, or is lost, or workers keep dying.
    """
    elsewhere = cluster.scheduler or cluster.batch
    if not elsewhere and min(cluster.workers, len(tasks)) <= 1:
        reports = []
        for task in tasks:
            reports.append(fill_shard(replace(task, sharers=cluster.jobs), tick))
            report(reports[-1])
        return reports

    def told(done: ShardReport) -> None:
        tick(done.new)
        report(done)

    return _on_dask(tasks, cluster, told)


def _on_dask(
    tasks: Sequence[ShardTask], cluster: Cluster, report: Callable[[ShardReport], None]
) -> list[ShardReport]:
    from distributed import KilledWorker, as_completed  # noqa: PLC0415  # 0.7 s

    reports = []
    with _client(cluster, len(tasks)) as client:
        # workers that join later are not known yet: they have as much as those that were there
        known = len(client.nthreads())  # type: ignore[no-untyped-call]  # dask has no types
        sharers = cluster.jobs * max(1, cluster.batch.jobs if cluster.batch else known)
        shared = [replace(task, sharers=sharers) for task in tasks]
        futures = client.map(fill_shard, shared, pure=False)
        try:
            for future in as_completed(futures):  # type: ignore[no-untyped-call]  # as above
                reports.append(future.result())
                report(reports[-1])
        except CancelledError as error:
            msg = "the dask scheduler was lost; run the same command again to go on"
            raise UnreachableError(msg) from error
        except KilledWorker as error:
            msg = (
                f"{error.allowed_failures + 1} dask workers died over one shard, out of memory "
                "perhaps: give them more, or fewer --threads; run the same command again to go on"
            )
            raise UnreachableError(msg) from error
    return sorted(reports, key=lambda r: r.shard)


@contextmanager
def _client(cluster: Cluster, n_tasks: int) -> Iterator["Client"]:
    """Join a scheduler, or start workers of our own; end them in any case."""
    from distributed import Client, LocalCluster  # noqa: PLC0415  # 0.7 s

    with ExitStack() as stack:
        address = cluster.scheduler
        # we say ourselves, in one line, that a scheduler was lost
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        if cluster.batch:
            address = stack.enter_context(started(cluster.batch))
        if not address:
            with _deaf_children():
                local = LocalCluster(  # type: ignore[no-untyped-call]  # dask has no types
                    n_workers=min(cluster.workers, n_tasks),
                    threads_per_worker=1,
                    dashboard_address="127.0.0.1:0",  # any free port: others may build beside us
                    host="127.0.0.1",
                    silence_logs=logging.ERROR,  # workers that end or are replaced are no news
                )
            stack.callback(local.close)
            address = local.scheduler_address
        try:
            client = Client(address, timeout=10)  # type: ignore[no-untyped-call]  # as above
        except (OSError, ValueError) as error:
            msg = f"scheduler {address} cannot be joined ({type(error).__name__})"
            raise UnreachableError(msg) from error
        stack.callback(client.close)
        yield client


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Let processes that are started now ignore Ctrl-C: it is for us, and we end them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
