"""The commands that look at things: `show status doctor diff plan export push pull completion`.

They change nothing but what lies beside a corpus. As in `commands`, what is heavy is imported late.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from s1s2.arguments import DAMAGED, DIFFERENT, OK, parser
from s1s2.errors import RecipeError
from s1s2.progress import result, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from s1s2.push import Pushed
    from s1s2.run import Run
    from s1s2.verify import Problem


def show(arguments: argparse.Namespace) -> int:
    """Say what a corpus holds, and draw it."""
    from s1s2.load import Corpus
    from s1s2.report import beside
    from s1s2.show import pick, save_pairs, summary

    root = Path(arguments.corpus)
    corpus = Corpus(root)
    for line in summary(corpus):
        say(line)
    if arguments.chips is None and arguments.out is None:
        say(f"report  {beside.write(root, seed=arguments.seed)}")
    elif len(corpus):
        target = Path(arguments.out or root / "pairs.png")
        save_pairs(corpus, pick(corpus, arguments.chips), target)
        say(f"drawn   {target}")
    result(corpus=str(root), **{k: corpus.about[k] for k in ("corpus_id", "chips", "splits")})
    return OK


def report(root: Path) -> None:
    """Write what lies beside a corpus that was just finished, unless it is there already.

    A build never fails over it: the corpus is whole, and `s1s2 show` writes the page another time.
    """
    from s1s2.layout import Folder
    from s1s2.report import beside

    page, done = root / beside.PAGE, Folder(root).corpus
    if page.exists() and page.stat().st_mtime >= done.stat().st_mtime:
        return
    try:
        say(f"report  {beside.write(root)}")
    except Exception as error:  # noqa: BLE001  # whatever it is, it is not the corpus
        why = " ".join(str(error).split()) or type(error).__name__
        print(f"s1s2: no report: {why}; s1s2 show {root} tries again", file=sys.stderr)


def status(arguments: argparse.Namespace) -> int:
    """Say how far a corpus is."""
    from s1s2 import status as state
    from s1s2.layout import Folder

    found = state.status(Folder(Path(arguments.out)))
    for line in state.lines(found):
        say(line)
    result(**asdict(found))
    return OK


def doctor(arguments: argparse.Namespace) -> int:
    """Look for what would stop a build; exit code 5 if anything would."""
    from s1s2.doctor import examine

    worst = OK
    for check in examine(Path(arguments.out), arguments.catalog):
        say(str(check))
        result(**asdict(check))
        if check.state == "fail":
            worst = DAMAGED
    return worst


def diff(arguments: argparse.Namespace) -> int:
    """Say what differs between two corpora; exit code 1 if anything does."""
    from s1s2.diff import diff as differences
    from s1s2.layout import Folder

    found = differences(*(Folder(Path(root)) for root in (arguments.one, arguments.other)))
    for line in found or ["the same corpus"]:
        say(line)
    result(differences=found)
    return DIFFERENT if found else OK


def plan(run: "Run", arguments: argparse.Namespace) -> int:
    """Say what a build will cost, before the first byte."""
    from s1s2 import plan as planned

    cost = planned.plan(run, workers=arguments.workers, threads=arguments.threads)
    for line in planned.lines(cost, run):
        say(line)
    result(**asdict(cost))
    return OK


def export(arguments: argparse.Namespace) -> int:
    """Write a corpus in another library's layout."""
    from s1s2.export import export as write
    from s1s2.load import Corpus

    corpus, out = Corpus(arguments.corpus), Path(arguments.out)
    done = write(corpus, arguments.to, out)
    there = f" · {done.kept:,} parts were there" if done.kept else ""
    say(f"export  {done.chips:,} chips in {done.files:,} files of {out}{there}")
    if corpus.about["simulated"]:
        say("        SIMULATED DATA: made up by the sandbox, no satellite saw any of it")
    result(out=str(out), chips=done.chips, files=done.files, corpus_id=corpus.about["corpus_id"])
    return OK


def push(arguments: argparse.Namespace) -> int:
    """Publish a corpus; exit code 5 if a file of it is damaged, here or there."""
    from s1s2.push import push as publish

    done = publish(Path(arguments.corpus), arguments.url, trust=arguments.trust_store)
    if not (code := pushed(arguments.url, done, "mend the corpus, and push it again")):
        identity = done.document["corpus_id"]
        result(url=arguments.url, corpus_id=identity, sent=done.sent, kept=done.kept)
    return code


def publish(run: "Run") -> int:
    """Bring what is left of a finished corpus to the URL of its pixels; say what it took."""
    from s1s2 import build

    done = build.publish(run)
    if done is not None:
        return pushed(run.url, done, f"s1s2 verify {run.folder.root} --repair mends it")
    say(f"pushed  {run.url} · all of it was there")
    return OK


def pushed(url: str, done: "Pushed", what_to_do: str) -> int:
    """Say what came of publishing a corpus; exit code 5 if anything keeps it from being whole."""
    if done.problems:
        return _problems(url, done.problems, f"corpus.json was not written there: {what_to_do}")
    identity, chips = done.document["corpus_id"], done.document["chips"]
    there = f" · {done.kept:,} were there" if done.kept else ""
    say(f"push    {done.sent:,} files, {done.sent_bytes / 1e6:,.1f} MB{there}")
    say(f"pushed  {url} · {chips:,} chips · id {identity[:12]}")
    return OK


def pull(arguments: argparse.Namespace) -> int:
    """Fetch a published corpus, or some of it; exit code 5 if a file of it is damaged there."""
    from s1s2.excerpt import Wish, excerpt
    from s1s2.pull import pull as fetch

    wish = Wish(arguments.split, arguments.bbox, arguments.n)
    out = Path(arguments.out)
    done = excerpt(arguments.url, out, wish) if wish.said else fetch(arguments.url, out)
    if done.document is None:
        advice = f"what is whole lies in {out}: push the corpus again, then pull it again"
        return _problems(arguments.url, done.problems, advice)
    identity, chips = done.document["corpus_id"], done.document["chips"]
    here = f" · {done.kept:,} were here" if done.kept else ""
    say(f"pull    {done.fetched:,} files, {done.fetched_bytes / 1e6:,.1f} MB{here}")
    whole = done.document["taken"]["chips"] if wish.said else chips
    of = f" of {whole:,}" if wish.said else ""
    say(f"pulled  {out} · {chips:,}{of} chips · id {identity[:12]}")
    say(f"next    s1s2 show {out}  ·  s1s2 verify {out}  ·  from s1s2 import Corpus")
    result(out=str(out), corpus_id=identity, chips=chips, fetched=done.fetched, kept=done.kept)
    return OK


def _problems(where: str, problems: "Sequence[Problem]", advice: str) -> int:
    for problem in problems:
        say(str(problem))
    print(f"s1s2: {where}: {len(problems):,} problem(s); {advice}", file=sys.stderr)
    return DAMAGED


def completion(arguments: argparse.Namespace) -> int:
    """Print what makes a shell complete the commands and their flags."""
    try:
        import shtab
    except ModuleNotFoundError as error:
        msg = "completion needs shtab: pip install 's1s2[completion]'"
        raise RecipeError(msg) from error
    print(shtab.complete(parser(), shell=arguments.shell), end="")
    return OK
