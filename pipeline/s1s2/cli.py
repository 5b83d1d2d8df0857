"""The command line: reads arguments, calls a stage, prints a line, returns an exit code.

Everything heavy is imported inside the commands: `s1s2 --help` answers in a blink.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1s2 import __version__
from s1s2.arguments import USAGE, parser
from s1s2.errors import ReadError, RecipeError, S1S2Error, redact

if TYPE_CHECKING:
    from s1s2.cluster import Cluster
    from s1s2.receipts import Json
    from s1s2.run import Run

OK, LATER, FEWER, DAMAGED, STOPPED = 0, 3, 4, 5, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = parser().parse_args(argv)
    try:
        return _COMMANDS[arguments.command](arguments)
    except S1S2Error as error:
        if arguments.debug:
            print(redact(traceback.format_exc()), file=sys.stderr)
        print(f"s1s2: {error}", file=sys.stderr)
        return LATER if isinstance(error, ReadError) else USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        if arguments.debug:
            print(redact(traceback.format_exc()), file=sys.stderr)
        where = f"{error.filename}: " if error.filename else ""
        print(f"s1s2: {redact(where + str(error.strerror or error))}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("s1s2: stopped; run the same command again to go on", file=sys.stderr)
        return STOPPED


def _say(line: str) -> None:
    print(line, flush=True)


def _open(arguments: argparse.Namespace) -> "Run":
    """Read recipe and flags, say in one line what will be built, and check the folder."""
    from s1s2 import recipe
    from s1s2.run import chips_wanted, open_run

    changes = {
        "catalog": _place(arguments.catalog),
        "s1_catalog": _place(arguments.s1_catalog),
        "seed": arguments.seed,
        "search.start": arguments.start,
        "search.end": arguments.end,
        "sample.points": str(Path(arguments.points).resolve()) if arguments.points else None,
        "grid.size_px": arguments.chip_size,
        "match.max_lag_hours": arguments.max_lag_hours,
    }
    wanted = recipe.read_recipe(arguments.recipe, changes)
    n = chips_wanted(wanted, arguments.n)
    name = Path(wanted.catalog).stem or "corpus"
    out = Path(getattr(arguments, "out", None) or Path("corpora") / f"{name}-{n}")
    run = open_run(out, wanted, n, tuple(arguments.allow_host), _say)
    _headline(run)
    return run


def _place(text: str | None) -> str | None:
    """Make a path absolute, so that a stage run from elsewhere finds it; a name stays a name."""
    return str(Path(text).resolve()) if text and Path(text).exists() else text


def _headline(run: "Run") -> None:
    names = " + ".join(dict.fromkeys(f"{c.name} ({c.title})" for c in run.catalogs.values()))
    simulated = " · SIMULATED DATA" if any(c.simulated for c in run.catalogs.values()) else ""
    _say(
        f"s1s2 {__version__} · recipe {run.recipe.name} · catalog {names}{simulated} · "
        f"seed {run.recipe.seed} · N = {run.n:,} · {run.folder.root}"
    )


def _begun(arguments: argparse.Namespace) -> "Run":
    """Open a folder that `sample` or `build` has begun."""
    from s1s2 import recipe
    from s1s2.layout import Folder
    from s1s2.run import open_run

    folder = Folder(Path(arguments.out))
    if not folder.recipe.exists():
        msg = f"{folder.root}: no corpus was begun there; run s1s2 sample -o {folder.root} first"
        raise RecipeError(msg)
    wanted = recipe.read_recipe(folder.recipe, {})
    return open_run(folder.root, wanted, None, tuple(arguments.allow_host), _say)


def _cluster(arguments: argparse.Namespace) -> "Cluster":
    from s1s2.cluster import Cluster

    return Cluster(arguments.workers, arguments.scheduler, arguments.threads)


def _build(arguments: argparse.Namespace) -> int:
    from s1s2 import stages
    from s1s2.serving import served

    run = _open(arguments)
    if (done := stages.finished(run)) is None:
        with served(run) as run:
            done = stages.build(run, _cluster(arguments))
    return _finished(run, done)


def _finished(run: "Run", done: "Json") -> int:
    from s1s2 import tables
    from s1s2.sample import SPLITS

    root = run.folder.root
    splits = " · ".join(f"{k} {done['splits'][k]:,}" for k in SPLITS)
    lag = ""
    if done["chips"]:
        hours = tables.read_chips(run.folder.chips)["lag_hours"].abs()
        lag = f" · |lag| median {hours.median():.1f} h"
    identity = done["corpus_id"][:12]
    _say(f"corpus  {root} · {done['chips']:,} verified pairs ({splits}){lag} · id {identity}")
    if done["simulated"]:
        _say("        SIMULATED DATA: made up by the sandbox, no satellite saw any of it")
    if done["refused"]:
        refusals = tables.read_refusals(run.folder.refusals)
        counts = " · ".join(f"{k} {v:,}" for k, v in done["refused"].items())
        _say(f"refused {counts} · all of them in {run.folder.refusals}")
        for row in refusals.head(5).itertuples():
            _say(f"        point {row.point}: {row.reason}: {row.detail}")
    if done["chips"] < run.n:
        msg = (
            f"s1s2: {done['chips']:,} of {run.n:,} chips: points or imagery ran out. What there "
            "is is kept; a longer period, looser gates or more points give more"
        )
        print(msg, file=sys.stderr)
        return FEWER
    _say(f"next    s1s2 show {root}  ·  s1s2 verify {root}  ·  from s1s2 import Corpus")
    return OK


def _sample(arguments: argparse.Namespace) -> int:
    from s1s2 import stages

    run = _open(arguments)
    points = stages.sample_points(run)
    shards = len(run.slots)
    _say(f"sample  {len(points):,} points for {run.n:,} chips in {shards:,} shards")
    _say(f"next    s1s2 search -o {run.folder.root}")
    return OK


def _search(arguments: argparse.Namespace) -> int:
    from s1s2 import stages
    from s1s2.serving import served

    with served(_begun(arguments)) as run:
        scenes = stages.search_scenes(run, _part(arguments.part))
    if scenes is None:
        _say(f"search  part {arguments.part} done; other parts have queries left")
        return OK
    _say(f"search  {len(scenes):,} scenes in {run.folder.scenes}")
    _say(f"next    s1s2 match -o {run.folder.root}")
    return OK


def _match(arguments: argparse.Namespace) -> int:
    from s1s2 import stages

    run = _begun(arguments)
    candidates = stages.match_points(run)
    _say(f"match   {len(candidates):,} pairs in {run.folder.matchups}")
    _say(f"next    s1s2 chip -o {run.folder.root}")
    return OK


def _chip(arguments: argparse.Namespace) -> int:
    from s1s2 import stages
    from s1s2.serving import served

    part = _part(arguments.part)
    with served(_begun(arguments)) as run:
        reports = stages.cut_chips(run, _cluster(arguments), part)
    done = stages.finish(run, reports, alone=part.count == 1)
    if done is None and all(r.filled for r in reports):
        _say(f"chip    all shards are there, with gaps; next: s1s2 chip -o {run.folder.root}")
        return OK
    if done is None:
        there = sum(r.filled for r in reports)
        _say(f"chip    part {arguments.part} done · {there:,} of {len(reports):,} shards are there")
        return OK
    return _finished(run, done)


def _part(text: str) -> Any:  # noqa: ANN401  # a gather.Part, imported late
    from s1s2.gather import Part

    index, slash, count = text.partition("/")
    if not (slash and index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
        msg = f"--part {text}: expected I/N with I from 1 to N, as 3/16"
        raise RecipeError(msg)
    return Part(int(index) - 1, int(count))


def _plan(arguments: argparse.Namespace) -> int:
    from s1s2 import stages

    run = _open(arguments)
    cost = stages.plan(run, arguments.workers)
    _say(f"sample  {cost.points:,} points")
    _say(f"search  {cost.searches:,} queries · {cost.search_hours:.1f} h")
    where = "over the network" if cost.searches else "from disk"
    _say(
        f"chip    {cost.reads:,} reads · {cost.read_gb:,.1f} GB {where} · "
        f"{cost.read_hours:.1f} h with {arguments.workers} worker(s)"
    )
    _say(f"disk    {cost.disk_gb:,.1f} GB in {run.folder.root}")
    for line in cost.unsure:
        _say(f"unsure  {line}")
    return OK


def _recipe(_: argparse.Namespace) -> int:
    from s1s2.recipe import default_text

    print(default_text(), end="")
    return OK


def _verify(arguments: argparse.Namespace) -> int:
    from s1s2 import ledger
    from s1s2.layout import Folder

    folder = Folder(Path(arguments.corpus))
    problems = ledger.verify(folder)
    for line in problems:
        _say(line)
    document = ledger.open_corpus(folder)
    if problems:
        print(
            f"s1s2: {folder.root}: {len(problems)} problem(s) in {document['chips']:,} chips",
            file=sys.stderr,
        )
        return DAMAGED
    _say(f"verified {document['chips']:,} chips · id {document['corpus_id']}")
    return OK


def _show(arguments: argparse.Namespace) -> int:
    from s1s2.load import Corpus
    from s1s2.show import pick, save_pairs, summary

    corpus = Corpus(arguments.corpus)
    for line in summary(corpus):
        _say(line)
    if not len(corpus):
        return OK
    target = Path(arguments.out or Path(arguments.corpus) / "pairs.png")
    save_pairs(corpus, pick(corpus, arguments.chips), target)
    _say(f"drawn   {target}")
    return OK


def _sandbox(arguments: argparse.Namespace) -> int:
    from s1s2 import serving

    serving.serve(
        arguments.host,
        arguments.port,
        seed=arguments.seed,
        faults=Path(arguments.faults) if arguments.faults else None,
        token_lifetime_s=60 * arguments.token_minutes,
        say=_say,
    )
    return OK


_COMMANDS = {
    "build": _build,
    "sample": _sample,
    "search": _search,
    "match": _match,
    "chip": _chip,
    "plan": _plan,
    "recipe": _recipe,
    "verify": _verify,
    "show": _show,
    "sandbox": _sandbox,
}
