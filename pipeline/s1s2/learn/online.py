"""The online probe: what features are worth so far, and which chips they find alike."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from s1s2.bands import Sensor
from s1s2.learn.batches import Raw, read_rows
from s1s2.learn.journal import Journal, gallery
from s1s2.learn.labels import shares_of
from s1s2.learn.probe import features_of, probe
from s1s2.learn.scores import mean_average_precision
from s1s2.learn.settings import LearnRecipe
from s1s2.learn.twins import Twins, sensors_of
from s1s2.learn.units import Scaling, normalised
from s1s2.load import Corpus

_MOST_CHIPS = 512
_QUERIES = 6
_BATCH = 64


@dataclass(frozen=True)
class OnlineProbe:
    """A fixed set of train chips: a probe is fitted to three quarters and scored on the rest.

    Chips of val and test have no part in it: nobody is to choose a run by them. The last quarter of
    the cells is held out, so that neighbours do not vouch for each other.
    """

    raw: Raw
    truth: NDArray[np.bool_] | None
    """(chip, class); None where nobody knows the cover: then there is a gallery alone."""
    held_out: NDArray[np.bool_]
    scaling: dict[Sensor, Scaling]
    recipe: LearnRecipe

    @classmethod
    def of(
        cls, corpus: Corpus, recipe: LearnRecipe, labels: Path | None, say: Callable[[str], None]
    ) -> Self | None:
        """Return a probe for a run, or None if the recipe wants none."""
        if not recipe.train.probe_epochs:
            return None
        chips = corpus.chips(None if recipe.train.split == "all" else recipe.train.split)
        chosen = np.unique(np.linspace(0, len(chips) - 1, min(_MOST_CHIPS, len(chips))).astype(int))
        rows = np.flatnonzero(np.isin(corpus.index["chip"], chips[chosen]))
        index = corpus.index.iloc[rows]
        shares = shares_of(index, corpus.size_px, labels, say)
        if shares is None:
            say("probe   no labels known for this corpus (--labels FILE), so no online probe")
        cells = index["cell"].to_numpy()
        names = np.unique(cells)
        held_out = np.isin(cells, names[len(names) * 3 // 4 :])
        truth = shares.present(recipe.evaluate.least_share) if shares else None
        scaling = {s: Scaling.of_corpus(corpus.about, s) for s in Sensor}
        return cls(read_rows(corpus, rows), truth, held_out, scaling, recipe)

    def look(
        self, twins: Twins, step: int, journal: Journal | None, device: torch.device
    ) -> dict[Sensor, float]:
        """Log galleries and scores; return the mean average precision by sensor."""
        found: dict[Sensor, float] = {}
        queries = np.linspace(0, len(self.held_out) - 1, _QUERIES).astype(int).tolist()
        for sensor in sensors_of(self.recipe.train.mode):
            parts = torch.split(self.raw[sensor], _BATCH)
            batches = (normalised(p.to(device), sensor, self.scaling[sensor]) for p in parts)
            features = features_of(twins.encoders[sensor], batches, device)
            if journal:
                journal.gallery(step, str(sensor), gallery(self.raw, sensor, features, queries))
            if self.truth is not None:
                found[sensor] = self._score(features)
        if journal:
            journal.scalars(step, {f"probe/{s}": v for s, v in found.items() if np.isfinite(v)})
        return found

    def _score(self, features: torch.Tensor) -> float:
        if self.truth is None or not 0 < self.held_out.sum() < len(self.held_out):
            return float("nan")
        known, other = ~self.held_out, self.held_out
        penalty = self.recipe.evaluate.probe_penalty
        targets = torch.from_numpy(self.truth[known])
        logits = probe(features[known], targets, features[other], penalty, exclusive=False)
        weights = np.ones((1, int(other.sum())))
        return float(mean_average_precision(logits.numpy(), self.truth[other], weights)[0])
