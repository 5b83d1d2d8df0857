"""What decides a pre-training run and an evaluation, and the named recipes of both. No torch.

A recipe is TOML with three sections: `[train]`, `[views]`, `[evaluate]`; every key may be left out.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from s1s2.errors import RecipeError
from s1s2.recipe import explain, read_toml

Mode = Literal["s1", "s2", "both", "cross"]
"""What Barlow Twins compares: two views of S1, of S2, of each at once, or S1 with S2."""


def _not_below(spec: object, least: float, *keys: str) -> None:
    for key in keys:
        value = getattr(spec, key)
        if not (value >= least and isfinite(value)):
            msg = f"{key} {value}: expected {least} or more"
            raise RecipeError(msg)


def _above_zero(spec: object, *keys: str) -> None:
    for key in keys:
        value = getattr(spec, key)
        if not (value > 0 and isfinite(value)):
            msg = f"{key} {value}: expected more than 0"
            raise RecipeError(msg)


def _shares(spec: object, *keys: str) -> None:
    for key in keys:
        if not 0 <= getattr(spec, key) <= 1:
            msg = f"{key} {getattr(spec, key)}: expected 0 to 1"
            raise RecipeError(msg)


def _each_once(spec: object, *keys: str) -> None:
    for key in keys:
        values = getattr(spec, key)
        if not values or len(set(values)) < len(values):
            msg = f"{key} {', '.join(map(str, values))}: expected one or more, each once"
            raise RecipeError(msg)


@dataclass(frozen=True)
class ViewSpec:
    """How a view is made of a chip."""

    size_px: int = 128
    """Side of a view in pixels; 0 for that of the chip."""
    least_share: float = 0.4
    """Smallest share of the chip's area that a crop takes; its sides stay equal."""
    ramp_epochs: float = 5.0
    """Epochs over which the probabilities of dropout and clouds grow to those given."""
    brightness: float = 0.2
    """S2: greatest relative change of a band's reflectance."""
    contrast: float = 0.2
    """S2: greatest relative change of a band's distance from its mean over the view."""
    band_dropout: float = 0.1
    """S2: probability that a band is blanked; one band always stays."""
    cloud: float = 0.2
    """S2: probability that a synthetic cloud covers part of a view."""
    gain_db: float = 1.0
    """S1: greatest change of the level of a view, in dB, about twice the sensor's accuracy."""
    speckle_looks: float = 8.0
    """S1: number of looks of the speckle put on at its strongest; 0 for none."""
    polarisation_dropout: float = 0.1
    """S1: probability that one of the two polarisations is blanked."""

    def __post_init__(self) -> None:
        _shares(self, "least_share", "brightness", "contrast")
        _shares(self, "band_dropout", "cloud", "polarisation_dropout")
        _above_zero(self, "least_share")
        _not_below(self, 0, "size_px", "ramp_epochs", "gain_db", "speckle_looks")


@dataclass(frozen=True)
class TrainSpec:
    """How encoders are pre-trained; the defaults are for one GPU and some thousands of chips."""

    mode: Mode = "both"
    architecture: Literal["resnet18", "resnet50"] = "resnet18"
    projector: int = 2048
    """Width of the projector's layers and of the embedding."""
    off_diagonal: float = 0.005
    """Weight of the redundancy term."""
    epochs: int = 200
    batch_size: int = 256
    """Chips a step, over all processes."""
    pieces: int = 1
    """Pieces that a batch goes through the network in; the loss is that of the whole batch."""
    optimiser: Literal["adam", "lars"] = "adam"
    learning_rate: float = 1e-3
    """At its highest, for the batch size given: it is not scaled."""
    weight_decay: float = 1e-6
    warmup_epochs: float = 10.0
    split: Literal["train", "val", "test", "all"] = "train"
    """Chips learnt from. Another one than `train` means that an evaluation has seen its places."""
    seed: int = 0
    """Of weights, order and views: the same seed, the same run on the same machine."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 where a GPU has it."""
    compile: bool = False
    """Let torch.compile fuse the network; on a GPU alone."""
    checkpoint_minutes: float = 10.0
    probe_epochs: int = 10
    """Epochs between two online probes with gallery; 0 for none."""

    def __post_init__(self) -> None:
        _not_below(self, 1, "epochs", "pieces", "projector")
        _not_below(self, 2, "batch_size")
        _above_zero(self, "learning_rate")
        _not_below(self, 0, "warmup_epochs", "checkpoint_minutes", "probe_epochs", "weight_decay")
        _not_below(self, 0, "seed", "off_diagonal")


