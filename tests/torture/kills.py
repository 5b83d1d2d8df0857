"""Kill a build anywhere, let any of its writes fail, and go on with it."""

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from torture import judge
from torture.ground import Ground
from torture.launch import KILLED, run
from torture.strikes import COUNTED, Strike
from torture.truth import Truth

_MOST_KILLS_A_CORPUS = 4
Before = Callable[[], None]


@dataclass
class Tally:
    """What a campaign did and what it found."""

    done: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def add(self, name: str, problems: Iterable[str]) -> None:
        """Note what was found wrong after one deed."""
        self.problems += [f"{name}: {line}" for line in problems]


def random_kills(
    ground: Ground, truth: Truth, home: Path, kills: int, seed: int, before: Before | None = None
) -> Tally:
    """Kill builds at random moments, some of them again as they go on, and finish every one.

    Returns:
        How many were `killed`, and how many corpora `finished`.
    """
    draw, tally, folder = random.Random(seed), Tally(), home / "killed"
    whole_s = truth.seconds
    while tally.done["killed"] < kills:
        most = min(draw.randint(1, _MOST_KILLS_A_CORPUS), kills - tally.done["killed"])
        for number in range(most):
            moment = draw.uniform(0, whole_s)
            ended = run(ground.build(folder, before=before), kill_after_s=moment)
            tally.done["killed"] += ended.code == KILLED
            tally.add(f"killed after {moment:.3f} s", judge.after_harm(folder, truth, ended))
            if (folder / "corpus.json").exists():
                whole_s = whole_s if number else min(whole_s, ended.seconds)
                break
        _finish(ground, truth, folder, tally, f"{tally.done['killed']} kills", before)
    return tally


def each_change(
    ground: Ground,
    truth: Truth,
    home: Path,
    how: str,
    chosen: Iterable[int] | None = None,
    before: Before | None = None,
) -> Tally:
    """Strike builds at the first change of their folder, the second, and so on; finish every one.

    Args:
        ground: What is built.
        truth: What it must become.
        home: A folder to build in.
        how: See `Strike`.
        chosen: Which changes; all there are by default.
        before: Called in every process before it begins.

    Returns:
        How many were `struck`, and how many corpora `finished`.
    """
    tally, folder = Tally(), home / "struck"
    for number in count() if chosen is None else chosen:
        ended = run(ground.build(folder, strike=Strike(number, how), before=before))
        if not ended.struck:  # there are no more
            tally.add("undisturbed", judge.after_resume(folder, truth, ended))
            shutil.rmtree(folder, ignore_errors=True)
            break
        tally.done["struck"] += 1
        name = ended.said[ended.said.index("harness:") :].splitlines()[0]
        tally.add(name, judge.after_harm(folder, truth, ended))
        _finish(ground, truth, folder, tally, name, before)
    return tally


def as_it_is_drawn(
    ground: Ground, truth: Truth, home: Path, chosen: Iterable[int] | None = None
) -> Tally:
    """Kill a build as it draws the report of a finished corpus; the next one draws it whole.

    Returns:
        How many were `struck`.
    """
    tally, folder = Tally(), home / "drawn"
    for number in count() if chosen is None else chosen:
        shutil.copytree(truth.folder, folder)
        ended = run(ground.build(folder, strike=Strike(number, "kill"), report=True))
        name = f"change {number} of a report"
        if ended.struck:
            tally.done["struck"] += 1
            found = judge.differences(folder, truth)
            tally.add(name, [line for line in found if not line.endswith(".partial: left behind")])
            ended = run(ground.build(folder, report=True))
            tally.add(name, judge.after_resume(folder, truth, ended))
        if not (folder / "report.html").read_text().rstrip().endswith("</html>"):
            tally.add(name, ["the page is not whole"])
        shutil.rmtree(folder)
        if not ended.struck and chosen is None:  # there are no more
            break
    return tally


def spread(ground: Ground, home: Path, number: int, seed: int) -> list[int]:
    """Draw some of the changes that a build makes, evenly spread."""
    total = changes(ground, home)
    draw = random.Random(seed)
    return [int((k + draw.random()) * total / number) for k in range(number)]


def changes(ground: Ground, home: Path, *, report: bool = False) -> int:
    """Count the changes that a build, or the drawing of its report, makes to its folder."""
    folder = home / "counted"
    if report:
        run(ground.build(folder))
    ended = run(ground.build(folder, strike=Strike(-1, "never"), report=report))
    shutil.rmtree(folder)
    counted = COUNTED.search(ended.said)
    assert counted, ended.said
    return int(counted[1])


def unfinished_damage(
    ground: Ground, truth: Truth, home: Path, most: int, before: Before | None = None
) -> Tally:
    """Damage files of pixels of corpora that are not finished yet; the next build mends it.

    Returns:
        How many files were `damaged`, and how many corpora `finished`.
    """
    tally, folder = Tally(), home / "damaged"
    names = [name for name, digest in truth.files.items() if "/c/" in name and digest]
    for number, name in enumerate(names[:: max(1, len(names) // most)][:most]):
        shutil.copytree(truth.folder, folder)
        (folder / "corpus.json").unlink()
        size = (folder / name).stat().st_size
        os.truncate(folder / name, size * (number % 3) // 3)
        tally.done["damaged"] += 1
        _finish(ground, truth, folder, tally, f"{name} cut short", before)
    return tally


def _finish(
    ground: Ground, truth: Truth, folder: Path, tally: Tally, name: str, before: Before | None
) -> None:
    """Go on with a corpus to its end, look at it, and remove it."""
    ended = run(ground.build(folder, before=before))
    tally.add(name, judge.after_resume(folder, truth, ended))
    tally.done["finished"] += 1
    shutil.rmtree(folder, ignore_errors=True)
