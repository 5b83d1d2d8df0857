"""Downstream models: a linear layer on the features of one encoder or of two side by side."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from s1s2.bands import Sensor
from s1s2.learn.encoders import Trained
from s1s2.learn.labelled import Labelled
from s1s2.learn.optimise import share_of_rate
from s1s2.learn.probe import classification_loss
from s1s2.learn.settings import EvaluateSpec

_JUDGED_AT_ONCE = 256
_WARMUP = 0.1


class Classifier(nn.Module):
    """Features of each sensor's encoder, concatenated, then one linear layer (from zero)."""

    def __init__(self, encoders: dict[Sensor, nn.Module], features: int, classes: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({str(s): e for s, e in encoders.items()})
        self.fc = nn.Linear(features, classes)
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, chips: dict[Sensor, Tensor]) -> Tensor:
        """Return logits (B, class) of normalised chips by sensor."""
        features = [encoder(chips[Sensor(name)]) for name, encoder in self.encoders.items()]
        logits: Tensor = self.fc(torch.cat(features, dim=1))
        return logits


@dataclass(frozen=True)
class Trainer:
    """Trains and applies classifiers on some labelled chips."""

    data: Labelled
    trained: dict[Sensor, Trained]
    """Encoders of the sensors to be used: their weights, or their make alone."""
    spec: EvaluateSpec
    device: torch.device

    def scores(self, rows: NDArray[np.int64], seed: int, *, fresh: bool) -> NDArray[np.float32]:
        """Train a whole network on some rows and return its logits of the test rows.

        Args:
            rows: Labelled chips to learn from.
            seed: Of fresh weights, order, turns and flips.
            fresh: Start from random weights rather than the trained ones.

        Returns:
            (test chip, class).
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoders = {s: t.fresh() if fresh else t.copy() for s, t in self.trained.items()}
        features = sum(e.features for e in encoders.values())
        model = Classifier(dict(encoders), features, len(self.data.classes)).to(self.device)
        self._fit(model, rows, seed, self.spec.scratch_rate if fresh else self.spec.finetune_rate)
        return self._judge(model)

    def _fit(self, model: Classifier, rows: NDArray[np.int64], seed: int, rate: float) -> None:
        spec, generator = self.spec, np.random.default_rng(seed)
        steps = steps_of(len(rows), spec)
        decay = spec.weight_decay
        optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
        model.train()
        for step, chosen in enumerate(_batches(rows, spec.batch_size, steps, generator)):
            for group in optimiser.param_groups:
                group["lr"] = rate * share_of_rate(step, steps, round(_WARMUP * steps))
            chips = turned(self._chips(chosen), generator)
            targets = torch.from_numpy(self.data.truth[chosen]).to(self.device)
            loss = classification_loss(model(chips), targets, exclusive=self.data.exclusive)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    @torch.no_grad()
    def _judge(self, model: Classifier) -> NDArray[np.float32]:
        model.eval()
        test = self.data.rows("test")
        parts = np.array_split(test, -(-len(test) // _JUDGED_AT_ONCE))
        found: NDArray[np.float32] = torch.cat([model(self._chips(p)).cpu() for p in parts]).numpy()
        return found

    def _chips(self, rows: NDArray[np.int64]) -> dict[Sensor, Tensor]:
        size = self.spec.size_px
        return {
            s: self.data.batch(rows, s, t.scaling, size).to(self.device)
            for s, t in self.trained.items()
        }


def steps_of(chips: int, spec: EvaluateSpec) -> int:
    """Return how many steps a network is trained for on so many chips."""
    epoch = max(1, chips // spec.batch_size)
    return min(max(spec.epochs * epoch, spec.least_steps), spec.most_steps)


def turned(chips: dict[Sensor, Tensor], generator: np.random.Generator) -> dict[Sensor, Tensor]:
    """Turn a batch by 90 degrees and flip it, both sensors alike: labels are of whole chips."""
    quarter, flip = int(generator.integers(4)), bool(generator.integers(2))
    rotated = {s: torch.rot90(chip, quarter, (2, 3)) for s, chip in chips.items()}
    return {s: chip.flip(3) if flip else chip for s, chip in rotated.items()}


def _batches(
    rows: NDArray[np.int64], size: int, steps: int, generator: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Yield `steps` whole batches; within a pass no row comes twice.

    What is left at the end of a pass and fills no batch waits for the next, in another order.
    """
    size = min(size, len(rows))
    order = np.empty(0, dtype=np.int64)
    for _ in range(steps):
        if len(order) < size:
            order = generator.permutation(rows)
        yield order[:size]
        order = order[size:]