@dataclass(frozen=True)
class EvaluateSpec:
    """How an encoder is judged. Nothing here is chosen by looking at a score."""

    fractions: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    """Shares of the labelled train chips; a smaller one is part of every larger one."""
    seeds: int = 3
    """Each draws other label subsets, heads and orders."""
    sensors: tuple[Literal["s1", "s2", "fusion"], ...] = ("s1", "s2", "fusion")
    ways: tuple[Literal["scratch", "probe", "finetune"], ...] = ("scratch", "probe", "finetune")
    size_px: int = 0
    """Side that chips are brought to, by area; 0 leaves them as they are."""
    batch_size: int = 32
    epochs: int = 60
    """Passes over the subset when a network is trained ..."""
    least_steps: int = 100
    """... but no fewer steps ..."""
    most_steps: int = 20_000
    """... and no more than these."""
    finetune_rate: float = 3e-4
    scratch_rate: float = 1e-3
    weight_decay: float = 1e-4
    probe_penalty: float = 1e-2
    """Of the square of the probe's weights, for features of unit deviation."""
    least_share: float = 0.05
    """A class is in a chip's label from this share of its pixels on."""
    cloudy_from: float = 0.1
    """A chip with more cloud and shadow than this share is in the cloudy subset."""
    resamples: int = 1000
    """Bootstrap resamples of cells and seeds behind an interval of 95 %."""

    def __post_init__(self) -> None:
        _not_below(self, 1, "seeds", "epochs", "least_steps", "most_steps", "resamples")
        _not_below(self, 2, "batch_size")
        _not_below(self, 0, "size_px", "weight_decay", "probe_penalty")
        _above_zero(self, "finetune_rate", "scratch_rate", "least_share")
        _shares(self, "least_share", "cloudy_from")
        _each_once(self, "fractions", "sensors", "ways")
        if [f for f in self.fractions if not 0 < f <= 1]:
            msg = f"fractions {self.fractions}: expected shares above 0 and up to 1"
            raise RecipeError(msg)


class LearnRecipe(BaseModel):
    """The three sections of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: TrainSpec = TrainSpec()
    views: ViewSpec = ViewSpec()
    evaluate: EvaluateSpec = EvaluateSpec()


def recipe_names() -> list[str]:
    """Return the names of the recipes that ship with the package."""
    found = files("s1s2.learn").joinpath("recipes").iterdir()
    return sorted(f.name.removesuffix(".toml") for f in found if f.name.endswith(".toml"))


def read_recipe(name: str | None, changes: Mapping[str, Any]) -> LearnRecipe:
    """Read a recipe and change some of its values.

    Args:
        name: A shipped name or the path of a TOML; None for the defaults.
        changes: Values by dotted key (`train.epochs`); None means unchanged.

    Raises:
        RecipeError: If there is no such recipe, or a key or value is not known.
    """
    document = _document(name) if name else {}
    for dotted, value in changes.items():
        section, _, key = dotted.partition(".")
        if value is not None and isinstance(document.setdefault(section, {}), dict):
            document[section][key] = value
    try:
        return LearnRecipe.model_validate(document)
    except ValidationError as error:
        where = f"recipe {name}" if name else "the settings"
        raise RecipeError(explain(error, where, LearnRecipe)) from None


def _document(name: str) -> dict[str, Any]:
    if name in recipe_names():
        return read_toml(Path(str(files("s1s2.learn").joinpath(f"recipes/{name}.toml"))), "recipe")
    if Path(name).suffix == ".toml":
        return read_toml(Path(name), "recipe")
    known = ", ".join(recipe_names())
    msg = f"recipe {name!r}: expected one of {known}, or the path of a TOML"
    raise RecipeError(msg)


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Name the keys of two flat descriptions whose values differ, with both values."""
    keys = sorted({*one, *other})
    return [
        f"{key} ({one.get(key)!r} there, {other.get(key)!r} here)"
        for key in keys
        if one.get(key) != other.get(key)
    ]


def digest(*specs: object) -> str:
    """Return twelve hexadecimal digits that stand for settings, to name what they made."""
    plain = [asdict(s) if is_dataclass(s) and not isinstance(s, type) else s for s in specs]
    text = json.dumps(plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
