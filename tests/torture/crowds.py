"""Several processes on one corpus: rival builders, workers and schedulers that die."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torture import judge
from torture.ground import Ground
from torture.kills import Before, Tally, changes, spread
from torture.launch import Ended, Running, run
from torture.strikes import MARK, Strike
from torture.truth import Truth, content

HELD, TERMINATED, LATER = 6, 143, 3
_POLL_S = 0.002
_PATIENCE_S = 120.0
_TERM_S = 10.0
"""A build that is told to end has so long."""


def second_builders(
    ground: Ground, truth: Truth, home: Path, times: int, seed: int, before: Before | None = None
) -> Tally:
    """Freeze a builder at some change, send a second one, then one that helps, and kill the first.

    The second is refused, told who holds the folder, and changes nothing. The helper takes over.

    Returns:
        How many were `refused` and how many `joined`.
    """
    draw, tally, folder = random.Random(seed), Tally(), home / "crowded"
    total = changes(ground, home)
    for _ in range(times):
        # the first changes come before the lease is held
        strike = Strike(draw.randrange(total // 10, total * 9 // 10), "stop")
        first = Running(ground.build(folder, strike=strike, before=before))
        first.says(MARK)
        there = content(folder)
        second = run(ground.build(folder, before=before))
        tally.add(f"second builder at {strike}", _refused(second, first.pid))
        if content(folder) != there:
            tally.add(f"second builder at {strike}", ["it changed the folder"])
        tally.done["refused"] += second.code == HELD
        helper = Running(ground.build(folder, "--join", before=before))
        helper.says("join")
        first.send(signal.SIGKILL)
        first.end()
        tally.add(f"helper at {strike}", judge.after_resume(folder, truth, helper.end()))
        tally.done["joined"] += 1
        shutil.rmtree(folder, ignore_errors=True)
    return tally


def _refused(second: Ended, pid: int) -> list[str]:
    if second.code == HELD and f"process {pid} " in second.said:
        return []
    return [f"it ended with {second.code}: {second.said}"]


def terminated(ground: Ground, truth: Truth, home: Path, times: int, seed: int) -> Tally:
    """Tell builds to end, at some changes; they do so in time, and the next one goes on.

    Returns:
        How many were `terminated`.
    """
    tally, folder = Tally(), home / "told"
    for number in spread(ground, home, times, seed):
        ended = run(ground.build(folder, strike=Strike(number, "term")))
        name = f"SIGTERM at change {number}"
        if ended.code not in (0, TERMINATED) or ended.seconds > truth.seconds + _TERM_S:
            said = f"ended with {ended.code} after {ended.seconds:.1f} s: {ended.said}"
            tally.add(name, [said])
        tally.add(name, judge.after_harm(folder, truth, ended))
        tally.done["terminated"] += ended.code == TERMINATED
        tally.add(name, judge.after_resume(folder, truth, run(ground.build(folder))))
        shutil.rmtree(folder)
    return tally


def worker_lost(ground: Ground, truth: Truth, home: Path) -> Tally:
    """Kill a dask worker in the middle of a shard: the build goes on."""
    tally, folder = Tally(), home / "workers"
    with _command(ground, folder, "--workers", "2") as build:
        victim = _shard_holder(folder, build)
        os.kill(victim, signal.SIGKILL)
        tally.done["workers killed"] += victim != build.pid
        ended = _ended(build)
    tally.add("worker lost", judge.after_resume(folder, truth, ended))
    shutil.rmtree(folder)
    return tally


def scheduler_lost(ground: Ground, truth: Truth, home: Path) -> Tally:
    """Kill the dask scheduler in the middle of a shard; go on with a new one."""
    tally, folder = Tally(), home / "scheduled"
    with _cluster() as (address, kill), _command(ground, folder, "--scheduler", address) as build:
        _shard_holder(folder, build)
        kill()
        ended = _ended(build)
    tally.add("scheduler lost", judge.after_harm(folder, truth, ended))
    if ended.code != LATER:
        tally.add("scheduler lost", [f"ended with {ended.code}: {ended.said}"])
    tally.done["schedulers killed"] += 1
    with _cluster() as (address, _), _command(ground, folder, "--scheduler", address) as build:
        ended = _ended(build)
    tally.add("a new scheduler", judge.after_resume(folder, truth, ended))
    shutil.rmtree(folder)
    return tally


@contextmanager
def _command(ground: Ground, folder: Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """Run a build as a program of its own: one that starts processes must not be forked."""
    order = ground.build(folder, *flags)
    process = subprocess.Popen(
        [sys.executable, "-m", "s1s2", *order.line],
        env=os.environ | order.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _ended(process: subprocess.Popen[str]) -> Ended:
    said, _ = process.communicate(timeout=_PATIENCE_S)
    return Ended(process.returncode, said, 0.0)


def _shard_holder(folder: Path, build: subprocess.Popen[str]) -> int:
    """Wait until somebody fills a shard; return who."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until and build.poll() is None:
        for note in sorted(folder.glob(".leases/[0-9]*")):
            try:
                return int(json.loads(note.read_bytes())["pid"])
            except (OSError, ValueError):
                continue  # it is being written, or given back
        time.sleep(_POLL_S)
    assert build.stdout is not None
    msg = f"no shard was ever being filled: {build.stdout.read()}"
    raise AssertionError(msg)


@contextmanager
def _cluster() -> Iterator[tuple[str, Callable[[], None]]]:
    """Run a dask scheduler and one worker; give its address, and what kills it."""
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    scheduler = subprocess.Popen([*dask, "--host", "127.0.0.1", "--no-dashboard"], **quiet)
    assert scheduler.stderr is not None
    line = next(line for line in scheduler.stderr if "Scheduler at:" in line)
    address = line.split()[-1]
    worker = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield address, scheduler.kill
    finally:
        for process in (worker, scheduler):
            process.terminate()
        for process in (worker, scheduler):
            process.wait(_PATIENCE_S)
        scheduler.stderr.close()
