"""Short lessons for tests of learning: recipes, runs that stop where they are told, judgements."""

import tomllib
from pathlib import Path

import pytest
import safetensors.torch
import torch
from ranks import NARROW

from s1s2 import Corpus
from s1s2.learn import batches, evaluate, labelled, resnet, settings, train
from s1s2.learn.machine import Machine

CPU = Machine(torch.device("cpu"))
RECIPE = """
[train]
mode = "{mode}"
projector = 16
epochs = 2
batch_size = 4
pieces = {pieces}
warmup_epochs = 1.0
split = "all"
checkpoint_minutes = 0.0
probe_epochs = 2
[views]
size_px = 32
"""


def narrow(patch: pytest.MonkeyPatch) -> None:
    """Let networks have a hundredth of their size: no test depends on how wide they are."""
    patch.setattr(resnet, "_WIDTHS", NARROW)


def recipe(mode: str = "both", pieces: int = 1, **changes: object) -> settings.LearnRecipe:
    document = tomllib.loads(RECIPE.format(mode=mode, pieces=pieces))
    document["train"] |= changes
    return settings.LearnRecipe.model_validate(document)


class StoppedError(Exception):
    """Stands for a kill."""


def run_to(
    corpus: Path, out: Path, wanted: settings.LearnRecipe, stop_at: int | None = None
) -> list[str]:
    """Train; with `stop_at`, die in the middle of the step after it."""
    said: list[str] = []
    learnt = train._Run._learn

    def dying(self: train._Run, raw: batches.Raw, epochs_done: float) -> object:
        if self.step == stop_at:
            raise StoppedError
        return learnt(self, raw, epochs_done)

    train._Run._learn = dying  # type: ignore[method-assign]
    try:
        train.train(Corpus(corpus), out, wanted, train.Around(CPU, said.append))
    except StoppedError:
        pass
    finally:
        train._Run._learn = learnt  # type: ignore[method-assign]
    return said


def weights(run: Path) -> dict[str, torch.Tensor]:
    found = {}
    for path in sorted(run.glob("encoder-*.safetensors")):
        for name, tensor in safetensors.torch.load_file(path).items():
            found[f"{path.stem}/{name}"] = tensor
    return found


def assert_same(one: Path, other: Path) -> None:
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys()
    assert mine
    for name, tensor in mine.items():
        assert torch.equal(tensor, theirs[name]), name


def spec(**changes: object) -> settings.EvaluateSpec:
    small = {"fractions": (0.5, 1.0), "seeds": 2, "least_steps": 2, "most_steps": 3}
    return settings.EvaluateSpec(**{**small, "batch_size": 4, "resamples": 20, **changes})


def probed(
    runs: list[Path], data: labelled.Labelled, out: Path, **changes: object
) -> tuple[list[evaluate.Judged], list[str]]:
    """Judge S2 by a probe on all labels; return that and what was said."""
    said: list[str] = []
    alone = spec(fractions=(1.0,), seeds=1, ways=("probe",), sensors=("s2",), **changes)
    return evaluate.evaluate(runs, data, out, alone, said.append), said
