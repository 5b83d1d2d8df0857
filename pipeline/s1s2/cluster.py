"""Where shards are filled: in this process, on dask workers here, or on a dask cluster."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from s1s2.errors import CatalogError
from s1s2.fill import ShardReport, ShardTask, fill_shard


@dataclass(frozen=True)
class Cluster:
    """Where shards are filled; none of it changes a byte."""

    workers: int = 1
    """Processes on this machine; 1 is this one."""
    scheduler: str = ""
    """Address of a dask scheduler to join instead."""
    threads: int = 8
    """Chips each worker reads at once."""


def run_shards(
    tasks: Sequence[ShardTask],
    cluster: Cluster,
    report: Callable[[ShardReport], None],
) -> list[ShardReport]:
    """Fill shards wherever the cluster says, and report each as it is done.

    Raises:
        CatalogError: If the scheduler cannot be joined.
    """
    if not cluster.scheduler and min(cluster.workers, len(tasks)) <= 1:
        reports = []
        for task in tasks:
            reports.append(fill_shard(task))
            report(reports[-1])
        return reports
    return _on_dask(tasks, cluster, report)


def _on_dask(
    tasks: Sequence[ShardTask], cluster: Cluster, report: Callable[[ShardReport], None]
) -> list[ShardReport]:
    from distributed import Client, LocalCluster, as_completed  # noqa: PLC0415  # 0.7 s

    if cluster.scheduler:
        try:
            client = Client(cluster.scheduler, timeout=10)  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            msg = f"scheduler {cluster.scheduler} cannot be joined ({type(error).__name__})"
            raise CatalogError(msg) from error
        local = None
    else:
        local = LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=min(cluster.workers, len(tasks)),
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",  # any free port: others may build beside us
            host="127.0.0.1",
        )
        client = Client(local)  # type: ignore[no-untyped-call]
    reports = []
    try:
        futures = client.map(fill_shard, list(tasks), pure=False)
        for future in as_completed(futures):  # type: ignore[no-untyped-call]
            reports.append(future.result())
            report(reports[-1])
    finally:
        client.close()  # type: ignore[no-untyped-call]
        if local is not None:
            local.close()
    return sorted(reports, key=lambda r: r.shard)
