"""The folder of one pre-training run: what it was begun with, what it left, and its model card."""

import json
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import torch

from s1s2 import __version__, files
from s1s2.errors import RecipeError, StoreError
from s1s2.learn.encoders import Trained, encoder_path, save_encoder
from s1s2.learn.settings import LearnRecipe, differing
from s1s2.learn.twins import Twins, sensors_of
from s1s2.learn.units import Scaling
from s1s2.load import Corpus

_FREE_TO_CHANGE = {"checkpoint_minutes", "probe_epochs"}
"""Settings that do not decide what comes out."""


@dataclass(frozen=True)
class RunFolder:
    """Where everything of a run lies."""

    root: Path

    @property
    def about(self) -> Path:
        """What the run was begun with."""
        return self.root / "run.json"

    @property
    def checkpoints(self) -> Path:
        """States to go on from."""
        return self.root / "checkpoints"

    @property
    def log(self) -> Path:
        """TensorBoard's folder."""
        return self.root / "log"

    @property
    def card(self) -> Path:
        """The model card; written last, so a run with one is done."""
        return self.root / "README.md"

    def begin(self, recipe: LearnRecipe, corpus: Corpus, world: int) -> None:
        """Note what a run is begun with, or check that it goes on with the same.

        Raises:
            RecipeError: If the folder holds a run that was begun with something else.
            StoreError: If it cannot be read or written.
        """
        wanted = _description(recipe, corpus, world)
        if not self.about.exists():
            place = {"corpus": corpus.where}
            files.write_bytes(self.about, json.dumps(place | wanted, indent=1).encode())
            return
        begun = self.read()
        begun.pop("corpus", None)
        if different := differing(begun, json.loads(json.dumps(wanted))):
            msg = (
                f"{self.root}: begun with something else: {' · '.join(different)}; give another "
                "folder with -o, or the same settings"
            )
            raise RecipeError(msg)

    def read(self) -> dict[str, Any]:
        """Return what the run was begun with.

        Raises:
            StoreError: If the folder holds no run, or the file is damaged.
        """
        try:
            return dict(json.loads(self.about.read_bytes()))
        except FileNotFoundError as error:
            msg = f"{self.root}: no pre-training run there; s1s2 train makes one"
            raise StoreError(msg) from error
        except (OSError, ValueError, TypeError) as error:
            msg = f"{self.about}: cannot be read ({error}); remove it to begin the run anew"
            raise StoreError(msg) from error

    def finish(
        self, twins: Twins, corpus: Corpus, recipe: LearnRecipe, seconds: float, machine: str
    ) -> None:
        """Write the encoders and the model card.

        Raises:
            StoreError: If they cannot be written.
        """
        facts = {
            "corpus_id": corpus.about["corpus_id"],
            "simulated": bool(corpus.about["simulated"]),
            "s1s2": __version__,
            "train": asdict(recipe.train),
        }
        cells = _cells(corpus, recipe.train.split)
        for sensor in sensors_of(recipe.train.mode):
            encoder = twins.encoders[sensor]
            scaling = Scaling.of_corpus(corpus.about, sensor)
            trained = Trained(sensor, recipe.train.architecture, scaling, encoder, cells)  # type: ignore[arg-type]
            save_encoder(encoder_path(self.root, sensor), trained, facts)
        files.write_bytes(self.card, _card(self, corpus, recipe, seconds, machine).encode())


def _description(recipe: LearnRecipe, corpus: Corpus, world: int) -> dict[str, Any]:
    settings = asdict(recipe.train) | {f"views.{k}": v for k, v in asdict(recipe.views).items()}
    kept = {k: v for k, v in settings.items() if k not in _FREE_TO_CHANGE}
    # several processes see other views and, on CPUs, other batch moments
    return kept | {"corpus_id": corpus.about["corpus_id"], "processes": world}


def _cells(corpus: Corpus, split: str) -> tuple[int, ...]:
    index = corpus.index
    learnt = index if split == "all" else index[index["split"] == split]
    return tuple(int(cell) for cell in sorted(learnt["cell"].unique()))


def _card(run: RunFolder, corpus: Corpus, recipe: LearnRecipe, seconds: float, machine: str) -> str:
    spec, about = recipe.train, corpus.about
    names = [encoder_path(run.root, s).name for s in sensors_of(spec.mode)]
    settings = asdict(spec) | {f"views.{k}": v for k, v in asdict(recipe.views).items()}
    text = resources.files("s1s2.learn").joinpath("card.md").read_text("utf-8")
    return Template(text).substitute(
        architecture=spec.architecture,
        mode=spec.mode,
        split=spec.split,
        name=about["name"],
        simulated="**SIMULATED DATA: no satellite saw any of it.** " if about["simulated"] else "",
        corpus_id=about["corpus_id"],
        chips=f"{about['chips']:,}",
        size_px=corpus.size_px,
        files=", ".join(f"`{name}`" for name in names),
        first=names[0],
        minutes=f"{seconds / 60:.1f}",
        machine=machine,
        version=__version__,
        torch=torch.__version__,
        settings="\n".join(f"| {key} | {value} |" for key, value in settings.items()),
    )
