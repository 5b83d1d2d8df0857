"""The commands that learn: `train evaluate`. As in `commands`, what is heavy is imported late."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from s1s2.arguments import OK
from s1s2.errors import ContractError, RecipeError
from s1s2.progress import result, say

if TYPE_CHECKING:
    from s1s2.learn.labelled import Labelled
    from s1s2.learn.settings import EvaluateSpec


def train(arguments: argparse.Namespace) -> int:
    """Pre-train encoders on a corpus."""
    from s1s2.load import Corpus

    with _learned():
        from s1s2.learn.machine import this_machine
        from s1s2.learn.settings import read_recipe
        from s1s2.learn.train import Around
        from s1s2.learn.train import train as pre_train
    recipe = read_recipe(
        arguments.recipe,
        {
            "train.mode": arguments.mode,
            "train.architecture": arguments.architecture,
            "train.epochs": arguments.epochs,
            "train.batch_size": arguments.batch_size,
            "train.seed": arguments.seed,
        },
    )
    corpus, out = Corpus(arguments.corpus), Path(arguments.out)
    with this_machine() as machine:
        pre_train(corpus, out, recipe, Around(machine, say, _path(arguments.labels)))
        first = machine.rank == 0
    if first:
        say(f"next    s1s2 evaluate {out}  ·  tensorboard --logdir {out / 'log'}")
        result(run=str(out), corpus_id=corpus.about["corpus_id"])
    return OK


def evaluate(arguments: argparse.Namespace) -> int:
    """Judge pre-trained encoders by what they are worth with few labels."""
    with _learned():
        from s1s2.learn.evaluate import evaluate as judge
        from s1s2.learn.results import summarise, write
        from s1s2.learn.settings import read_recipe
    changes = {"evaluate.seeds": arguments.seeds, "evaluate.fractions": _shares(arguments.percent)}
    spec = read_recipe(arguments.recipe, changes).evaluate
    runs, out = [Path(run) for run in arguments.runs], Path(arguments.out)
    data = _labelled(runs[0], arguments, spec)
    judged = judge(runs, data, out, spec, say)
    results = summarise(judged, data, spec)
    title = f"{data.name}: {len(data.rows('train')):,} train chips, {spec.seeds} seeds"
    for path in write(results, out, title):
        say(f"wrote   {path}")
    result(out=str(out), test_chips=results.chips)
    return OK


def _labelled(run: Path, arguments: argparse.Namespace, spec: "EvaluateSpec") -> "Labelled":
    """Open what is judged on: --data, or else the corpus that the first run learnt from.

    Raises:
        ContractError: If nothing that can be judged on lies there.
        StoreError: If it is a corpus that is unfinished or damaged.
    """
    from s1s2.layout import Folder
    from s1s2.learn.foreign import open_foreign
    from s1s2.learn.labelled import of_corpus
    from s1s2.learn.run_folder import RunFolder

    told = str(arguments.data or RunFolder(run).read()["corpus"])
    if "://" in told:
        return of_corpus(told, spec, _path(arguments.labels), say)
    place = Path(told)
    folder = Folder(place)
    if folder.corpus.exists() or folder.recipe.exists():  # finished or not: it says which
        return of_corpus(place, spec, _path(arguments.labels), say)
    if found := open_foreign(place):
        return found
    msg = f"{place}: holds no corpus, BigEarthNet or EuroSAT"
    if not arguments.data:
        msg += f", though {run} learnt from a corpus there; say with --data where it lies now"
    raise ContractError(msg)


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _shares(text: str | None) -> tuple[float, ...] | None:
    """Return 1,10,100 as shares.

    Raises:
        RecipeError: If it is no list of numbers.
    """
    if text is None:
        return None
    try:
        return tuple(float(part) / 100 for part in text.split(","))
    except ValueError:
        msg = f"--percent {text}: expected numbers with commas between, as 1,10,100"
        raise RecipeError(msg) from None


@contextmanager
def _learned() -> Iterator[None]:
    """Say in one line which extra is missing."""
    try:
        yield
    except ImportError as error:
        msg = f"learning needs {error.name}: pip install 's1s2[learn]'"
        raise RecipeError(msg) from error
