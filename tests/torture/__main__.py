"""`python -m torture`: every campaign with its full numbers, and a table of what came of it.

Run from the repository's root, with `tests` on the path: `make torture`.
"""

import argparse
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import canary

from s1s2 import Corpus
from torture import cost, crowds, kills, machine, rot, storm
from torture.ground import Ground, prepared, truth_of
from torture.kills import Tally
from torture.storm import Weather
from torture.truth import Truth, wrong_pixels


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    kills: int = 1000
    every: int = 1
    """Strike at every so many-th change."""
    storms: int = 10
    flips: int = 4000
    losses: int = 1000
    """Times that a file is lost, at most."""
    crowds: int = 25
    folders: int = 100
    """Sequences of the state machine."""
    rounds: int = 5
    """Builds on which each cost is measured."""


_CHANGES_A_REPORT = 3
"""Of a report's changes, each so many-th is struck at: to draw one takes longer than to build."""


class Row(NamedTuple):
    """One row of the table."""

    done: str
    outcome: str


QUICK = Plan(10, 60, 1, 100, 9, 2, 3, 1)


class Torture:
    """Runs campaigns one after another, and keeps a row of the table for each."""

    def __init__(self, plan: Plan, ground: Ground, truth: Truth, home: Path, seed: int) -> None:
        self._plan, self._ground, self._truth = plan, ground, truth
        self._home, self._seed = home, seed
        self.rows: list[Row] = []
        self.problems: list[str] = []

    def run(self, names: Sequence[str]) -> None:
        """Run campaigns, by their names."""
        for name in names:
            begun = time.monotonic()
            row = CAMPAIGNS[name](self)
            self.rows.append(row)
            _say(f"{time.monotonic() - begun:6.0f} s  {row.done}: {row.outcome}")

    def _note(self, *tallies: Tally) -> str:
        """Keep what campaigns found wrong; return the words for it."""
        found = [line for tally in tallies for line in tally.problems]
        for line in found:
            _say(f"PROBLEM {line}")
        self.problems += found
        return f"**{len(found)} problems**" if found else "0 problems"

    def _kills(self) -> Row:
        tally = kills.random_kills(*self._stage(), self._plan.kills, self._seed)
        return Row(
            "kill -9 at random moments, going on with the same command",
            f"{tally.done['killed']:,} kills, {tally.done['finished']:,} corpora finished, each "
            f"byte for byte the undisturbed one; {self._note(tally)}",
        )

    def _writes(self) -> Row:
        total = kills.changes(self._ground, self._home)
        chosen = range(0, total, self._plan.every)
        tallies = {
            how: kills.each_change(*self._stage(), how, chosen) for how in ("kill", "ENOSPC", "EIO")
        }
        counts = ", ".join(f"{how} {tally.done['struck']:,}" for how, tally in tallies.items())
        return Row(
            f"every one of a build's {total:,} changes to its folder: killed there, or failing",
            f"{counts}; all recovered to the same bytes; {self._note(*tallies.values())}",
        )

    def _report(self) -> Row:
        total = kills.changes(self._ground, self._home, report=True)
        every = max(_CHANGES_A_REPORT, self._plan.every)
        tally = kills.as_it_is_drawn(*self._stage(), range(0, total, every))
        return Row(
            "kill -9 while the report is drawn",
            f"{tally.done['struck']:,} kills; the corpus untouched, the report drawn again; "
            f"{self._note(tally)}",
        )

    def _signals(self) -> Row:
        tally = crowds.terminated(*self._stage(), self._plan.crowds, self._seed)
        return Row(
            "SIGTERM at changes of the folder",
            f"{tally.done['terminated']:,} ended with 143 in under 10 s and went on; "
            f"{self._note(tally)}",
        )

    def _crowds(self) -> Row:
        tally = crowds.second_builders(*self._stage(), self._plan.crowds, self._seed)
        return Row(
            "a second builder on a folder; a helper (`--join`) whose builder is killed",
            f"{tally.done['refused']:,} refused with nothing changed, {tally.done['joined']:,} "
            f"took over; {self._note(tally)}",
        )

    def _cluster(self) -> Row:
        workers, scheduler = (
            crowds.worker_lost(*self._stage()),
            crowds.scheduler_lost(*self._stage()),
        )
        return Row(
            "a dask worker, and a dask scheduler, killed in the middle of a shard",
            f"went on; stopped with exit code 3 and went on; {self._note(workers, scheduler)}",
        )

    def _storm(self) -> Row:
        tallies = []
        for seed in range(self._seed, self._seed + self._plan.storms):
            with storm.faulty(seed) as address:
                tallies.append(storm.survive(*self._stage(), Weather(seed), address))
        done = sum((t.done for t in tallies), start=Counter())
        times = done["milliseconds"] / 1000 / len(tallies) / self._truth.seconds
        return Row(
            "network storm: drops, delays, cuts; 429, 503, 403, corrupt blocks; tokens of 3 s",
            f"{len(tallies)} builds, {done['connections']:,} connections, {done['dropped']:,} "
            f"dropped, {done['cut']:,} cut, {done['delayed']:,} pieces delayed: the same corpus, "
            f"in {done['runs'] / len(tallies):.1f} runs and {times:.1f} times the time; "
            f"{self._note(*tallies)}",
        )

    def _flips(self) -> Row:
        tally = rot.flips(self._truth, self._home, self._plan.flips, self._seed)
        return Row(
            "random bit flips over all files of a corpus",
            f"{tally.done['flipped']:,} flipped, {tally.done['found']:,} found by `verify`, none "
            f"reached the loader; {self._note(tally)}",
        )

    def _losses(self) -> Row:
        every = product(rot.files_of(self._truth), rot.LEFT)
        chosen = islice(every, self._plan.losses)
        tally = rot.losses(self._ground, self._truth, self._home, chosen)
        return Row(
            "each file of a corpus deleted, emptied, cut in half",
            f"{tally.done['lost']:,} times, found {tally.done['found']:,}, made again byte for "
            f"byte {tally.done['repaired']:,}; {self._note(tally)}",
        )

    def _folders(self) -> Row:
        total = kills.changes(self._ground, self._home)
        tally = Tally()
        try:
            machine.explore(*self._stage(), total, self._plan.folders)
        except AssertionError as error:
            tally.add("state machine", [str(error)])
        return Row(
            "random sequences of builds, deaths, second builders, damage and repairs",
            f"{self._plan.folders:,} sequences, every row a loader yielded the oracle's; "
            f"{self._note(tally)}",
        )

    def _hostile(self) -> Row:
        line = [sys.executable, "-m", "pytest", "-q", "-m", "hostile", "-p", "no:cacheprovider"]
        line += ["tests/unit", "tests/integration"]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        passed = re.search(r"(\d+) passed", done.stdout)
        tally = Tally()
        if done.returncode:
            tally.add("hostile input", [done.stdout[-4000:] + done.stderr[-1000:]])
        return Row(
            "hostile input: items, hrefs, files, recipes (`pytest -m hostile`)",
            f"{passed[1] if passed else 0} tried and refused; {self._note(tally)}",
        )

    def _cost(self) -> Row:
        with TemporaryDirectory(dir=self._home) as home:
            found = cost.measured(Path(home), self._plan.rounds)
        slower = found.seconds[0] / found.seconds[1] - 1
        larger = found.sizes[0] / found.sizes[1] - 1
        return Row(
            "cost of checksums, hashes, reading back, flushes, renames and leases",
            f"{slower:+.1%} of the builder's processor time, {larger:+.2%} of size "
            f"({cost.N_CHIPS} chips of {cost.SIZE_PX} px)",
        )

    def _stage(self) -> tuple[Ground, Truth, Path]:
        return self._ground, self._truth, self._home


