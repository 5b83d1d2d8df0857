"""What each command does: opens a run, calls a stage, says a line, returns an exit code.

Everything heavy is imported inside the commands: `s1s2 --help` answers in a blink.
"""

import argparse
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1s2 import __version__, learning, looking
from s1s2.arguments import DAMAGED, FEWER, OK
from s1s2.errors import RecipeError
from s1s2.progress import diary, result, say

if TYPE_CHECKING:
    from s1s2.cluster import Cluster
    from s1s2.receipts import Json
    from s1s2.run import Run


def _open(arguments: argparse.Namespace) -> "Run":
    """Read recipe and flags, say in one line what will be built, and check the folder."""
    from s1s2 import recipe
    from s1s2.run import bound_for, chips_wanted, open_run, require_own

    changes = {
        "catalog": _place(arguments.catalog),
        "s1_catalog": _place(arguments.s1_catalog),
        "seed": arguments.seed,
        "search.start": arguments.start,
        "search.end": arguments.end,
        "sample.points": str(Path(arguments.points).resolve()) if arguments.points else None,
        "grid.size_px": arguments.chip_size,
        "store.codec": arguments.codec,
        "match.max_lag_hours": arguments.max_lag_hours,
    }
    wanted = recipe.read_recipe(arguments.recipe, changes)
    n = chips_wanted(wanted, arguments.n)
    name = Path(wanted.catalog).stem or "corpus"
    out = Path(getattr(arguments, "out", None) or Path("corpora") / f"{name}-{n}")
    run = open_run(out, wanted, n, tuple(arguments.allow_host), say)
    require_own(run)
    run = bound_for(run, getattr(arguments, "to", ""))
    _headline(run)
    return run


def _place(text: str | None) -> str | None:
    """Make a path absolute, so that a stage run from elsewhere finds it; a name stays a name."""
    return str(Path(text).resolve()) if text and Path(text).exists() else text


def _headline(run: "Run") -> None:
    names = " + ".join(dict.fromkeys(f"{c.name} ({c.title})" for c in run.catalogs.values()))
    simulated = " · SIMULATED DATA" if any(c.simulated for c in run.catalogs.values()) else ""
    say(
        f"s1s2 {__version__} · recipe {run.recipe.name} · catalog {names}{simulated} · "
        f"seed {run.recipe.seed} · N = {run.n:,} · {run.folder.root}"
        f"{f' · pixels to {run.url}' if run.url else ''}"
    )


def _begun(arguments: argparse.Namespace) -> "Run":
    """Open a folder that `sample` or `build` has begun."""
    from s1s2 import recipe
    from s1s2.layout import Folder
    from s1s2.run import bound_for, open_run, require_own

    folder = Folder(Path(arguments.out))
    if not folder.recipe.exists():
        msg = f"{folder.root}: no corpus was begun there; run s1s2 sample -o {folder.root} first"
        raise RecipeError(msg)
    wanted = recipe.read_recipe(folder.recipe, {})
    run = open_run(folder.root, wanted, None, tuple(arguments.allow_host), say)
    if arguments.command != "verify":
        require_own(run)
    return bound_for(run, getattr(arguments, "to", ""))


def _cluster(arguments: argparse.Namespace) -> "Cluster":
    from s1s2.cluster import Cluster
    from s1s2.recipe import load_batch

    batch = load_batch(Path(arguments.cluster)) if arguments.cluster else None
    return Cluster(arguments.workers, arguments.scheduler, arguments.threads, batch)


def _build(arguments: argparse.Namespace) -> int:
    from s1s2.build import build, finished
    from s1s2.serving import served

    run = _open(arguments)
    if (done := finished(run)) is None:
        with served(run) as run, _diary(run, arguments):
            done = build(run, _cluster(arguments), join=arguments.join)
    return _finished(run, done, draw=not arguments.no_report)


def _diary(run: "Run", arguments: argparse.Namespace) -> AbstractContextManager[None]:
    """Keep a corpus' diary while it is built, with what a new one was expected to cost."""
    from dataclasses import asdict

    from s1s2.plan import plan

    said: dict[str, Any] = {"workers": arguments.workers}
    if not run.folder.points.exists():
        said["estimate"] = asdict(plan(run, workers=arguments.workers, threads=arguments.threads))
    return diary(run.folder, "build", **said)


def _finished(run: "Run", done: "Json", *, draw: bool) -> int:
    from s1s2 import tables
    from s1s2.sample import SPLITS

    root = run.folder.root
    splits = " · ".join(f"{k} {done['splits'][k]:,}" for k in SPLITS)
    lag = ""
    if done["chips"]:
        hours = tables.read_chips(run.folder.chips)["lag_hours"].abs()
        lag = f" · |lag| median {hours.median():.1f} h"
    identity = done["corpus_id"][:12]
    say(f"corpus  {root} · {done['chips']:,} verified pairs ({splits}){lag} · id {identity}")
    if done["simulated"]:
        say("        SIMULATED DATA: made up by the sandbox, no satellite saw any of it")
    if done["refused"]:
        refusals = tables.read_refusals(run.folder.refusals)
        counts = " · ".join(f"{k} {v:,}" for k, v in done["refused"].items())
        say(f"refused {counts} · all of them in {run.folder.refusals}")
        for row in refusals.head(5).itertuples():
            say(f"        point {row.point}: {row.reason}: {row.detail}")
    if draw:
        looking.report(root)
    if run.url and (code := looking.publish(run)):
        return code
    result(**{k: done[k] for k in ("corpus_id", "chips", "wanted", "splits", "refused")})
    if done["chips"] < run.n:
        msg = (
            f"s1s2: {done['chips']:,} of {run.n:,} chips: points or imagery ran out. What there "
            "is is kept; a longer period, looser gates or more points give more"
        )
        print(msg, file=sys.stderr)
        return FEWER
    say(f"next    s1s2 show {root}  ·  s1s2 verify {root}  ·  from s1s2 import Corpus")
    return OK


