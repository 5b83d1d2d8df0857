"""Workers as jobs of a batch system: what its TOML may say, and the dask cluster that it opens."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

from s1s2.errors import RecipeError, UnreachableError

Kind = Literal["slurm", "pbs", "lsf", "sge", "oar"]
_CLASSES = dict(zip(get_args(Kind), ("SLURM", "PBS", "LSF", "SGE", "OAR"), strict=True))


@dataclass(frozen=True)
class Batch:
    """Jobs of a batch system, each one worker that fills a shard at a time."""

    kind: Kind
    """The batch system."""
    jobs: int
    """Jobs at once; one that dies is sent in again."""
    memory: str
    """Of a job, as `4GB`."""
    cores: int = 1
    """Processors of a job."""
    walltime: str = ""
    """Longest time of a job, as the batch system writes it: `04:00:00`."""
    queue: str = ""
    """Partition or queue."""
    account: str = ""
    interface: str = ""
    """Network interface that jobs and this process reach each other by, as `ib0`."""
    python: str = ""
    """Interpreter on the nodes; this one's path by default."""
    directives: tuple[str, ...] = ()
    """Further lines of the job's head, without the `#SBATCH`."""
    prologue: tuple[str, ...] = ()
    """Shell lines before the worker starts: `module load`, `export`."""
    logs: str = ""
    """Folder of the jobs' logs."""
    alone_s: int = 120
    """A worker that hears nothing of us for so long ends by itself."""

    def __post_init__(self) -> None:
        if min(self.jobs, self.cores, self.alone_s) < 1:
            msg = (
                f"jobs {self.jobs}, cores {self.cores} and alone_s {self.alone_s}: expected 1 or "
                "more of each"
            )
            raise RecipeError(msg)

    def settings(self) -> dict[str, Any]:
        """Return what dask-jobqueue is to be told; what is not said is left to its own files."""
        said = {
            "walltime": self.walltime,
            "queue": self.queue,
            "account": self.account,
            "interface": self.interface,
            "python": self.python,
            "job_extra_directives": list(self.directives),
            "job_script_prologue": list(self.prologue),
            "log_directory": self.logs,
        }
        return {key: value for key, value in said.items() if value} | {
            "cores": self.cores,
            "memory": self.memory,
            "processes": 1,
            "death_timeout": self.alone_s,
            "job_name": "s1s2",
            # the last of two counts: a job may have more processors than shards in hand
            "worker_extra_args": ["--nthreads", "1"],
        }


@contextmanager
def started(batch: Batch) -> Iterator[str]:
    """Ask for the jobs, and yield the address of their scheduler; take them back in the end.

    Raises:
        RecipeError: If dask-jobqueue is not installed, or does not like what it is told.
        UnreachableError: If the batch system is not there.
    """
    cluster = _opened(batch)
    try:
        _submit(cluster, batch)
        cluster.adapt(minimum_jobs=batch.jobs, maximum_jobs=batch.jobs)
        yield str(cluster.scheduler_address)
    finally:
        cluster.close()


def _submit(cluster: Any, batch: Batch) -> None:  # noqa: ANN401  # dask-jobqueue has no types
    """Send in the first jobs, and see that they are taken: `scale` only logs that they are not.

    Raises:
        UnreachableError: If they are not.
    """
    from distributed import Status  # noqa: PLC0415  # 0.7 s

    for _ in range(batch.jobs):
        cluster.worker_spec |= cluster.new_worker_spec()
    try:
        cluster.sync(cluster._correct_state)  # noqa: SLF001  # nothing public raises
    except (RuntimeError, FileNotFoundError) as error:
        cluster.worker_spec.clear()
        for name in [n for n, job in cluster.workers.items() if job.job_id is None]:
            cluster.workers.pop(name).status = Status.failed  # else closing waits for its end
        if isinstance(error, FileNotFoundError):
            msg = f"--cluster: {batch.kind} is not on this machine (no {error.filename})"
            raise UnreachableError(msg) from error
        said = str(error).partition("stderr:")[2].strip().splitlines() or [str(error)]
        msg = f"--cluster: {batch.kind} takes no jobs ({said[-1]}); run the same command again"
        raise UnreachableError(msg) from error


def _opened(batch: Batch) -> Any:  # noqa: ANN401  # dask-jobqueue has no types
    try:
        import dask_jobqueue  # noqa: PLC0415  # an extra
    except ImportError:
        msg = "--cluster needs dask-jobqueue: pip install 's1s2[cluster]'"
        raise RecipeError(msg) from None
    kind = getattr(dask_jobqueue, f"{_CLASSES[batch.kind]}Cluster")
    try:
        return kind(**batch.settings(), scheduler_options={"dashboard_address": ":0"})
    except (RuntimeError, TypeError, ValueError) as error:
        msg = f"--cluster: dask-jobqueue refuses it ({error})"
        raise RecipeError(msg) from error