CAMPAIGNS: dict[str, Callable[[Torture], Row]] = {
    "kills": Torture._kills,
    "writes": Torture._writes,
    "report": Torture._report,
    "signals": Torture._signals,
    "crowds": Torture._crowds,
    "cluster": Torture._cluster,
    "storm": Torture._storm,
    "flips": Torture._flips,
    "losses": Torture._losses,
    "folders": Torture._folders,
    "hostile": Torture._hostile,
    "cost": Torture._cost,
}


def main() -> int:
    """Run all of it; 1 if there was any problem."""
    asked = _parser().parse_args()
    plan = QUICK if asked.quick else Plan()
    plan = replace(plan, kills=asked.kills) if asked.kills else plan
    with TemporaryDirectory(prefix="torture-") as name, prepared(Path(name)) as ground:
        home = Path(name)
        truth = truth_of(ground, home / "truth")
        wrong = wrong_pixels(Corpus(truth.folder))
        _say(f"{len(truth.rows)} rows of the undisturbed corpus, {wrong} pixels not the oracle's")
        torture = Torture(plan, ground, truth, home, asked.seed)
        torture.run(asked.only or list(CAMPAIGNS))
        found = [str(path) for path in canary.escaped(home)]
    torture.rows.append(
        Row("canaries (marked signatures) in what was written", f"{len(found)} found")
    )
    _print_table(torture.rows, asked.seed)
    return int(bool(wrong or found or torture.problems))


def _print_table(rows: list[Row], seed: int) -> None:
    when = datetime.now(UTC).date().isoformat()
    print("\n| what was done | what came of it |\n|---|---|")
    for name, outcome in rows:
        print(f"| {name} | {outcome} |")
    line = shlex.join(["python", "-m", "torture", *sys.argv[1:]])
    print(f"\n{when} · seed {seed} · {_machine()} · Python {platform.python_version()} · `{line}`")


def _machine() -> str:
    """Return processors and their model, as far as the system tells."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    models = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
    return f"{os.cpu_count()} cores, {', '.join(models) or platform.machine()}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m torture", description=__doc__)
    parser.add_argument("--kills", type=int, help=f"random kills ({Plan().kills:,})")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other moments (0)")
    parser.add_argument("--quick", action="store_true", help="a little of everything")
    parser.add_argument("--only", nargs="+", choices=CAMPAIGNS, help="some of the campaigns")
    return parser


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