def _sample(arguments: argparse.Namespace) -> int:
    from s1s2 import lease, stages

    run = _open(arguments)
    with lease.of_corpus(run.folder, "sample"):
        points = stages.sample_points(run)
    shards = len(run.slots)
    say(f"sample  {len(points):,} points for {run.n:,} chips in {shards:,} shards")
    say(f"next    s1s2 search -o {run.folder.root}")
    return OK


def _search(arguments: argparse.Namespace) -> int:
    from s1s2.build import search
    from s1s2.serving import served

    part = _part(arguments.part)
    with served(_begun(arguments)) as run, diary(run.folder, "search"):
        scenes = search(run, part if part.count > 1 else None)
    if scenes is None:
        say(f"search  part {arguments.part} done; other parts have queries left")
        return OK
    say(f"search  {scenes:,} scenes in {run.folder.scenes}")
    say(f"next    s1s2 match -o {run.folder.root}")
    return OK


def _match(arguments: argparse.Namespace) -> int:
    from s1s2 import lease, stages

    run = _begun(arguments)
    with lease.of_corpus(run.folder, "match"):
        pairs = stages.match_points(run)
    say(f"match   {pairs:,} pairs in {run.folder.matchups}")
    say(f"next    s1s2 chip -o {run.folder.root}")
    return OK


def _chip(arguments: argparse.Namespace) -> int:
    from s1s2.build import chip
    from s1s2.serving import served

    part = _part(arguments.part)
    with served(_begun(arguments)) as run, diary(run.folder, "chip", workers=arguments.workers):
        reports, done = chip(run, _cluster(arguments), part if part.count > 1 else None)
    if done is None and all(r.filled for r in reports):
        say(f"chip    all shards are there, with gaps; next: s1s2 chip -o {run.folder.root}")
        return OK
    if done is None:
        there = sum(r.filled for r in reports)
        say(f"chip    part {arguments.part} done · {there:,} of {len(reports):,} shards are there")
        return OK
    return _finished(run, done, draw=not arguments.no_report)


def _part(text: str) -> Any:  # noqa: ANN401  # a gather.Part, imported late
    from s1s2.gather import Part

    index, slash, count = text.partition("/")
    if not (slash and index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
        msg = f"--part {text}: expected I/N with I from 1 to N, as 3/16"
        raise RecipeError(msg)
    return Part(int(index) - 1, int(count))


def _recipe(_: argparse.Namespace) -> int:
    from s1s2.recipe import default_text

    print(default_text(), end="")
    return OK


def _verify(arguments: argparse.Namespace) -> int:
    from s1s2 import ledger, sent
    from s1s2.layout import Folder
    from s1s2.remake import Means
    from s1s2.repair import repair
    from s1s2.verify import verify

    folder = Folder(Path(arguments.corpus))
    if arguments.repair:
        means = Means(_cluster(arguments), tuple(arguments.allow_host), say)
        problems = repair(folder, means)
        advice = "that is what could not be mended; repair says above why"
    else:
        problems = verify(folder)
        advice = f"s1s2 verify {folder.root} --repair builds again what is damaged, nothing else"
    for problem in problems:
        say(str(problem))
    if problems:
        print(f"s1s2: {folder.root}: {len(problems):,} problem(s); {advice}", file=sys.stderr)
        return DAMAGED
    document = ledger.open_corpus(folder)
    url = sent.url_of(folder)
    there = f" · pixels read at {url}" if url else ""
    say(f"verified {document['chips']:,} chips · id {document['corpus_id']}{there}")
    return _deep(arguments) if arguments.deep or arguments.sample else OK


def _deep(arguments: argparse.Namespace) -> int:
    """Cut chips of a corpus again that was verified, and compare."""
    from s1s2 import recut
    from s1s2.serving import served

    arguments.out = arguments.corpus
    with served(_begun(arguments)) as run:
        count, differing = 0, 0
        for row, what in recut.compare(run, arguments.sample, arguments.seed, arguments.threads):
            count += 1
            if what:
                differing += 1
                say(f"chip {row['chip']}: {what}")
    root = arguments.corpus
    if differing:
        msg = (
            f"s1s2: {root}: {differing:,} of {count:,} chips are not what their scenes give now; "
            "the corpus is whole, so the archive or the version of s1s2 has changed"
        )
        print(msg, file=sys.stderr)
        return DAMAGED
    say(f"cut again {count:,} chips from their scenes: the same pixels and rows")
    return OK


def _sandbox(arguments: argparse.Namespace) -> int:
    from s1s2 import serving

    serving.serve(
        arguments.host,
        arguments.port,
        seed=arguments.seed,
        faults=Path(arguments.faults) if arguments.faults else None,
        token_lifetime_s=60 * arguments.token_minutes,
        say=say,
    )
    return OK


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "build": _build,
    "sample": _sample,
    "search": _search,
    "match": _match,
    "chip": _chip,
    "plan": lambda arguments: looking.plan(_open(arguments), arguments),
    "recipe": _recipe,
    "verify": _verify,
    "export": looking.export,
    "push": looking.push,
    "pull": looking.pull,
    "show": looking.show,
    "status": looking.status,
    "doctor": looking.doctor,
    "diff": looking.diff,
    "completion": looking.completion,
    "train": learning.train,
    "evaluate": learning.evaluate,
    "sandbox": _sandbox,
}
