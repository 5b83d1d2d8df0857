"""A corpus folder through any sequence of builds, deaths and damage, and what always holds.

Every row that a loader yields is the oracle's, and `verify` says that all is well exactly where
every file is what it should be. Truth is told by hashes of files, not by the package.
"""

import shutil
import signal
from itertools import count
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from torture import judge, rot
from torture.ground import Ground
from torture.launch import Running, run
from torture.strikes import MARK, Strike
from torture.truth import Truth, content

HELD, FULL = 6, 7
_FRACTIONS = st.floats(0, 1, exclude_max=True)
_NUMBERS = count()


class DamageError(AssertionError):
    """Something does not hold."""


class CorpusFolder(RuleBasedStateMachine):
    """One folder; `explore` gives it what it stands on."""

    ground: Ground
    truth: Truth
    home: Path
    changes: int
    """So many a build makes to its folder."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = self.home / f"folder{next(_NUMBERS)}"
        self.hurt: set[str] = set()
        """Files that were harmed, but by builds that died."""
        self.story: list[str] = []

    def teardown(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def finished(self) -> bool:
        """Whether a corpus says that it is one."""
        return (self.folder / "corpus.json").exists()

    @initialize(finished=st.booleans())
    def begin(self, finished: bool) -> None:  # noqa: FBT001
        """Begin with nothing, or with a whole corpus."""
        self.story.append(f"begin, {finished=}")
        if finished:
            shutil.copytree(self.truth.folder, self.folder)

    @rule()
    def build(self) -> None:
        """Build, or go on, undisturbed; what only died before is whole then."""
        self.story.append("build")
        ended = run(self.ground.build(self.folder))
        self._check("Traceback" not in ended.said, ended.said)
        if not self.hurt:
            self._none(judge.after_resume(self.folder, self.truth, ended))

    @rule(at=_FRACTIONS, how=st.sampled_from(["kill", "kill", "ENOSPC"]))
    def die(self, at: float, how: str) -> None:
        """Build, and be killed or out of room at some change."""
        ended = run(self.ground.build(self.folder, strike=self._strike(at, how)))
        self._check("Traceback" not in ended.said, ended.said)
        if ended.struck and how == "ENOSPC" and not self.hurt:
            self._check(ended.code in (0, FULL), f"{ended.code}: {ended.said}")

    @rule(at=_FRACTIONS)
    def second_builder(self, at: float) -> None:
        """Freeze a builder, start another, and kill the first."""
        first = Running(self.ground.build(self.folder, strike=self._strike(at, "stop")))
        if first.says(MARK):
            there = content(self.folder)
            second = run(self.ground.build(self.folder))
            leased = any(self.folder.glob(".leases/corpus"))
            self._check(second.code == HELD or not leased, f"{second.code}: {second.said}")
            self._check(content(self.folder) == there or not leased, "it changed the folder")
            first.send(signal.SIGKILL)
        first.end()

    @precondition(lambda self: self.finished)
    @rule(file=_FRACTIONS, at=_FRACTIONS, bit=st.integers(0, 7))
    def flip(self, file: float, at: float, bit: int) -> None:
        """Flip a bit."""
        path = self._pick(file, "flip a bit of")
        rot.Flipped(path, int(at * path.stat().st_size), bit).flip()

    @precondition(lambda self: self.finished)
    @rule(file=_FRACTIONS, at=_FRACTIONS)
    def truncate(self, file: float, at: float) -> None:
        """Cut a file short."""
        path = self._pick(file, "cut")
        with path.open("r+b") as opened:
            opened.truncate(int(at * path.stat().st_size))

    @precondition(lambda self: self.finished)
    @rule(file=_FRACTIONS)
    def delete(self, file: float) -> None:
        """Delete a file: pixels, a receipt, a table, `corpus.json` itself."""
        self._pick(file, "delete").unlink()

    @precondition(lambda self: self.finished)
    @rule(name=st.sampled_from(["receipts/00099.json", "chips.zarr/s1/c/99/0/0/0"]))
    def add(self, name: str) -> None:
        """Put a file where none belongs."""
        self.story.append(f"add {name}")
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}")
        self.hurt.add(name)

    @precondition(lambda self: self.finished)
    @rule()
    def repair(self) -> None:
        """Repair; what it calls whole is whole."""
        self.story.append("repair")
        ended = run(self.ground.repair(self.folder))
        self._check("Traceback" not in ended.said, ended.said)
        left = judge.differences(self.folder, self.truth)
        self._check((ended.code == 0) == (not left), f"{ended.code}: {ended.said}\n{left}")
        if not left:
            self.hurt.clear()

    @invariant()
    def every_row_is_the_oracles(self) -> None:
        """Load whatever can be loaded."""
        self._none(judge.yielded(self.folder, self.truth))

    @invariant()
    def verify_tells_the_truth(self) -> None:
        """Verify, and compare with what the hashes of the files say."""
        code, said = judge.said_by("verify", str(self.folder))
        whole = self.finished and not judge.differences(self.folder, self.truth)
        self._check((code == 0) == whole, f"verify ended with {code}: {said}")

    def _strike(self, at: float, how: str) -> Strike:
        strike = Strike(int(at * self.changes), how)
        self.story.append(str(strike))
        return strike

    def _pick(self, file: float, harm: str) -> Path:
        """Choose a file that still has something in it, and note that it is harmed."""
        there = [self.folder / name for name in rot.files_of(self.truth)]
        there = [path for path in there if path.is_file() and path.stat().st_size]
        path = there[int(file * len(there))]
        self.story.append(f"{harm} {path.relative_to(self.folder)}")
        self.hurt.add(path.relative_to(self.folder).as_posix())
        return path

    def _check(self, holds: bool, otherwise: str) -> None:  # noqa: FBT001
        if not holds:
            msg = "\n".join([*self.story, otherwise])
            print(msg)  # what depends on threads may not happen again, and then is all there is
            raise DamageError(msg)

    def _none(self, problems: list[str]) -> None:
        self._check(not problems, "\n".join(problems))


def explore(ground: Ground, truth: Truth, home: Path, changes: int, examples: int) -> None:
    """Run a folder through so many sequences of events.

    Raises:
        DamageError: Of the first sequence after which something did not hold; not shrunk: what
            depends on threads may not happen again.
    """
    here = {"ground": ground, "truth": truth, "home": home, "changes": changes}
    run_state_machine_as_test(
        type("Folder", (CorpusFolder,), here),
        settings=settings(
            max_examples=examples,
            stateful_step_count=10,
            derandomize=True,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
